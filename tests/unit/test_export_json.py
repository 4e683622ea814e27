"""The JSON dump of a real session: its tree, its file, and the way back."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.errors import IntervalError, OpenbellError
from openbell.export import (
    load_session_dump,
    session_to_dict,
    symbol_to_dict,
    validate_session_dump,
    write_session_json,
)
from openbell.export.texts import iso_column, plain
from openbell.gaps import GapRuns
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, to_ns
from tests.export_session import SECOND, SEGMENTS, at, make_session, make_window, ns

GOLDEN = Path(__file__).parents[1] / "golden" / "session_dump_v1.json"


@pytest.fixture(scope="module")
def root() -> ob.SessionData:
    return make_session()


def golden() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(GOLDEN.read_text())
    return made


def test_export_json_tree_equals_the_one_written_by_hand(root: ob.SessionData) -> None:
    assert session_to_dict(root) == golden()


def test_export_json_keys_stand_in_the_order_of_the_tree(root: ob.SessionData) -> None:
    aapl = session_to_dict(root)["symbols"]["AAPL"]
    series = aapl["session"]["data"]["1m"]
    assert list(aapl)[:5] == ["symbol", "base_interval", "is_loaded", "metadata", "session"]
    assert list(aapl["session"]) == [
        "volume", "high", "low", "last_update", "data", "quotes", "ticks",
    ]  # fmt: skip
    assert list(series) == [
        "count", "generated", "base", "quality", "explained_quality", "coverage", "gaps", "columns",
        "data",
    ]  # fmt: skip


def test_export_json_file_equals_the_tree_and_breaks_no_rule(
    root: ob.SessionData, tmp_path: Path
) -> None:
    path = tmp_path / "dump.json"
    write_session_json(root, path)
    assert json.loads(path.read_text()) == session_to_dict(root)
    assert validate_session_dump(path) == []
    assert os.listdir(tmp_path) == ["dump.json"]


def test_export_json_integral_volume_prints_without_point_and_fractional_with(
    root: ob.SessionData, tmp_path: Path
) -> None:
    path = tmp_path / "dump.json"
    write_session_json(root, path)
    text = path.read_text()
    assert '"volume":3650,' in text
    assert '["2025-07-02T13:30:00+00:00",100.0,101.0,99.5,100.5,1000]' in text
    assert "250.5,12.5]" in text


def test_export_json_loads_back_to_the_bytes_it_came_from(
    root: ob.SessionData, tmp_path: Path
) -> None:
    path = tmp_path / "dump.json"
    write_session_json(root, path)
    loaded = load_session_dump(path)
    for rec in root:
        found = loaded.symbols[rec.symbol]
        assert list(found.bars) == list(rec.bars)
        for name, series in rec.bars.items():
            assert found.bars[name].tobytes() == series.data.tobytes()
            assert found.quality[name] == series.quality
            if series.derived:
                np.testing.assert_array_equal(found.n_base[name], series.n_base)


def test_export_json_without_rows_keeps_counts_gaps_and_quality(root: ob.SessionData) -> None:
    tree = session_to_dict(root, bars=False)
    aapl = tree["symbols"]["AAPL"]
    wanted = golden()["symbols"]["AAPL"]["session"]["data"]["1m"]
    assert aapl["session"]["data"]["1m"] == {
        key: value for key, value in wanted.items() if key not in ("columns", "data")
    }
    assert aapl["session"]["ticks"] == {"count": 2}
    assert aapl["historical"]["data"]["1d"] == {
        "count": 2,
        "quality": 100.0,
        "days": {"2025-06-30": 1, "2025-07-01": 1},
    }
    assert validate_session_dump(tree) == []


def test_export_json_of_some_intervals_shows_only_them(root: ob.SessionData) -> None:
    tree = session_to_dict(root, intervals=["300s"])
    assert list(tree["symbols"]["AAPL"]["session"]["data"]) == ["5m"]
    assert tree["symbols"]["AAPL"]["historical"]["data"] == {}
    assert tree["symbols"]["TSLA"]["session"]["data"] == {}
    assert validate_session_dump(tree) == []


def test_export_json_of_an_unknown_interval_is_refused(
    root: ob.SessionData, tmp_path: Path
) -> None:
    with pytest.raises(IntervalError, match="7x"):
        write_session_json(root, tmp_path / "dump.json", intervals=["7x"])
    assert os.listdir(tmp_path) == []


def test_export_json_symbol_alone_is_its_branch_of_the_tree(root: ob.SessionData) -> None:
    rec = root.get_symbol_data("TSLA")
    assert rec is not None
    assert symbol_to_dict(rec) == golden()["symbols"]["TSLA"]


def test_export_json_shares_nothing_with_the_session() -> None:
    root = make_session()
    tree = session_to_dict(root)
    rec = root.get_symbol_data("AAPL")
    assert rec is not None
    rec.append(ns(at(14, 6)), 100.0, 100.5, 99.5, 100.0, 10)
    rec.historical_indicators["avg_volume_2d"] = 0.0
    assert tree == golden()


def test_export_json_of_a_root_without_session_has_no_window() -> None:
    root = ob.SessionData()
    root.register_symbol("AAPL")
    tree = session_to_dict(root)
    assert tree["session"] == dict.fromkeys(golden()["session"]) | {
        "segments": [], "active": False,
    }  # fmt: skip
    series = tree["symbols"]["AAPL"]["session"]["data"]["1m"]
    assert (series["count"], series["quality"], series["gaps"]["gap_count"]) == (0, None, 0)
    assert validate_session_dump(tree) == []


def test_export_json_of_a_removed_record_still_shows_its_bars() -> None:
    root = make_session()
    rec = root.get_symbol_data("AAPL")
    assert rec is not None
    root.remove_symbol("AAPL")
    assert symbol_to_dict(rec)["session"]["data"] == golden()["symbols"]["AAPL"]["session"]["data"]
    assert list(session_to_dict(root)["symbols"]) == ["TSLA", "NVDA"]


def test_export_json_of_a_ring_counts_what_it_evicted() -> None:
    window = make_window()
    root = ob.SessionData()
    root.begin(window)
    rec = root.register_symbol_data(
        ob.SymbolSessionData("X", base_interval="1m", derived_intervals=["5m"], capacity=3)
    )
    for ts_ns in window.grid("1m").starts_ns.tolist():
        rec.append(ts_ns, 100.0, 101.0, 99.0, 100.5, 2)
    tree = session_to_dict(root)
    found = tree["symbols"]["X"]["session"]
    series = found["data"]["1m"]
    assert series["count"] + series["evicted"] == 20
    assert 3 <= series["count"] == len(series["data"]) <= 6
    assert (series["quality"], found["volume"]) == (100.0, 40)
    assert [str(v) for v in validate_session_dump(tree)] == []


def test_export_json_failing_halfway_leaves_the_older_file(tmp_path: Path) -> None:
    root = make_session()
    path = tmp_path / "dump.json"
    path.write_text("older")
    rec = root.get_symbol_data("NVDA")
    assert rec is not None
    rec.historical_indicators["data"] = 1.0
    with pytest.raises(OpenbellError, match="NVDA: a historical indicator is named 'data'"):
        write_session_json(root, path)
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["dump.json"]


def test_export_json_into_a_missing_folder_is_an_os_error(
    root: ob.SessionData, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        write_session_json(root, tmp_path / "nowhere" / "dump.json")


def test_export_json_values_that_json_cannot_hold_become_plain() -> None:
    values = {
        "nan": float("nan"),
        "inf": np.float64("inf"),
        "tuple": (1.5, np.int64(2), None),
        "array": np.array([1.0, np.nan]),
        "time": at(13, 30),
        "day": at(13, 30).date(),
        "flag": np.bool_(True),
    }
    assert plain(values) == {
        "nan": None,
        "inf": None,
        "tuple": [1.5, 2, None],
        "array": [1.0, None],
        "time": "2025-07-02T13:30:00+00:00",
        "day": "2025-07-02",
        "flag": True,
    }


def test_export_json_times_finer_than_a_second_keep_every_digit() -> None:
    opened = SEGMENTS[0][0]
    assert iso_column(np.array([opened], dtype=np.int64)) == ["2025-07-02T13:30:00+00:00"]
    assert iso_column(np.array([opened, opened + 7], dtype=np.int64)) == [
        "2025-07-02T13:30:00+00:00",
        "2025-07-02T13:30:00.000000007+00:00",
    ]


def test_export_json_directly_written_bar_below_a_finer_base_keeps_its_row() -> None:
    root = make_session()
    bar = ob.BarData(at(13, 30), 250.0, 251.0, 249.0, 250.5, 60, symbol="RIVN", interval="5m")
    root.add_bar("RIVN", "5m", bar)
    minute = ob.BarData(at(14, 5), 250.0, 251.0, 249.0, 250.5, 60, symbol="RIVN", interval="1m")
    root.add_bar("RIVN", "1m", minute)
    tree = session_to_dict(root)
    rivn = tree["symbols"]["RIVN"]
    assert rivn["base_interval"] == "1m"
    assert rivn["session"]["data"]["5m"]["data"] == [
        ["2025-07-02T13:30:00+00:00", 250.0, 251.0, 249.0, 250.5, 60, 0]
    ]
    assert [str(v) for v in validate_session_dump(tree)] == []


def test_export_json_gap_shows_the_reason_attached_to_it() -> None:
    root = make_session()
    rec = root.get_symbol_data("AAPL")
    assert rec is not None
    rec.set_gaps("1m", [replace(rec.bars["1m"].gaps[2], reason="no_trade")])
    tree = session_to_dict(root)
    gaps = tree["symbols"]["AAPL"]["session"]["data"]["1m"]["gaps"]
    assert [gap["reason"] for gap in gaps["ranges"]] == ["unknown", "unknown", "no_trade"]
    assert (gaps["gap_count"], gaps["missing_bars"]) == (3, 4)
    assert validate_session_dump(tree) == []


class Indicator:
    """What an export asks of an indicator."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def to_json(self) -> dict[str, Any]:
        return {
            "name": "macd", "type": "MACD", "interval": "5m", "parameters": {"fastperiod": 12},
            "value": self.value, "timestamp": at(14, 5), "ready": True, "revision": 2,
        }  # fmt: skip


