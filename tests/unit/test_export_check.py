"""The dump checker: passes what is right, and each rule catches the fault planted for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openbell.errors import DumpError
from openbell.export import Violation, validate_session_dump
from openbell.provenance import RULES

GOLDEN = Path(__file__).parents[1] / "golden" / "session_dump_v1.json"

Tree = dict[str, Any]


def golden() -> Tree:
    made: Tree = json.loads(GOLDEN.read_text())
    return made


def aapl(dump: Tree) -> Tree:
    found: Tree = dump["symbols"]["AAPL"]
    return found


def series(dump: Tree, name: str = "1m") -> Tree:
    found: Tree = aapl(dump)["session"]["data"][name]
    return found


def put(tree: Tree, **values: Any) -> None:
    assert values.keys() <= tree.keys(), "a fault must change what is there"
    tree.update(values)


def put_cell(row: int, column: int, value: Any, name: str = "1m") -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        series(dump, name)["data"][row][column] = value

    return plant


def drop_row(name: str, row: int) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        tree = series(dump, name)
        del tree["data"][row]
        tree["count"] -= 1

    return plant


def put_flags(symbol: str, is_loaded: bool | None = None, **flags: Any) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        put(dump["symbols"][symbol]["metadata"], **flags)
        if is_loaded is not None:
            put(dump["symbols"][symbol], is_loaded=is_loaded)

    return plant


def widen_gap(dump: Tree) -> None:
    gaps = series(dump)["gaps"]
    put(gaps["ranges"][0], end_time="2025-07-02T13:34:00+00:00", bar_count=2)
    put(gaps, missing_bars=5)


def swap_first_rows(dump: Tree) -> None:
    rows = series(dump)["data"]
    rows[0], rows[1] = rows[1], rows[0]


def repeat_first_row(dump: Tree) -> None:
    rows = series(dump)["data"]
    rows.insert(0, list(rows[0]))
    series(dump)["count"] += 1


def leave_open_bar_in(dump: Tree) -> None:
    tree = series(dump, "5m")
    tree["data"].append(["2025-07-02T14:05:00+00:00", 99.75, 100.25, 99.75, 100.0, 25, 1])
    tree["count"] += 1


def drop_column(dump: Tree) -> None:
    tree = series(dump)
    tree["columns"].pop()
    for row in tree["data"]:
        row.pop()


def put_error(**values: Any) -> Callable[[Tree], None]:
    return lambda dump: put(aapl(dump)["errors"][0], **values)


def put_event(kind: str, column: int, value: Any) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        aapl(dump)["session"][kind]["data"][0][column] = value

    return plant


def sma(**values: Any) -> Tree:
    """An indicator as a dump shows it: the mean of the closes of 14:03, 14:04 and 14:05."""
    made: Tree = {
        "name": "sma", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3},
        "value": 99.66666666666667, "timestamp": M + "14:06:00+00:00", "ready": True, "revision": 0,
    }  # fmt: skip
    put(made, **values)
    return made


def put_indicator(**values: Any) -> Callable[[Tree], None]:
    return lambda dump: aapl(dump)["indicators"].update(sma=sma(**values))


def drop_indicator_key(dump: Tree) -> None:
    put_indicator()(dump)
    del aapl(dump)["indicators"]["sma"]["ready"]


def put_historical(value: Any) -> Callable[[Tree], None]:
    return lambda dump: put(aapl(dump)["historical"], avg_volume_2d=value)


M = "2025-07-02T"

#: For each rule: a name of the fault, what it does to the golden dump, symbol and interval of
#: the violation that must be found.
FAULTS: list[tuple[str, str, Callable[[Tree], Any], str, str]] = [
    ("schema", "no_quality", lambda d: series(d).pop("quality"), "AAPL", ""),
    ("schema", "count_true", lambda d: put(series(d), count=True), "AAPL", ""),
    ("schema", "negative_count", lambda d: put(series(d), count=-1), "AAPL", ""),
    ("schema", "swapped_columns", lambda d: series(d)["columns"].reverse(), "AAPL", "1m"),
    ("schema", "lost_column", drop_column, "AAPL", "1m"),
    ("schema", "short_row", lambda d: series(d)["data"][3].pop(), "AAPL", "1m"),
    ("schema", "text_price", put_cell(2, 1, "100.5"), "AAPL", "1m"),
    ("schema", "naive_time", put_cell(2, 0, M + "13:32:00"), "AAPL", "1m"),
    ("schema", "numpy_word_as_time", put_cell(2, 0, "now"), "AAPL", "1m"),
    ("schema", "number_as_time", put_cell(2, 0, 1751463120), "AAPL", "1m"),
    ("schema", "unknown_interval", lambda d: aapl(d)["session"]["data"].update(
        {"7x": aapl(d)["session"]["data"].pop("5m")}), "AAPL", "7x"),
    ("schema", "naive_added_at", put_flags("TSLA", added_at="2025-07-02T14:01:00"), "TSLA", ""),
    ("schema", "flag_as_text", put_flags("AAPL", auto_provisioned="False"), "AAPL", ""),
    ("schema", "gap_without_reason", lambda d: series(d)["gaps"]["ranges"][0].pop("reason"),
     "AAPL", ""),
    ("schema", "symbol_is_a_list", lambda d: put(d["symbols"], AAPL=[]), "AAPL", ""),
    ("session", "backward_segment", lambda d: d["session"]["segments"][0].reverse(), "", ""),
    ("session", "other_open", lambda d: put(d["session"], open=M + "13:31:00+00:00"), "", ""),
    ("session", "naive_now", lambda d: put(d["session"], now=M + "14:06:00"), "", ""),
    ("session", "no_date", lambda d: put(d["session"], date=None), "AAPL", "1m"),
    ("session", "no_such_zone", lambda d: put(d["session"], timezone="New York"), "", ""),
    ("symbol", "other_name", lambda d: put(aapl(d), symbol="APPL"), "AAPL", ""),
    ("schema", "negative_rejected", lambda d: put(aapl(d)["rejected"], high_below_low=-2),
     "AAPL", ""),
    ("schema", "revised_as_text", lambda d: put(aapl(d)["revised"], late="none"), "AAPL", ""),
    ("schema", "quote_without_bid", lambda d: aapl(d)["session"]["quotes"]["columns"].remove(
        "bid"), "AAPL", ""),
    ("schema", "tick_without_price", lambda d: aapl(d)["session"]["ticks"]["data"][0].pop(),
     "AAPL", ""),
    ("schema", "segment_out_of_time", lambda d: d["session"]["segments"][0].__setitem__(
        0, "0001-01-01T00:00:00+00:00"), "AAPL", "1m"),
    ("base_interval", "unknown", lambda d: put(aapl(d), base_interval="7x"), "AAPL", ""),
    ("base_interval", "coarser", lambda d: put(aapl(d), base_interval="5m"), "AAPL", "1m"),
    ("count", "one_more", lambda d: put(series(d), count=13), "AAPL", "1m"),
    ("count", "ticks", lambda d: put(aapl(d)["session"]["ticks"], count=3), "AAPL", ""),
    ("generated", "without_base", lambda d: put(series(d, "5m"), base=None), "AAPL", "5m"),
    ("generated", "from_coarser", lambda d: put(series(d, "5m"), base="15m"), "AAPL", "5m"),
    ("generated", "base_of_base", lambda d: put(series(d), base="1s"), "AAPL", "1m"),
    ("n_base", "not_generated", lambda d: put(series(d, "5m"), generated=False, base=None),
     "AAPL", "5m"),
    ("n_base", "one_too_many", put_cell(1, 6, 3, "5m"), "AAPL", "5m"),
    ("order", "swapped_rows", swap_first_rows, "AAPL", "1m"),
    ("order", "same_slot_twice", repeat_first_row, "AAPL", "1m"),
    ("finite", "null_close", put_cell(4, 4, None), "AAPL", "1m"),
    ("ohlc", "close_above_high", put_cell(5, 4, 103.5), "AAPL", "1m"),
    ("ohlc", "open_below_low", put_cell(5, 1, 101.25), "AAPL", "1m"),
    ("ohlc", "high_below_low", put_cell(11, 2, 99.0), "AAPL", "1m"),
    ("volume", "negative", put_cell(0, 5, -1000), "AAPL", "1m"),
    ("in_session", "in_the_lunch_break", put_cell(5, 0, M + "13:45:00+00:00"), "AAPL", "1m"),
    ("in_session", "before_the_open", put_cell(0, 0, M + "13:29:00+00:00"), "AAPL", "1m"),
    ("grid", "half_a_minute_off", put_cell(5, 0, M + "13:39:30+00:00"), "AAPL", "1m"),
    ("closed", "open_bar_shown", leave_open_bar_in, "AAPL", "5m"),
    ("gap_count", "one_less", lambda d: put(series(d)["gaps"], gap_count=2), "AAPL", "1m"),
    ("missing_bars", "one_less", lambda d: put(series(d)["gaps"], missing_bars=3), "AAPL", "1m"),
    ("gap_range", "bar_count", lambda d: put(series(d)["gaps"]["ranges"][2], bar_count=1),
     "AAPL", "1m"),
    ("gap_range", "off_grid", lambda d: put(series(d)["gaps"]["ranges"][0],
     start_time=M + "13:33:30+00:00"), "AAPL", "1m"),
    ("gaps", "over_a_bar", widen_gap, "AAPL", "1m"),
    ("gaps", "one_forgotten", lambda d: series(d)["gaps"]["ranges"].pop(), "AAPL", "1m"),
    ("quality", "better_than_it_is", lambda d: put(series(d), quality=81.25), "AAPL", "1m"),
    ("quality", "absent", lambda d: put(series(d), quality=None), "AAPL", "1m"),
    ("coverage", "as_percent", lambda d: put(series(d), coverage=75.0), "AAPL", "1m"),
    ("quality_map", "other_value", lambda d: put(aapl(d)["quality"], **{"5m": 99.0}),
     "AAPL", "5m"),
    ("session_volume", "one_more", lambda d: put(aapl(d)["session"], volume=3651), "AAPL", ""),
    ("session_high", "of_no_bar", lambda d: put(aapl(d)["session"], high=103.5), "AAPL", ""),
    ("session_low", "absent", lambda d: put(aapl(d)["session"], low=None), "AAPL", ""),
    ("derived_slots", "row_missing", drop_row("5m", 1), "AAPL", "5m"),
    ("derived_slots", "without_base_bars", lambda d: [drop_row("1m", 4)(d), drop_row("1m", 4)(d)],
     "AAPL", "5m"),
    ("derived_open", "other", put_cell(1, 1, 101.5, "5m"), "AAPL", "5m"),
    ("derived_high", "other", put_cell(1, 2, 103.5, "5m"), "AAPL", "5m"),
    ("derived_low", "other", put_cell(1, 3, 100.75, "5m"), "AAPL", "5m"),
    ("derived_close", "other", put_cell(1, 4, 102.75, "5m"), "AAPL", "5m"),
    ("derived_volume", "other", put_cell(1, 5, 650.001, "5m"), "AAPL", "5m"),
    ("historical_loaded", "denied", lambda d: put(aapl(d)["historical"], loaded=False),
     "AAPL", ""),
    ("historical_count", "one_more", lambda d: put(
        aapl(d)["historical"]["data"]["1d"], count=3), "AAPL", "1d"),
    ("historical_count", "one_day_more", lambda d: put(
        aapl(d)["historical"]["data"]["1d"]["days"], **{"2025-07-01": 2}), "AAPL", "1d"),
    ("historical_days", "the_session_itself", lambda d: aapl(d)["historical"]["data"]["1d"].update(
        days={"2025-06-30": 1, "2025-07-02": 1}), "AAPL", "1d"),
    ("historical_days", "descending", lambda d: aapl(d)["historical"]["data"]["1d"].update(
        days={"2025-07-01": 1, "2025-06-30": 1}), "AAPL", "1d"),
    ("historical_days", "row_of_another_day", lambda d: aapl(d)["historical"]["data"]["1d"][
        "data"][1].__setitem__(0, M + "13:30:00+00:00"), "AAPL", "1d"),
    ("schema", "day_that_is_no_date", lambda d: aapl(d)["historical"]["data"]["1d"].update(
        days={"2025-06-31": 1, "2025-07-01": 1}), "AAPL", "1d"),
    ("historical_order", "reversed", lambda d: aapl(d)["historical"]["data"]["1d"][
        "data"].reverse(), "AAPL", "1d"),
    ("historical_ohlc", "low_above_open", lambda d: aapl(d)["historical"]["data"]["1d"]["data"][
        0].__setitem__(3, 97.5), "AAPL", "1d"),
    ("historical_finite", "null", lambda d: aapl(d)["historical"]["data"]["1d"]["data"][
        0].__setitem__(3, None), "AAPL", "1d"),
    ("historical_volume", "negative", lambda d: aapl(d)["historical"]["data"]["1d"]["data"][
        0].__setitem__(5, -1), "AAPL", "1d"),
    ("historical_indicator", "text", put_historical("3100"), "AAPL", ""),
    ("historical_indicator", "flag", put_historical([True]), "AAPL", ""),
    ("historical_indicator", "nested", put_historical([[3100.0]]), "AAPL", ""),
    ("rejected", "of_no_name", lambda d: aapl(d)["rejected"].update(too_late=1), "AAPL", ""),
    ("rejected", "bars_reason_of_a_quote", lambda d: aapl(d)["rejected"].update(quote_off_grid=1),
     "AAPL", ""),
    ("events", "quote_without_bid", put_event("quotes", 1, None), "AAPL", ""),
    ("events", "quote_of_negative_size", put_event("quotes", 4, -5), "AAPL", ""),
    ("events", "tick_before_the_open", put_event("ticks", 0, M + "13:29:59+00:00"), "AAPL", ""),
    ("events", "tick_after_the_close", put_event("ticks", 0, M + "14:10:01+00:00"), "AAPL", ""),
    ("errors", "never", put_error(n=0), "AAPL", ""),
    ("errors", "before_the_open", put_error(first=M + "13:29:59+00:00"), "AAPL", ""),
    ("errors", "yet_to_come", put_error(first=M + "14:06:01+00:00"), "AAPL", ""),
    ("schema", "error_without_place", lambda d: aapl(d)["errors"][0].pop("where"), "AAPL", ""),
    ("schema", "error_as_number", put_error(error=7), "AAPL", ""),
    ("schema", "error_at_naive_time", put_error(first=M + "14:01:00"), "AAPL", ""),
    ("schema", "errors_by_place", lambda d: put(aapl(d), errors={"indicator rsi": 2}),
     "AAPL", ""),
    ("schema", "error_as_text", lambda d: put(aapl(d), errors=["division by zero"]), "AAPL", ""),
    ("indicator_interval", "no_such_series", put_indicator(interval="15m"), "AAPL", "15m"),
    ("indicator_ready", "without_value", put_indicator(value=None), "AAPL", "1m"),
    ("indicator_time", "yet_to_come", put_indicator(timestamp=M + "14:06:01+00:00"),
     "AAPL", "1m"),
    ("schema", "indicator_of_text", put_indicator(value="99.7"), "AAPL", ""),
    ("schema", "indicator_of_texts", put_indicator(value=[1.0, "99.7"]), "AAPL", ""),
    ("schema", "indicator_without_ready", drop_indicator_key, "AAPL", ""),
    ("schema", "indicator_ready_as_number", put_indicator(ready=1), "AAPL", ""),
    ("schema", "indicator_at_naive_time", put_indicator(timestamp=M + "14:06:00"), "AAPL", ""),
    ("schema", "indicator_that_is_text", lambda d: aapl(d)["indicators"].update(sma="99.7"),
     "AAPL", ""),
    ("provenance.added_by_known", "broker", put_flags("AAPL", added_by="broker"), "AAPL", ""),
    ("provenance.loaded_config_meets", "does_not",
     put_flags("AAPL", meets_session_config_requirements=False), "AAPL", ""),
    ("provenance.adhoc_not_meets", "meets",
     put_flags("TSLA", meets_session_config_requirements=True), "TSLA", ""),
    ("provenance.adhoc_is_provisioned", "is_not",
     put_flags("TSLA", auto_provisioned=False), "TSLA", ""),
    ("provenance.provisioned_is_adhoc", "by_scanner",
     put_flags("TSLA", added_by="scanner"), "TSLA", ""),
    ("provenance.provisioned_meets_by_upgrade", "no_upgrade",
     put_flags("NVDA", upgraded_from_adhoc=False), "NVDA", ""),
    ("provenance.upgraded_meets", "does_not",
     put_flags("NVDA", meets_session_config_requirements=False), "NVDA", ""),
    ("provenance.upgraded_was_provisioned", "was_not",
     put_flags("NVDA", auto_provisioned=False), "NVDA", ""),
    ("provenance.upgraded_has_requester", "adhoc", put_flags("NVDA", added_by="adhoc"),
     "NVDA", ""),
    ("provenance.config_before_open", "has_time",
     put_flags("AAPL", added_at="2025-07-02T14:00:00+00:00"), "AAPL", ""),
    ("provenance.added_later_has_time", "has_none", put_flags("NVDA", added_at=None), "NVDA", ""),
]  # fmt: skip


def test_check_golden_dump_as_path_and_as_tree_breaks_no_rule() -> None:
    assert validate_session_dump(GOLDEN) == []
    assert validate_session_dump(str(GOLDEN)) == []
    assert validate_session_dump(golden()) == []


@pytest.mark.parametrize(
    ("rule", "plant", "symbol", "interval"),
    [(rule, plant, symbol, interval) for rule, _, plant, symbol, interval in FAULTS],
    ids=[f"{rule}-{fault}" for rule, fault, *_ in FAULTS],
)
def test_check_planted_fault_is_found_where_it_is(
    rule: str, plant: Callable[[Tree], Any], symbol: str, interval: str
) -> None:
    dump = golden()
    plant(dump)
    found = {(v.rule, v.symbol, v.interval) for v in validate_session_dump(dump)}
    assert (rule, symbol, interval) in found


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


def test_check_every_provenance_rule_has_a_planted_fault() -> None:
    planted = {rule for rule, *_ in FAULTS}
    assert {f"provenance.{rule.name}" for rule in RULES} <= planted


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


def test_check_dump_without_rows_after_the_close_still_judges_quality() -> None:
    dump = golden()
    put(dump["session"], now="2025-07-02T14:10:00+00:00")
    put(dump["symbols"], AAPL=dump["symbols"].pop("NVDA") | {"symbol": "AAPL"})
    tree = series(dump)
    del tree["data"], tree["columns"], dump["symbols"]["TSLA"]
    assert validate_session_dump(dump) == []
    put(tree, quality=5.0)
    assert "quality" in {v.rule for v in validate_session_dump(dump)}


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
        count=10, quality=62.5, coverage=0.625,
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
        "quality", "coverage", "gaps",
    }  # fmt: skip


def test_check_dump_before_the_session_begins_passes() -> None:
    nothing = dict.fromkeys(golden()["session"]) | {"segments": [], "active": False}
    assert validate_session_dump({"schema_version": 1, "session": nothing, "symbols": {}}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON dump"),
        ("[1, 2]", "not a JSON dump"),
        ('{"symbols": {}}', "schema_version"),
        ('{"schema_version": 2, "session": {}, "symbols": {}}', "schema_version 2"),
        ('{"schema_version": true, "session": {}, "symbols": {}}', "schema_version True"),
        ('{"schema_version": 1, "session": {}}', "'symbols'"),
    ],
)
def test_check_file_that_is_no_dump_gives_one_schema_violation(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "dump.json"
    path.write_text(text)
    [found] = validate_session_dump(path)
    assert found.rule == "schema"
    assert words in found.message


def test_check_missing_file_raises_dump_error(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"nothing\.json"):
        validate_session_dump(tmp_path / "nothing.json")
