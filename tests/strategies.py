"""What tests draw from: windows, arrays of bars, streams of calls, splits into blocks.

Small windows are drawn piece by piece, so that a failure shrinks to something readable;
whole days are made from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st

from openbell.clock.window import Anchor, SessionWindow
from openbell.schema import BAR_DTYPE, BarArray

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NEW_YORK = "America/New_York"

#: Everything that folds from 1s and fits in a short window, and more than one path to 1m.
SHORT_1S = ("5s", "10s", "15s", "30s", "1m", "2m", "5m", "1d")
SHORT_1M = ("2m", "3m", "5m", "15m", "1d")
DAY_1S = ("5s", "10s", "30s", "1m", "5m", "15m", "30m", "1h", "1d")
DAY_1M = ("5m", "15m", "30m", "1h", "2h", "1d")


def utc_ns(text: str) -> int:
    """Nanoseconds of an ISO-8601 time read as UTC."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def window_of(
    *spans: tuple[str, str],
    calendar: str = "custom",
    timezone: str = "UTC",
    anchor: Anchor = "session",
    early: bool = False,
) -> SessionWindow:
    """A window whose segments are given as ISO-8601 times, UTC."""
    return SessionWindow(
        date.fromisoformat(spans[0][0][:10]),
        [(utc_ns(opened), utc_ns(closed)) for opened, closed in spans],
        calendar=calendar, timezone=timezone, anchor=anchor, is_early_close=early,
    )  # fmt: skip


def real_windows(anchor: Anchor = "session") -> dict[str, SessionWindow]:
    """Days as exchanges have them, by what is special about each."""
    ny = {"calendar": "XNYS", "timezone": NEW_YORK, "anchor": anchor}
    return {
        "regular": window_of(("2025-07-02T13:30", "2025-07-02T20:00"), **ny),
        "half_day": window_of(("2025-07-03T13:30", "2025-07-03T17:00"), early=True, **ny),
        "before_dst": window_of(("2025-03-07T14:30", "2025-03-07T21:00"), **ny),
        "after_dst": window_of(("2025-03-10T13:30", "2025-03-10T20:00"), **ny),
        "after_dst_end": window_of(("2025-11-03T14:30", "2025-11-03T21:00"), **ny),
        # Local midnight to midnight: 23 and 25 hours.
        "spring_forward": window_of(
            ("2025-03-09T05:00", "2025-03-10T04:00"), timezone=NEW_YORK, anchor=anchor
        ),
        "fall_back": window_of(
            ("2025-11-02T04:00", "2025-11-03T05:00"), timezone=NEW_YORK, anchor=anchor
        ),
        "lunch": window_of(
            ("2025-07-02T01:30", "2025-07-02T04:00"), ("2025-07-02T05:00", "2025-07-02T08:00"),
            calendar="XHKG", timezone="Asia/Hong_Kong", anchor=anchor,
        ),
        "around_the_clock": window_of(
            ("2025-07-02T00:00", "2025-07-03T00:00"), calendar="24/7", anchor=anchor
        ),
    }  # fmt: skip


@st.composite
def short_windows(draw: st.DrawFn, unit: str = "1s", max_segments: int = 3) -> SessionWindow:
    """Windows of some 5 to 20 minutes (1s) or hours (1m), with stubs, breaks, both anchors."""
    scale = 1 if unit == "1s" else 60
    opened = (
        utc_ns("2025-07-02T13:30")
        + draw(st.sampled_from([0, 1, 7, 30, 59 * 60, 13 * 60 + 11])) * scale * SECOND
    )
    n_segments = draw(st.integers(1, max_segments))
    longest = 1200 // n_segments
    segments = []
    for _ in range(n_segments):
        length = draw(st.sampled_from([300, 360, 333]) | st.integers(60, longest))
        closed = opened + min(length, longest) * scale * SECOND
        segments.append((opened, closed))
        opened = closed + draw(st.sampled_from([0, 1, 60, 90, 600])) * scale * SECOND
    return SessionWindow(
        date(2025, 7, 2), segments, timezone=draw(st.sampled_from(["UTC", NEW_YORK])),
        anchor=draw(st.sampled_from(["session", "clock"])),
    )  # fmt: skip


