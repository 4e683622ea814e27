"""Callbacks that write into the records they are shown, add others, and take some away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from tests.engine import assert_like_model
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    bars_at,
    ends_of,
    model_of,
    session_over,
    tree,
    window_of,
    write_days,
)

WINDOW = window_of(HALF_DAY)
OPEN = WINDOW.open_ns
DERIVED = ["5s", "1m", "5m", "1h"]
STREAMS = ["1s", *DERIVED]
N_SECONDS = 3 * 3600 + 1800


def sparse(rng: np.random.Generator, n: int = 400) -> np.ndarray:
    return bars_at(WINDOW, "1s", [*range(0, 200), *rng.integers(0, N_SECONDS, n).tolist()])


def over(folder: Path, records: dict[str, np.ndarray], **others: object) -> ob.SessionCoordinator:
    write_days(folder, {HALF_DAY: {"1s": records}})
    return session_over(folder, [HALF_DAY], list(records), STREAMS, **others)


def fresh(records: dict[str, np.ndarray]) -> ob.SessionData:
    """The same bars appended one by one, and the day ended."""
    root = ob.SessionData()
    root.begin(WINDOW)
    for symbol, bars in records.items():
        rec = root.register_symbol_data(
            ob.SymbolSessionData(symbol, base_interval="1s", derived_intervals=DERIVED)
        )
        for row in bars.tolist():
            rec.append(*row)
    root.end()
    return root


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("told", ["on_slice", "on_close"])
def test_bars_appended_by_callbacks_are_merged_as_in_a_record_fed_alike(
    tmp_path: Path, seed: int, told: str
) -> None:
    rng = np.random.default_rng(seed)
    records = {symbol: sparse(rng) for symbol in ("AA", "BB")}
    session = over(tmp_path, records)
    models = {symbol: model_of(WINDOW, "1s", DERIVED) for symbol in records}
    waiting = {symbol: bars.tolist() for symbol, bars in records.items()}
    n_given = 0

    def follow() -> None:
        now = session.root.now_ns
        for symbol, model in models.items():
            model.advance(now)
            while waiting[symbol] and waiting[symbol][0][0] + SECOND <= now:
                model.append(*waiting[symbol].pop(0))

    def interfere() -> None:
        nonlocal n_given
        follow()
        for symbol, model in models.items():
            if rng.random() < 0.1:
                now_slot = (session.root.now_ns - OPEN) // SECOND
                # From a minute ago to some seconds ahead: late, corrected, and not yet due.
                for slot in rng.integers(now_slot - 60, now_slot + 5, rng.integers(1, 4)):
                    close = float(rng.integers(90, 110))
                    bar = (OPEN + int(slot) * SECOND, close, close + 1, close - 1, close, 2.0)
                    if 0 <= slot < N_SECONDS:
                        session.root[symbol].append(*bar)
                        model.append(*bar)
                        n_given += 1

    if told == "on_slice":
        session.run(lambda ts_ns, records: interfere())
    else:
        session.on_close("5s", lambda rec, bar: interfere())
        session.run()
    session.root.end()
    follow()
    assert n_given > 20
    assert waiting == {"AA": [], "BB": []}
    for symbol, model in models.items():
        model.advance(WINDOW.close_ns)
        assert_like_model(session.root[symbol], model)
        assert session.root[symbol].n_waiting == 0


class Kept:
    """What a subscriber that wants corrections keeps of every series, by what it is told."""

    def __init__(self, session: ob.SessionCoordinator, intervals: list[str]) -> None:
        self.bars: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
        self.n_corrections = 0
        self._intervals = intervals
        for name in intervals:
            session.on_close(name, self.take, corrections=True)

    def take(self, rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        kept = self.bars.setdefault((rec.symbol, bar.interval), {})
        newest = max(kept, default=-1)
        if not bar.is_correction:
            # Each once, ascending.
            assert bar.ts_ns > newest
            kept[bar.ts_ns] = bar_values(bar)
            return
        assert bar.ts_ns <= newest
        self.n_corrections += 1
        for row in rec.get_bars_since(bar.ts_ns, bar.interval).tolist():
            if row[0] <= newest:
                kept[row[0]] = row[1:]

    def assert_whole(self, root: ob.SessionData) -> None:
        for rec in root:
            for name in {*self._intervals} & {*rec.bars}:
                held = {row[0]: row[1:] for row in rec.bars[name].data.tolist()}
                assert self.bars.get((rec.symbol, name), {}) == held


def bar_values(bar: ob.BarData) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("told", ["on_slice", "on_close"])
def test_what_a_subscriber_keeps_is_what_the_records_hold(
    tmp_path: Path, seed: int, told: str
) -> None:
    rng = np.random.default_rng(seed)
    records = {symbol: sparse(rng, 300) for symbol in ("AA", "BB")}
    session = over(tmp_path, records)
    kept = Kept(session, [*STREAMS, "15m"])

    def interfere() -> None:
        if rng.random() > 0.1:
            return
        rec = session.root["AA" if rng.random() < 0.5 else "BB"]
        now_slot = (session.root.now_ns - OPEN) // SECOND
        # Now and then more than a series remembers the places of.
        slots = rng.integers(max(0, now_slot - 90), now_slot + 5, rng.choice([1, 3, 40]))
        bars = bars_at(WINDOW, "1s", slots, float(rng.integers(50, 90)))
        if rng.random() < 0.5:
            rec.append_block(bars)
        else:
            for row in bars.tolist():
                rec.append(*row)
        # And of a symbol that no source has.
        minute = OPEN + int(rng.integers(0, 210)) * 60 * SECOND
        close = float(rng.integers(90, 110))
        session.add_adhoc_bar("AA", "15m", ob.BarData(minute, 1, 2, 1, 2, 3))
        session.root.add_bar("NEW", "1m", ob.BarData(minute, close, close, close, close, 3))

    if told == "on_slice":
        session.run(lambda ts_ns, records: interfere())
    else:
        session.on_close("5s", lambda rec, bar: interfere())
        session.run()
    assert kept.n_corrections > 30
    assert set(kept.bars) >= {(s, name) for s in ("AA", "BB") for name in STREAMS}
    assert len(kept.bars["NEW", "1m"]) > 10
    kept.assert_whole(session.root)


def test_bars_that_come_late_to_a_replay_are_told_in_the_next_slice(tmp_path: Path) -> None:
    session = over(
        tmp_path,
        {"AA": bars_at(WINDOW, "1s", range(700)), "BB": bars_at(WINDOW, "1s", [0])},
    )
    told: list[tuple[int, str, str, int, bool]] = []
    for name in ("1s", "1m"):
        session.on_close(
            name,
            lambda rec, bar: (
                rec.symbol == "AA"
                or told.append(
                    (
                        (session.root.now_ns - OPEN) // SECOND,
                        rec.symbol,
                        bar.interval,
                        (bar.ts_ns - OPEN) // SECOND,
                        bar.is_correction,
                    )
                )
            ),
            corrections=True,
        )
    given: dict[int, Callable[[ob.SessionData], object]] = {
        # Behind its newest, and long over: nothing closes by the clock any more.
        215: lambda root: root["BB"].append(OPEN + 130 * SECOND, 5.0, 6.0, 4.0, 5.0, 1.0),
        335: lambda root: root["BB"].append_block(bars_at(WINDOW, "1s", [190, 191])),
        455: lambda root: root["BB"].append_block(bars_at(WINDOW, "1s", [70, *range(250, 280)])),
        575: lambda root: root.add_bar("CC", "1m", ob.BarData(OPEN, 1, 2, 1, 2, 3)),
        577: lambda root: root.add_bar("CC", "1m", ob.BarData(OPEN + 120 * SECOND, 1, 2, 1, 2, 3)),
        579: lambda root: root.add_bar("CC", "1m", ob.BarData(OPEN + 60 * SECOND, 1, 2, 1, 2, 3)),
    }
    for day in session.days():
        for ts_ns, _ in day.slices():
            given.get((ts_ns - OPEN) // SECOND, lambda root: None)(session.root)
    assert told == [
        (1, "BB", "1s", 0, False),
        (60, "BB", "1m", 0, False),
        (216, "BB", "1s", 130, False),
        (216, "BB", "1m", 120, False),
        (336, "BB", "1s", 190, False),
        (336, "BB", "1s", 191, False),
        (336, "BB", "1m", 180, False),
        (456, "BB", "1s", 70, True),
        (456, "BB", "1m", 60, True),
        *[(456, "BB", "1s", n, False) for n in range(250, 280)],
        (456, "BB", "1m", 240, False),
        (576, "CC", "1m", 0, False),
        (578, "CC", "1m", 120, False),
        (580, "CC", "1m", 60, True),
    ]


def test_symbol_added_while_the_day_runs_is_told_from_the_next_slice_on(tmp_path: Path) -> None:
    records = {symbol: bars_at(WINDOW, "1s", range(300)) for symbol in ("BB", "AA")}
    write_days(tmp_path, {HALF_DAY: {"1s": records}})
    session = session_over(tmp_path, [HALF_DAY], ["BB"], STREAMS)
    told: list[tuple[str, str, int]] = []
    for name in ("1s", "1m"):
        session.on_close(
            name,
            lambda rec, bar: told.append((rec.symbol, bar.interval, (bar.ts_ns - OPEN) // SECOND)),
            corrections=True,
        )
    for day in session.days():
        for ts_ns, _ in day.slices():
            second = (ts_ns - OPEN) // SECOND
            if second == 90:
                assert session.add_symbol("AA")
            elif second == 200:
                assert session.remove_symbol("AA")
            elif second == 250:
                assert session.add_symbol("AA")
    seconds = [*range(90, 200), *range(250, 300)]
    assert [n for symbol, name, n in told if (symbol, name) == ("AA", "1s")] == seconds
    assert [n for symbol, name, n in told if (symbol, name) == ("AA", "1m")] == [60, 120, 240]
    assert [n for symbol, name, n in told if (symbol, name) == ("BB", "1s")] == [*range(300)]
    assert len(session.root["AA"].bars["1s"]) == 300
    at_two = told[told.index(("AA", "1s", 119)) :][:4]
    assert at_two == [("AA", "1s", 119), ("BB", "1s", 119), ("AA", "1m", 60), ("BB", "1m", 60)]


def test_subscriber_that_comes_while_a_day_runs_is_told_from_then_on_and_the_next_day(
    tmp_path: Path,
) -> None:
    days = [window_of(WEDNESDAY), WINDOW]
    write_days(tmp_path, {w.date: {"1s": {"AA": bars_at(w, "1s", range(200))}} for w in days})
    session = session_over(tmp_path, [WEDNESDAY, HALF_DAY], ["AA"], ["1s", "1m"])
    told: list[tuple[int, int]] = []
    came = []

    def come(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if not came:
            came.append(bar)
            for name in ("1m", "30s"):
                session.on_close(
                    name,
                    lambda rec, bar: told.append(
                        (session.root.window.date.day, session.root.now_ns)  # type: ignore[union-attr]
                    ),
                )

    session.on_close("1m", come)
    session.run()
    (first, second) = (w.open_ns for w in days)
    minute = 60 * SECOND
    assert told == [
        *[(2, first + n * minute) for n in (2, 3, 4)],
        *[(3, second + n * minute) for n in (1, 2, 3, 4)],
    ]


def test_removing_a_symbol_in_a_slice_leaves_the_others_alone(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    records = {symbol: sparse(rng) for symbol in ("AA", "BB", "CC")}
    session = over(tmp_path, records)
    told = []
    session.on_close("1m", lambda rec, bar: told.append((rec.symbol, session.root.now_ns)))
    removed_ns = OPEN + 90 * SECOND
    views = []
    for day in session.days():
        for ts_ns, slice_records in day.slices():
            if ts_ns == removed_ns:
                held = session.root["BB"]
                views.append((held.bars["1s"].data, held.bars["1s"].data.tobytes()))
                assert session.root.remove_symbol("BB")
                with pytest.raises(ob.RecordDetached):
                    held.append(ts_ns, 1.0, 1.0, 1.0, 1.0, 1.0)
            elif ts_ns > removed_ns:
                assert "BB" not in {rec.symbol for rec in slice_records}
    assert tree(session.root) == tree(fresh({s: records[s] for s in ("AA", "CC")}))
    assert [ts_ns for symbol, ts_ns in told if symbol == "BB"] == [OPEN + 60 * SECOND]
    ((view, before),) = views
    assert len(view) == 90
    assert view.tobytes() == before


def test_removing_symbols_while_their_bars_close_goes_on(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    records = {symbol: sparse(rng) for symbol in ("AA", "BB", "CC", "DD")}
    session = over(tmp_path, records)
    told = []

    def on_close(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        told.append((rec.symbol, bar.ts_ns))
        # Itself, one that was told already, and one whose turn would come.
        for symbol in {"BB": ("AA", "BB", "CC")}.get(rec.symbol, ()):
            session.root.remove_symbol(symbol)

    session.on_close("1m", on_close)
    session.run()
    assert told[:3] == [("AA", OPEN), ("BB", OPEN), ("DD", OPEN)]
    assert {symbol for symbol, _ in told[3:]} == {"DD"}
    assert tree(session.root) == tree(fresh({"DD": records["DD"]}))


def test_removing_every_symbol_ends_the_day_in_peace(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    session = over(tmp_path, {"AA": sparse(rng), "BB": sparse(rng)})
    slices = []

    def on_slice(ts_ns: int, _: object) -> None:
        slices.append(ts_ns)
        if len(slices) == 5:
            for symbol in session.root.get_active_symbols():
                session.root.remove_symbol(symbol)

    session.run(on_slice)
    assert len(session.root) == 0
    assert session.root.now_ns == WINDOW.close_ns
    assert len(slices) == 5


def test_adhoc_bar_of_an_unknown_symbol_joins_the_root_not_the_replay(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    records = {"AA": sparse(rng)}
    session = over(tmp_path, records)
    for day in session.days():
        for n, (_, slice_records) in enumerate(day.slices()):
            if n == 30:
                bar = ob.BarData(OPEN, 5.0, 6.0, 4.0, 5.5, 7.0)
                session.root.add_bar("NEW", "1m", bar)
            assert [rec.symbol for rec in slice_records] == ["AA"]
    new = session.root["NEW"]
    assert (new.added_by, new.auto_provisioned, new.is_loaded) == ("adhoc", True, False)
    assert new.bars["1m"].last == ob.BarData(OPEN, 5.0, 6.0, 4.0, 5.5, 7.0, "NEW", "1m")
    assert session.root.get_loaded_symbols() == {"AA"}
    session.root.remove_symbol("NEW")
    assert tree(session.root) == tree(fresh(records))


def test_symbol_removed_and_registered_anew_is_not_fed_by_the_old_replay(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    session = over(tmp_path, {"AA": sparse(rng), "BB": sparse(rng)})
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            if n == 10:
                session.root.remove_symbol("BB")
                session.root.register_symbol_data(
                    ob.SymbolSessionData("BB", base_interval="1s", added_by="strategy")
                )
    assert len(session.root["BB"].bars["1s"]) == 0
    assert len(session.root["AA"].bars["1s"]) > 200


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(lambda session: session.close(), id="close"),
        pytest.param(lambda session: session.root.clear(), id="clear"),
    ],
)
@pytest.mark.parametrize("told", ["on_slice", "on_close"])
def test_root_cleared_by_a_callback_ends_the_replay(
    tmp_path: Path,
    rng: np.random.Generator,
    stop: Callable[[ob.SessionCoordinator], None],
    told: str,
) -> None:
    session = over(tmp_path, {"AA": sparse(rng), "BB": sparse(rng)})
    n_told = 0

    def once(*_: object) -> None:
        nonlocal n_told
        n_told += 1
        stop(session)

    if told == "on_close":
        session.on_close("5s", once)
        session.run()
    else:
        session.run(once)
    assert n_told == 1
    assert len(session.root) == 0
    assert session.root.window is None


def test_bars_appended_ahead_of_the_clock_close_when_it_gets_there(tmp_path: Path) -> None:
    ahead = bars_at(WINDOW, "1s", range(30, 600, 30), 40.0)
    session = over(tmp_path, {"AA": bars_at(WINDOW, "1s", range(0, 20))})
    told = []
    session.on_close("1m", lambda rec, bar: told.append((session.root.now_ns, bar.ts_ns)))
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            if n == 5:
                session.root["AA"].append_block(ahead)
    starts = [OPEN + n * 60 * SECOND for n in range(10)]
    assert told == [(start + 60 * SECOND, start) for start in starts]


def test_base_bars_appended_ahead_are_told_at_their_ends_where_no_slice_is(tmp_path: Path) -> None:
    session = over(tmp_path, {"AA": bars_at(WINDOW, "1s", [0, 1, 2, 100]), "BB": bars_at(
        WINDOW, "1s", [*range(5), 101])})  # fmt: skip
    told: list[tuple[int, str, int]] = []

    def on_close(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        slot = (bar.ts_ns - OPEN) // SECOND
        told.append(((session.root.now_ns - OPEN) // SECOND, record.symbol, slot))
        if (record.symbol, slot) == ("BB", 3):
            for row in bars_at(WINDOW, "1s", [10, 12]).tolist():
                session.root["AA"].append(*row)

    session.on_close("1s", on_close)
    session.run()
    first = [(slot + 1, symbol, slot) for slot in range(3) for symbol in ("AA", "BB")]
    then = [(4, "BB", 3), (5, "BB", 4), (11, "AA", 10), (13, "AA", 12)]
    assert told == [*first, *then, (101, "AA", 100), (102, "BB", 101)]


def test_time_moved_by_a_callback_closes_what_has_ended(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    records = {"AA": sparse(rng)}
    session = over(tmp_path, records)
    told = []
    session.on_close("1m", lambda rec, bar: told.append(bar.ts_ns))
    ahead_ns = OPEN + 130 * SECOND
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            if n == 5:
                session.root.advance(ahead_ns)
            assert session.root.now_ns >= (ahead_ns if n > 5 else OPEN)
    ends = ends_of(WINDOW, "1m")
    assert told == sorted(set(told))
    assert len(told) == len(session.root["AA"].bars["1m"])
    assert set(told) <= set(ends)
    assert session.root["AA"].bars["1s"].data.tobytes() == records["AA"].tobytes()
