"""What is told of a live feed and of each of its symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FeedHealth", "FeedState", "SymbolHealth", "SymbolState"]

FeedState = Literal["idle", "connecting", "live", "mute", "down", "failed", "stopped"]
SymbolState = Literal["waiting", "live", "quiet", "silent", "down", "refused"]


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """How one source of a live session fares. Counts are since the session was opened.

    Attributes
    ----------
    source : str
    state : str
        ``idle`` (no symbol is asked for), ``connecting``, ``live``, ``mute`` (connected, but
        silent for longer than the market would be), ``down`` (being tried again), ``failed``
        (not tried again) or ``stopped``.
    connected : bool
    last_message_ns : int or None
        When the newest message came, nanoseconds UTC; heartbeats are none.
    lag_s : float or None
        How long after its end the newest bar came, seconds; corrections do not count.
    n_drops : int
        Established connections that were lost.
    n_messages : int
        Bars, corrections, and all else that held data.
    n_bars, n_updates : int
        Bars, and corrections of bars.
    n_garbage : int
        Messages that could not be understood.
    n_outside : int
        Bars outside the session's hours, or of symbols that are not asked for any more.
    n_overflow : int
        Messages that found the queue full; bars among them are asked for again.
    n_superseded : int
        Bars that did not replace better ones.
    n_backfilled : int
        Bars that were missing and have been asked for.
    reason : str
        Why it is not ``live``; empty when it is, or nothing is known.
    """

    source: str
    state: FeedState
    connected: bool
    last_message_ns: int | None
    lag_s: float | None
    n_drops: int
    n_messages: int
    n_bars: int
    n_updates: int
    n_garbage: int
    n_outside: int
    n_overflow: int
    n_superseded: int
    n_backfilled: int
    reason: str


@dataclass(frozen=True, slots=True)
class SymbolHealth:
    """How one symbol of a live session fares.

    Attributes
    ----------
    symbol, source : str
    state : str
        ``waiting`` (nothing came yet, or since the source is back), ``live``, ``quiet``
        (silent for longer than usual), ``silent`` (for longer than is probable while others of
        the source come, or the source is mute), ``down`` (the source is) or ``refused``.
    last_message_ns : int or None
        When its newest bar came, nanoseconds UTC.
    lag_s : float or None
        How long after its end that was, seconds; corrections do not count.
    n_drops : int
        Losses of the source's connection that it lived through.
    n_backfilled : int
        Bars that were missing and have been asked for.
    reason : str
        Why it is not ``live``; empty when it is, or nothing is known.
    """

    symbol: str
    source: str
    state: SymbolState
    last_message_ns: int | None
    lag_s: float | None
    n_drops: int
    n_backfilled: int
    reason: str
