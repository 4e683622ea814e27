"""Which note a run of missing slots takes its reason from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell._native.gap_notes import match_notes
from openbell.errors import SchemaError
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS

NO_TRADE, OUTAGE, LATE_START, TRUNCATED = map(
    GAP_REASONS.index, ("no_trade", "outage", "late_start", "truncated")
)


def notes_of(*rows: tuple[int, int, int]) -> Any:
    notes = np.zeros(len(rows), GAP_NOTE_DTYPE)
    for k, row in enumerate(rows):
        notes[["first_slot", "n_slots", "reason"]][k] = row
    return notes


def match(runs: list[tuple[int, int]], notes: Any) -> list[tuple[int, int]]:
    places, reasons = match_notes(np.array(runs, np.int64).reshape(-1, 2), notes)
    assert (places.dtype, reasons.dtype) == (np.int64, np.int8)
    return list(zip(places.tolist(), reasons.tolist(), strict=True))


def test_gap_notes_run_takes_the_note_that_contains_it() -> None:
    notes = notes_of((10, 5, NO_TRADE), (20, 10, OUTAGE))
    assert match([(10, 5), (20, 10)], notes) == [(0, NO_TRADE), (1, OUTAGE)]
    assert match([(11, 2), (14, 1), (25, 5)], notes) == [(0, NO_TRADE), (0, NO_TRADE), (1, OUTAGE)]
    assert match([(5, 2), (15, 1), (16, 2), (40, 1)], notes) == [(-1, 0)] * 4
    assert match([(9, 6), (9, 30), (30, 2)], notes) == [(-1, 0)] * 3


def test_gap_notes_run_that_grew_keeps_only_a_reason_that_growing_does_not_weaken() -> None:
    for reason in (OUTAGE, LATE_START):
        assert match([(10, 9)], notes_of((10, 5, reason))) == [(0, reason)]
    for reason in (0, NO_TRADE, TRUNCATED):
        assert match([(10, 9)], notes_of((10, 5, reason))) == [(-1, 0)]


def test_gap_notes_run_split_off_is_no_longer_at_the_beginning_or_the_end() -> None:
    notes = notes_of((0, 10, LATE_START), (90, 10, TRUNCATED))
    assert match([(0, 10), (90, 10)], notes) == [(0, LATE_START), (1, TRUNCATED)]
    assert match([(0, 4), (5, 5)], notes) == [(0, LATE_START), (-1, 0)]
    assert match([(90, 4), (95, 5)], notes) == [(-1, 0), (1, TRUNCATED)]


def test_gap_notes_of_none_are_none() -> None:
    assert match([(0, 1), (5, 2)], notes_of()) == [(-1, 0)] * 2
    assert match([], notes_of((0, 1, 1))) == []


spans = st.lists(st.integers(0, 40), max_size=16, unique=True).map(
    lambda cuts: [(a, b - a) for a, b in zip(*[iter(sorted(cuts))] * 2, strict=False)]
)


@given(spans, spans, st.lists(st.integers(0, 4), min_size=8, max_size=8), st.randoms())
def test_gap_notes_of_any_runs_in_any_order_are_those_found_by_looking_at_each(
    runs: list[tuple[int, int]], noted: list[tuple[int, int]], reasons: list[int], random: Any
) -> None:
    random.shuffle(runs)
    notes = notes_of(*((*span, reason) for span, reason in zip(noted, reasons, strict=False)))
    wanted = []
    for first, n in runs:
        found = (-1, 0)
        for k, (begin, n_noted) in enumerate(noted):
            is_split = (reasons[k] == LATE_START and first != begin) or (
                reasons[k] == TRUNCATED and first + n != begin + n_noted
            )
            stays = first + n <= begin + n_noted or reasons[k] in (OUTAGE, LATE_START)
            if begin <= first < begin + n_noted and stays and not is_split:
                found = k, reasons[k]
        wanted.append(found)
    assert match(runs, notes) == wanted


@pytest.mark.parametrize(
    ("runs", "notes"),
    [
        (np.zeros(4, np.int64), notes_of()),
        (np.zeros((2, 3), np.int64), notes_of()),
        (np.zeros((2, 2), np.int32), notes_of()),
        (np.zeros((4, 2), np.int64)[::2], notes_of()),
        (np.zeros((2, 2), np.int64), np.zeros(3, np.int64)),
        (np.zeros((2, 2), np.int64), np.zeros(4, GAP_NOTE_DTYPE)[::2]),
    ],
)
def test_gap_notes_of_other_arrays_are_refused(runs: Any, notes: Any) -> None:
    with pytest.raises(SchemaError):
        match_notes(runs, notes)
