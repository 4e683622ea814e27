"""Gaps as a lazy sequence with reasons, and the count of attempts to fill them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import openbell as ob
from openbell.gaps import GapRuns
from openbell.processing import GapRetries
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS, NoteArray
from tests.facade_bars import WINDOW, at, moment
from tests.strategies import SECOND

GRID = WINDOW.grid("1m")


def runs_of(*runs: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array(runs, np.int64).reshape(-1, 2)


def notes_of(*notes: tuple[int, int, str]) -> NoteArray:
    rows = np.zeros(len(notes), GAP_NOTE_DTYPE)
    for row, (first, n, reason) in zip(rows, notes, strict=True):
        row["first_slot"], row["n_slots"], row["reason"] = first, n, GAP_REASONS.index(reason)
        row["fill_rate"], row["n_peers"] = 0.5, 7
    return rows


def test_gap_runs_without_notes_are_unknown_and_have_no_evidence() -> None:
    gaps = GapRuns("AAPL", "1m", GRID, runs_of((3, 2), (10, 1)))
    assert [(g.start_time, g.end_time, g.bar_count) for g in gaps] == [
        (moment(3), moment(4), 2),
        (moment(10), moment(10), 1),
    ]
    assert {g.reason for g in gaps} == {"unknown"}
    assert gaps[0].evidence is None
    assert (gaps.n_missing, gaps.n_explained) == (3, 0)


def test_gap_runs_take_reason_and_evidence_of_the_note_that_contains_them() -> None:
    notes = notes_of((3, 4, "outage"), (10, 1, "no_trade"), (20, 5, "truncated"))
    # The first was split by late bars, the last has grown, and one nobody looked at.
    runs = runs_of((3, 1), (5, 2), (10, 1), (15, 1), (20, 6))
    gaps = GapRuns("AAPL", "1m", GRID, runs, notes)
    assert [g.reason for g in gaps] == ["outage", "outage", "no_trade", "unknown", "unknown"]
    assert [gaps[k].reason for k in range(-5, 0)] == [g.reason for g in gaps]
    assert gaps[1].evidence == ob.GapEvidence(0.5, 0.0, n_peers=7)
    assert gaps[3].evidence is gaps[4].evidence is None
    assert (gaps.n_missing, gaps.n_explained) == (11, 1)
    assert gaps.unexplained == [gap for gap in gaps if gap.reason != "no_trade"]
    assert len(gaps.unexplained) == 4
    assert [g.bar_count for g in gaps[1:3]] == [2, 1]


def test_gap_runs_that_grew_keep_only_what_growing_makes_no_less_likely() -> None:
    for reason, kept in [
        ("outage", "outage"), ("late_start", "late_start"), ("no_trade", "unknown"),
        ("truncated", "unknown"),
    ]:  # fmt: skip
        gaps = GapRuns("AAPL", "1m", GRID, runs_of((0, 9)), notes_of((0, 4, reason)))
        assert gaps[0].reason == kept
    # One that begins where nobody had looked has none.
    gaps = GapRuns("AAPL", "1m", GRID, runs_of((4, 3)), notes_of((0, 4, "outage")))
    assert gaps[0].reason == "unknown"


def test_gap_runs_before_the_first_note_are_unknown() -> None:
    gaps = GapRuns("AAPL", "1m", GRID, runs_of((0, 2), (9, 1)), notes_of((5, 3, "outage")))
    assert [g.reason for g in gaps] == ["unknown", "unknown"]


def test_gap_runs_of_a_coarser_interval_are_looked_up_where_they_lie_in_the_finer() -> None:
    notes = notes_of((3, 9, "outage"), (30, 7, "no_trade"))
    runs, places = runs_of((1, 1), (6, 1)), runs_of((5, 5), (30, 5))
    gaps = GapRuns("AAPL", "5m", WINDOW.grid("5m"), runs, notes, places)
    assert [g.reason for g in gaps] == ["outage", "no_trade"]
    assert gaps[0].start_time == moment(5)


def test_gap_runs_refuse_an_index_beyond_their_end() -> None:
    gaps = GapRuns("AAPL", "1m", GRID, runs_of((3, 1)))
    with pytest.raises(IndexError):
        gaps[1]


def gap(minute: int, n: int = 1) -> ob.GapInfo:
    last = minute + n - 1
    return ob.GapInfo("AAPL", "1m", moment(minute), moment(last), at(last + 1), n, "outage")


def test_retries_are_due_at_once_then_after_the_interval_until_there_were_enough() -> None:
    retries = GapRetries(max_retries=2, retry_interval_s=60)
    (due,) = retries.due([gap(3)], at(10))
    assert due == gap(3)
    retries.note(due, at(10))
    assert retries.due([gap(3)], at(10, 59)) == []
    assert retries.due([gap(3)], at(11)) == [replace(gap(3), retry_count=1)]
    retries.note(due, at(11))
    assert retries.count(gap(3)) == 2
    assert retries.due([gap(3)], at(300)) == []


def test_retries_of_a_gap_that_was_filled_are_forgotten() -> None:
    retries = GapRetries(max_retries=1)
    for missing in (gap(3), gap(8)):
        retries.note(missing, at(10))
    # One is filled from behind and stays the same, the other is gone.
    assert retries.due([replace(gap(3), bar_count=1)], at(10) + SECOND) == []
    assert (len(retries), retries.count(gap(8))) == (1, 0)


@pytest.mark.parametrize("wrong", [{"max_retries": -1}, {"retry_interval_s": -0.5}])
def test_retries_refuse_numbers_below_zero(wrong: dict[str, float]) -> None:
    with pytest.raises(ob.OpenbellError, match=next(iter(wrong))):
        GapRetries(**wrong)  # type: ignore[arg-type]
