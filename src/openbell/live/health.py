"""How a live feed and each of its symbols fare, and when silence is more than a quiet market."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import log
from typing import Final

from openbell.clock.window import SessionWindow
from openbell.live.pauses import Pauses, Slots
from openbell.live.states import FeedHealth, FeedState, SymbolHealth, SymbolState
from openbell.schema import NS_PER_SECOND, to_datetime

__all__ = ["FeedHealth", "FeedMonitor", "FeedState", "SymbolHealth", "SymbolState"]

_log = logging.getLogger("openbell.live")

#: How improbable a silence must be to be no quiet market. A day has 390 minutes, of which each
#: could begin one: that a healthy feed is called mute at all is a matter of weeks.
IMPROBABLE: Final = 1e-4

#: How improbable a symbol's silence must be to be unusual: rare for one symbol, a few times a day
#: among hundreds.
UNUSUAL: Final = 1e-3

# Shorter slots are more chances a day to be wrong; each is given its share of a minute's.
_SHARE_OF_NS: Final = 60 * NS_PER_SECOND

#: Whatever the arithmetic says of one-second bars: to connect anew takes longer than a lull.
LEAST_SILENCE_S: Final = 5.0

# How late bars usually are is learnt from those that come, so that a slow feed is no mute one:
# upwards within a few bars, downwards slowly. One bar that is very late says little.
_LAG_RISES: Final = 8
_LAG_FALLS: Final = 32
_MOST_LAG_NS: Final = 60 * NS_PER_SECOND

# A halt of the whole market cannot be told from a mute feed: whoever connected anew in vain is
# told again after so many times as many slots, at most.
_MOST_PATIENCE: Final = 16

# Symbols looked at in one check, so that none takes long.
_AT_ONCE: Final = 64

_MOST_KINDS: Final = 16


class _Symbol:
    # One writer; what others read are single attributes.

    __slots__ = (
        "interval",
        "lag_ns",
        "last_message_ns",
        "n_backfilled",
        "n_drops",
        "name",
        "next_end_ns",
        "pauses",
        "reason",
        "slots",
        "state",
        "step_ns",
    )

    def __init__(self, name: str, interval: str, fill_rate: float | None) -> None:
        self.name = name
        self.interval = interval
        self.slots: Slots | None = None
        self.step_ns = 0
        # Where the next bar ends if none is missing; -1 when that has to be looked up.
        self.next_end_ns = -1
        self.pauses = Pauses(fill_rate)
        self.state: SymbolState = "waiting"
        self.reason = ""
        self.last_message_ns: int | None = None
        self.lag_ns: int | None = None
        self.n_drops = 0
        self.n_backfilled = 0


class FeedMonitor:
    """Keeps the health of one source; the coordinator's thread writes, any thread reads.

    Parameters
    ----------
    source : str
    grace_s : float
        How long after its end a bar may come, seconds of the session.
    least_silence_s : float
        How long a mute feed has been silent at least, seconds of the session. A rehearsal, whose
        clock runs faster than its threads do, needs more.

    Attributes
    ----------
    on_change : callable or None
        Called with a :class:`FeedHealth` or a :class:`SymbolHealth` once for each change of a
        state, the source's before its symbols', by the thread that told of it. What it raises
        comes out of the call that told, whose other changes are then not told; whoever gives
        it catches what it may raise.

    Notes
    -----
    How likely a symbol is to have no bar in a slot is taken from what it did so far today, apart
    for slots that follow a bar and slots that follow a pause. The feed is mute when the silence
    of all its symbols together, over all slots that ended since the newest bar, has a
    probability below 1e-4 (less where slots are shorter than a minute). The slots of an outage,
    of a mute feed and of a lunch break say nothing of a symbol.
    """

    def __init__(
        self, source: str, grace_s: float, *, least_silence_s: float = LEAST_SILENCE_S
    ) -> None:
        self.source = source
        self.on_change: Callable[[FeedHealth | SymbolHealth], object] | None = None
        self._grace_ns = int(grace_s * NS_PER_SECOND)
        self._least_silence_ns = int(least_silence_s * NS_PER_SECOND)
        self._window: SessionWindow | None = None
        self._slots: dict[str, Slots] = {}
        self._symbols: dict[str, _Symbol] = {}
        self._state: FeedState = "idle"
        self._reason = ""
        self._is_connected = False
        self._garbage: set[str] = set()
        self._last_message_ns: int | None = None
        self._lag_ns: int | None = None
        self._usual_lag_ns = 0
        self._heartbeat_ns = 0
        self._now_ns = 0
        # From when on a slot without any bar is part of the feed's silence.
        self._silent_from_ns = 0
        self._n_vain = 0
        self._judged: object = None
        self._looked_at: list[int] = []
        self._to_look_at: list[_Symbol] = []
        self._n_drops = 0
        self._n_other = 0
        self._n_bars = 0
        self._n_updates = 0
        self._n_garbage = 0
        self._n_outside = 0
        self._n_overflow = 0
        self._n_superseded = 0
        self._n_backfilled = 0

    # What is asked for

    def begin(self, window: SessionWindow) -> None:
        """Begin a day: what is known of how symbols trade is forgotten, counts go on."""
        self._window = window
        self._slots = {}
        self._n_vain = 0
        self._looked_at = []
        self._to_look_at = []
        for one in self._symbols.values():
            one.pauses.begin()
            self._place(one)
        if not self._is_connected and self._state != "failed":
            self._change("connecting" if self._symbols else "idle", "", "waiting")
        elif self._is_connected:
            self._change("live", "", "waiting")

    def add(self, symbol: str, interval: str, *, fill_rate: float | None = None) -> None:
        """Ask for a symbol's bars; they count from the next slot that begins.

        Parameters
        ----------
        symbol : str
        interval : str
            Of the bars that the source sends.
        fill_rate : float, optional
            The share of slots that had a bar on past days. Without it a symbol is thought to
            trade seldom until it is seen to trade more.
        """
        one = _Symbol(symbol, interval, fill_rate)
        self._place(one)
        self._symbols[symbol] = one
        if self._state == "idle":
            self._change("connecting", "", "waiting")
        elif self._state in ("down", "failed", "stopped"):
            self._change_symbols([one], "down", self._reason)

    def learn(self, symbol: str, fill_rate: float) -> None:
        """Take note of how a symbol traded on past days; counts stay, today's pauses do not."""
        one = self._symbols.get(symbol)
        if one is not None:
            one.pauses = Pauses(fill_rate)
            self._place(one)

    def remove(self, symbol: str) -> None:
        """Ask for a symbol no more; nothing happens when it was not asked for."""
        self._symbols.pop(symbol, None)
        if not self._symbols and self._state in ("connecting", "down"):
            self._change("idle", "", "down")

    def _place(self, one: _Symbol) -> None:
        window = self._window
        if window is None:
            return
        slots = self._slots.get(one.interval)
        if slots is None:
            slots = self._slots[one.interval] = Slots(window.grid(one.interval))
        one.slots = slots
        one.step_ns = slots.step_ns
        one.next_end_ns = -1
        one.pauses.skip_to(slots.begun(max(self._now_ns, self._silent_from_ns)))

    # What comes

    def note_bar(self, symbol: str, end_ns: int, now_ns: int, is_update: bool = False) -> None:
        """Count a bar of the session that came, or a correction of one.

        Parameters
        ----------
        symbol : str
        end_ns, now_ns : int
            The bar's end, and the time now, nanoseconds UTC.
        is_update : bool
        """
        self._last_message_ns = now_ns
        self._silent_from_ns = now_ns
        if self._state == "mute":
            self._hear(end_ns)
        one = self._symbols.get(symbol)
        if is_update:
            self._n_updates += 1
            if one is not None:
                one.last_message_ns = now_ns
            return
        self._n_bars += 1
        self._n_vain = 0
        self._lag_ns = lag = now_ns - end_ns
        usual = self._usual_lag_ns
        if lag > usual:
            self._usual_lag_ns = usual + (min(lag, _MOST_LAG_NS) - usual) // _LAG_RISES
        else:
            self._usual_lag_ns = usual - (usual - lag) // _LAG_FALLS
        if one is None:
            return
        one.last_message_ns = now_ns
        one.lag_ns = lag
        if end_ns == one.next_end_ns:
            one.next_end_ns = end_ns + one.step_ns
            one.pauses.note_next()
        elif one.slots is not None and end_ns > one.next_end_ns:
            one.next_end_ns = end_ns + one.step_ns
            one.pauses.note(one.slots.ended(end_ns) - 1)
        if one.state != "live" and self._state == "live":
            self._change_symbols([one], "live", "")

    def _hear(self, end_ns: int) -> None:
        # The silence was the feed's, and tells nothing of how its symbols trade.
        for one in self._symbols.values():
            if one.slots is not None:
                one.pauses.skip_to(one.slots.ended(end_ns) - 1)
                one.next_end_ns = -1
        self._change("live", "", "waiting")

    def note_message(self, now_ns: int) -> None:
        """Count a message that is no bar of the session: a quote, a trade, a bar outside it.

        Such messages tell nothing of whether bars come: a feed that sends quotes is mute all the
        same when its bars stay away.
        """
        self._n_other += 1
        self._last_message_ns = now_ns

    def note_heartbeat(self, now_ns: int) -> None:
        """Note that the connection told that it lives; it is no message."""
        self._heartbeat_ns = now_ns

    def note_connected(self, now_ns: int) -> None:
        """Note that the source is connected and lets in; its symbols wait for their bars."""
        self._is_connected = True
        # What ends while symbols are being subscribed may not come.
        self._silent_from_ns = from_ns = now_ns + self._grace_ns
        for one in self._symbols.values():
            if one.slots is not None:
                one.pauses.skip_to(one.slots.ended(from_ns), is_doubt=self._n_vain > 0)
                one.next_end_ns = -1
        self._change("live", "", "waiting")

    def note_disconnected(self, now_ns: int, reason: str) -> None:
        """Note that the connection was lost, or could not be made, and is being tried again."""
        self._count_drop()
        self._change("down", reason, "down")

    def note_failed(self, reason: str) -> None:
        """Note that the source lets nobody in, and is not tried again."""
        self._count_drop()
        self._change("failed", reason, "down")

    def note_stopped(self) -> None:
        """Note that the source was asked to stop; that is no drop."""
        self._is_connected = False
        # That it let nobody in is worth more than that it was stopped.
        if self._state != "failed":
            self._change("stopped", "stopped", "down")

    def _count_drop(self) -> None:
        if not self._is_connected:
            return
        self._is_connected = False
        self._n_drops += 1
        for one in self._symbols.values():
            one.n_drops += one.state != "refused"

    def note_refused(self, symbol: str, reason: str) -> None:
        """Note that the source refuses one symbol; when a bar of it comes, that is over."""
        one = self._symbols.get(symbol)
        if one is not None:
            self._change_symbols([one], "refused", reason)

    def note_garbage(self, what: str) -> None:
        """Count a message that cannot be understood; the first of a kind is logged."""
        self._n_garbage += 1
        if what not in self._garbage and len(self._garbage) < _MOST_KINDS:
            self._garbage.add(what)
            _log.warning("%s sent what cannot be understood: %s", self.source, what)

    def note_backfilled(self, symbol: str, n: int) -> None:
        """Count bars of a symbol that were missing and have been asked for."""
        self._n_backfilled += n
        one = self._symbols.get(symbol)
        if one is not None:
            one.n_backfilled += n

    def note_overflow(self, n: int) -> None:
        """Count messages that found the queue full."""
        self._n_overflow += n

    def note_outside(self, n: int = 1) -> None:
        """Count bars outside the session."""
        self._n_outside += n

    def note_superseded(self, n: int = 1) -> None:
        """Count bars that did not replace better ones."""
        self._n_superseded += n

    # What to make of it

    def check(self, now_ns: int) -> bool:
        """Find out what is silent; to be called a few times a second, after all that has come.

        Looks at some of the symbols each time. O(symbols) once for each slot in which nothing
        came at all, else O(1).

        Parameters
        ----------
        now_ns : int
            The time now, nanoseconds UTC.

        Returns
        -------
        bool
            Whether the feed just became mute: to connect anew may help. True once; again when
            it is still silent after it was connected anew, each time after twice as many slots.
        """
        self._now_ns = now_ns
        window = self._window
        if window is None or self._state != "live":
            return False
        due_ns = now_ns - self._grace_ns - 2 * max(0, self._usual_lag_ns)
        for opened, closed in window.segments:
            if opened <= now_ns < closed:
                if self._is_improbable(max(self._silent_from_ns, opened), due_ns):
                    self._n_vain += 1
                    self._change("mute", self._tell_silence(), "silent")
                    return True
                self._look_at_symbols(due_ns)
        return False

    def _is_improbable(self, from_ns: int, due_ns: int) -> bool:
        if due_ns - from_ns < self._least_silence_ns:
            return False
        spans = {s: (s.ended(from_ns), s.ended(due_ns)) for s in self._slots.values()}
        judged = (from_ns, list(spans.values()))
        if judged == self._judged:
            return False
        self._judged = judged
        patience = min(2**self._n_vain, _MOST_PATIENCE)
        if all(due - begun < patience for begun, due in spans.values()):
            return False
        limit = self._limit(IMPROBABLE)
        total = 0.0
        for one in self._symbols.values():
            if one.slots is None or one.state == "refused":
                continue
            begun, due = spans[one.slots]
            known = one.pauses.next_slot
            n = due - max(begun, known)
            if n > 0:
                total += one.pauses.log_silence(n, max(0, begun - known))
                if total < limit:
                    return True
        return False

    def _look_at_symbols(self, due_ns: int) -> None:
        if not self._to_look_at:
            ended = [s.ended(due_ns) for s in self._slots.values()]
            if ended == self._looked_at:
                return
            self._looked_at = ended
            self._to_look_at = list(self._symbols.values())
        unusual = self._limit(UNUSUAL)
        # Among many symbols, one is silent for long sooner.
        improbable = self._limit(IMPROBABLE / max(1, len(self._symbols)))
        # Only while others come is the silence one symbol's own.
        seen_ns = min(due_ns, self._silent_from_ns)
        for _ in range(min(_AT_ONCE, len(self._to_look_at))):
            one = self._to_look_at.pop()
            slots = one.slots
            if slots is None or one.state not in ("waiting", "live", "quiet"):
                continue
            if self._symbols.get(one.name) is not one:
                continue
            n = slots.ended(due_ns) - one.pauses.next_slot
            if n <= 0 or one.pauses.log_silence(n) > unusual:
                continue
            n_seen = slots.ended(seen_ns) - one.pauses.next_slot
            meanwhile = "others came" if len(self._symbols) > 1 else "the feed lived"
            if n_seen > 0 and one.pauses.log_silence(n_seen) < improbable:
                reason = f"no bar in {n_seen} slots of {one.interval} while {meanwhile}"
                self._change_symbols([one], "silent", reason)
            elif one.state == "live":
                self._change_symbols([one], "quiet", f"no bar in {n} slots of {one.interval}")

    def _limit(self, chance: float) -> float:
        step_ns = min((s.step_ns for s in self._slots.values()), default=_SHARE_OF_NS)
        return log(chance * min(1.0, step_ns / _SHARE_OF_NS))

    def _tell_silence(self) -> str:
        told = "nothing came"
        if self._last_message_ns is not None:
            told = f"no bar came since {to_datetime(self._silent_from_ns):%H:%M:%S}"
        if self._heartbeat_ns > self._silent_from_ns:
            told += f", though the connection lived at {to_datetime(self._heartbeat_ns):%H:%M:%S}"
        return told

    # Who is told

    def _change(self, state: FeedState, reason: str, symbols: SymbolState) -> None:
        is_other = state != self._state
        self._state = state
        self._reason = reason
        if is_other and self.on_change is not None:
            self.on_change(self.health)
        affected = [one for one in self._symbols.values() if one.state != "refused"]
        self._change_symbols(affected, symbols, reason)

    def _change_symbols(self, changed: list[_Symbol], state: SymbolState, reason: str) -> None:
        others = [one for one in changed if one.state != state]
        for one in changed:
            one.state = state
            one.reason = reason
        if self.on_change is not None:
            for one in others:
                self.on_change(self._symbol_health(one))

    @property
    def silent_since_ns(self) -> int:
        """When the newest bar or correction came, or the source was connected since."""
        return self._silent_from_ns

    @property
    def health(self) -> FeedHealth:
        """How the source fares now."""
        return FeedHealth(
            source=self.source,
            state=self._state,
            connected=self._is_connected,
            last_message_ns=self._last_message_ns,
            lag_s=_seconds(self._lag_ns),
            n_drops=self._n_drops,
            n_messages=self._n_bars + self._n_updates + self._n_other,
            n_bars=self._n_bars,
            n_updates=self._n_updates,
            n_garbage=self._n_garbage,
            n_outside=self._n_outside,
            n_overflow=self._n_overflow,
            n_superseded=self._n_superseded,
            n_backfilled=self._n_backfilled,
            reason=self._reason,
        )

    @property
    def symbols(self) -> dict[str, SymbolHealth]:
        """How each symbol fares now; a copy. O(symbols)."""
        return {one.name: self._symbol_health(one) for one in list(self._symbols.values())}

    def _symbol_health(self, one: _Symbol) -> SymbolHealth:
        return SymbolHealth(
            symbol=one.name,
            source=self.source,
            state=one.state,
            last_message_ns=one.last_message_ns,
            lag_s=_seconds(one.lag_ns),
            n_drops=one.n_drops,
            n_backfilled=one.n_backfilled,
            reason=one.reason,
        )


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / NS_PER_SECOND
