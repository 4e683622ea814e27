"""`openbell sample`, `replay` and `demo`, through the real engine."""

from __future__ import annotations

import csv
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import openbell as ob
from openbell.cli import main

CONFIG = """
[session]
start_date = 2025-07-02
end_date = {end}
symbols = {symbols}
streams = ["1s", "1m", "5m"]
[data]
parquet = "data"
"""


@pytest.fixture
def config(run: Any, tmp_path: Path) -> Any:
    """Two days of two symbols (the second is a half day), and a maker of configurations."""
    code, out, _ = run("sample", tmp_path / "data", "--symbols", 2, "--days", 2)
    assert code == 0
    assert "wrote 2 files of 2 symbols" in out

    def write(symbols: str = '["SYN001", "SYN002"]', end: str = "2025-07-02") -> Path:
        path = tmp_path / "session.toml"
        path.write_text(CONFIG.format(symbols=symbols, end=end))
        return path

    return write


def rows_of(path: Path) -> dict[str, int]:
    symbols = pq.read_table(path, columns=["symbol"])["symbol"].to_pylist()
    return {symbol: symbols.count(symbol) for symbol in set(symbols)}


def test_sample_twice_writes_the_same_bars(run: Any, tmp_path: Path) -> None:
    tables = []
    for name in ("a", "b"):
        assert run("sample", tmp_path / name, "--symbols", 1, "--interval", "1m")[0] == 0
        path = tmp_path / name / "bars" / "interval=1m" / "date=2025-07-02.parquet"
        tables.append(pq.read_table(path))
    assert tables[0].num_rows > 0
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--start", "2025-07-99"], "--start: received '2025-07-99', expected a date"),
        (["--start", "2025-07-04"], "2025-07-04"),
        (["--calendar", "NOWHERE"], "NOWHERE"),
        (["--interval", "7x"], "7x"),
        (["--days", "0"], "days"),
        (["--symbols", "many"], "'many'"),
    ],
)
def test_sample_impossible_wish_returns_2_in_one_line(
    run: Any, tmp_path: Path, words: list[str], said: str
) -> None:
    code, _, err = run("sample", tmp_path / "data", *words)
    assert code == 2
    assert len(err) == 1
    assert said in err[0]


def test_replay_shows_the_counts_of_the_dataset(run: Any, config: Any, tmp_path: Path) -> None:
    code, out, err = run("replay", config())
    assert (code, err) == (0, [])
    held = rows_of(tmp_path / "data" / "bars" / "interval=1s" / "date=2025-07-02.parquet")
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:4] == ["symbol", "1s", "1m", "5m"]
    for symbol, n in held.items():
        assert [symbol, f"{n:,}"] in [line[:2] for line in lines]
    assert f"{sum(held.values()):,} bars replayed" in out


@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize(
    ("target", "said"), [("none/day.out", "make it first"), (".", "folder or a device")]
)
def test_replay_output_that_cannot_be_a_file_returns_2_before_replaying(
    run: Any, config: Any, tmp_path: Path, option: str, target: str, said: str
) -> None:
    code, out, err = run("replay", config(), option, tmp_path / target)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert option in err[0]
    assert said in err[0]


