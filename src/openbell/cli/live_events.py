"""What happens in a live session and is worth a line; and how its feeds fare, in a line each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from openbell.cli.console import counted, seconds
from openbell.cli.running import some
from openbell.live.latency import LATENCY_BOUNDS_NS
from openbell.live.states import FeedHealth, SymbolHealth

if TYPE_CHECKING:
    from openbell.lifecycle import SessionCoordinator
    from openbell.schema import BarArray
    from openbell.symbol import SymbolSessionData

__all__ = ["LiveEvents", "feed_lines", "feed_summaries", "lasting", "queue_line", "rare_counts"]

#: Bars that are filled in come symbol by symbol: they are one event when no more came for so long.
_SETTLED_S: Final = 0.5
#: What a feed missed is told with its return when it is there so soon after it.
_LONGEST_BACKFILL_S: Final = 1.5
#: Why bars are filled in after a feed's return, as the session calls it.
_AFTER_RETURN: Final = "connected anew"
_NS: Final = 10**9
_WITH_A_DAY: Final = ("waiting", "running", "paused")
#: Counts of a feed that are 0 when all is well, as people call them.
_RARE: Final = {
    "n_superseded": "superseded",
    "n_outside": "outside the session",
    "n_garbage": "not understood",
    "n_overflow": "left out by a full queue",
}


@dataclass
class _Feed:
    state: str = "idle"
    has_been_live: bool = False
    left_ns: int | None = None
    #: It was mute, and is connected anew: that it is lost meanwhile is no event.
    is_renewed: bool = False
    #: It is back, and what it missed may still be filled in.
    back_ns: int | None = None
    back_at: float = 0.0
    away_s: float = 0.0


@dataclass
class _Filled:
    at_ns: int
    n_bars: int = 0
    symbols: dict[str, None] = field(default_factory=dict)
    newest_at: float = 0.0


class LiveEvents:
    """Makes lines of what a live session tells.

    The session's thread only takes notes; whoever shows the lines calls :meth:`take`.

    Parameters
    ----------
    session : SessionCoordinator
        A live one, before its day begins.
    """

    def __init__(self, session: SessionCoordinator) -> None:
        self._session = session
        self._lines: deque[str] = deque()
        self._notes: deque[Callable[[], object]] = deque()
        self._feeds: dict[str, _Feed] = {}
        self._filled: dict[str, _Filled] = {}
        self._silent: set[str] = set()
        self._phase = "idle"
        self._is_open = False
        self._symbols: set[str] = set()
        session.on_feed_change(self._note_change)
        session.on_backfilled(self._note_backfilled)
        session.on_loaded(self._note_loaded)

    # The session's thread

    def _note_change(self, health: FeedHealth | SymbolHealth) -> None:
        now_ns = self._now_ns()
        if isinstance(health, FeedHealth):
            self._notes.append(partial(self._take_feed, now_ns, health))
        else:
            self._notes.append(partial(self._take_symbol, now_ns, health))

    def _note_backfilled(self, record: SymbolSessionData, bars: BarArray, why: str) -> None:
        now_ns, symbol = self._now_ns(), record.symbol
        self._notes.append(partial(self._take_filled, now_ns, symbol, len(bars), why))

    def _note_loaded(self, record: SymbolSessionData) -> None:
        if self._session.phase not in ("validating", "loading"):
            self._notes.append(partial(self._say, self._now_ns(), f"{record.symbol}: joined"))

    # Whoever shows them

    def take(self, *, is_last: bool = False) -> list[str]:
        """Return the lines there are since the last call; when it is the last, all of them."""
        while self._notes:
            self._notes.popleft()()
        self._settle(monotonic(), is_last)
        self._take_removed()
        self._take_phase(is_last)
        taken = list(self._lines)
        self._lines.clear()
        return taken

    def _now_ns(self) -> int:
        return self._session.time_manager.now_ns

    def _say(self, at_ns: int, text: str) -> None:
        self._lines.append(f"{_instant(at_ns)}  {text}")

    def _take_phase(self, is_last: bool) -> None:
        window, before = self._session.root.window, self._phase
        self._phase = phase = self._session.phase
        if window is None:
            return
        now_ns = self._now_ns()
        if is_last and phase == "running" and now_ns >= window.close_ns:
            self._say(now_ns, f"{window.date} is over")
        elif phase == before:
            return
        elif before == "paused" and phase in ("waiting", "running"):
            self._say(now_ns, "goes on")
        elif phase == "waiting" and now_ns < window.open_ns:
            left = lasting((window.open_ns - now_ns) / _NS)
            opens = _instant(window.open_ns)
            self._say(now_ns, f"{window.calendar} opens at {opens} UTC, in {left}")
        elif phase == "paused":
            self._say(now_ns, "paused: bars that come wait")
        elif phase == "stopped" and now_ns >= window.close_ns:
            self._say(now_ns, f"{window.date} is over; corrections were not waited for")
        elif phase == "stopped":
            self._say(now_ns, f"stopped before the close, {_instant(window.close_ns)} UTC")
        if phase == "running" and not self._is_open and len(self._session.root):
            self._is_open = True
            if before == "waiting":
                self._say(window.open_ns, f"{window.calendar} is open")
            elif now_ns < window.close_ns:
                since = _instant(window.open_ns).partition(" ")[2]
                self._say(now_ns, f"{window.calendar} is open since {since}")

    def _take_removed(self) -> None:
        session = self._session
        if session.phase not in _WITH_A_DAY:
            return
        before, self._symbols = self._symbols, {record.symbol for record in session.root}
        for symbol in sorted(before - self._symbols):
            result = session.results.get(symbol)
            # Why it was refused is told elsewhere.
            if result is None or result.can_proceed:
                self._say(self._now_ns(), f"{symbol}: removed")

    def _take_feed(self, at_ns: int, health: FeedHealth) -> None:
        feed = self._feeds.setdefault(health.source, _Feed())
        feed.state = health.state
        name, reason = health.source, f": {health.reason}" if health.reason else ""
        if health.state == "live":
            if feed.left_ns is not None:
                feed.away_s = (at_ns - feed.left_ns) / _NS
                feed.back_ns, feed.back_at, feed.left_ns = at_ns, monotonic(), None
            elif not feed.has_been_live:
                self._say(at_ns, f"{name}: connected")
            feed.has_been_live = True
            return
        if health.state not in ("mute", "down", "failed"):
            return
        if health.state == "down" and feed.is_renewed:
            feed.is_renewed = False
            return
        self._tell_back(name, feed)
        feed.is_renewed = health.state == "mute"
        if feed.left_ns is None and feed.has_been_live:
            is_known = feed.is_renewed and health.last_message_ns is not None
            feed.left_ns = health.last_message_ns if is_known else at_ns
        if feed.is_renewed:
            self._say(at_ns, f"{name}: mute{reason}; connecting anew")
        elif health.state == "failed":
            self._say(at_ns, f"{name}: refused{reason}; it is not tried again")
        else:
            word = "lost" if feed.has_been_live else "not reached"
            self._say(at_ns, f"{name}: {word}{reason}")

    def _take_symbol(self, at_ns: int, health: SymbolHealth) -> None:
        symbol, feed = health.symbol, self._feeds.get(health.source)
        if health.state == "refused":
            self._say(at_ns, f"{symbol}: refused by {health.source}: {health.reason}")
        elif health.state == "silent" and feed is not None and feed.state == "live":
            self._silent.add(symbol)
            self._say(at_ns, f"{symbol}: silent: {health.reason}")
        elif health.state == "live" and symbol in self._silent:
            self._silent.discard(symbol)
            self._say(at_ns, f"{symbol}: its bars come again")

    def _take_filled(self, at_ns: int, symbol: str, n_bars: int, why: str) -> None:
        filled = self._filled.setdefault(why, _Filled(at_ns))
        filled.n_bars += n_bars
        filled.symbols[symbol] = None
        filled.newest_at = monotonic()

    def _settle(self, now: float, is_last: bool) -> None:
        for name, feed in self._feeds.items():
            if feed.back_ns is None or any(_AFTER_RETURN in why for why in self._filled):
                continue
            if is_last or now - feed.back_at > _LONGEST_BACKFILL_S:
                self._tell_back(name, feed)
        for why, filled in list(self._filled.items()):
            if not is_last and now - filled.newest_at < _SETTLED_S:
                continue
            del self._filled[why]
            what = f"{counted(filled.n_bars, 'bar')} of {some(list(filled.symbols))} filled in"
            back = [one for one in self._feeds.items() if one[1].back_ns is not None]
            if _AFTER_RETURN in why and back:
                for name, feed in back[:-1]:
                    self._tell_back(name, feed)
                self._tell_back(*back[-1], what=f", {what}")
            else:
                self._say(filled.at_ns, f"{what} ({why})")

    def _tell_back(self, name: str, feed: _Feed, what: str = "") -> None:
        if feed.back_ns is not None:
            self._say(feed.back_ns, f"{name}: back after {lasting(feed.away_s)}{what}")
            feed.back_ns = None


def feed_lines(feeds: Iterable[FeedHealth], symbols: Iterable[SymbolHealth]) -> list[str]:
    """Return how each feed fares, and in a line more which of some symbols are in which state."""
    lines = []
    for feed in feeds:
        words = [feed.source, feed.state]
        if feed.lag_s is not None:
            words.append(f"lag {seconds(max(0.0, feed.lag_s))}")
        words += [counted(feed.n_drops, "drop"), f"{feed.n_backfilled:,} backfilled"]
        words += [feed.reason] * (feed.state != "live" and bool(feed.reason))
        lines.append("  ".join(words))
    by_state: dict[str, list[str]] = {}
    for one in symbols:
        by_state.setdefault(one.state, []).append(one.symbol)
    if by_state:
        told = (f"{state}: {some(names)}" for state, names in sorted(by_state.items()))
        lines.append("  ".join(told))
    return lines


def queue_line(session: SessionCoordinator) -> str:
    """Return how long what feeds send waits and takes."""
    waits = f"queue {session.queue_depth:,} of {session.queue_capacity:,}"
    return "  ".join([waits, *_latency(session)])


def feed_summaries(session: SessionCoordinator) -> list[str]:
    """Return what each feed did in the day, and how long that took the session."""
    lines = []
    for feed in session.feed_health:
        counts = [
            counted(feed.n_bars, "bar"),
            counted(feed.n_updates, "correction"),
            counted(feed.n_drops, "drop"),
            f"{feed.n_backfilled:,} backfilled",
        ]
        counts += rare_counts(feed)
        failed = [f"failed: {feed.reason}"] * (feed.state == "failed")
        lines.append(f"{feed.source}: {', '.join([*counts, *failed])}")
    lines += [f"{text}, from the library to the callbacks" for text in _latency(session)]
    return lines


def rare_counts(feed: FeedHealth) -> list[str]:
    """Return those counts of a feed that are 0 when all is well, and are not 0, in words."""
    return [f"{n:,} {what}" for key, what in _RARE.items() if (n := getattr(feed, key))]


def _latency(session: SessionCoordinator) -> list[str]:
    if session.latency is None:
        return []
    taken = session.latency.snapshot()
    half, most = taken.quantile(0.5), taken.quantile(0.99)
    if half is None or most is None:
        return []
    return [f"latency {_brief(half)} p50, {_brief(most)} p99"]


def _brief(duration_s: float) -> str:
    if duration_s >= LATENCY_BOUNDS_NS[-1] / _NS:
        # Beyond the last bucket, no more is known.
        return "over 1 s"
    return f"{duration_s * 1e6:,.0f} us" if duration_s < 0.001 else seconds(duration_s)


def lasting(duration_s: float) -> str:
    """Return a long duration: ``42 s``, ``0:12:30``, ``2 days 0:12:30``."""
    if duration_s < 60:
        return f"{duration_s:.0f} s"
    minutes, rest = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}"
    return f"{counted(days, 'day')} {clock}" if days else clock


def _instant(ts_ns: int) -> str:
    from openbell.schema import to_datetime

    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M:%S}"
