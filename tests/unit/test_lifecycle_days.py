"""Day after day: what a session shows between its days, and when it is stopped."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import SessionStateError, TimeError
from openbell.sources import ParquetSource
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    bars_at,
    config_of,
    session_over,
    tree,
    window_of,
    write_days,
)

MONDAY = date(2025, 7, 7)
# The fourth of July and a weekend lie between them.
DAYS = [WEDNESDAY, HALF_DAY, MONDAY]
STREAMS = ["1s", "1m"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    days = {}
    for n, day in enumerate(DAYS):
        window = window_of(day)
        slots = range(n, 600, 3 + n)
        bars = {"AA": bars_at(window, "1s", slots, 10.0 * (n + 1))}
        if day != MONDAY:
            bars["BB"] = bars_at(window, "1s", slots, 50.0)
        days[day] = {"1s": bars}
    return write_days(tmp_path, days)


@pytest.fixture
def session(folder: Path) -> ob.SessionCoordinator:
    return session_over(folder, DAYS, ["AA", "BB"], STREAMS)


def test_session_opens_with_nothing_loaded(session: ob.SessionCoordinator) -> None:
    assert len(session.root) == 0
    assert session.root.window is None
    assert session.results == {}
    assert session.trading_days() == DAYS
    with pytest.raises(SessionStateError, match="without a time"):
        session.time_manager.get_current_time()


def test_days_hold_nothing_of_the_day_before(session: ob.SessionCoordinator) -> None:
    seen = []
    yesterday: list[ob.SymbolSessionData] = []
    for day in session.days():
        window = window_of(day.date)
        assert session.root.current_session_date == day.date
        assert session.root.now_ns == session.time_manager.now_ns == window.open_ns
        assert session.root.session_active
        for rec in session.root:
            assert rec not in yesterday
            assert (len(rec.bars["1s"]), rec.session_volume, rec.session_high) == (0, 0.0, None)
            assert rec.quality == {"1s": None, "1m": None}
            assert rec.is_loaded
            assert rec.meets_session_config_requirements
            assert (rec.added_by, rec.added_at) == ("config", None)
        for rec in yesterday:
            assert not rec.is_attached
        day.run()
        for rec in session.root:
            labels = rec.bars["1s"].data["timestamp"]
            assert len(labels) == len(range(len(seen), 600, 3 + len(seen)))
            assert window.open_ns <= labels[0]
            assert labels[-1] < window.close_ns
        yesterday = list(session.root)
        seen.append((day.date, [rec.symbol for rec in session.root]))
    assert seen == [(WEDNESDAY, ["AA", "BB"]), (HALF_DAY, ["AA", "BB"]), (MONDAY, ["AA"])]
    assert not session.results["BB"].can_proceed


def test_data_of_a_day_stays_readable_until_the_next_begins(
    session: ob.SessionCoordinator,
) -> None:
    days = session.days()
    next(days).run()
    rec = session.root["AA"]
    view = rec.bars["1s"].data
    before = view.tobytes()
    session.root.end()
    assert not session.root.session_active
    assert rec.bars["1m"].last is not None
    assert len(session.root.latest("close", "1m")) == 2
    second = next(days)
    assert view.tobytes() == before
    assert session.root["AA"] is not rec
    second.run()
    assert view.tobytes() == before
    for _ in days:
        pass
    assert session.root.current_session_date == MONDAY
    assert not session.root.session_active
    assert session.time_manager.now_ns == window_of(MONDAY).close_ns


def test_slices_left_early_do_not_disturb_the_next_day(
    folder: Path, session: ob.SessionCoordinator
) -> None:
    left: list[Iterator[object]] = []
    for day in session.days():
        slices = day.slices()
        if day.date == MONDAY:
            for _ in slices:
                pass
        else:
            next(slices)
            left.append(slices)
        assert list(left[0]) == [] or day.date == WEDNESDAY
    alone = session_over(folder, [MONDAY], ["AA"], STREAMS)
    alone.run()
    assert tree(session.root) == tree(alone.root)


def test_slices_asked_for_again_go_on_where_they_were_left(session: ob.SessionCoordinator) -> None:
    whole = session.days()
    expected = [ts_ns for ts_ns, _ in next(whole).slices()]
    for day in session.days():
        got = []
        for ts_ns, _ in day.slices():
            got.append(ts_ns)
            if len(got) == 70:
                break
        got += [ts_ns for ts_ns, _ in day.slices()]
        assert got == expected
        assert list(day.slices()) == []
        break


def test_day_whose_successor_has_begun_is_refused(session: ob.SessionCoordinator) -> None:
    first, second, third = session.days()
    for day in (first, second):
        with pytest.raises(SessionStateError, match=f"{day.date}.*past this day"):
            day.run()
        with pytest.raises(SessionStateError, match="past this day"):
            next(day.slices())
    assert session.root.now_ns == third.window.close_ns
    assert session.root.current_session_date == MONDAY


def test_day_of_a_cleared_root_is_refused(session: ob.SessionCoordinator) -> None:
    day = next(session.days())
    session.root.clear()
    for call in (day.run, lambda: next(day.slices())):
        with pytest.raises(SessionStateError, match="past this day"):
            call()


def test_run_again_gives_the_same_bytes(session: ob.SessionCoordinator) -> None:
    session.run()
    first = tree(session.root)
    session.run(lambda ts_ns, records: None)
    assert tree(session.root) == first
    next(session.days())
    session.run()
    assert tree(session.root) == first


def test_on_loaded_tells_each_record_of_each_day(session: ob.SessionCoordinator) -> None:
    told = []
    session.on_loaded(lambda rec: told.append((session.root.current_session_date, rec.symbol)))
    session.run()
    symbols = {WEDNESDAY: ["AA", "BB"], HALF_DAY: ["AA", "BB"], MONDAY: ["AA"]}
    assert told == [(day, symbol) for day in DAYS for symbol in symbols[day]]


def test_sessions_side_by_side_do_not_see_each_other(folder: Path) -> None:
    data = ob.DataManager([ParquetSource(folder)], ob.TimeManager("XNYS"))
    config = ob.SessionConfig.from_dict(config_of(folder, DAYS, ["AA", "BB"], STREAMS))
    one, two = (ob.open_session(config, data=data) for _ in range(2))
    alone = ob.open_session(config)
    alone.run()
    days_one, days_two = one.days(), two.days()
    # The second is a day behind, and both go on in turns.
    next(days_one).run()
    for _ in range(2):
        day_one, day_two = next(days_one), next(days_two)
        slices_one, slices_two = day_one.slices(), day_two.slices()
        while True:
            ended = [next(slices, None) is None for slices in (slices_one, slices_two)]
            assert one.time_manager.now_ns == one.root.now_ns
            assert two.time_manager.now_ns == two.root.now_ns
            if all(ended):
                break
        assert (day_one.date, day_two.date) in zip(DAYS[1:], DAYS, strict=False)
    two.close()
    assert tree(one.root) == tree(alone.root)


def test_closed_session_holds_nothing_and_runs_no_more(session: ob.SessionCoordinator) -> None:
    with session:
        days = session.days()
        day = next(days)
        day.run()
        view = session.root["AA"].bars["1s"].data
        before = view.tobytes()
    assert len(session.root) == 0
    assert view.tobytes() == before
    assert list(days) == []
    for call in (session.run, lambda: next(session.days()), day.run):
        with pytest.raises(SessionStateError):
            call()
    session.close()


def test_validate_symbol_needs_a_day(session: ob.SessionCoordinator) -> None:
    with pytest.raises(SessionStateError, match="name the day"):
        session.validate_symbol("AA")
    assert session.validate_symbol("AA", MONDAY).can_proceed
    assert not session.validate_symbol("BB", MONDAY).can_proceed
    next(session.days())
    assert session.validate_symbol("BB").can_proceed


def test_data_arrival_is_signalled(session: ob.SessionCoordinator) -> None:
    for day in session.days():
        assert not session.root.wait_for_data(0)
        for _ in day.slices():
            assert session.root.wait_for_data(0)
            assert not session.root.wait_for_data(0)
        break


def paced(folder: Path, **others: object) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY], ["AA"], STREAMS, hours=[["09:30", "09:40"]], **others)


def test_paced_replay_takes_its_time(folder: Path) -> None:
    told = []
    session = paced(folder, speed=1800)
    session.on_close("1m", lambda rec, bar: told.append((session.root.now_ns, time.monotonic())))
    began = time.monotonic()
    session.run(lambda ts_ns, records: told.append((ts_ns, time.monotonic())))
    opened = window_of(WEDNESDAY).open_ns
    assert len(told) == 200 + 10
    for ts_ns, at in told:
        assert at - began >= (ts_ns - opened) / SECOND / 1800 - 0.001
    assert time.monotonic() - began >= 598 / 1800


def test_paced_replay_shows_nothing_to_other_threads_before_its_time(folder: Path) -> None:
    session = paced(folder, speed=600)
    opened = window_of(WEDNESDAY).open_ns
    ahead, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if session.root.session_active:
                seen_ns, at = session.root.now_ns, time.monotonic()
                ahead.append((seen_ns - opened) / SECOND / 600 - (at - began))
            time.sleep(0.001)

    began = time.monotonic()
    thread = threading.Thread(target=watch)
    thread.start()
    for day in session.days():
        day.run()
        done.set()
    thread.join()
    assert len(ahead) > 50
    assert max(ahead) < 0.001


def test_unpaced_replay_does_not_wait(folder: Path) -> None:
    session = paced(folder)
    began = time.monotonic()
    session.run(lambda ts_ns, records: None)
    # Ten minutes of market, and nobody slept.
    assert time.monotonic() - began < 60
    assert len(session.root["AA"].bars["1s"]) == 200


def test_paced_replay_can_be_interrupted_while_it_waits(folder: Path) -> None:
    # A second bar is due only after a minute of waiting. Where the tests run as a background
    # job, the signal is ignored unless somebody handles it.
    session = paced(folder, speed=0.05)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            session.run()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < 10


def test_paced_replay_left_and_taken_up_goes_on_at_its_pace(folder: Path) -> None:
    session = paced(folder, speed=3600)
    for day in session.days():
        next(day.slices())
        time.sleep(0.3)
        began, left_ns = time.monotonic(), session.root.now_ns
        for _ in day.slices():
            pass
        assert time.monotonic() - began >= (session.root.now_ns - left_ns - 3 * SECOND) / 3600e9


def test_clock_of_a_session_stays_with_its_root(session: ob.SessionCoordinator) -> None:
    for day in session.days():
        session.root.advance(day.window.open_ns + 5 * SECOND)
        assert session.time_manager.now_ns == day.window.open_ns + 5 * SECOND
        with pytest.raises(TimeError):
            session.root.advance(day.window.open_ns)
        break
    assert np.isfinite(session.root.latest("close", "1s")).sum() == 0


def test_bars_are_noted_as_streamed_until_the_day_ends(session: ob.SessionCoordinator) -> None:
    root = session.root
    for _ in session.days():
        symbols = root.get_loaded_symbols()
        assert root.active_streams == {(symbol, "bars"): True for symbol in symbols}
        root.remove_symbol("BB")
        assert not root.is_stream_active("BB", "bars")
    assert root.active_streams == {("AA", "bars"): False}
    session.close()
    assert root.active_streams == {}


def test_exports_skip_incomplete_bars_when_the_config_says_so(tmp_path: Path) -> None:
    # All of the first minute, and one second of the next.
    bars = bars_at(window_of(WEDNESDAY), "1s", [*range(60), 70])
    write_days(tmp_path, {WEDNESDAY: {"1s": {"AA": bars}}})
    for policy, counts in (("keep", (2, None)), ("skip", (1, 1))):
        with session_over(
            tmp_path, [WEDNESDAY], ["AA"], ["1s", "1m"], on_incomplete=policy
        ) as session:
            session.run()
            tree = session.root.to_json()
        series = tree["symbols"]["AA"]["session"]["data"]["1m"]
        assert (series["count"], series.get("incomplete")) == counts
        assert ob.validate_session_dump(tree) == []
