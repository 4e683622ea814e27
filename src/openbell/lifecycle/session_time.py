"""The time of a session: its root's while that has a day."""

from __future__ import annotations

from datetime import date as Date

from openbell.clock.live import LiveClock
from openbell.clock.manager import TimeManager
from openbell.config import SessionTable
from openbell.session import SessionData

__all__ = ["SessionTime"]


class SessionTime(TimeManager):
    """Tells the time of a root while that has a day; of a live session, always the time it is.

    Parameters
    ----------
    root : SessionData
    session : SessionTable

    Attributes
    ----------
    clock : LiveClock or None
        That of a live session.
    """

    def __init__(self, root: SessionData, session: SessionTable) -> None:
        super().__init__(session.exchange, hours=session.hours, anchor=session.anchor)
        self._root = root
        self.clock: LiveClock | None = None

    @property
    def now_ns(self) -> int:
        """Current time, int64 nanoseconds UTC."""
        if self.clock is not None:
            return self.clock.now_ns()
        return self._root.now_ns if self._root.window is not None else super().now_ns

    def stand_at(self, day: Date) -> None:
        """Move to the open of a day, a replayed one too."""
        self._now_ns = self.session_window(day).open_ns
