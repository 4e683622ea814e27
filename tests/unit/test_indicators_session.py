"""VWAP, opening range and relative volume, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from openbell.clock.window import SessionWindow
from openbell.errors import SessionStateError
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, BarArray
from tests.engine import begin
from tests.facade_bars import CLOSE, OPEN, WINDOW, at, minutes, moment
from tests.indicator_bars import FIRST, SECOND, make, past_sessions, vwap
from tests.strategies import make_bars, window_of

HALF_DAY = window_of(("2025-07-01T13:30", "2025-07-01T17:00"), calendar="XNYS", early=True)
LUNCH = window_of(
    ("2025-07-02T01:30", "2025-07-02T04:00"), ("2025-07-02T05:00", "2025-07-02T08:00"),
    calendar="XHKG",
)  # fmt: skip


def volumes(window: SessionWindow, by_minute: dict[int, float]) -> BarArray:
    rows = [
        (window.open_ns + k * NS_PER_MINUTE, 10.0, 11.0, 9.0, 10.0, volume)
        for k, volume in by_minute.items()
    ]
    return np.array(rows, dtype=BAR_DTYPE)


def test_vwap_weighs_typical_prices_by_volume() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "VWAP")
    assert indicator.value is None
    record.append(at(0), 10.0, 11.0, 9.0, 10.0, 0.0)
    assert (indicator.value, indicator.ready) == (None, False), "nothing was traded"
    record.append(at(1), 10.0, 11.0, 9.0, 10.0, 100.0)
    assert indicator.value == 10.0
    record.append(at(2), 11.0, 14.0, 10.0, 12.0, 300.0)
    # (100 * 10 + 300 * 12) / 400
    assert (indicator.value, indicator.ready) == (11.5, True)
    assert indicator.timestamp == moment(3)


def test_vwap_takes_a_correction_in() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "VWAP")
    record.append(at(1), 10.0, 11.0, 9.0, 10.0, 100.0)
    record.append(at(2), 11.0, 14.0, 10.0, 12.0, 300.0)
    assert indicator.value == 11.5
    record.append(at(1), 20.0, 21.0, 19.0, 20.0, 100.0)
    assert (indicator.value, indicator.revision) == (14.0, 1)


def test_vwap_knows_nothing_of_the_evening_before(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "VWAP", history=past_sessions(rng))
    assert (indicator.value, indicator.timestamp) == (None, None)
    record.append_block(minutes(0))
    assert indicator.value == 10.0


def test_vwap_by_steps_and_at_once_agree_to_the_bit(rng: np.random.Generator) -> None:
    bars = make_bars(WINDOW, "1m", 0.9, rng, whole_volumes=False)
    _, record = begin(WINDOW, "1m")
    stepped = make(record, "VWAP")
    at_once = make(record, "VWAP")
    for k, row in enumerate(bars.tolist()):
        record.append(*row)
        assert stepped.value == vwap(bars[: k + 1])
    assert at_once.value == stepped.value


def test_vwap_that_would_lack_bars_says_so() -> None:
    _, record = begin(WINDOW, "1m", capacity=20)
    seen, unseen = make(record, "VWAP"), make(record, "VWAP", strict=True)
    for k in range(100):
        record.append_block(minutes(k))
        assert seen.value == vwap(minutes(*range(k + 1)))
    with pytest.raises(SessionStateError, match="letting go of its first"):
        _ = unseen.value
    record.append(at(99), 1.0, 2.0, 1.0, 1.0, 1.0)
    assert (seen.value, seen.ready) == (None, False)
    assert {(told.where, "capacity" in told.error) for told in record.errors} == {
        ("indicator x", True)
    }


def test_opening_range_is_that_of_the_bars_that_start_in_it() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "OPENING_RANGE", minutes=3)
    seen = []
    for minute in (0, 1, 2, 3, 4):
        record.append_block(minutes(minute))
        seen.append(indicator.value)
    # Minute k is within 1 of 10 + k.
    assert seen == [None, None, (13.0, 9.0), (13.0, 9.0), (13.0, 9.0)]
    assert indicator.timestamp == moment(5)


def test_opening_range_is_half_an_hour_long_by_default() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "OPENING_RANGE")
    record.append_block(minutes(*range(29)))
    assert indicator.value is None
    record.append_block(minutes(29))
    assert indicator.value == (40.0, 9.0)


def test_opening_range_is_complete_when_the_clock_says_so() -> None:
    root, record = begin(WINDOW, "1m")
    indicator = make(record, "OPENING_RANGE", minutes=3)
    record.append_block(minutes(1))
    root.advance(at(2, 59))
    assert not indicator.ready
    root.advance(at(3))
    assert indicator.value == (12.0, 10.0)
    record.append_block(minutes(2))
    assert (indicator.value, indicator.revision) == ((13.0, 10.0), 0), "late, but at the end"
    record.append_block(minutes(0))
    assert (indicator.value, indicator.revision) == ((13.0, 9.0), 1)


def test_opening_range_waits_for_a_bar_that_starts_in_it_and_ends_behind() -> None:
    root, record = begin(WINDOW, "1m", ["7m"])
    indicator = make(record, "OPENING_RANGE", "7m", minutes=10)
    record.append_block(minutes(*range(13)))
    assert indicator.value is None
    record.append_block(minutes(13))
    assert indicator.value == (24.0, 9.0)


def test_opening_range_without_bars_has_no_value() -> None:
    root, record = begin(WINDOW, "1m")
    indicator = make(record, "OPENING_RANGE")
    root.advance(CLOSE)
    assert (indicator.value, indicator.ready) == (None, False)
    record.append_block(minutes(200))
    assert indicator.value is None, "no bar of the first half hour"


def test_relative_volume_compares_with_the_same_time_of_past_sessions() -> None:
    _, record = begin(WINDOW, "1m")
    history = [
        (FIRST, volumes(FIRST, {0: 100.0, 2: 300.0, 389: 1e6})),
        (SECOND, volumes(SECOND, {1: 200.0, 2: 200.0, 388: 1e6})),
    ]
    indicator = make(record, "RELATIVE_VOLUME", history=history)
    assert (indicator.value, indicator.timestamp) == (None, None)
    record.append_block(minutes(0, volume=100.0))
    # On average 50 after a minute, 150 after two, 400 after three.
    assert indicator.value == 2.0
    record.append_block(minutes(1, volume=50.0))
    assert indicator.value == 1.0
    record.append_block(minutes(2, volume=450.0))
    assert indicator.value == 1.5
    assert indicator.timestamp == moment(3)


def test_relative_volume_falls_while_nothing_is_traded() -> None:
    root, record = begin(WINDOW, "1m")
    past = volumes(SECOND, {0: 100.0, 1: 100.0, 3: 200.0})
    indicator = make(record, "RELATIVE_VOLUME", history=[(SECOND, past)])
    record.append_block(minutes(0, volume=100.0))
    assert indicator.value == 1.0
    root.advance(at(2))
    assert indicator.value == 0.5
    root.advance(at(4))
    assert (indicator.value, indicator.revision) == (0.25, 0)


def test_relative_volume_counts_a_half_day_that_was_over_with_its_total() -> None:
    root, record = begin(WINDOW, "1m")
    history = [
        (FIRST, volumes(FIRST, {0: 100.0, 300: 200.0})),
        (HALF_DAY, volumes(HALF_DAY, {0: 100.0, 209: 400.0})),
    ]
    indicator = make(record, "RELATIVE_VOLUME", history=history)
    record.append_block(minutes(0, volume=100.0))
    root.advance(at(250))
    # (100 + 500) / 2
    assert indicator.value == pytest.approx(100 / 300)
    root.advance(CLOSE)
    assert indicator.value == 100 / 400


def test_relative_volume_on_a_day_longer_than_the_past_ones_keeps_their_totals() -> None:
    root, record = begin(WINDOW, "1m")
    past = volumes(HALF_DAY, {0: 100.0, 209: 300.0})
    indicator = make(record, "RELATIVE_VOLUME", history=[(HALF_DAY, past)])
    record.append_block(minutes(0, volume=100.0))
    root.advance(CLOSE)
    assert indicator.value == 0.25


def test_relative_volume_takes_the_newest_days_alone() -> None:
    _, record = begin(WINDOW, "1m")
    history = [(FIRST, volumes(FIRST, {0: 900.0})), (SECOND, volumes(SECOND, {0: 100.0}))]
    record.append_block(minutes(0, volume=100.0))
    assert make(record, "RELATIVE_VOLUME", history=history, days=1).value == 1.0
    assert make(record, "RELATIVE_VOLUME", history=history, days=2).value == 0.2


def test_relative_volume_counts_a_past_session_without_trades() -> None:
    _, record = begin(WINDOW, "1m")
    history = [(FIRST, volumes(FIRST, {})), (SECOND, volumes(SECOND, {0: 100.0}))]
    record.append_block(minutes(0, volume=100.0))
    assert make(record, "RELATIVE_VOLUME", history=history).value == 2.0


@pytest.mark.parametrize("history", [(), [(SECOND, volumes(SECOND, {100: 1.0}))]])
def test_relative_volume_without_anything_to_compare_with_has_no_value(history: object) -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "RELATIVE_VOLUME", history=history)
    record.append_block(minutes(0))
    assert (indicator.value, indicator.ready) == (None, False)


def test_relative_volume_skips_past_bars_outside_their_session() -> None:
    root, record = begin(WINDOW, "1m")
    past = volumes(SECOND, {-30: 900.0, 0: 100.0, 500: 900.0})
    indicator = make(record, "RELATIVE_VOLUME", history=[(SECOND, past)])
    record.append_block(minutes(0, volume=100.0))
    assert indicator.value == 1.0
    root.advance(CLOSE)
    assert indicator.value == 1.0


def test_relative_volume_counts_slots_across_a_lunch_break() -> None:
    root, record = begin(LUNCH, "1m", ["30m"])
    earlier = window_of(
        ("2025-07-01T01:30", "2025-07-01T04:00"), ("2025-07-01T05:00", "2025-07-01T08:00"),
        calendar="XHKG",
    )  # fmt: skip
    # Half an hour before noon, and the first one after it: slots 4 and 5.
    past = np.array(
        [(earlier.open_ns + k * 30 * NS_PER_MINUTE, 1.0, 1.0, 1.0, 1.0, 100.0) for k in (4, 7)],
        dtype=BAR_DTYPE,
    )
    indicator = make(record, "RELATIVE_VOLUME", "30m", history=[(earlier, past)])
    record.append(LUNCH.open_ns, 1.0, 1.0, 1.0, 1.0, 100.0)
    root.advance(LUNCH.segments[0][1])
    assert indicator.value == 1.0
    root.advance(LUNCH.segments[1][0] + 30 * NS_PER_MINUTE)
    assert indicator.value == 0.5


def test_session_indicators_begin_at_the_open() -> None:
    assert WINDOW.open_ns == OPEN
    _, record = begin(WINDOW, "1m", ["1d"])
    whole = make(record, "VWAP", "1d")
    record.append_block(minutes(*range(389)))
    assert whole.value is None
    record.append_block(minutes(389))
    # One bar from 9 to 400 that closes at 399.
    assert whole.value == (400.0 + 9.0 + 399.0) / 3