def day_windows() -> st.SearchStrategy[SessionWindow]:
    """Any of :func:`real_windows`, under either anchor."""
    both = [*real_windows("session").values(), *real_windows("clock").values()]
    return st.sampled_from(both)


def make_bars(
    window: SessionWindow,
    interval: str,
    density: float,
    rng: np.random.Generator,
    *,
    whole_volumes: bool = True,
    ties: bool = False,
) -> BarArray:
    """Ascending bars in a random part of a window's slots; prices in cents, some negative.

    `ties` draws prices from three values (one of them a negative zero beside a zero), so
    that highs, lows and whole bars repeat.
    """
    starts = window.grid(interval).starts_ns
    starts = starts[rng.random(len(starts)) < density]
    n = len(starts)
    bars = np.empty(n, dtype=BAR_DTYPE)
    bars["timestamp"] = starts
    if ties:
        four = np.sort(rng.choice([-1.0, -0.0, 0.0, 100.25], size=(n, 4)), axis=1)
    else:
        middle = np.cumsum(rng.integers(-5, 6, n)) + rng.integers(-200, 20_000)
        four = np.sort(middle[:, None] + rng.integers(-30, 31, (n, 4)), axis=1) / 100
    bars["low"], bars["high"] = four[:, 0], four[:, 3]
    swap = rng.random(n) < 0.5
    bars["open"] = np.where(swap, four[:, 1], four[:, 2])
    bars["close"] = np.where(swap, four[:, 2], four[:, 1])
    bars["volume"] = rng.integers(0, 5000, n) if whole_volumes else rng.random(n) * 1e3
    return bars


