"""TimeManager: time, trading days, hours."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from openbell.clock import TimeManager
from openbell.clock.live import AcceleratedClock
from openbell.errors import CalendarError, SessionStateError, TimeError
from openbell.schema import NS_PER_DAY

NOON = datetime(2025, 7, 2, 16, tzinfo=UTC)
NOON_NS = 1_751_472_000 * 10**9


def new_york(text: str, offset: int = -4) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=timezone(timedelta(hours=offset)))
    return int(moment.timestamp()) * 10**9


def test_simulated_clock_unset_refuses_to_tell_the_time() -> None:
    clock = TimeManager()
    with pytest.raises(SessionStateError, match="set_time"):
        clock.get_current_time()
    with pytest.raises(SessionStateError):
        _ = clock.now_ns


def test_simulated_clock_stands_where_it_is_set() -> None:
    clock = TimeManager(start=NOON)
    assert clock.is_simulated
    assert clock.now_ns == NOON_NS
    assert clock.get_current_time() == NOON
    clock.set_time(NOON_NS + 1)
    assert clock.now_ns == NOON_NS + 1
    clock.set_time("2025-07-02T12:00:01-04:00")
    assert clock.now_ns == NOON_NS + 10**9
    assert clock.get_current_time().tzinfo is UTC


def test_simulated_clock_set_backwards_refuses_and_stays() -> None:
    clock = TimeManager(start=NOON)
    clock.set_time(NOON)
    with pytest.raises(TimeError, match="backwards"):
        clock.set_time(NOON_NS - 1)
    assert clock.now_ns == NOON_NS


def test_simulated_clock_set_to_a_naive_time_refuses() -> None:
    with pytest.raises(TimeError, match="naive"):
        TimeManager(start=datetime(2025, 7, 2, 12))


def test_live_clock_is_the_systems_and_cannot_be_set() -> None:
    clock = TimeManager(mode="live")
    assert not clock.is_simulated
    before = time.time_ns()
    now_ns = clock.now_ns
    assert before <= now_ns <= time.time_ns()
    assert abs(clock.get_current_time() - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(SessionStateError, match="live"):
        clock.set_time(NOON)
    with pytest.raises(SessionStateError, match="live"):
        TimeManager(mode="live", start=NOON)


def test_alias_gives_the_calendar_of_its_own_name() -> None:
    clock = TimeManager("NYSE")
    assert (clock.calendar, clock.timezone) == ("XNYS", "America/New_York")
    window = clock.session_window(date(2025, 7, 2))
    assert window == TimeManager("XNYS").session_window(date(2025, 7, 2))


@pytest.mark.parametrize(
    ("name", "close"), [("XNYZ", "XNYS"), ("NASDAK", "NASDAQ"), ("xlon", "XLON")]
)
def test_unknown_calendar_names_close_matches(name: str, close: str) -> None:
    with pytest.raises(CalendarError, match=close) as caught:
        TimeManager(name)
    assert caught.value.calendar == name


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "no such thing"])
def test_unknown_calendar_without_match_is_refused(name: str) -> None:
    with pytest.raises(CalendarError, match="not known"):
        TimeManager(name)


def test_trading_days_are_inclusive_and_ascending() -> None:
    clock = TimeManager("XNYS")
    week = [date(2025, 7, 1), date(2025, 7, 2), date(2025, 7, 3), date(2025, 7, 7)]
    assert clock.trading_days(date(2025, 7, 1), date(2025, 7, 7)) == week
    assert clock.trading_days(date(2025, 7, 4), date(2025, 7, 6)) == []
    assert clock.trading_days(date(2025, 7, 3), date(2025, 7, 3)) == [date(2025, 7, 3)]
    with pytest.raises(TimeError, match="before the start"):
        clock.trading_days(date(2025, 7, 7), date(2025, 7, 1))


def test_trailing_days_end_before_the_day() -> None:
    clock = TimeManager("XNYS")
    assert clock.trailing_days(date(2025, 7, 7), 2) == [date(2025, 7, 2), date(2025, 7, 3)]
    assert clock.trailing_days(date(2025, 7, 5), 1) == [date(2025, 7, 3)]
    assert clock.trailing_days(date(2025, 7, 7), 0) == []


def test_nth_trading_day_counts_sessions() -> None:
    clock = TimeManager("XNYS")
    assert clock.next_trading_day(date(2025, 7, 2), 2) == date(2025, 7, 7)
    assert clock.next_trading_day(date(2025, 7, 4), 1) == date(2025, 7, 7)
    assert clock.previous_trading_day(date(2025, 7, 7), 3) == date(2025, 7, 1)


@pytest.mark.parametrize("n", [0, -1, 1.0, True])
def test_nth_trading_day_of_no_count_is_refused(n: object) -> None:
    with pytest.raises(TimeError, match="at least 1"):
        TimeManager("XNYS").next_trading_day(date(2025, 7, 2), n)  # type: ignore[arg-type]


@pytest.mark.parametrize("day", [NOON, "2025-07-02", 20250702, None])
def test_trading_day_of_something_else_than_a_date_is_refused(day: object) -> None:
    clock = TimeManager("XNYS")
    with pytest.raises(TimeError, match=r"datetime\.date"):
        clock.is_trading_day(day)  # type: ignore[arg-type]
    with pytest.raises(TimeError, match=r"datetime\.date"):
        clock.session_window(day)  # type: ignore[arg-type]


def test_dates_beyond_the_table_widen_it() -> None:
    clock = TimeManager("XNYS")
    # New Year's Day 1985 was a Tuesday, 2029's is a Monday.
    assert clock.session_window(date(1985, 1, 2)).open == datetime(1985, 1, 2, 14, 30, tzinfo=UTC)
    assert clock.next_trading_day(date(2028, 12, 29)) == date(2029, 1, 2)
    assert clock.trailing_days(date(1980, 1, 3), 2) == [date(1979, 12, 31), date(1980, 1, 2)]


@pytest.mark.parametrize(
    ("calendar", "day", "said"),
    [
        ("XBOM", date(1996, 12, 31), "1997-01-01"),
        ("XBOM", date(2190, 1, 1), "known from"),
        ("XNYS", date(1600, 1, 3), "years 1700 to 2199"),
    ],
)
def test_dates_out_of_bounds_are_refused(calendar: str, day: date, said: str) -> None:
    clock = TimeManager(calendar)
    with pytest.raises(CalendarError, match=said):
        clock.is_trading_day(day)
    with pytest.raises(CalendarError, match=said):
        clock.session_window(day)


def test_previous_day_before_the_first_known_is_refused() -> None:
    with pytest.raises(CalendarError, match="out of bounds"):
        TimeManager("XBOM").previous_trading_day(date(1997, 1, 1))


def test_session_of_an_instant_in_regular_hours() -> None:
    clock = TimeManager("XNYS")
    day = date(2025, 7, 2)
    assert clock.session_of(new_york("2025-07-02T09:30:00")) == day
    assert clock.session_of(new_york("2025-07-02T16:00:00") - 1) == day
    assert clock.session_of(new_york("2025-07-02T16:00:00")) is None
    assert clock.session_of(new_york("2025-07-02T09:30:00") - 1) is None
    assert clock.session_of(new_york("2025-07-03T13:00:00")) is None
    assert clock.session_of(new_york("2025-07-04T12:00:00")) is None


def test_session_of_an_instant_at_lunch_is_the_days() -> None:
    clock = TimeManager("XHKG")
    lunch = int(datetime(2024, 12, 23, 4, 30, tzinfo=UTC).timestamp()) * 10**9
    assert clock.session_of(lunch) == date(2024, 12, 23)
    assert not clock.session_window(date(2024, 12, 23)).contains(lunch)


def test_session_of_an_instant_in_extended_hours() -> None:
    clock = TimeManager("XNYS", hours="extended")
    assert clock.session_of(new_york("2025-07-02T04:00:00")) == date(2025, 7, 2)
    assert clock.session_of(new_york("2025-07-02T19:59:59")) == date(2025, 7, 2)
    assert clock.session_of(new_york("2025-07-02T20:00:00")) is None
    assert clock.session_of(new_york("2025-07-03T17:00:00")) is None
    assert clock.session_of(new_york("2025-07-04T12:00:00")) is None


def test_custom_hours_follow_the_wall_clock() -> None:
    clock = TimeManager("XNYS", hours=[["08:00", "12:00"], ["12:30", "24:00"]])
    summer = clock.session_window(date(2025, 7, 2))
    assert summer.segments == (
        (new_york("2025-07-02T08:00:00"), new_york("2025-07-02T12:00:00")),
        (new_york("2025-07-02T12:30:00"), new_york("2025-07-03T00:00:00")),
    )
    winter = clock.session_window(date(2025, 3, 7))
    assert winter.open_ns == new_york("2025-03-07T08:00:00", -5)
    assert not summer.is_early_close


@pytest.mark.parametrize(
    ("hours", "segments"),
    [
        ([["09:30", "16:00"]], [("09:30", "13:00")]),
        ([["09:30", "12:00"]], [("09:30", "12:00")]),
        ([["04:00", "09:30"], ["16:00", "20:00"]], [("04:00", "09:30"), ("13:00", "17:00")]),
        ([["10:00", "11:00"], ["14:00", "15:00"]], [("10:00", "11:00")]),
    ],
)
def test_custom_hours_on_an_early_close_move_with_it(
    hours: list[list[str]], segments: list[tuple[str, str]]
) -> None:
    window = TimeManager("XNYS", hours=hours).session_window(date(2025, 7, 3))
    assert window.is_early_close
    assert window.segments == tuple(
        (new_york(f"2025-07-03T{a}:00"), new_york(f"2025-07-03T{b}:00")) for a, b in segments
    )


def test_custom_hours_gone_on_an_early_close_are_refused() -> None:
    clock = TimeManager("XNYS", hours=[["14:00", "16:00"]])
    assert clock.session_window(date(2025, 7, 2)).open_ns == new_york("2025-07-02T14:00:00")
    with pytest.raises(CalendarError, match="closes early"):
        clock.session_window(date(2025, 7, 3))


@pytest.mark.parametrize(
    "hours",
    [
        "always", [], [["09:30"]], [["09:30", "09:30"]], [["16:00", "09:30"]], ["09:30"],
        [["9:30", "16:00"]], [["09:30", "25:00"]], [["24:00", "24:00"]], [["09:60", "16:00"]],
        [["09:30", "12:00"], ["11:00", "16:00"]], [["13:00", "16:00"], ["09:30", "12:00"]],
    ],
)  # fmt: skip
def test_malformed_hours_are_refused(hours: list[list[str]]) -> None:
    with pytest.raises(TimeError):
        TimeManager("XNYS", hours=hours)


def test_extended_hours_of_another_exchange_are_refused() -> None:
    with pytest.raises(CalendarError, match="extended"):
        TimeManager("XLON", hours="extended")


def test_unknown_anchor_and_mode_are_refused() -> None:
    with pytest.raises(TimeError, match="anchor"):
        TimeManager("XNYS", anchor="noon")  # type: ignore[arg-type]
    with pytest.raises(TimeError, match="mode"):
        TimeManager("XNYS", mode="paper")  # type: ignore[arg-type]


def test_anchor_reaches_the_window() -> None:
    assert TimeManager("XNYS", anchor="clock").session_window(date(2025, 7, 2)).anchor == "clock"


# exchange_calendars warns about pandas.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XHKG", "XSGO", "24/7"])
def test_early_closes_agree_with_the_calendars_own_list(calendar: str) -> None:
    import exchange_calendars

    known = exchange_calendars.get_calendar(calendar, start="2010-01-01", end="2025-12-31")
    wanted = {stamp.date() for stamp in known.early_closes}
    clock = TimeManager(calendar)
    days = clock.trading_days(date(2010, 1, 1), date(2025, 12, 31))
    assert len(days) == len(known.sessions)
    assert {day for day in days if clock.session_window(day).is_early_close} == wanted


def test_accelerated_clock_skips_forward_only() -> None:
    clock = AcceleratedClock(0, 1.0)
    clock.skip_to(NS_PER_DAY)
    assert NS_PER_DAY <= clock.now_ns() < 2 * NS_PER_DAY
    clock.skip_to(NS_PER_DAY // 2)
    assert clock.now_ns() >= NS_PER_DAY
