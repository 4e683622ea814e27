"""The dump checker passes what is right, and judges nothing that a dump does not hold."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from openbell.errors import DumpError
from openbell.export import Violation, validate_session_dump
from tests.golden_dump import (
    GOLDEN,
    M,
    Tree,
    aapl,
    drop_rows,
    gap,
    golden,
    line_of,
    put,
    put_cell,
    put_error,
    put_event,
    put_evidence,
    put_historical,
    put_indicator,
    series,
    sma,
)


def test_check_golden_dump_as_path_and_as_tree_breaks_no_rule() -> None:
    assert validate_session_dump(GOLDEN) == []
    assert validate_session_dump(str(GOLDEN)) == []
    assert validate_session_dump(golden()) == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"interval": "5m", "timestamp": M + "14:05:00+00:00"},
        {"value": [1, 2.5, None]},
        {"value": None, "timestamp": None, "ready": False},
        {"value": 99.0, "ready": False},
    ],
)
def test_check_indicator_that_can_be_breaks_no_rule(values: Tree) -> None:
    dump = golden()
    put_indicator(**values)(dump)
    aapl(dump)["indicators"]["bare"] = 7.5
    assert validate_session_dump(dump) == []
    # Of another interval's rows alone, the series is still the symbol's.
    for name in ("1m", "5m"):
        del aapl(dump)["session"]["data"][name]
    assert validate_session_dump(dump) == []


def test_check_indicator_goes_with_the_bars_where_the_clock_stands_still() -> None:
    dump = golden()
    dump["symbols"] = {"AAPL": aapl(dump)}
    put(dump["session"], now=M + "14:02:00+00:00")
    put_indicator()(dump)
    assert validate_session_dump(dump) == []
    put_indicator(timestamp=M + "14:06:01+00:00")(dump)
    assert [v.rule for v in validate_session_dump(dump)] == ["indicator_time"]


def test_check_indicator_of_a_series_written_ahead_of_the_base() -> None:
    dump = golden()
    tsla = dump["symbols"]["TSLA"]
    tsla["session"]["data"]["5m"] = copy.deepcopy(series(dump, "5m"))
    written = tsla["session"]["data"]["5m"]
    put(written, generated=False, base=None)
    written["columns"].pop()
    for row in written["data"]:
        row.pop()
    written["data"].append([M + "14:05:00+00:00", 99.0, 99.0, 99.0, 99.0, 1])
    put(written, count=4)
    tsla["quality"]["5m"] = written["quality"]
    tsla["indicators"]["sma"] = sma(interval="5m", timestamp=M + "14:10:00+00:00")
    assert validate_session_dump(dump) == []
    put(tsla["indicators"]["sma"], timestamp=M + "14:10:01+00:00")
    assert [v.rule for v in validate_session_dump(dump)] == ["indicator_time"]
    del written["columns"], written["data"]
    assert validate_session_dump(dump) == []


def test_check_dump_without_errors_or_with_one_before_the_day_breaks_no_rule() -> None:
    dump = golden()
    put_error(first=None)(dump)
    assert validate_session_dump(dump) == []
    for symbol in dump["symbols"].values():
        del symbol["errors"]
    assert validate_session_dump(dump) == []


@pytest.mark.parametrize("value", [3100, None, 3100.5, [None, 1200.0, 3], []])
def test_check_historical_indicator_may_be_a_number_or_a_list(value: Any) -> None:
    dump = golden()
    put_historical(value)(dump)
    assert validate_session_dump(dump) == []


@pytest.mark.parametrize("kind", ["quotes", "ticks"])
@pytest.mark.parametrize("time", ["13:30:00", "13:45:00", "14:10:00"])
def test_check_event_from_open_to_close_is_of_the_session(kind: str, time: str) -> None:
    dump = golden()
    put_event(kind, 0, f"{M}{time}+00:00")(dump)
    assert validate_session_dump(dump) == []


def test_check_fault_in_one_symbol_accuses_no_other() -> None:
    dump = golden()
    put_cell(5, 4, 103.5)(dump)
    assert {v.symbol for v in validate_session_dump(dump)} == {"AAPL"}


def test_check_violation_prints_one_line_with_place_and_time() -> None:
    dump = golden()
    put_cell(11, 2, 99.0)(dump)
    [line] = [str(v) for v in validate_session_dump(dump) if v.rule == "ohlc"]
    assert line == (
        "AAPL 1m 2025-07-02T14:05:00+00:00: ohlc: 1 row with open or close outside low to high"
    )
    assert str(Violation("session", "", "", "", "no")) == "session: session: no"


def test_check_many_bad_rows_of_one_rule_give_one_violation() -> None:
    dump = golden()
    for row in (0, 3, 7):
        put_cell(row, 5, -1)(dump)
    [found] = [v for v in validate_session_dump(dump) if v.rule == "volume"]
    assert found.message.startswith("3 rows, the first")
    assert found.time == "2025-07-02T13:30:00+00:00"


def test_check_dump_without_rows_judges_the_rest() -> None:
    dump = golden()
    for symbol in dump["symbols"].values():
        for tree in symbol["session"]["data"].values():
            del tree["data"], tree["columns"]
    assert validate_session_dump(dump) == []
    put(series(dump)["gaps"], missing_bars=3)
    assert [v.rule for v in validate_session_dump(dump)] == ["missing_bars"]


@pytest.mark.parametrize("rule", ["quality", "coverage", "explained_quality"])
def test_check_dump_without_rows_judges_scores_by_counts_and_gaps(rule: str) -> None:
    dump = golden()
    for name in ("1m", "5m"):
        drop_rows(dump, name=name)
    assert validate_session_dump(dump) == []
    put(series(dump), **{rule: 0.5})
    put(aapl(dump)["quality"], **{"1m": series(dump)["quality"]})
    assert [line_of(v) for v in validate_session_dump(dump)] == [f"{rule} AAPL 1m -"]


def after_the_close(reason: str) -> Tree:
    """Nothing but NVDA, which has no bar all day."""
    dump = golden()
    put(dump["session"], now=M + "14:10:00+00:00")
    dump["symbols"] = {"NVDA": dump["symbols"]["NVDA"]}
    for name, n_slots, last in (("1m", 20, "14:09"), ("5m", 4, "14:05")):
        gaps = dump["symbols"]["NVDA"]["session"]["data"][name]["gaps"]
        put(gaps, missing_bars=n_slots)
        put(gaps["ranges"][0], end_time=f"{M}{last}:00+00:00", bar_count=n_slots, reason=reason)
    return dump


@pytest.mark.parametrize("has_rows", [True, False])
def test_check_dump_after_the_close_may_be_truncated(has_rows: bool) -> None:
    dump = after_the_close("truncated")
    if not has_rows:
        drop_rows(dump, "NVDA")
    assert validate_session_dump(dump) == []
    if has_rows:
        # While the session is not over, its last slot is yet to come.
        put(dump["session"], now=M + "14:09:59+00:00")
        assert "gap_range NVDA 1m 13:30:00" in map(line_of, validate_session_dump(dump))


def test_check_dump_after_the_close_without_rows_still_judges_quality() -> None:
    dump = after_the_close("outage")
    drop_rows(dump, "NVDA")
    assert validate_session_dump(dump) == []
    put(dump["symbols"]["NVDA"]["session"]["data"]["1m"], quality=5.0)
    assert "quality" in {v.rule for v in validate_session_dump(dump)}


def test_check_dump_of_an_openbell_that_knew_no_reasons_breaks_no_rule() -> None:
    dump = golden()
    for symbol in dump["symbols"].values():
        for tree in symbol["session"]["data"].values():
            del tree["explained_quality"]
            for item in tree["gaps"]["ranges"]:
                item.pop("evidence", None)
                item["reason"] = "unknown"
    assert validate_session_dump(dump) == []


def test_check_gap_that_grew_since_it_was_judged_leaves_the_derived_one_its_reason() -> None:
    dump = golden()
    put(gap(0, "NVDA")(dump), reason="unknown")
    assert validate_session_dump(dump) == []
    put(gap(0, "NVDA")(dump), reason="outage")
    assert [line_of(v) for v in validate_session_dump(dump)] == ["gap_reason NVDA 5m 13:30:00"]


def test_check_bar_written_into_a_late_start_leaves_the_rest_its_reason() -> None:
    dump = golden()
    tree = dump["symbols"]["NVDA"]["session"]["data"]["5m"]
    tree["data"].append([M + "13:30:00+00:00", 50.0, 50.0, 50.0, 50.0, 1, 0])
    put(tree, count=1, quality=100 / 3, coverage=1 / 3, explained_quality=100 / 3)
    put(tree["gaps"], missing_bars=2)
    put(tree["gaps"]["ranges"][0], start_time=M + "13:35:00+00:00", bar_count=2)
    put(dump["symbols"]["NVDA"]["quality"], **{"5m": 100 / 3})
    assert validate_session_dump(dump) == []
    put(tree["gaps"]["ranges"][0], reason="truncated")
    assert [line_of(v) for v in validate_session_dump(dump)] == ["gap_reason NVDA 5m 13:35:00"]


def test_check_evidence_may_lack_numbers_that_could_not_be_told() -> None:
    dump = golden()
    put_evidence(fill_rate=None, expected_per_day=None)(dump)
    assert validate_session_dump(dump) == []


@pytest.mark.parametrize(("n_evicted", "judged"), [(4, [2]), (6, [2]), (7, [])])
def test_check_ring_that_evicted_bars_is_not_judged_by_what_it_forgot(
    n_evicted: int, judged: list[int]
) -> None:
    # The buckets begin with base rows 0, 4 (13:36, as 13:35 has no bar) and 6 (14:00).
    for row in range(3):
        dump = golden()
        tree = series(dump)
        del tree["data"][:n_evicted]
        tree |= {"count": 12 - n_evicted, "evicted": n_evicted}
        assert validate_session_dump(dump) == []
        series(dump, "5m")["data"][row][5] += 1
        found = [v.rule for v in validate_session_dump(dump)]
        assert found == (["derived_volume"] if row in judged else [])


def test_check_row_written_directly_into_a_derived_series_is_not_refolded() -> None:
    dump = golden()
    tree = series(dump, "5m")
    for row in (4, 4):
        del series(dump)["data"][row]
    series(dump).update(
        count=10, quality=62.5, explained_quality=62.5, coverage=0.625,
        gaps={"gap_count": 2, "missing_bars": 6, "ranges": [
            {"start_time": M + "13:33:00+00:00", "end_time": M + "13:33:00+00:00",
             "bar_count": 1, "reason": "unknown"},
            {"start_time": M + "13:35:00+00:00", "end_time": M + "13:39:00+00:00",
             "bar_count": 5, "reason": "unknown"},
        ]},
    )  # fmt: skip
    put(aapl(dump)["quality"], **{"1m": 62.5})
    put(aapl(dump)["session"], volume=3000, high=103.0)
    tree["data"][1][6] = 0
    assert validate_session_dump(dump) == []
    tree["data"][1][6] = 2
    assert [v.rule for v in validate_session_dump(dump)] == ["derived_slots"]


def test_check_quality_of_a_series_written_directly_is_its_writers() -> None:
    dump = golden()
    dump["symbols"]["TSLA"]["session"]["data"]["5m"] = copy.deepcopy(series(dump, "5m"))
    written = dump["symbols"]["TSLA"]["session"]["data"]["5m"]
    put(written, generated=False, base=None, quality=42.0)
    written["columns"].pop()
    for row in written["data"]:
        row.pop()
    dump["symbols"]["TSLA"]["quality"]["5m"] = 42.0
    assert validate_session_dump(dump) == []
    put(written, coverage=0.5)
    assert [v.rule for v in validate_session_dump(dump)] == ["coverage"]


def test_check_symbol_captured_later_is_judged_by_its_own_time() -> None:
    dump = golden()
    put(dump["session"], now="2025-07-02T14:02:00+00:00")
    late = {name: copy.deepcopy(tree) for name, tree in dump["symbols"].items() if name != "AAPL"}
    for tree in late.values():
        tree["session"]["as_of"] = "2025-07-02T14:06:00+00:00"
    assert validate_session_dump(dump | {"symbols": late}) == []
    del late["TSLA"]["session"]["as_of"]
    assert {v.rule for v in validate_session_dump(dump | {"symbols": late})} == {
        "quality", "explained_quality", "coverage", "gap_range",
    }  # fmt: skip


def test_check_dump_before_the_session_begins_passes() -> None:
    nothing = dict.fromkeys(golden()["session"]) | {"segments": [], "active": False}
    assert validate_session_dump({"schema_version": 1, "session": nothing, "symbols": {}}) == []


def test_check_missing_file_raises_dump_error(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"nothing\.json"):
        validate_session_dump(tmp_path / "nothing.json")
