"""`openbell show` and `openbell validate`, on a dump written by hand and on small datasets."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbell.schema import BAR_DTYPE, to_ns
from openbell.sources.dataset import DatasetWriter


def test_show_dump_lists_each_symbol_with_what_it_holds(
    run: Any, dump: Any, dump_file: Any
) -> None:
    code, out, err = run("show", dump_file(dump))
    assert (code, err) == (0, [])
    assert "2025-07-02 XNYS  13:30:00 to 20:00:00 UTC  now 13:36:00  1 symbol\n" in out
    heading, _, row = (line.split() for line in out.splitlines()[1:4])
    assert heading == "symbol 1m close high low volume quality gaps refused".split()
    assert row == "RIVN 4 13.495 13.54 13.47 1,000 66.67 1 3".split()


def test_show_symbol_lists_gaps_and_last_bars(run: Any, dump: Any, dump_file: Any) -> None:
    code, out, _ = run("show", dump_file(dump), "--symbol", "RIVN", "--bars", 2)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert "1m 13:32:00 13:33:00 2 unknown".split() in lines
    assert "1m 13:34:00 13.50 13.51 13.47 13.49 300".split() in lines
    assert "1m 13:35:00 13.49 13.50 13.49 13.495 400".split() in lines
    assert not any(line[:2] == ["1m", "13:31:00"] for line in lines)
    assert "added_by config" in out
    assert "off_grid 3" in out


def explain(dump: Any) -> None:
    series = dump["symbols"]["RIVN"]["session"]["data"]["1m"]
    series["explained_quality"] = 500 / 6
    (outage,) = series["gaps"]["ranges"]
    evidence = {"fill_rate": 0.62, "expected_per_day": 3.1e-5, "n_peers": 20, "n_silent": 19}
    outage |= {"reason": "outage"}
    outage["evidence"] = evidence | {"n_coarser": 1, "disconnected": True}
    for minute, n in ((40, 1), (50, 3)):
        gap = {f"{end}_time": f"2025-07-02T13:{minute}:00+00:00" for end in ("start", "end")}
        series["gaps"]["ranges"].append(gap | {"bar_count": n, "reason": "no_trade"})


def test_show_dump_with_reasons_has_the_explained_quality(
    run: Any, dump: Any, dump_file: Any
) -> None:
    explain(dump)
    heading, _, row = (line.split() for line in run("show", dump_file(dump))[1].splitlines()[1:4])
    assert heading == "symbol 1m close high low volume quality explained gaps refused".split()
    assert row == "RIVN 4 13.495 13.54 13.47 1,000 66.67 83.33 1 3".split()


def test_show_symbol_counts_gaps_by_reason_and_tells_the_evidence(
    run: Any, dump: Any, dump_file: Any
) -> None:
    explain(dump)
    code, out, _ = run("show", dump_file(dump), "--symbol", "RIVN")
    assert code == 0
    text = " ".join(out.split())
    assert "interval no_trade outage" in text
    assert "1m 2 (4) 1 (2)" in text
    evidence = (
        "the feed was disconnected; 1 longer bar traded in it; 19 of 20 others silent;"
        " 62% of the slots around it filled; such a silence once in 32,000 days"
    )
    assert f"1m 13:32:00 13:33:00 2 outage {evidence}".split()[:5] in [
        line.split()[:5] for line in out.splitlines()
    ]
    assert evidence in text


@pytest.mark.parametrize(
    ("per_day", "said"),
    [
        (3.2, "such a silence 3 times a day"),
        (0.4, "such a silence once in 2.5 days"),
        (1e-9, "such a silence less than once in 1,000,000 days"),
    ],
)
def test_show_symbol_tells_how_often_such_a_silence_is_expected(
    run: Any, dump: Any, dump_file: Any, per_day: float, said: str
) -> None:
    (gap,) = dump["symbols"]["RIVN"]["session"]["data"]["1m"]["gaps"]["ranges"]
    gap["evidence"] = {"expected_per_day": per_day}
    assert said in run("show", dump_file(dump), "--symbol", "RIVN")[1]


def test_show_symbol_gap_of_too_few_bars_tells_no_rate(run: Any, dump: Any, dump_file: Any) -> None:
    explain(dump)
    gap = dump["symbols"]["RIVN"]["session"]["data"]["1m"]["gaps"]["ranges"][0]
    gap["evidence"] |= {"fill_rate": None, "expected_per_day": None}
    text = " ".join(run("show", dump_file(dump), "--symbol", "RIVN")[1].split())
    words = "the feed was disconnected; 1 longer bar traded in it; 19 of 20 others silent;"
    assert f"{words} too few bars to judge by" in text
    assert "slots around" not in text
    assert "such a silence" not in text


def test_show_dump_of_before_there_was_an_explained_quality_has_no_such_column(
    run: Any, dump: Any, dump_file: Any
) -> None:
    (gap,) = dump["symbols"]["RIVN"]["session"]["data"]["1m"]["gaps"]["ranges"]
    gap["reason"] = "outage"
    code, out, err = run("show", dump_file(dump))
    assert (code, err) == (0, [])
    assert "explained" not in out


@pytest.mark.parametrize("option", ["--bars", "--gaps"])
@pytest.mark.parametrize("value", [0, 5])
def test_show_rows_without_a_symbol_return_2_and_say_what_they_need(
    run: Any, dump: Any, dump_file: Any, option: str, value: int
) -> None:
    code, out, err = run("show", dump_file(dump), option, value)
    assert (code, out, len(err)) == (2, "", 1)
    assert f"{option}: received {value}, expected a dump, and --symbol" in err[0]


def test_show_rows_of_a_dataset_return_2(run: Any, dataset: Path) -> None:
    code, out, err = run("show", dataset, "--symbol", "RIVN", "--bars", 5)
    assert (code, out, len(err)) == (2, "", 1)
    assert "--bars: received 5, expected a dump" in err[0]


def test_show_svg_into_no_folder_returns_2_before_it_prints(
    run: Any, dump: Any, dump_file: Any, tmp_path: Path
) -> None:
    code, out, err = run("show", dump_file(dump), "--svg", tmp_path / "none" / "show.svg")
    assert (code, out, len(err)) == (2, "", 1)
    assert "--svg" in err[0]
    assert "make it first" in err[0]


def test_show_titles_are_of_one_weight(run: Any, dump: Any, dump_file: Any, tmp_path: Path) -> None:
    picture = tmp_path / "show.svg"
    assert run("show", dump_file(dump), "--symbol", "RIVN", "--svg", picture)[0] == 0
    lines = picture.read_text(encoding="utf-8").replace("&#160;", " ")
    assert ">last bars (start, UTC)</text>" in lines
    assert ">longest gaps (first and last missing bar, UTC)</text>" in lines


def test_show_symbol_of_a_dump_without_reasons_has_no_table_of_them(
    run: Any, dump: Any, dump_file: Any
) -> None:
    _, out, _ = run("show", dump_file(dump), "--symbol", "RIVN")
    assert "by reason" not in out
    assert "evidence" not in out


def test_show_unknown_symbol_returns_2_and_names_the_known(
    run: Any, dump: Any, dump_file: Any
) -> None:
    code, _, err = run("show", dump_file(dump), "--symbol", "NOPE")
    assert code == 2
    assert len(err) == 1
    assert "NOPE" in err[0]
    assert "RIVN" in err[0]


def test_show_dump_without_rows_still_counts_them(run: Any, dump: Any, dump_file: Any) -> None:
    series = dump["symbols"]["RIVN"]["session"]["data"]["1m"]
    del series["data"], series["columns"]
    code, out, _ = run("show", dump_file(dump))
    assert code == 0
    assert out.splitlines()[3].split()[:3] == ["RIVN", "4", "-"]


def test_show_dump_with_missing_parts_returns_1(run: Any, dump: Any, dump_file: Any) -> None:
    del dump["symbols"]["RIVN"]["metadata"]
    code, _, err = run("show", dump_file(dump))
    assert code == 1
    assert len(err) == 1
    assert "metadata" in err[0]


def test_validate_dump_that_keeps_the_rules_returns_0(run: Any, dump: Any, dump_file: Any) -> None:
    path = dump_file(dump)
    assert run("validate", path) == (0, f"{path}: all rules kept\n", [])


def test_validate_broken_rules_returns_1_with_a_line_each(
    run: Any, dump: Any, dump_file: Any
) -> None:
    rivn = dump["symbols"]["RIVN"]
    rivn["session"]["high"] = 14.0
    rivn["metadata"]["meets_session_config_requirements"] = False
    code, out, err = run("validate", dump_file(dump))
    assert (code, err) == (1, [])
    lines = out.splitlines()
    assert any("session_high" in line for line in lines)
    assert any("provenance" in line for line in lines)
    assert all("RIVN" in line for line in lines)


def bars(day: date, n: int) -> np.ndarray[Any, np.dtype[np.void]]:
    rows = np.zeros(n, BAR_DTYPE)
    rows["timestamp"] = to_ns(f"{day}T13:30:00+00:00") + np.arange(n) * 60_000_000_000
    for name in ("open", "high", "low", "close"):
        rows[name] = 10.0
    rows["volume"] = 1.0
    return rows


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    writer = DatasetWriter(tmp_path / "data", calendar="XNYS", timezone="America/New_York")
    first, second = date(2025, 7, 1), date(2025, 7, 2)
    writer.write(first, {"AAPL": bars(first, 3)}, interval="1m")
    writer.write(second, {"AAPL": bars(second, 4), "RIVN": bars(second, 5)}, interval="1m")
    return writer.root


def test_show_dataset_sums_each_interval(run: Any, dataset: Path) -> None:
    code, out, err = run("show", dataset)
    assert (code, err) == (0, [])
    assert "bars 1m 2025-07-01 2025-07-02 2 2 12".split() in [s.split() for s in out.splitlines()]
    assert "symbols: AAPL, RIVN" in out


def test_show_dataset_symbol_counts_its_own_rows(run: Any, dataset: Path) -> None:
    code, out, _ = run("show", dataset, "--symbol", "RIVN")
    assert code == 0
    assert "bars 1m 2025-07-02 2025-07-02 1 1 5".split() in [s.split() for s in out.splitlines()]


def test_show_dataset_unknown_symbol_returns_2_and_names_those_there(
    run: Any, dataset: Path
) -> None:
    code, _, err = run("show", dataset, "--symbol", "NOPE")
    assert code == 2
    assert len(err) == 1
    assert "'NOPE', expected one that the dataset holds: AAPL, RIVN" in err[0]


def test_show_session_log_returns_2_and_names_what_reads_it(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "session.csv"
    log.write_text("timestamp,A_1m_bars\n")
    code, _, err = run("show", log)
    assert code == 2
    assert len(err) == 1
    assert "openbell validate" in err[0]


def test_show_folder_that_is_no_dataset_returns_1(run: Any, tmp_path: Path) -> None:
    code, _, err = run("show", tmp_path)
    assert code == 1
    assert len(err) == 1
    assert "not a dataset" in err[0]


def test_show_folder_of_a_day_that_was_broken_off_says_what_goes_on_with_it(
    run: Any, tmp_path: Path
) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "date=2025-07-02.part-1.arrows").write_bytes(b"")
    code, out, err = run("show", tmp_path)
    assert (code, out, len(err)) == (1, "", 1)
    assert f"--record {tmp_path} --resume` goes on with it" in err[0]


def test_show_corrupt_dataset_file_returns_1_and_names_it(run: Any, dataset: Path) -> None:
    path = dataset / "bars" / "interval=1m" / "date=2025-07-02.parquet"
    path.write_bytes(path.read_bytes()[:100])
    code, _, err = run("show", dataset)
    assert code == 1
    assert len(err) == 1
    assert path.name in err[0]
