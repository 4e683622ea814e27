"""The time a live session runs by: the wall clock, or one that runs faster for a rehearsal."""

from __future__ import annotations

import math
import time

from openbell.errors import ArgumentError
from openbell.schema import NS_PER_SECOND

__all__ = ["AcceleratedClock", "LiveClock"]


class LiveClock:
    """The wall clock, in nanoseconds UTC.

    Attributes
    ----------
    speed : float
        Session seconds that pass in one second; 1.
    """

    speed: float = 1.0

    def now_ns(self) -> int:
        """The time now, int64 nanoseconds UTC."""
        return time.time_ns()

    def wall_seconds(self, session_seconds: float) -> float:
        """How many seconds of waiting make so many of the session's."""
        return session_seconds / self.speed

    def wall_seconds_until(self, ts_ns: int) -> float:
        """How many seconds of waiting are left until an instant; 0 when it has passed."""
        return max(0.0, self.wall_seconds((ts_ns - self.now_ns()) / NS_PER_SECOND))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class AcceleratedClock(LiveClock):
    """A clock that starts where it is told and runs faster than the wall's: for rehearsals.

    Parameters
    ----------
    start_ns : int
        What it says when it is made, nanoseconds UTC.
    speed : float
        Its seconds in one second, above 0.

    Raises
    ------
    ArgumentError
        When `speed` is not a finite number above 0, or the start no int.
    """

    def __init__(self, start_ns: int, speed: float) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ArgumentError("speed", speed, "a finite number above 0")
        if isinstance(start_ns, bool) or not isinstance(start_ns, int):
            raise ArgumentError("start_ns", start_ns, "an instant, int nanoseconds UTC")
        self.speed = speed
        self._start_ns = start_ns
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """The time now, by this clock."""
        return self._start_ns + int((time.monotonic_ns() - self._began_ns) * self.speed)

    def skip_to(self, ts_ns: int) -> None:
        """Go on from an instant, nanoseconds UTC; one that has passed changes nothing."""
        self._start_ns += max(0, ts_ns - self.now_ns())

    def __repr__(self) -> str:
        return f"<AcceleratedClock {self.speed:g}x>"
