"""The moving-average cross in plain Python: a callback for each closed minute.

The easiest to write and to look into, and fast enough for most: it costs a microsecond or so
for each bar that it is told of.
"""

from __future__ import annotations

import openbell as ob

FAST, SLOW = 5, 20


class MaCross:
    """Buys where the fast average of closes goes above the slow one, and sells where below.

    Attributes
    ----------
    trades : list of (minute_ns, symbol, side, price)
        The minute by its start, nanoseconds UTC.
    """

    def __init__(self) -> None:
        self.trades: list[tuple[int, str, int, float]] = []
        self._is_above: dict[ob.SymbolSessionData, bool] = {}

    def on_close(self, record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        """Look at a record of which a minute has closed."""
        # The newest closes, oldest first: a view of the record's own memory, not a copy.
        closes = record.bars["1m"].close(SLOW).tolist()
        if len(closes) < SLOW:
            return
        is_above = mean(closes[-FAST:]) > mean(closes)
        # On the next day it is another record, which begins anew.
        if is_above != self._is_above.get(record, is_above):
            self.trades.append((bar.ts_ns, record.symbol, 1 if is_above else -1, bar.close))
        self._is_above[record] = is_above


def mean(closes: list[float]) -> float:
    """The mean, added up from left to right: to the bit what the other two strategies find."""
    total = 0.0
    for close in closes:
        total += close
    return total / len(closes)