def test_export_json_indicator_is_what_its_to_json_says() -> None:
    root = make_session()
    root["AAPL"].indicators["macd"] = Indicator((0.5, float("nan"), np.float64(-1.0)))
    root["AAPL"].indicators["bare"] = np.float64(1.5)
    tree = session_to_dict(root)
    assert tree["symbols"]["AAPL"]["indicators"] == {
        "macd": {
            "name": "macd", "type": "MACD", "interval": "5m", "parameters": {"fastperiod": 12},
            "value": [0.5, None, -1.0], "timestamp": "2025-07-02T14:05:00+00:00",
            "ready": True, "revision": 2,
        },
        "bare": 1.5,
    }  # fmt: skip
    assert validate_session_dump(tree) == []
    filtered = session_to_dict(root, intervals=["1m"])
    assert validate_session_dump(filtered) == []


def test_export_json_indicator_that_is_not_a_number_is_not_ready() -> None:
    root = make_session()
    root["AAPL"].indicators["ln"] = Indicator(float("nan"))
    tree = session_to_dict(root)
    found = tree["symbols"]["AAPL"]["indicators"]["ln"]
    assert (found["value"], found["ready"]) == (None, False)
    assert validate_session_dump(tree) == []


def test_export_json_of_an_indicator_that_fails_when_read_shows_its_error() -> None:
    root = make_session()
    rec = root["NVDA"]

    class Failing(Indicator):
        def to_json(self) -> dict[str, Any]:
            rec.note_error("indicator macd", ValueError("no bars"))
            return super().to_json() | {"interval": "1m", "value": None, "ready": False}

    rec.indicators["macd"] = Failing(None)
    tree = session_to_dict(root)
    assert tree["symbols"]["NVDA"]["errors"] == [
        {
            "where": "indicator macd",
            "error": "ValueError: no bars",
            "first": "2025-07-02T14:06:00+00:00",
            "n": 1,
        }
    ]
    assert validate_session_dump(tree) == []