@st.composite
def bar_arrays(draw: st.DrawFn, window: SessionWindow, interval: str) -> BarArray:
    """Ascending bars of one interval: none, one, few, most, all; ties; fractional volumes."""
    density = draw(st.sampled_from([0.0, 0.003, 0.05, 0.3, 0.9, 0.97, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_bars(
        window, interval, density, rng,
        whole_volumes=draw(st.booleans()), ties=draw(st.booleans()),
    )  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call to a record: a bar to append, or a clock to advance."""

    kind: str
    ts_ns: int
    values: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def is_bar(self) -> bool:
        return self.kind != "advance"


@st.composite
def streams(
    draw: st.DrawFn,
    window: SessionWindow,
    base: str,
    *,
    max_steps: int = 40,
    advance: bool = True,
    invalid: bool = True,
) -> list[Call]:
    """Calls in the order they arrive.

    Runs of fresh bars with gaps of any length between, late bars, repeats, corrections (of
    the newest bar and of old ones), rows that must be refused, and the clock advancing. The
    kinds say what was intended; what a call must do is for the model to say.
    """
    slots = window.grid(base).starts_ns.tolist()
    weighted = ["burst"] * 4 + ["gap"] * 3 + ["late"] * 2 + ["repeat", "correct", "correct_last"]
    weighted += ["advance"] * advance + ["invalid"] * invalid
    calls: list[Call] = []
    given: dict[int, tuple[float, float, float, float, float]] = {}
    head = draw(st.sampled_from([0, 0, 1, 7, len(slots) // 2]))
    for kind in draw(st.lists(st.sampled_from(weighted), max_size=max_steps)):
        if kind == "advance":
            span = window.close_ns - window.open_ns
            part = draw(st.integers(0, 20))
            calls.append(Call("advance", window.open_ns + span * part // 20))
            continue
        if kind == "invalid":
            calls.append(draw(_refused_calls(window, slots)))
            continue
        if kind == "gap":
            head += draw(st.integers(1, 5) | st.integers(6, max(6, len(slots) // 4)))
        if kind in ("gap", "burst"):
            wanted = range(head, min(head + draw(st.integers(1, 30)), len(slots)))
            head += len(wanted)
        elif kind == "late" or not given:
            wanted = range(draw(st.integers(0, min(max(head, 1), len(slots)) - 1)), len(slots))[:1]
        elif kind == "correct_last":
            wanted = range(max(given), len(slots))[:1]
        else:
            slot = draw(st.sampled_from(sorted(given)))
            wanted = range(slot, slot + 1)
        seed = draw(st.integers(0, 2**16 - 1))
        for slot in wanted:
            values = given.get(slot) if kind == "repeat" else None
            given[slot] = values or _values(slot, seed)
            calls.append(Call(kind, slots[slot], given[slot]))
    return calls


def make_stream(
    window: SessionWindow, base: str, density: float, seed: int, *, disorder: float = 0.02
) -> list[Call]:
    """A whole day's calls from a seed: fresh bars with gaps, and now and then something else."""
    rng = np.random.default_rng(seed)
    rows = make_bars(window, base, density, rng, whole_volumes=bool(seed % 2)).tolist()
    calls: list[Call] = []
    held_back: list[Call] = []
    for row in rows:
        call = Call("burst", row[0], row[1:])
        luck = rng.random()
        if luck < disorder / 3:
            held_back.append(call)
            continue
        calls.append(call)
        if luck < 2 * disorder / 3 and held_back:
            calls.append(held_back.pop(int(rng.integers(len(held_back)))))
        elif luck < disorder:
            old = calls[int(rng.integers(len(calls)))]
            calls.append(Call("correct", old.ts_ns, _values(old.ts_ns // SECOND, seed)))
    return calls + held_back


def splits(n: int, max_cuts: int = 12) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Ways to cut n rows into blocks, as (start, stop); empty blocks included."""
    cuts = st.lists(st.integers(0, n), max_size=max_cuts).map(sorted)
    return cuts.map(lambda at: list(zip([0, *at], [*at, n], strict=True)))


def to_bars(calls: Sequence[Call]) -> BarArray:
    """The bars of some calls as one array, in their order of arrival."""
    return np.array([(c.ts_ns, *c.values) for c in calls if c.is_bar], dtype=BAR_DTYPE)


def _values(slot: int, seed: int) -> tuple[float, float, float, float, float]:
    # Prices in cents around 100 (around 0 for one seed in eight); whole volumes for even seeds.
    rng = np.random.default_rng((slot, seed))
    a, b, c, d = np.sort(rng.integers(-20, 21, 4) + (0 if seed % 8 == 3 else 10_000)) / 100
    volume = float(rng.integers(0, 1000)) if seed % 2 == 0 else float(rng.random() * 10)
    opening, closing = (b, c) if rng.random() < 0.5 else (c, b)
    return float(opening), float(d), float(a), float(closing), volume


@st.composite
def _refused_calls(draw: st.DrawFn, window: SessionWindow, slots: Sequence[int]) -> Call:
    ts = draw(st.sampled_from(slots))
    good: list[Any] = [10.0, 11.0, 9.0, 10.5, 5.0]
    kind = draw(
        st.sampled_from(
            ["not_finite", "high_below_low", "outside_range", "negative_volume",
             "outside_session", "off_grid"]
        )
    )  # fmt: skip
    if kind == "not_finite":
        good[draw(st.integers(0, 4))] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    elif kind == "high_below_low":
        good[1], good[2] = 9.0, 11.0
    elif kind == "outside_range":
        good[draw(st.sampled_from([0, 3]))] = draw(st.sampled_from([8.99, 11.01]))
    elif kind == "negative_volume":
        good[4] = -0.5
    elif kind == "outside_session":
        ts = draw(st.sampled_from([window.open_ns - 1, window.close_ns, window.close_ns + MINUTE]))
        ts = draw(st.sampled_from([ts, *(closed for _, closed in window.segments)]))
    else:
        ts += draw(st.sampled_from([1, SECOND // 2, SECOND - 1]))
    return Call(kind, ts, tuple(good))
