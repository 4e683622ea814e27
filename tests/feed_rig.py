"""A feed monitor told of scripted days with an explicit clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from openbell.clock.window import SessionWindow
from openbell.live.health import FeedHealth, FeedMonitor, SymbolHealth
from openbell.schema import NS_PER_SECOND as S

MINUTE = 60 * S
DAY = date(2025, 7, 2)
OPEN = 1_751_463_000 * S  # 2025-07-02 09:30 in New York
WINDOW = SessionWindow(DAY, [(OPEN, OPEN + 390 * MINUTE)])
LUNCH = SessionWindow(
    DAY, [(OPEN, OPEN + 120 * MINUTE), (OPEN + 180 * MINUTE, OPEN + 300 * MINUTE)]
)
HALF_DAY = SessionWindow(DAY, [(OPEN, OPEN + 210 * MINUTE)], is_early_close=True)


class Rig:
    """A monitor, its clock, and all it told."""

    def __init__(
        self,
        symbols: Iterable[str] = ("A",),
        window: SessionWindow = WINDOW,
        interval: str = "1m",
        fill_rate: float | None = None,
    ) -> None:
        self.monitor = FeedMonitor("feed", 2.0)
        self.told: list[FeedHealth | SymbolHealth] = []
        self.monitor.on_change = self.told.append
        self.step = window.grid(interval).step_ns
        self.now_ns = OPEN - MINUTE
        self.mute_at: list[int] = []
        self.connects_anew = False
        self.monitor.begin(window)
        for symbol in symbols:
            self.monitor.add(symbol, interval, fill_rate=fill_rate)
        self.monitor.note_connected(self.now_ns)

    def bars(self, symbols: Iterable[str], end_ns: int, lag_ns: int = S // 10) -> None:
        self.to(end_ns + lag_ns)
        for symbol in symbols:
            self.monitor.note_bar(symbol, end_ns, self.now_ns)

    def to(self, ts_ns: int) -> None:
        while self.now_ns < ts_ns:
            self.now_ns = min(ts_ns, self.now_ns + S)
            if self.monitor.check(self.now_ns):
                self.mute_at.append(self.now_ns)
                if self.connects_anew:
                    self.monitor.note_disconnected(self.now_ns, "mute")
                    self.monitor.note_connected(self.now_ns)

    def minutes(self, n: int, symbols: Iterable[str], first: int = 0) -> int:
        """`n` slots with a bar of each symbol; returns the end of the last."""
        for k in range(first, first + n):
            self.bars(symbols, OPEN + (k + 1) * self.step)
        return OPEN + (first + n) * self.step

    def states(self) -> dict[str, str]:
        return {name: health.state for name, health in self.monitor.symbols.items()}


def names(n: int) -> list[str]:
    return [f"S{k:03d}" for k in range(n)]
