"""Sessions as the exchanges published them; no value here comes from openbell or its calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from openbell.clock import TimeManager
from openbell.errors import CalendarError

#: calendar, date, segments in UTC, early close. From the exchanges' holiday and hours notices.
SESSIONS = [
    # New York: 09:30 to 16:00; 13:00 the day before Independence Day and after Thanksgiving.
    ("XNYS", "2025-07-02", ["13:30-20:00"], False),
    ("XNYS", "2025-07-03", ["13:30-17:00"], True),
    ("XNYS", "2025-11-28", ["14:30-18:00"], True),
    ("XNYS", "2024-12-24", ["14:30-18:00"], True),
    ("XNYS", "2024-12-23", ["14:30-21:00"], False),
    ("XNYS", "1995-01-03", ["14:30-21:00"], False),
    # Clocks went forward on Sunday 2025-03-09, back on Sunday 2025-11-02.
    ("XNYS", "2025-03-07", ["14:30-21:00"], False),
    ("XNYS", "2025-03-10", ["13:30-20:00"], False),
    ("XNYS", "2025-10-31", ["13:30-20:00"], False),
    ("XNYS", "2025-11-03", ["14:30-21:00"], False),
    # London: 08:00 to 16:30; 12:30 on Christmas Eve and New Year's Eve.
    ("XLON", "2024-12-23", ["08:00-16:30"], False),
    ("XLON", "2024-12-24", ["08:00-12:30"], True),
    ("XLON", "2024-12-31", ["08:00-12:30"], True),
    ("XLON", "2024-07-01", ["07:00-15:30"], False),
    # Hong Kong (UTC+8): 09:30 to 12:00 and 13:00 to 16:00; mornings only on three eves.
    ("XHKG", "2024-12-23", ["01:30-04:00", "05:00-08:00"], False),
    ("XHKG", "2024-12-24", ["01:30-04:00"], True),
    ("XHKG", "2024-02-09", ["01:30-04:00"], True),
    # Tokyo (UTC+9): 09:00 to 11:30 and 12:30 to 15:00, to 15:30 since 2024-11-05.
    ("XTKS", "2024-11-01", ["00:00-02:30", "03:30-06:00"], False),
    ("XTKS", "2024-11-05", ["00:00-02:30", "03:30-06:30"], False),
]

#: calendar, day without a session, the sessions around it
CLOSED = [
    ("XNYS", "2024-07-04", "2024-07-03", "2024-07-05"),
    ("XNYS", "2025-11-27", "2025-11-26", "2025-11-28"),
    ("XNYS", "2025-01-09", "2025-01-08", "2025-01-10"),  # mourning for President Carter
    ("XNYS", "2001-09-11", "2001-09-10", "2001-09-17"),
    ("XNYS", "2012-10-29", "2012-10-26", "2012-10-31"),  # Hurricane Sandy
    ("XNYS", "2025-07-05", "2025-07-03", "2025-07-07"),  # a Saturday
    ("XLON", "2022-09-19", "2022-09-16", "2022-09-20"),  # the Queen's funeral
    ("XHKG", "2024-02-12", "2024-02-09", "2024-02-14"),  # Lunar New Year
]


def utc(day: str, span: str) -> tuple[datetime, datetime]:
    opened, closed = (datetime.fromisoformat(f"{day}T{t}").replace(tzinfo=UTC) for t in
                      span.split("-"))  # fmt: skip
    return opened, closed


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


@pytest.mark.parametrize(("calendar", "day", "spans", "early"), SESSIONS)
def test_session_window_of_a_trading_day_is_as_published(
    calendar: str, day: str, spans: list[str], early: bool
) -> None:
    window = TimeManager(calendar).session_window(date.fromisoformat(day))
    moments = [utc(day, span) for span in spans]
    assert window.segments == tuple((nanoseconds(a), nanoseconds(b)) for a, b in moments)
    assert (window.open, window.close) == (moments[0][0], moments[-1][1])
    assert window.is_early_close is early
    assert window.date == date.fromisoformat(day)
    assert window.calendar == calendar


@pytest.mark.parametrize(("calendar", "day", "before", "after"), CLOSED)
def test_session_window_of_a_closed_day_names_the_sessions_around_it(
    calendar: str, day: str, before: str, after: str
) -> None:
    clock = TimeManager(calendar)
    closed = date.fromisoformat(day)
    assert not clock.is_trading_day(closed)
    assert clock.previous_trading_day(closed) == date.fromisoformat(before)
    assert clock.next_trading_day(closed) == date.fromisoformat(after)
    with pytest.raises(CalendarError, match=f"previous is {before}, the next {after}"):
        clock.session_window(closed)


def test_always_open_calendar_has_whole_days() -> None:
    window = TimeManager("24/7").session_window(date(2016, 10, 8))
    assert window.open == datetime(2016, 10, 8, tzinfo=UTC)
    assert window.close == datetime(2016, 10, 9, tzinfo=UTC)
    assert window.timezone == "UTC"
    assert not window.is_early_close
    assert window.grid("1s").n_slots == 86_400


def test_futures_session_opens_on_the_evening_before() -> None:
    clock = TimeManager("CMES")
    window = clock.session_window(date(2025, 7, 2))
    assert window.open == datetime(2025, 7, 1, 22, tzinfo=UTC)  # 17:00 in Chicago
    assert window.close == datetime(2025, 7, 2, 22, tzinfo=UTC)
    assert clock.session_of(window.open_ns) == date(2025, 7, 2)


@pytest.mark.parametrize(
    ("day", "starts", "last_end"),
    [
        # Whole day, both sides of both clock changes: first bucket at 09:30, stub at 15:30.
        ("2025-07-02", ["13:30", "14:30", "15:30", "16:30", "17:30", "18:30", "19:30"], "20:00"),
        ("2025-03-07", ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:30"], "21:00"),
        ("2025-03-10", ["13:30", "14:30", "15:30", "16:30", "17:30", "18:30", "19:30"], "20:00"),
        ("2025-10-31", ["13:30", "14:30", "15:30", "16:30", "17:30", "18:30", "19:30"], "20:00"),
        ("2025-11-03", ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:30"], "21:00"),
        # Early close at 13:00: the last bucket is 12:30 to 13:00.
        ("2025-07-03", ["13:30", "14:30", "15:30", "16:30"], "17:00"),
        ("2025-11-28", ["14:30", "15:30", "16:30", "17:30"], "18:00"),
    ],
)
def test_hour_grid_in_new_york_starts_at_the_open_and_ends_at_the_close(
    day: str, starts: list[str], last_end: str
) -> None:
    grid = TimeManager("XNYS").session_window(date.fromisoformat(day)).grid("1h")
    edges = [nanoseconds(utc(day, f"{t}-{last_end}")[0]) for t in [*starts, last_end]]
    assert grid.starts_ns.tolist() == edges[:-1]
    assert grid.ends_ns.tolist() == edges[1:]


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        (
            "1h",
            ["09:30-10:30", "10:30-11:30", "11:30-12:00", "13:00-14:00", "14:00-15:00",
             "15:00-16:00"],
        ),
        ("2h", ["09:30-11:30", "11:30-12:00", "13:00-15:00", "15:00-16:00"]),
        (
            "45m",
            ["09:30-10:15", "10:15-11:00", "11:00-11:45", "11:45-12:00", "13:00-13:45",
             "13:45-14:30", "14:30-15:15", "15:15-16:00"],
        ),
        ("1d", ["09:30-16:00"]),
    ],
)  # fmt: skip
def test_grid_in_hong_kong_has_a_stub_before_lunch(name: str, slots: list[str]) -> None:
    window = TimeManager("XHKG").session_window(date(2024, 12, 23))
    eight_hours = 8 * 3600 * 1_000_000_000
    wanted = [tuple(nanoseconds(t) - eight_hours for t in utc("2024-12-23", s)) for s in slots]
    grid = window.grid(name)
    assert list(zip(grid.starts_ns.tolist(), grid.ends_ns.tolist(), strict=True)) == wanted


def test_hour_grid_on_the_clock_is_cut_at_the_open() -> None:
    grid = TimeManager("XNYS", anchor="clock").session_window(date(2025, 7, 2)).grid("1h")
    edges = ["13:30", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]
    wanted = [nanoseconds(utc("2025-07-02", f"{t}-{t}")[0]) for t in edges]
    assert grid.starts_ns.tolist() == wanted[:-1]
    assert grid.ends_ns.tolist() == wanted[1:]


@pytest.mark.parametrize(
    ("day", "opened", "closed"),
    [
        ("2025-07-02", "08:00", "24:00"),
        # Trading after an early close of 13:00 goes on to 17:00.
        ("2025-07-03", "08:00", "21:00"),
        ("2025-11-28", "09:00", "22:00"),
    ],
)
def test_extended_hours_of_new_york(day: str, opened: str, closed: str) -> None:
    window = TimeManager("XNYS", hours="extended").session_window(date.fromisoformat(day))
    midnight = nanoseconds(datetime.fromisoformat(day).replace(tzinfo=UTC))
    hours = [int(t[:2]) * 3600 * 1_000_000_000 for t in (opened, closed)]
    assert window.segments == ((midnight + hours[0], midnight + hours[1]),)
