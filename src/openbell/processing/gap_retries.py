"""How often a missing run of bars was asked for again, kept apart from the gaps themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from openbell.errors import ArgumentError
from openbell.gaps import GapInfo
from openbell.schema import NS_PER_SECOND

__all__ = ["GapRetries"]


class GapRetries:
    """Tells which gaps to ask for again.

    A gap is known by its symbol, interval and first missing bar: one that is filled in part
    from behind goes on counting, one that is filled from its beginning is another.

    Parameters
    ----------
    max_retries : int
        Attempts for each gap.
    retry_interval_s : float
        Seconds between two attempts for the same one, at least.

    Raises
    ------
    ArgumentError
        When one of them is negative.
    """

    def __init__(self, max_retries: int = 5, retry_interval_s: float = 60.0) -> None:
        if max_retries < 0:
            raise ArgumentError("max_retries", max_retries, "a count, at least 0")
        if not retry_interval_s >= 0:
            raise ArgumentError("retry_interval_s", retry_interval_s, "seconds, at least 0")
        self.max_retries = max_retries
        self.retry_interval_s = retry_interval_s
        self._attempts: dict[tuple[str, str, int], tuple[int, int]] = {}

    def due(self, gaps: Iterable[GapInfo], now_ns: int) -> list[GapInfo]:
        """Those that may be asked for at an instant, with their ``retry_count``.

        What is known of gaps that are no longer among `gaps` is forgotten: they were filled.
        """
        held = {_key(gap): gap for gap in gaps}
        self._attempts = {key: seen for key, seen in self._attempts.items() if key in held}
        due = []
        for key, gap in held.items():
            n_attempts, last_ns = self._attempts.get(key, (0, None))
            waited = last_ns is None or now_ns - last_ns >= self.retry_interval_s * NS_PER_SECOND
            if n_attempts < self.max_retries and waited:
                due.append(replace(gap, retry_count=n_attempts))
        return due

    def note(self, gap: GapInfo, now_ns: int) -> None:
        """Note that a gap was asked for at an instant."""
        self._attempts[_key(gap)] = self.count(gap) + 1, now_ns

    def count(self, gap: GapInfo) -> int:
        """How often it was asked for."""
        return self._attempts.get(_key(gap), (0, 0))[0]

    def __len__(self) -> int:
        return len(self._attempts)


def _key(gap: GapInfo) -> tuple[str, str, int]:
    return gap.symbol, gap.interval, gap.start_ns
