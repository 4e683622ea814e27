"""Why a gap is there: each kind of evidence, in cases made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import kernels
from openbell.clock.window import Grid
from openbell.errors import SchemaError
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS, Int64Array
from tests.bursty import Presence, make_grid, runs_of, silence

DAY = 23_400
RARE = 0.012
Notes = npt.NDArray[np.void]


def steady(fill: float, n_slots: int = DAY, seed: int = 1) -> Presence:
    return np.random.default_rng(seed).random(n_slots) < fill


def explain(*days: Presence, grid: Grid | None = None, **known: Any) -> list[Notes]:
    grid = grid or make_grid()
    return kernels.explain_gaps([runs_of(x) for x in days], [len(x) for x in days], grid, **known)


def note_at(notes: Notes, slot: int) -> Any:
    (found,) = notes[
        (notes["first_slot"] <= slot) & (slot < notes["first_slot"] + notes["n_slots"])
    ]
    return found


def reason_at(notes: Notes, slot: int) -> str:
    return GAP_REASONS[note_at(notes, slot)["reason"]]


def named(notes: Notes) -> list[tuple[int, str]]:
    """First slot and reason of the gaps that are not the symbol's own silence."""
    return [
        (int(note["first_slot"]), GAP_REASONS[note["reason"]])
        for note in notes
        if GAP_REASONS[note["reason"]] != "no_trade"
    ]


def test_reasons_silence_far_longer_than_usual_is_an_outage() -> None:
    day = steady(0.3)
    silence(day, 9_000, 80)
    (notes,) = explain(day)
    first = int(note_at(notes, 9_040)["first_slot"])
    assert named(notes) == [(first, "outage")]


def test_reasons_evidence_is_what_a_steady_symbol_makes_likely() -> None:
    day = steady(0.3)
    day[9_000:9_018] = False
    day[[8_999, 9_018]] = True
    (notes,) = explain(day)
    note = note_at(notes, 9_000)
    p = float(day.mean())
    assert note["fill_rate"] == pytest.approx(p, rel=0.01)
    assert note["expected_per_day"] == pytest.approx(DAY * p * (1 - p) ** 18, rel=0.1)
    assert (note["n_peers"], note["n_silent"], note["n_coarser"]) == (0, 0, 0)
    assert not note["disconnected"]
    assert GAP_REASONS[note["reason"]] == "no_trade"


def test_reasons_silence_at_the_ends_is_late_start_and_truncated() -> None:
    day = steady(0.3)
    silence(day, 0, 120)
    silence(day, DAY - 120, 120)
    (notes,) = explain(day)
    assert [reason for _, reason in named(notes)] == ["late_start", "truncated"]


def test_reasons_silence_that_still_goes_on_is_an_outage() -> None:
    day = steady(0.3)[:12_000]
    silence(day, 11_880, 120)
    (notes,) = explain(day)
    assert [reason for _, reason in named(notes)] == ["outage"]
    assert int(notes["first_slot"][-1] + notes["n_slots"][-1]) == 12_000


def test_reasons_short_silences_at_the_ends_are_no_trade() -> None:
    day = steady(0.3)
    silence(day, 0, 5)
    silence(day, DAY - 5, 5)
    (notes,) = explain(day)
    assert named(notes) == []


def test_reasons_file_that_ends_early_is_truncated() -> None:
    minutes = steady(0.97, 390)
    silence(minutes, 150, 240)
    (notes,) = explain(minutes, grid=make_grid(390, "1m"))
    assert reason_at(notes, 389) == "truncated"
    assert named(notes) == [(int(notes["first_slot"][-1]), "truncated")]


def test_reasons_all_silent_at_once_is_an_outage_of_each() -> None:
    days = [steady(0.2, seed=k) for k in range(6)]
    for day in days:
        silence(day, 12_000, 25)
    for notes in explain(*days):
        note = note_at(notes, 12_010)
        assert named(notes) == [(int(note["first_slot"]), "outage")]
        assert note["expected_per_day"] > RARE
        assert (note["n_peers"], note["n_silent"]) == (5, 5)


def test_reasons_two_of_six_silent_at_once_are_no_trade() -> None:
    days = [steady(0.2, seed=k) for k in range(6)]
    for day in days[:2]:
        silence(day, 12_000, 25)
    found = explain(*days)
    assert [named(notes) for notes in found] == [[]] * 6
    note = note_at(found[0], 12_010)
    assert note["n_peers"] == 5
    assert note["n_silent"] < 5


def test_reasons_all_silent_at_the_ends_is_late_start_and_truncated() -> None:
    days = [steady(0.2, seed=k) for k in range(6)]
    for day in days:
        silence(day, 0, 25)
        silence(day, DAY - 25, 25)
    for notes in explain(*days):
        assert [reason for _, reason in named(notes)] == ["late_start", "truncated"]


def test_reasons_hush_within_a_leading_gap_is_an_outage() -> None:
    days = [steady(0.2, seed=k) for k in range(6)]
    silence(days[0], 0, 40)
    for day in days:
        silence(day, 10, 25)
    for notes in explain(*days):
        assert reason_at(notes, 20) == "outage"