def test_export_json_error_before_the_day_has_no_time() -> None:
    root = ob.SessionData()
    rec = root.register_symbol("AAPL")
    rec.note_error("loading", OSError("unreadable \udcff name"))
    root.begin(make_window())
    tree = session_to_dict(root)
    [error] = tree["symbols"]["AAPL"]["errors"]
    assert error == {
        "where": "loading", "error": r"OSError: unreadable \udcff name", "first": None, "n": 1,
    }  # fmt: skip
    assert validate_session_dump(tree) == []


def test_export_json_error_of_any_text_can_be_written(tmp_path: Path) -> None:
    root = make_session()
    root["NVDA"].note_error("callback", ValueError("\ud800 and \x00 and \n"))
    path = tmp_path / "dump.json"
    write_session_json(root, path)
    assert load_session_dump(path).symbols["NVDA"].errors[0]["error"] == (
        "ValueError: \\ud800 and \x00 and \n"
    )


def test_export_json_historical_values_may_be_arrays_and_gaps_lazy() -> None:
    root = make_session()
    rec = root["AAPL"]
    rec.historical_indicators["profile"] = np.array([np.nan, 1200.0, 3.5])
    rec.historical_indicators["none"] = None
    grid = make_window().grid("1m")
    rec.historical_bars["1m"] = {}
    rec.historical_gaps["1m"] = GapRuns("AAPL", "1m", grid, np.array([[3, 2], [10, 1]]))
    tree = session_to_dict(root)
    found = tree["symbols"]["AAPL"]["historical"]
    assert (found["profile"], found["none"]) == ([None, 1200.0, 3.5], None)
    assert found["data"]["1m"]["gaps"] == {
        "gap_count": 2,
        "missing_bars": 3,
        "ranges": [
            {"start_time": "2025-07-02T13:33:00+00:00", "end_time": "2025-07-02T13:34:00+00:00",
             "bar_count": 2, "reason": "unknown"},
            {"start_time": "2025-07-02T14:00:00+00:00", "end_time": "2025-07-02T14:00:00+00:00",
             "bar_count": 1, "reason": "unknown"},
        ],
    }  # fmt: skip
    assert validate_session_dump(tree) == []


