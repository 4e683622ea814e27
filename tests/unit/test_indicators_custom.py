"""A user's own indicators: what they are given, and what happens when they break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.engine import begin
from tests.facade_bars import WINDOW, at, minutes
from tests.indicator_bars import FIRST, SECOND, joined, make, past_sessions

STREAK = "tests.indicator_bars:Streak"
FUSSY = "tests.indicator_bars:Fussy"


def own(indicator: Any) -> Any:
    """The user's object inside."""
    return indicator._calculation._made


def test_custom_is_eager_and_others_are_not() -> None:
    _, record = begin(WINDOW, "1m")
    assert make(record, STREAK).is_eager
    assert not make(record, "RSI").is_eager
    assert not make(record, "VWAP").is_eager


def test_custom_counts_over_the_seam() -> None:
    _, record = begin(WINDOW, "1m")
    evening = minutes(0, 1)
    evening["timestamp"] -= WINDOW.open_ns - FIRST.open_ns
    indicator = make(record, STREAK, history=[(FIRST, evening)], least=2)
    assert (indicator.value, indicator.ready) == (None, False)
    record.append_block(minutes(5))
    assert (indicator.value, indicator.ready) == (2, True)
    record.append_block(minutes(6, 7))
    assert indicator.value == 4


def test_custom_is_given_each_bar_once_in_order(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m")
    history = past_sessions(rng, 400)
    indicator = make(record, STREAK, history=history)
    taken = 0
    for n in (0, 1, 1, 5, 60, 1, 33, 32):
        record.append_block(minutes(*range(taken, taken + n)))
        taken += n
        indicator.settle()
    expected = joined(history, minutes(*range(taken)))
    assert [ts for ts, _ in own(indicator).bars] == expected["timestamp"].tolist()
    assert [close for _, close in own(indicator).bars] == expected["close"].tolist()


def test_custom_seed_is_its_own_to_keep_and_read_only() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 1))
    indicator = make(record, STREAK)
    indicator.settle()
    (seed,) = own(indicator).seeds
    record.append(at(0), 50.0, 51.0, 49.0, 50.0, 1.0)
    assert seed["close"].tolist() == [10.0, 11.0]
    assert not seed.flags.writeable


def test_custom_is_reset_once_for_corrections() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 1, 2, 4))
    indicator = make(record, STREAK)
    assert indicator.value == 3
    record.append(at(1), 9.5, 10.0, 9.0, 9.5, 1.0)
    record.append_block(minutes(3))
    assert (indicator.value, indicator.revision) == (3, 1)
    assert len(own(indicator).seeds) == 2
    assert [ts for ts, _ in own(indicator).bars] == [at(k) for k in range(5)]


def test_custom_that_raises_is_noted_and_has_no_value_until_bars_change() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, FUSSY)
    record.append_block(minutes(0, 1))
    assert indicator.value == 1
    record.append_block(minutes(3))
    assert (indicator.value, indicator.ready) == (None, False)
    record.append_block(minutes(*range(4, 50)))
    assert indicator.value is None
    (told,) = record.errors
    assert (told.where, told.error, told.n) == ("indicator x", "ZeroDivisionError: thirteen", 1)
    record.append_block(minutes(2))
    assert indicator.value is None, "built anew, and the bar is still there"
    assert record.errors[0].n == 2
    record.append(at(3), 13.0, 14.0, 12.0, 13.5, 100.0)
    assert (indicator.value, indicator.revision) == (49, 2)


def test_custom_that_raises_does_not_touch_the_others() -> None:
    _, record = begin(WINDOW, "1m")
    make(record, FUSSY)
    other = make(record, "SMA", timeperiod=2)
    record.append_block(minutes(2, 3))
    assert record.indicators["x"].value == 12.5
    assert other.value == 12.5


def test_custom_that_raises_when_strict_is_heard_once() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, FUSSY, strict=True)
    indicator.settle()
    record.append_block(minutes(3))
    with pytest.raises(ZeroDivisionError, match="thirteen"):
        indicator.settle()
    assert indicator.value is None
    assert record.errors[0].n == 1


def test_custom_that_is_interrupted_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 1))
    indicator = make(record, STREAK)
    assert indicator.value == 1
    calls = []

    def interrupted(bar: object) -> None:
        calls.append(bar)
        raise KeyboardInterrupt

    monkeypatch.setattr(indicator._calculation, "update", interrupted)
    record.append_block(minutes(2))
    with pytest.raises(KeyboardInterrupt):
        indicator.settle()
    monkeypatch.undo()
    assert (indicator.value, indicator.revision, len(calls)) == (2, 0, 1)
    assert record.errors == []


def test_custom_may_read_itself_while_it_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, STREAK)
    record.append_block(minutes(0, 1))
    assert indicator.value == 1
    seen = []
    update = indicator._calculation.update

    def curious(bar: Any) -> None:
        seen.append(record.indicators["x"].value)
        update(bar)

    monkeypatch.setattr(indicator._calculation, "update", curious)
    record.append_block(minutes(2))
    assert indicator.value == 2
    assert seen == [1]


def test_custom_without_history_has_what_the_session_has() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, STREAK, history=[(SECOND, minutes()[:0])])
    assert (indicator.value, indicator.timestamp) == (None, None)
    assert len(own(indicator).seeds[0]) == 0


def test_custom_is_reset_without_history_where_bars_are_gone(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m", capacity=20)
    indicator = make(record, STREAK, history=past_sessions(rng))
    indicator.settle()
    for k in range(100):
        record.append_block(minutes(k))
    indicator.settle()
    held = record.bars["1m"].data
    assert record.bars["1m"].n_evicted > 0
    assert [ts for ts, _ in own(indicator).bars] == held["timestamp"].tolist()
