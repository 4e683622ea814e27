"""What a replay shows, and when: every bar once, at its end, and nothing that lies ahead."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import SessionStateError
from openbell.lifecycle.day import Records
from tests.lifecycle_days import (
    HALF_DAY,
    WEDNESDAY,
    bars_at,
    ends_of,
    expected_closings,
    session_over,
    sparse_slots,
    window_of,
    write_days,
)
from tests.model import slots_of

STREAMS = ["1m", "5m", "1h"]
# Calendar, day, and the segments on the wall clock of UTC.
SESSIONS = [
    pytest.param("XNYS", WEDNESDAY, ["13:30", "20:00"], id="usual day"),
    pytest.param("XNYS", HALF_DAY, ["13:30", "17:00"], id="half day"),
    pytest.param("XNYS", date(2025, 3, 7), ["14:30", "21:00"], id="last day of winter time"),
    pytest.param("XNYS", date(2025, 3, 10), ["13:30", "20:00"], id="first day of summer time"),
    pytest.param("XHKG", WEDNESDAY, ["01:30", "04:00", "05:00", "08:00"], id="lunch break"),
    pytest.param("24/7", WEDNESDAY, ["00:00", "00:00"], id="round the clock"),
]
Base = dict[str, tuple[str, np.ndarray]]


def mixed_bases(window: ob.SessionWindow, rng: np.random.Generator) -> Base:
    """Two symbols of seconds and two of minutes, one of each with a bar that is its only one."""
    n_seconds = len(ends_of(window, "1s"))
    n_minutes = len(ends_of(window, "1m"))
    return {
        "AA": ("1m", bars_at(window, "1m", rng.integers(0, n_minutes, 90), 50.0)),
        "BB": ("1s", bars_at(window, "1s", sparse_slots(rng, n_seconds, 200), 10.0)),
        "CC": ("1s", bars_at(window, "1s", [n_seconds // 2], 20.0)),
        "DD": ("1m", bars_at(window, "1m", [n_minutes - 1], 30.0)),
    }


def dataset(folder: Path, day: date, base: Base, calendar: str = "XNYS") -> Path:
    by_interval: dict[str, dict[str, np.ndarray]] = {}
    for symbol, (interval, bars) in base.items():
        by_interval.setdefault(interval, {})[symbol] = bars
    return write_days(folder, {day: by_interval}, calendar)


def expected_slices(window: ob.SessionWindow, base: Base) -> dict[int, list[tuple[str, int]]]:
    slices: dict[int, list[tuple[str, int]]] = {}
    for symbol, (interval, bars) in base.items():
        ends = ends_of(window, interval)
        for label in bars["timestamp"].tolist():
            slices.setdefault(ends[label], []).append((symbol, label))
    return dict(sorted(slices.items()))


@pytest.mark.parametrize(("calendar", "day", "clock"), SESSIONS)
def test_replay_shows_each_bar_once_at_its_end(
    tmp_path: Path, rng: np.random.Generator, calendar: str, day: date, clock: list[str]
) -> None:
    window = window_of(day, calendar)
    edges = [edge for segment in window.segments for edge in segment]
    assert [str(np.datetime64(edge, "ns"))[11:16] for edge in edges] == clock
    base = mixed_bases(window, rng)
    folder = dataset(tmp_path, day, base, calendar)
    session = session_over(folder, [day], list(base), STREAMS, exchange=calendar)
    closed = []

    def on_close(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        assert session.time_manager.now_ns == session.root.now_ns
        assert rec.bars[bar.interval].last == bar
        assert not slices or slices[-1][0] < session.root.now_ns
        closed.append((session.root.now_ns, bar.interval, rec.symbol, bar.ts_ns))

    slices: list[tuple[int, list[tuple[str, int]]]] = []

    def on_slice(ts_ns: int, records: Records) -> None:
        assert session.root.now_ns == session.time_manager.now_ns == ts_ns
        assert len(records) == len(list(records))
        assert records[0] is next(iter(records))
        assert records[-1] is list(records)[-1]
        held = []
        for rec in records:
            series = rec.bars[rec.base_interval]
            assert series.last is not None
            held.append((rec.symbol, series.last.ts_ns))
        slices.append((ts_ns, sorted(held)))

    for name in ("1h", "1s", "1m"):
        session.on_close(name, on_close)
    session.run(on_slice)
    assert slices == [(ts, sorted(rows)) for ts, rows in expected_slices(window, base).items()]
    assert closed == expected_closings(window, ("1s", "1m", "1h"), base)
    for symbol, (interval, bars) in base.items():
        assert session.root[symbol].bars[interval].data.tobytes() == bars.tobytes()
        assert session.root[symbol].base_interval == interval


def test_replay_merges_bases_of_which_none_divides_the_other(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    window = window_of(HALF_DAY)
    base: Base = {
        "AA": ("60s", bars_at(window, "60s", rng.integers(0, 210, 150))),
        "BB": ("90s", bars_at(window, "90s", rng.integers(0, 140, 100))),
        "CC": ("45s", bars_at(window, "45s", rng.integers(0, 280, 200))),
    }
    folder = dataset(tmp_path, HALF_DAY, base)
    session = session_over(folder, [HALF_DAY], list(base), ["3m"])
    told, slices = [], []
    session.on_close("3m", lambda rec, bar: told.append((session.root.now_ns, rec.symbol)))
    for day in session.days():
        for ts_ns, records in day.slices():
            slices.append((ts_ns, sorted(rec.symbol for rec in records)))
    assert slices == [
        (ts_ns, sorted(symbol for symbol, _ in rows))
        for ts_ns, rows in expected_slices(window, base).items()
    ]
    assert told == [(at, symbol) for at, _, symbol, _ in expected_closings(window, ["3m"], base)]


def test_replay_of_clock_anchored_slots_cut_by_the_open_shows_them_at_their_ends(
    tmp_path: Path,
) -> None:
    # 13:33 to 13:35 UTC is the first slot of 5m, and 15:37 to 15:40 the first after the break.
    hours = [["09:33", "11:30"], ["11:37", "12:00"]]
    clock = ob.TimeManager("XNYS", hours=[("09:33", "11:30"), ("11:37", "12:00")], anchor="clock")
    window = clock.session_window(WEDNESDAY)
    slots = slots_of(window.segments, "5m", "clock", "America/New_York")
    bars = np.zeros(len(slots), ob.BAR_DTYPE)
    bars["timestamp"] = [start for start, _ in slots]
    for field in ("open", "high", "low", "close"):
        bars[field] = 7.0
    folder = write_days(tmp_path, {WEDNESDAY: {"5m": {"AA": bars}}})
    session = session_over(folder, [WEDNESDAY], ["AA"], ["5m", "15m"], hours=hours, anchor="clock")
    told = []
    session.on_close("15m", lambda rec, bar: told.append(session.root.now_ns))
    for day in session.days():
        assert [ts_ns for ts_ns, _ in day.slices()] == [end for _, end in slots]
    wall = [str(np.datetime64(end, "ns"))[11:16] for _, end in slots]
    assert wall[0] == "13:35"
    assert wall[-5:] == ["15:40", "15:45", "15:50", "15:55", "16:00"]
    ends = [end for _, end in slots_of(window.segments, "15m", "clock", "America/New_York")]
    assert told == ends


def assert_nothing_ahead(root: ob.SessionData, ends: dict[str, dict[int, int]]) -> int:
    n_looks = 0
    for rec in root:
        for name, series in rec.bars.items():
            for bars in (series.data, series.window(3)):
                if len(bars):
                    assert ends[name][int(bars["timestamp"][-1])] <= root.now_ns
                    # No way past the end of a view to what lies behind it in memory.
                    assert not isinstance(bars.base, np.ndarray | memoryview | None)
                    n_looks += 1
            assert series.n_expected == sum(end <= root.now_ns for end in ends[name].values())
    return n_looks


def test_replay_never_holds_a_bar_that_ends_later(tmp_path: Path, rng: np.random.Generator) -> None:
    window = window_of(HALF_DAY)
    n_seconds = len(ends_of(window, "1s"))
    base: Base = {
        "AA": ("1m", bars_at(window, "1m", range(0, 210, 3))),
        "BB": ("1s", bars_at(window, "1s", rng.integers(0, n_seconds, 60))),
    }
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], list(base), STREAMS)
    ends = {name: ends_of(window, name) for name in ("1s", *STREAMS)}
    looks = []
    session.on_close("5m", lambda rec, bar: looks.append(assert_nothing_ahead(session.root, ends)))
    for day in session.days():
        assert assert_nothing_ahead(session.root, ends) == 0
        assert session.root.now_ns == window.open_ns
        for _ in day.slices():
            looks.append(assert_nothing_ahead(session.root, ends))
            assert day.n_bars == sum(len(rec.bars[rec.base_interval]) for rec in session.root)
    assert len(looks) > 120


def test_replay_of_minutes_that_nothing_follows_closes_them_by_clock(tmp_path: Path) -> None:
    window = window_of(HALF_DAY)
    base: Base = {"AA": ("1s", bars_at(window, "1s", [0, 61]))}
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], ["AA"], ["1s", "1m"])
    told = []
    session.on_close("1m", lambda rec, bar: told.append((session.root.now_ns, bar.ts_ns)))
    for day in session.days():
        slices = [ts_ns for ts_ns, _ in day.slices()]
        assert session.root.now_ns == window.close_ns
    minute = 60 * 10**9
    opened = window.open_ns
    assert slices == [opened + 10**9, opened + 62 * 10**9]
    assert told == [(opened + minute, opened), (opened + 2 * minute, opened + minute)]
    assert len(session.root["AA"].bars["1m"]) == 2


def test_replay_skipping_incomplete_bars_tells_the_complete_ones_only(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    window = window_of(WEDNESDAY, "XHKG")
    base = mixed_bases(window, rng)
    # Base bars are complete by themselves; so is the stub before lunch, when all is there.
    base["AA"] = ("1m", bars_at(window, "1m", [*range(100, 150), 200, 201]))
    base["BB"] = ("1s", bars_at(window, "1s", [*range(60, 420), 500, 9000]))
    told: dict[str, list[tuple[int, str, str, int]]] = {"keep": [], "skip": []}
    folder = dataset(tmp_path, WEDNESDAY, base, "XHKG")
    for policy, found in told.items():
        session = session_over(
            folder, [WEDNESDAY], list(base), STREAMS, exchange="XHKG", on_incomplete=policy
        )

        def on_close(rec: ob.SymbolSessionData, bar: ob.BarData, found=found) -> None:  # type: ignore[no-untyped-def]
            found.append((rec.core.root.now_ns, bar.interval, rec.symbol, bar.ts_ns))

        for name in STREAMS:
            session.on_close(name, on_close)
        session.run()
        assert len(session.root["BB"].bars["1m"]) == 8
    assert told["keep"] == expected_closings(window, STREAMS, base)
    assert told["skip"] == expected_closings(window, STREAMS, base, complete=True)
    stub = (window.segments[0][1], "1h", "AA", window.segments[0][1] - 30 * 60 * 10**9)
    assert stub in told["skip"]


def test_records_of_a_slice_are_refused_in_the_next(tmp_path: Path) -> None:
    window = window_of(HALF_DAY)
    base: Base = {s: ("1s", bars_at(window, "1s", [0, 1, 2])) for s in ("AA", "BB")}
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], ["BB", "AA"], ["1s"])
    for day in session.days():
        slices = day.slices()
        _, records = next(slices)
        kept = list(records)
        started = iter(records)
        assert next(started).symbol == "BB"
        assert [rec.symbol for rec in records] == ["BB", "AA"]
        with pytest.raises(IndexError):
            records[2]
        next(slices)
        with pytest.raises(SessionStateError, match="past this slice"):
            records[0]
        with pytest.raises(SessionStateError, match="past this slice"):
            list(records)
        with pytest.raises(SessionStateError, match="past this slice"):
            next(started)
        assert [rec.symbol for rec in kept] == ["BB", "AA"]
        assert list(slices)[-1][0] == window.open_ns + 3 * 10**9


def test_callback_that_raises_ends_the_replay_with_its_error(tmp_path: Path) -> None:
    window = window_of(HALF_DAY)
    base: Base = {"AA": ("1s", bars_at(window, "1s", range(120)))}
    folder = dataset(tmp_path, HALF_DAY, base)
    for hook in ("on_close", "on_slice"):
        session = session_over(folder, [HALF_DAY], ["AA"], ["1s", "1m"], strict=hook == "on_close")

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        if hook == "on_close":
            session.on_close("1m", fail)
        with pytest.raises(ZeroDivisionError):
            session.run(fail if hook == "on_slice" else None)
        n_seen = {"on_close": 60, "on_slice": 1}[hook]
        assert len(session.root["AA"].bars["1s"]) == n_seen
        assert len(session.root["AA"].errors) == (hook == "on_close")
        assert session.phase == "stopped"


def test_callback_that_raises_is_noted_on_the_record_and_the_day_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    window = window_of(HALF_DAY)
    base: Base = {s: ("1s", bars_at(window, "1s", range(150))) for s in ("AA", "BB")}
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], list(base), ["1s", "1m"])
    told = []

    def fail(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if rec.symbol == "AA":
            raise ZeroDivisionError(f"as {rec.symbol} always does")

    session.on_close("1m", fail)
    session.on_close("1m", lambda rec, bar: told.append((rec.symbol, bar.ts_ns)))
    session.run()
    minute = 60 * 10**9
    starts = [window.open_ns + n * minute for n in range(3)]
    assert told == [(symbol, start) for start in starts for symbol in ("AA", "BB")]
    (error,) = session.root["AA"].errors
    assert error.where.startswith("on_close 1m ")
    assert error.where.endswith("fail")
    assert error.error == "ZeroDivisionError: as AA always does"
    assert (error.first_ns, error.n) == (window.open_ns + minute, 3)
    assert session.root["BB"].errors == []
    assert [r.name for r in caplog.records if r.levelname == "ERROR"] == ["openbell.session"]
    assert {name: len(series) for name, series in session.root["AA"].bars.items()} == {
        "1s": 150, "1m": 3,
    }  # fmt: skip


def test_corrections_come_before_closings_and_slices_after_both(tmp_path: Path) -> None:
    window = window_of(HALF_DAY)
    base: Base = {s: ("1s", bars_at(window, "1s", range(130))) for s in ("BB", "AA")}
    session = session_over(
        dataset(tmp_path, HALF_DAY, base), [HALF_DAY], list(base), ["1s", "30s", "1m"]
    )
    told: list[str] = []

    def second(ts_ns: int) -> int:
        return (ts_ns - window.open_ns) // 10**9

    def on_close(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        again = " again" if bar.is_correction else ""
        told.append(f"{bar.interval} {rec.symbol} {second(bar.ts_ns)}{again}")

    for name in ("1m", "1s", "30s"):
        session.on_close(name, on_close, corrections=True)
    at: dict[int, list[str]] = {}
    for day in session.days():
        for ts_ns, records in day.slices():
            at[second(ts_ns)] = [*told, f"slice of {len(records)}"]
            told.clear()
            if second(ts_ns) == 119:
                for symbol, n in (("BB", 70), ("AA", 61), ("AA", 100), ("AA", 10)):
                    start = window.open_ns + n * 10**9
                    session.root[symbol].append(start, 50.0, 51.0, 49.0, 50.0, 3.0)
    assert at[119] == ["1s AA 118", "1s BB 118", "slice of 2"]
    assert at[120] == [
        "1s AA 10 again", "1s BB 70 again", "30s AA 0 again", "30s BB 60 again", "1m AA 0 again",
        "1s AA 119", "1s BB 119", "30s AA 90", "30s BB 90", "1m AA 60", "1m BB 60", "slice of 2",
    ]  # fmt: skip
    assert at[121] == ["1s AA 120", "1s BB 120", "slice of 2"]


def test_on_close_of_an_unknown_interval_is_refused_when_asked(tmp_path: Path) -> None:
    base: Base = {"AA": ("1s", bars_at(window_of(HALF_DAY), "1s", [0]))}
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], ["AA"], ["1s"])
    with pytest.raises(ob.IntervalError, match="7x"):
        session.on_close("7x", print)


def test_on_close_of_an_interval_nobody_has_tells_nothing(tmp_path: Path) -> None:
    base: Base = {"AA": ("1s", bars_at(window_of(HALF_DAY), "1s", [0, 70]))}
    session = session_over(dataset(tmp_path, HALF_DAY, base), [HALF_DAY], ["AA"], ["1s"])
    told: list[object] = []
    session.on_close("30s", lambda *call: told.append(call))
    session.run()
    assert told == []
    assert len(session.root["AA"].bars["1s"]) == 2
