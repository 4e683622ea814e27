"""What code that works on a record raised, without stopping the day."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

__all__ = ["ErrorLog", "RecordError"]

_MOST_ERRORS: Final = 100
_LONGEST_TEXT: Final = 500
_FURTHER: Final = ("further errors", "of other kinds than those above")


class RecordError(NamedTuple):
    """An exception that code working on a record raised, however often it did.

    Attributes
    ----------
    where : str
        What raised it: ``indicator rsi``, ``on_close 1m strategy.on_minute``.
    error : str
        Its type and text, such as ``ZeroDivisionError: division by zero``.
    first_ns : int
        The session's clock when it first happened, nanoseconds UTC; 0 when there was no day.
    n : int
        How often it happened.
    """

    where: str
    error: str
    first_ns: int
    n: int


class ErrorLog:
    """Counts exceptions by place and text. At most 100 different ones are kept apart."""

    __slots__ = ("_held", "_lock")

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], RecordError] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def listed(self) -> list[RecordError]:
        """In the order first raised. A copy."""
        with self._lock:
            return list(self._held.values())

    def note(self, symbol: str, where: str, error: Exception, now_ns: int) -> None:
        """Count an exception; the first of its kind is also logged."""
        text = _text_of(error)
        with self._lock:
            key = (where, text)
            if key not in self._held and len(self._held) >= _MOST_ERRORS:
                key = _FURTHER
            held = self._held.get(key)
            first_ns, n = (now_ns, 0) if held is None else (held.first_ns, held.n)
            self._held[key] = RecordError(*key, first_ns, n + 1)
        if held is None:
            import logging

            logging.getLogger("openbell.session").error("%s: %s: %s", symbol, where, text)


def _text_of(error: Exception) -> str:
    try:
        words = str(error)
    except Exception:
        words = "its text cannot be had"
    text = type(error).__name__ + (f": {words}" if words else "")
    # A file's name may hold what is no character, and no export could be written of it.
    return text[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()
