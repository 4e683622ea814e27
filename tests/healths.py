"""The health of feeds and of symbols, as a live session would tell it."""

from __future__ import annotations

from typing import Any

from openbell.live.states import FeedHealth, SymbolHealth

__all__ = ["feed", "symbol"]


def feed(source: str, state: str, reason: str = "", **others: Any) -> FeedHealth:
    """A feed in a state; counts are 0 and instants unknown, unless they are given."""
    fields: dict[str, Any] = dict.fromkeys(FeedHealth.__dataclass_fields__, 0)
    fields |= {"last_message_ns": None, "lag_s": None, "connected": state == "live", **others}
    return FeedHealth(**fields | {"source": source, "state": state, "reason": reason})


def symbol(name: str, state: str, reason: str = "", source: str = "alpaca") -> SymbolHealth:
    """A symbol in a state."""
    return SymbolHealth(name, source, state, None, None, 0, 0, reason)  # type: ignore[arg-type]
