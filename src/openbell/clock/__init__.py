"""Time: the clock, the trading days, the window of each and the grid inside it."""

from openbell.clock.manager import TimeManager
from openbell.clock.window import Anchor, Grid, SessionWindow

__all__ = ["Anchor", "Grid", "SessionWindow", "TimeManager"]
