"""A feed for backtrader that gives rows from lists: the fastest that one in Python can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openbell.schema import NS_PER_SECOND, BarArray

PACKAGES = ("backtrader",)


Rows = Iterator[tuple[float, ...]]


def feed(bars: BarArray, n_ahead: int | None = None) -> Any:
    """1s bars with the time of their close; `n_ahead` rows made at a time, or all beforehand."""
    import backtrader as bt

    def make_rows() -> Rows:
        for at in range(0, len(bars), n_ahead or len(bars)):
            some = bars[at : at + (n_ahead or len(bars))]
            ends = (some["timestamp"] + NS_PER_SECOND).astype("M8[ns]").astype("M8[us]")
            stamps = [bt.date2num(end) for end in ends.tolist()]
            columns = [some[name].tolist() for name in (bars.dtype.names or ())[1:]]
            yield from zip(stamps, *columns, strict=True)

    class Feed(bt.DataBase):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.rows: Rows = make_rows() if n_ahead else iter(list(make_rows()))

        def _load(self) -> bool:
            row = next(self.rows, None)
            if row is None:
                return False
            lines = self.lines
            lines.datetime[0], lines.open[0], lines.high[0] = row[:3]
            lines.low[0], lines.close[0], lines.volume[0] = row[3:]
            return True

    return Feed(timeframe=bt.TimeFrame.Seconds, compression=1)
