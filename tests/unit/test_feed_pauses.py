"""What a symbol's pauses so far say of the next one."""

from __future__ import annotations

import math

import pytest

from openbell.clock.window import SessionWindow
from openbell.live.pauses import Pauses, Slots
from openbell.schema import NS_PER_SECOND as S
from tests.feed_rig import DAY, MINUTE, OPEN


@pytest.mark.parametrize("anchor", ["session", "clock"])
@pytest.mark.parametrize("interval", ["1m", "7m", "1h", "1d"])
def test_slots_count_as_the_grid_does(anchor: str, interval: str) -> None:
    spans = [(OPEN, OPEN + 100 * MINUTE + 30 * S), (OPEN + 180 * MINUTE, OPEN + 301 * MINUTE)]
    window = SessionWindow(DAY, spans, timezone="America/New_York", anchor=anchor)  # type: ignore[arg-type]
    grid = window.grid(interval)
    slots = Slots(grid)
    edges = {
        edge + d for edge in {*grid.starts_ns.tolist(), *grid.ends_ns.tolist()} for d in (-1, 0, 1)
    }
    for ts_ns in sorted(edges):
        assert slots.ended(ts_ns) == int((grid.ends_ns <= ts_ns).sum())
        assert slots.begun(ts_ns) == int((grid.starts_ns <= ts_ns).sum())


def _chance(pauses: Pauses, n: int) -> float:
    return math.exp(pauses.log_silence(n))


def test_pauses_of_a_symbol_without_any_are_improbable_but_possible() -> None:
    pauses = Pauses()
    for slot in range(200):
        pauses.note(slot)
    assert 0.001 < _chance(pauses, 1) < 0.05
    assert _chance(pauses, 10) < 1e-5


def test_pauses_of_a_symbol_that_never_traded_are_probable() -> None:
    assert _chance(Pauses(), 30) > 0.2
    assert _chance(Pauses(0.0), 30) > 0.8
    assert _chance(Pauses(1.0), 8) < 0.001


def test_pauses_known_from_history_hold_on_a_busy_morning() -> None:
    sparse, unknown = Pauses(1 / 30), Pauses()
    for slot in range(15):
        sparse.note(slot)
        unknown.note(slot)
    assert _chance(sparse, 10) > 0.05
    assert _chance(unknown, 10) < 0.01


def test_pauses_that_come_in_runs_make_long_ones_probable() -> None:
    alternating, in_runs = Pauses(), Pauses()
    for slot in range(0, 200, 2):
        alternating.note(slot)
    for slot in range(200):
        if slot // 10 % 2 == 0:
            in_runs.note(slot)
    assert _chance(alternating, 10) < 1e-4
    assert _chance(in_runs, 10) > 0.01


def test_pauses_next_slot_is_counted_as_any_other() -> None:
    one, other = Pauses(), Pauses()
    for slot in range(100):
        one.note(slot)
        other.note_next()
    other.note(3)
    assert one.next_slot == other.next_slot == 100
    assert one.log_silence(3) == other.log_silence(3)


@pytest.mark.parametrize(("silent", "counts"), [(1, False), (5, True)])
def test_pauses_that_were_doubted_count_when_they_go_on(silent: int, counts: bool) -> None:
    doubted, skipped = Pauses(), Pauses()
    for pauses, is_doubt in ((doubted, True), (skipped, False)):
        for slot in range(50):
            pauses.note(slot)
        pauses.skip_to(80, is_doubt=is_doubt)
        pauses.note(80 + silent)
    assert (doubted.log_silence(5) > skipped.log_silence(5)) == counts


@pytest.mark.parametrize("one_by_one", [False, True])
def test_pauses_forget_the_morning(one_by_one: bool) -> None:
    pauses = Pauses()
    for slot in range(2000):
        if one_by_one:
            pauses.note_next()
        else:
            pauses.note(slot)
    assert 0.005 < _chance(pauses, 1) < 0.02
    for slot in range(2000, 2600, 3):
        pauses.note(slot)
    assert _chance(pauses, 1) > 0.7
