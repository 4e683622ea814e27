"""`openbell import`, on small files written by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

ROWS = """\
when,open,high,low,close,vol
2025-07-02 09:30:00,10,11,9,10.5,100
2025-07-02 09:31:00,10,9,11,10.5,100
2025-07-02 08:00:00,10,11,9,10.5,100
2025-07-02 09:32:00,nan,11,9,10.5,100
soon,10,11,9,10.5,100
2025-07-02 09:33:00,10,11,9,10.75,200
"""
NAMES = ("--columns", "timestamp=when,volume=vol")
ZONE = ("--tz", "America/New_York")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "AAPL.csv"
    path.write_text(ROWS)
    return path


def test_import_writes_the_good_rows_and_names_the_bad(
    run: Any, source: Path, tmp_path: Path
) -> None:
    to, rest = tmp_path / "data", tmp_path / "bad.csv"
    code, out, err = run(
        "import", source, "--to", to, "--interval", "1m", *ZONE, *NAMES, "--bad-rows", rest
    )
    assert code == 0
    table = pq.read_table(to / "bars" / "interval=1m" / "date=2025-07-02.parquet")
    assert table["symbol"].to_pylist() == ["AAPL", "AAPL"]
    assert [str(t) for t in table["timestamp"].to_pylist()] == [
        "2025-07-02 13:30:00+00:00",
        "2025-07-02 13:33:00+00:00",
    ]
    assert table["close"].to_pylist() == [10.5, 10.75]
    counts = {
        " ".join(words[:-1]): words[-1] for words in map(str.split, out.splitlines()) if words
    }
    assert counts["read"] == "6"
    assert counts["written"] == "2"
    wanted = {3: "high_below_low", 4: "outside_session", 5: "not_finite", 6: "unparsable"}
    assert len(err) == len(wanted)
    for line, (number, reason) in zip(err, wanted.items(), strict=True):
        assert line.startswith(f"{source} line {number}: {reason}: ")
        assert counts[reason] == "1"
    with rest.open(newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == list(wanted.values())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--interval", "1m", *NAMES), 2, "time zone"),
        (("--interval", "7x", *ZONE, *NAMES), 2, "7x"),
        (("--tz", "Mars/Olympus", *NAMES), 2, "Mars/Olympus"),
        (("--calendar", "NOWHERE", *ZONE, *NAMES), 2, "NOWHERE"),
        (("--columns", "when", *ZONE), 2, "ROLE=NAME"),
        (("--columns", "moment=when", *ZONE), 2, "moment"),
        (("--label", "middle", *ZONE, *NAMES), 2, "middle"),
        (("--interval", "1m", *ZONE), 1, "timestamp"),
    ],
)
def test_import_that_cannot_be_done_says_why_in_one_line(
    run: Any, source: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    returned, out, err = run("import", source, "--to", tmp_path / "data", *words)
    assert (returned, out) == (code, "")
    assert len(err) == 1
    assert said in err[0]
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_import_one_file_of_two_corrupt_returns_1_and_keeps_the_other(
    run: Any, source: Path, tmp_path: Path
) -> None:
    corrupt = tmp_path / "MSFT.parquet"
    corrupt.write_bytes(b"PAR1 but not really")
    to = tmp_path / "data"
    code, out, err = run("import", source, corrupt, "--to", to, "--interval", "1m", *ZONE, *NAMES)
    assert code == 1
    assert any(line.startswith("failed: ") and "MSFT.parquet" in line for line in err)
    assert "1 file read: 1 symbol, 1m, 1 date from 2025-07-02" in out


def test_import_folder_skips_other_files_and_says_so(
    run: Any, source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source.rename(folder / source.name)
    (folder / "notes.md").write_text("not bars")
    code, _, err = run(
        "import", folder, "--to", tmp_path / "data", "--interval", "1m", *ZONE, *NAMES
    )
    assert code == 0
    assert any("notes.md" in line and "skipped" in line for line in err)