def test_reasons_one_that_trades_on_does_not_hide_the_outage_of_the_rest() -> None:
    days = [steady(0.3, seed=k) for k in range(20)]
    for day in days[1:]:
        silence(day, 12_000, 30)
    found = explain(*days)
    assert named(found[0]) == []
    for notes in found[1:]:
        note = note_at(notes, 12_010)
        assert named(notes) == [(int(note["first_slot"]), "outage")]
        assert (note["n_peers"], note["n_silent"]) == (19, 18)


def test_reasons_outage_of_the_only_busy_symbol_is_its_own() -> None:
    days = [steady(0.95)] + [steady(0.02, seed=k) for k in range(2, 7)]
    silence(days[0], 12_000, 60)
    found = explain(*days)
    assert [reason for _, reason in named(found[0])] == ["outage"]
    assert [named(notes) for notes in found[1:]] == [[]] * 5


def test_reasons_symbol_that_is_long_out_by_itself_says_nothing_about_others() -> None:
    days = [steady(0.5), steady(0.1, seed=2)]
    silence(days[0], 9_000, 3_600)
    found = explain(*days)
    assert [reason for _, reason in named(found[0])] == ["outage"]
    assert named(found[1]) == []


def test_reasons_symbols_that_come_late_or_leave_are_nobodys_outage() -> None:
    days = [steady(0.3, seed=k) for k in range(4)]
    silence(days[0], 0, 8_000)
    silence(days[1], 15_000, DAY - 15_000)
    found = explain(*days)
    assert [reason for _, reason in named(found[0])] == ["late_start"]
    assert [reason for _, reason in named(found[1])] == ["truncated"]
    assert [named(notes) for notes in found[2:]] == [[], []]


def test_reasons_several_faults_do_not_hide_one_another() -> None:
    day = steady(0.3)
    starts = [9_000, 9_300, 9_600, 9_900, 10_200]
    for start in starts:
        silence(day, start, 80)
    (notes,) = explain(day)
    assert [reason_at(notes, start + 40) for start in starts] == ["outage"] * 5
    assert len(named(notes)) == 5


def test_reasons_long_silences_of_its_own_raise_the_threshold() -> None:
    even = steady(0.3)
    blocks = np.random.default_rng(5).random(DAY // 30) < 0.25
    uneven = even & ~np.repeat(blocks, 30)
    for day in (even, uneven):
        silence(day, 12_000, 90)
    (of_even,), (of_uneven,) = explain(even), explain(uneven)
    assert [reason for _, reason in named(of_even)] == ["outage"]
    assert named(of_uneven) == []


def test_reasons_quiet_hours_are_judged_by_their_own_rate() -> None:
    quiet, busy = steady(0.05, seed=3), steady(0.6, seed=4)
    day = np.where((np.arange(DAY) > 8_000) & (np.arange(DAY) < 16_000), quiet, busy)
    (notes,) = explain(day)
    assert named(notes) == []
    silence(day, 4_000, 40)
    silence(day, 12_000, 40)
    (notes,) = explain(day)
    assert reason_at(notes, 4_020) == "outage"
    assert reason_at(notes, 12_020) == "no_trade"


def test_reasons_coarser_bar_in_the_hole_is_an_outage() -> None:
    day = steady(0.3)
    silence(day, 600, 10)
    silence(day, 1_200, 10)
    (notes,) = explain(day, coarser=[np.array([(1_200, 10), (602, 4), (606, 4)])])
    assert reason_at(notes, 605) == reason_at(notes, 1_205) == "outage"
    assert (note_at(notes, 605)["n_coarser"], note_at(notes, 1_205)["n_coarser"]) == (2, 1)
    assert len(named(notes)) == 2


def test_reasons_known_disconnect_makes_each_gap_in_it_an_outage() -> None:
    day = steady(0.3)
    (notes,) = explain(day, disconnects=[np.array([(5_000, 100)])])
    runs = runs_of(day)
    inside = (runs[:, 0] < 5_100) & (runs.sum(1) > 5_000)
    assert inside.sum() > 10
    assert (notes["disconnected"] == inside).all()
    assert ((notes["reason"] == GAP_REASONS.index("outage")) == inside).all()


def test_reasons_disconnect_keeps_a_late_start_and_a_truncation() -> None:
    day = steady(0.3)
    silence(day, 0, 200)
    silence(day, DAY - 200, 200)
    (notes,) = explain(day, disconnects=[np.array([(100, 10), (DAY - 20, 20)])])
    assert [reason for _, reason in named(notes)] == ["late_start", "truncated"]
    assert notes["disconnected"][[0, -1]].all()


def test_reasons_too_few_bars_are_unknown_and_nobodys_peers() -> None:
    few = np.zeros(DAY, dtype=bool)
    few[:19] = True
    found = explain(np.zeros(DAY, dtype=bool), few, steady(0.3))
    assert [named(notes) for notes in found] == [[(0, "unknown")], [(19, "unknown")], []]
    assert set(found[2]["n_peers"]) == {0}
    assert found[0]["n_peers"][0] == 1
    assert found[0]["fill_rate"][0] == 0


def test_reasons_other_evidence_tells_where_bars_are_too_few() -> None:
    none = np.zeros(DAY, dtype=bool)
    (notes,) = explain(none, coarser=[np.array([(60, 60)])])
    assert named(notes) == [(0, "outage")]
    (notes,) = explain(none, disconnects=[np.array([(60, 60)])])
    assert named(notes) == [(0, "outage")]


def test_reasons_minutes_of_a_liquid_name() -> None:
    grid = make_grid(390, "1m")
    day = np.ones(390, dtype=bool)
    silence(day, 200, 1)
    (notes,) = explain(day, grid=grid)
    assert named(notes) == [(200, "unknown")]  # nothing to compare it with
    silence(day, 200, 2)
    (notes,) = explain(day, grid=grid)
    assert named(notes) == [(200, "outage")]


def test_reasons_one_row_per_run_and_inputs_unchanged() -> None:
    days = [steady(0.5), np.ones(DAY, dtype=bool), steady(0.1, seed=2)]
    runs = [runs_of(day) for day in days]
    before = [of.tobytes() for of in runs]
    found = kernels.explain_gaps(runs, [DAY] * 3, make_grid())
    for of, notes in zip(runs, found, strict=True):
        assert notes.dtype == GAP_NOTE_DTYPE
        assert notes["first_slot"].tolist() == of[:, 0].tolist()
        assert notes["n_slots"].tolist() == of[:, 1].tolist()
    assert [of.tobytes() for of in runs] == before
    assert kernels.explain_gaps([], [], make_grid()) == []


def test_reasons_any_memory_gives_the_same() -> None:
    runs = runs_of(steady(0.4))
    frozen = runs.copy()
    frozen.flags.writeable = False
    strided = np.repeat(runs, 2, axis=0)[::2]
    expected, *others = kernels.explain_gaps(
        [runs, frozen, strided, np.asfortranarray(runs)], [DAY] * 4, make_grid()
    )
    for notes in others:
        assert notes.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([np.zeros((1, 3), np.int64)], [10]),
        ([np.zeros((1, 2), np.int32)], [10]),
        ([[(0, 1)]], [10]),
        ([np.array([(0, 1)])], [10, 10]),
        ([np.array([(0, 1)])], [DAY + 1]),
        ([np.array([(0, 1)])], [-1]),
        ([np.array([(5, 3), (7, 1)])], [10]),
        ([np.array([(5, 0)])], [10]),
        ([np.array([(-1, 3)])], [10]),
        ([np.array([(8, 3)])], [10]),
    ],
)
def test_reasons_runs_out_of_place_are_refused(runs: Any, expected: list[int]) -> None:
    with pytest.raises(SchemaError):
        kernels.explain_gaps(runs, expected, make_grid())


