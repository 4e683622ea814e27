"""Where the time of a session goes, asked from a script."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from typing import Any

import pytest

import openbell as ob
from openbell.processing.indicators import IndicatorData
from openbell.profiling import STAGES, profile


def open_day(streams: list[str], symbols: tuple[str, ...] = ("A", "B"), **tables: Any) -> Any:
    wanted = {"symbols": list(symbols), "streams": streams, "base": streams[0]}
    session = {"start_date": "2025-07-02", **wanted}
    return ob.open_session({"session": session, "data": {"sources": ["synthetic"]}, **tables})


def parts(value: Any) -> dict[str, Any]:
    """The attributes that a profile may replace, by owner."""
    owners = (value, value.root, value.data_manager, value.processor, value.quality, value._loader)
    return {type(owner).__name__: set(vars(owner)) for owner in owners}


def test_profile_time_is_given_to_the_stage_that_spent_it() -> None:
    session = open_day(["1m", "5m"])
    session.on_close("5m", lambda record, bar: time.sleep(2e-4))
    started = time.perf_counter()
    with profile(session) as found:
        session.run(lambda ts_ns, records: time.sleep(1e-5))
        with found.stage("signals"):
            time.sleep(0.01)
            session.root.to_json()
        assert [len(record.bars["1m"].gaps) for record in session.root] == [0, 0]
    taken_s = time.perf_counter() - started
    assert found["callbacks"].wall_s >= 156 * 2e-4 + 390 * 1e-5
    assert found["signals"].wall_s >= 0.01
    assert found["export"].wall_s > 0
    assert found["quality"].wall_s > 0
    assert sum(stage.wall_s for stage in found.stages.values()) == found.whole.wall_s <= taken_s
    assert [name for name in found.stages if name in STAGES] == list(STAGES)
    assert found.whole.ns_per_bar == pytest.approx(found.whole.wall_s * 1e9 / 780)
    assert json.loads(json.dumps(found.to_json()))["stages"]["signals"]["cpu_s"] >= 0
    assert str(found).splitlines()[-1].startswith("780 bars of 2 symbols in 1 day")


def test_profile_changes_nothing_and_leaves_nothing_behind() -> None:
    asked = {"indicators": [{"name": "vwap", "type": "VWAP", "interval": "1m"}]}
    told: list[tuple[str, float]] = []

    def on_close(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        told.append((record.symbol, record.indicators["vwap"].value))

    plain = open_day(["1m", "5m"], **asked)
    plain.on_close("5m", on_close)
    plain.run()
    expected, dump = told.copy(), plain.root.to_json()
    told.clear()
    session = open_day(["1m", "5m"], **asked)
    session.on_close("5m", on_close)
    before, catch_up = parts(session), IndicatorData._catch_up
    with profile(session) as found:
        assert IndicatorData._catch_up is not catch_up
        session.run()
    assert (told, session.root.to_json()) == (expected, dump)
    assert found["indicators"].wall_s > 0
    assert parts(session) == before
    assert IndicatorData._catch_up is catch_up
    assert [call for _, call, _ in session.processor._on_close] == [on_close]


def test_profile_of_many_calls_makes_each_of_them_and_adds_up() -> None:
    session = open_day(["1s", "1m"], ("A", "B"))
    n_told = 0

    def on_bar(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        nonlocal n_told
        n_told += 1

    with profile(session) as found:
        session.on_close("1s", on_bar)
        session.run()
    assert n_told == found.n_bars > 25_000
    assert 0 < found["callbacks"].wall_s < found.whole.wall_s
    assert found["measuring"].wall_s > 0
    assert sum(stage.wall_s for stage in found.stages.values()) == found.whole.wall_s


def test_profile_of_slices_left_half_way_goes_on_with_what_was_before() -> None:
    session = open_day(["1m"])
    with profile(session) as found:
        for day in session.days():
            for _ in day.slices():
                break
            callbacks_s = found["callbacks"].wall_s
            time.sleep(0.01)
            assert found["callbacks"].wall_s == callbacks_s
            break
    assert found["other"].wall_s >= 0.01
    assert found.n_bars == 2


def test_profile_callback_that_raises_ends_the_block_and_restores_the_session() -> None:
    session = open_day(["1m"])
    before = parts(session)

    def fail(ts_ns: int, records: object) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), profile(session) as found:
        session.run(fail)
    assert parts(session) == before
    assert found.n_bars == 2
    with profile(session):
        pass


def test_profile_in_another_thread_counts_nothing_of_it_and_disturbs_nothing() -> None:
    session = open_day(["1m"])
    session.on_close("1m", lambda record, bar: None)
    with profile(session) as found:
        thread = threading.Thread(target=session.run, args=(lambda ts_ns, records: None,))
        thread.start()
        thread.join()
    assert session.phase == "ended"
    assert {found[name].wall_s for name in ("decode", "cascade", "callbacks")} == {0.0}
    assert found.n_bars == 780


def test_profile_refuses_a_second_one_and_a_live_session() -> None:
    with profile(whole_process=True) as found, pytest.raises(ob.SessionStateError, match="runs"):
        profile().__enter__()
    assert found["start"].wall_s > 0
    assert found["start"].cpu_s > 0
    assert found["start"].memory_bytes in range((found.peak_bytes or 0) + 1)
    live = ob.open_session(
        {
            "session": {"mode": "live", "symbols": ["A"], "streams": ["1m"], "base": "1m"},
            "data": {"sources": ["synthetic"]},
        }
    )
    with pytest.raises(ob.ArgumentError, match="backtest"), profile(live):
        pass
    live.close()


def test_profile_of_several_days_lets_go_of_each_and_adds_their_bars() -> None:
    dates = {"start_date": "2025-07-02", "end_date": "2025-07-03", "base": "1m"}
    session = ob.open_session(
        {
            "session": {"symbols": ["A"], "streams": ["1m"], **dates},
            "data": {"sources": ["synthetic"]},
        }
    )
    days: list[weakref.ref[object]] = []
    gc.collect()
    gc.disable()
    try:
        with profile(session) as found:
            for day in session.days():
                assert [ref() for ref in days] == [None] * len(days)
                day.run(lambda ts_ns, records: None)
                days.append(weakref.ref(day))
                del day
    finally:
        gc.enable()
    assert (found.n_days, found.n_symbols, found.n_bars) == (2, 1, 390 + 210)