def test_export_json_shows_the_quotes_whose_time_has_come() -> None:
    root = ob.SessionData()
    root.begin(make_window())
    rec = root.register_symbol("X")
    times = [at(13, 31), at(13, 30), at(14, 20), at(13, 45)]
    rows = [(ns(moment), 9.0, 10.0, 1.0, k) for k, moment in enumerate(times)]
    assert rec.preload_quotes(np.array(rows, dtype=QUOTE_DTYPE)) == 3
    seen = []
    for moment in (at(13, 30), at(13, 44), at(13, 45)):
        root.advance(ns(moment))
        tree = session_to_dict(root)["symbols"]["X"]
        assert tree["rejected"] == {"quote_outside_session": 1}
        assert tree["session"]["quotes"]["count"] == len(tree["session"]["quotes"]["data"])
        seen.append([row[4] for row in tree["session"]["quotes"]["data"]])
        assert validate_session_dump(session_to_dict(root)) == []
    assert seen == [[1], [1, 0], [1, 0, 3]]


def test_export_json_while_another_thread_appends_is_never_torn(tmp_path: Path) -> None:
    opened, n_bars = ns(at(13, 30)), 3_000
    root = ob.SessionData()
    root.begin(ob.SessionWindow(at(13, 30).date(), [(opened, opened + n_bars * SECOND)]))
    records = [
        root.register_symbol_data(
            ob.SymbolSessionData(name, base_interval="1s", derived_intervals=["5s", "1m"])
        )
        for name in ("X", "Y", "Z")
    ]
    due = np.zeros(n_bars, dtype=QUOTE_DTYPE)
    due["timestamp"] = opened + np.arange(n_bars) * SECOND
    for rec in records:
        rec.preload_quotes(due)

    def feed() -> None:
        for k in range(n_bars):
            for rec in records:
                if k % 7:
                    rec.append(opened + k * SECOND, 100.0, 101.0, 99.0, 100.5, 1)
            root.advance(opened + (k + 1) * SECOND)
            time.sleep(0)

    feeder = threading.Thread(target=feed)
    feeder.start()
    dumps = []
    while feeder.is_alive() or len(dumps) < 2:
        write_session_json(root, tmp_path / "dump.json")
        dumps += [json.loads((tmp_path / "dump.json").read_bytes()), session_to_dict(root)]
        assert [str(v) for dump in dumps[-2:] for v in validate_session_dump(dump)] == []
        for dump in dumps[-2:]:
            for tree in dump["symbols"].values():
                until = tree["session"].get("as_of", dump["session"]["now"])
                n_due = min(n_bars, (to_ns(until) - opened) // SECOND + 1)
                assert tree["session"]["quotes"]["count"] == n_due
    feeder.join()
    counts = [dump["symbols"]["X"]["session"]["data"]["1s"]["count"] for dump in dumps]
    assert counts == sorted(counts)


prices = st.floats(-1e6, 1e6, allow_nan=False)
volumes = st.one_of(st.integers(0, 10**12).map(float), st.floats(0, 1e9))


@given(
    st.dictionaries(
        st.integers(0, 19),
        st.tuples(st.lists(prices, min_size=4, max_size=4).map(sorted), volumes),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 20),
    st.sampled_from([0, 3]),
)
def test_export_json_of_any_bars_in_any_order_loads_back_and_breaks_no_rule(
    slots: dict[int, tuple[list[float], float]],
    random: Random,
    n_elapsed: int,
    capacity: int,
) -> None:
    window = make_window()
    starts, ends = window.grid("1m").starts_ns, window.grid("1m").ends_ns
    root = ob.SessionData()
    root.begin(window)
    rec = root.register_symbol_data(
        ob.SymbolSessionData(
            "X", base_interval="1m", derived_intervals=["2m", "5m", "1d"], capacity=capacity
        )
    )
    rows = [
        (int(starts[slot]), inner, high, low, outer, volume)
        for slot, ((low, inner, outer, high), volume) in sorted(slots.items())
    ]
    shuffled = random.sample(rows, len(rows))
    rec.append_block(np.array(shuffled[: len(rows) // 2], dtype=BAR_DTYPE))
    rec.append_block(np.array(shuffled[len(rows) // 2 :], dtype=BAR_DTYPE))
    if n_elapsed:
        root.advance(int(ends[n_elapsed - 1]))
    tree = session_to_dict(root)
    assert [str(v) for v in validate_session_dump(tree)] == []
    base = tree["symbols"]["X"]["session"]["data"]["1m"]
    wanted = [[datetime.fromtimestamp(row[0] // SECOND, UTC).isoformat(), *row[1:]] for row in rows]
    if capacity:
        assert all(row in wanted for row in base["data"])
    else:
        assert base["data"] == wanted


@pytest.mark.parametrize("bars", [True, False])
def test_export_json_that_skips_incomplete_bars_counts_them_and_breaks_no_rule(bars: bool) -> None:
    root = make_session()
    kept = session_to_dict(root, bars=bars)["symbols"]["AAPL"]["session"]["data"]
    root.on_incomplete = "skip"
    tree = session_to_dict(root, bars=bars)
    data = tree["symbols"]["AAPL"]["session"]["data"]
    assert data["1m"] == kept["1m"]
    assert (data["5m"]["count"], data["5m"]["incomplete"]) == (1, 2)
    assert "incomplete" not in kept["5m"]
    for key in ("quality", "coverage", "gaps"):
        assert data["5m"][key] == kept["5m"][key]
    if bars:
        assert data["5m"]["data"] == [kept["5m"]["data"][2]]
    assert validate_session_dump(tree) == []


def test_export_json_that_skips_more_than_it_counts_is_found() -> None:
    root = make_session()
    root.on_incomplete = "skip"
    tree = session_to_dict(root)
    series = tree["symbols"]["AAPL"]["session"]["data"]["5m"]
    series["data"], series["count"] = [], 0
    assert {violation.rule for violation in validate_session_dump(tree)} >= {"derived_slots"}


def test_export_json_as_a_method_says_whose_reading_it_begins(root: ob.SessionData) -> None:
    begun = {"delta": {"reader": "default", "sequence": 0}}
    assert root.to_json() == root.to_json(complete=True) == golden() | begun
    assert root["AAPL"].to_json(True) == golden()["symbols"]["AAPL"] | begun
