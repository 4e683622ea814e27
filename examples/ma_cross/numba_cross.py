"""The moving-average cross as a compiled function: Python to write, machine code to run.

numba compiles it when it is first run (a second or two), and finds it on disk the next time.
"""

from __future__ import annotations

import numpy as np

import openbell as ob

FAST, SLOW = 5, 20

# A row for each record, all zeros when a day begins.
STATE = np.dtype([("is_known", "?"), ("is_above", "?")])
# A row for each trade. Machine code knows no names: `symbol` is a place in `strategy.symbols`.
TRADE = np.dtype([("minute_ns", "i8"), ("symbol", "i4"), ("side", "i4"), ("price", "f8")])


@ob.compiled(on="1m", state=STATE, log=TRADE)
def ma_cross(ts_ns, ids, bars, state, log):
    """Buy where the fast average of closes goes above the slow one, and sell where below."""
    for k in ids:  # the records of which a minute has closed
        window = bars.window(k, SLOW)
        if len(window) < SLOW:
            continue
        slow = fast = 0.0
        for i in range(SLOW):
            slow += window[i].close
        for i in range(SLOW - FAST, SLOW):
            fast += window[i].close
        is_above = fast / FAST > slow / SLOW
        if state[k].is_known and is_above != state[k].is_above:
            trade = log.add()
            trade.minute_ns = window[SLOW - 1].timestamp
            trade.symbol = bars.symbol(k)
            trade.side = 1 if is_above else -1
            trade.price = window[SLOW - 1].close
        state[k].is_known = True
        state[k].is_above = is_above


def trades_of(strategy: ob.CompiledStrategy) -> list[tuple[int, str, int, float]]:
    """The log as tuples, with the names of the symbols."""
    symbols = strategy.symbols
    return [(minute, symbols[k], side, price) for minute, k, side, price in strategy.log.tolist()]