def test_reasons_evidence_of_another_number_of_symbols_is_refused() -> None:
    runs = [np.array([(0, 1)])]
    with pytest.raises(SchemaError, match="coarser"):
        kernels.explain_gaps(runs, [10], make_grid(), coarser=[None, None])


@st.composite
def some_days(draw: st.DrawFn) -> list[Presence]:
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    days = []
    for _ in range(n):
        fill = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 0.999, 1.0]))
        day = rng.random(draw(st.sampled_from([0, 1, 30, 390, 390]))) < fill
        at = draw(st.integers(0, 390))
        day[at : at + draw(st.integers(0, 200))] = False
        days.append(day)
    return days


@given(some_days(), st.randoms(use_true_random=False))
def test_reasons_hold_together_and_ignore_the_order_of_symbols(
    days: list[Presence], random: Any
) -> None:
    grid = make_grid(390, "1m")
    found = explain(*days, grid=grid)
    for day, notes in zip(days, found, strict=True):
        reasons = [GAP_REASONS[code] for code in notes["reason"]]
        ends = notes["first_slot"] + notes["n_slots"]
        assert all(np.isfinite(notes[name]).all() for name in ("fill_rate", "expected_per_day"))
        assert (notes["n_silent"] <= notes["n_peers"]).all()
        assert (notes["n_silent"] >= 0).all()
        assert (notes["n_peers"] < len(days)).all()
        for k, reason in enumerate(reasons):
            assert reason != "late_start" or notes["first_slot"][k] == 0
            assert reason != "truncated" or ends[k] == 390
        if day.sum() < 20:
            assert set(reasons) <= {"unknown"}
    order = list(range(len(days)))
    random.shuffle(order)
    again = explain(*(days[k] for k in order), grid=grid)
    for k, notes in zip(order, again, strict=True):
        for name in GAP_NOTE_DTYPE.names or ():
            assert notes[name].tolist() == pytest.approx(found[k][name].tolist()), name


def test_reasons_runs_are_as_the_series_gives_them() -> None:
    day = np.array([0, 0, 1, 0, 1, 1, 0], dtype=bool)
    expected: Int64Array = np.array([(0, 2), (3, 1), (6, 1)])
    assert runs_of(day).tolist() == expected.tolist()