@pytest.mark.skipif(os.name != "posix", reason="no such files elsewhere")
def test_replay_output_to_a_pipe_is_refused_and_the_pipe_stays(
    run: Any, config: Any, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, _, err = run("replay", config(), "--json", pipe)
    assert code == 2
    assert "folder or a device" in err[0]
    assert pipe.is_fifo()


def test_replay_several_days_writes_dated_files(run: Any, config: Any, tmp_path: Path) -> None:
    dump, log = tmp_path / "dump.json", tmp_path / "{date}.csv"
    code, out, _ = run("replay", config(end="2025-07-03"), "--json", dump, "--csv", log)
    assert code == 0
    assert "2025-07-02" in out
    assert "2025-07-03" in out
    for day, n_minutes in (("2025-07-02", 390), ("2025-07-03", 210)):
        tree = json.loads((tmp_path / f"dump-{day}.json").read_text())
        assert tree["session"]["date"] == day
        with (tmp_path / f"{day}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == n_minutes
        assert run("validate", tmp_path / f"dump-{day}.json")[0] == 0
        assert run("validate", tmp_path / f"{day}.csv")[0] == 0


def test_replay_symbol_without_data_is_left_out_with_a_line(run: Any, config: Any) -> None:
    code, out, err = run("replay", config('["SYN001", "NOPE"]'))
    assert code == 0
    assert "SYN001" in out
    assert any("NOPE" in line for line in err)


def test_replay_no_symbol_with_data_returns_1_and_each_reason(run: Any, config: Any) -> None:
    code, _, err = run("replay", config('["NOPE", "NADA"]'))
    assert code == 1
    assert "NOPE" in err[-1]
    assert "NADA" in err[-1]


def test_replay_no_symbol_with_data_tells_a_common_reason_once(run: Any, config: Any) -> None:
    symbols = [f"NONE{k:02}" for k in range(20)]
    code, _, err = run("replay", config(json.dumps(symbols)))
    assert code == 1
    assert ": NONE00, NONE01, NONE02, NONE03, NONE04 and 15 more: unknown symbol" in err[-1]
    assert err[-1].count("unknown symbol") == 1


def test_no_symbol_error_of_many_reasons_counts_the_rest() -> None:
    reasons = {f"S{k}": f"row {k} is broken" for k in range(500)}
    error = ob.SessionValidationError(reasons)
    assert error.reasons == reasons
    assert str(error).endswith("S4: row 4 is broken; and 495 more reasons")


def test_replay_unknown_calendar_returns_2(run: Any, config: Any) -> None:
    path = config()
    path.write_text(path.read_text().replace("[session]", '[session]\nexchange = "NOWHERE"'))
    code, _, err = run("replay", path)
    assert code == 2
    assert len(err) == 1
    assert "NOWHERE" in err[0]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The folder of a demo, and the dump that it wrote."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        assert main(["demo", str(folder)]) == 0
    assert "keeps every rule" in out.getvalue()
    assert err.getvalue() == ""
    return folder, (folder / "session.json").read_bytes()


def test_demo_writes_a_session_that_keeps_the_rules(run: Any, demo: tuple[Path, bytes]) -> None:
    folder, dump = demo
    held = rows_of(folder / "data" / "bars" / "interval=1s" / "date=2025-07-02.parquet")
    assert len(held) == 20
    tree = json.loads(dump)
    assert set(tree["symbols"]) == set(held)
    for symbol, n in held.items():
        data = tree["symbols"][symbol]["session"]["data"]
        assert list(data) == ["1s", "5s", "1m", "5m", "15m", "1h"]
        assert len(data["1s"]["data"]) == n
        # Nine-thirty to four: six whole hours and the half before the close, which one loses.
        assert data["1h"]["count"] == (6 if symbol == "SYN013" else 7)
    assert (folder / "session.html").stat().st_size > 0
    with (folder / "session.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 390
    assert run("show", folder / "session.json", "--symbol", "SYN001")[0] == 0
    assert run("replay", folder / "session.toml")[0] == 0


def test_demo_names_what_its_feed_lost(demo: tuple[Path, bytes]) -> None:
    tree = json.loads(demo[1])
    found = set()
    for symbol, record in tree["symbols"].items():
        for gap in record["session"]["data"]["1s"]["gaps"]["ranges"]:
            if gap["reason"] != "no_trade":
                found.add((symbol, gap["reason"], gap["bar_count"] // 60))
    everybody = {(symbol, "outage", 4) for symbol in tree["symbols"]}
    assert found == everybody | {
        ("SYN003", "outage", 10),
        ("SYN008", "late_start", 10),
        ("SYN013", "truncated", 30),
    }


def test_demo_twice_writes_the_same_dump(run: Any, demo: tuple[Path, bytes]) -> None:
    folder, dump = demo
    assert run("demo", folder)[0] == 0
    assert (folder / "session.json").read_bytes() == dump
