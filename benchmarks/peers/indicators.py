"""Five indicators after each of a symbol's 1s bars: SMA 20, EMA 20, RSI 14, ATR 14, BBANDS 20.

Each value is read after each bar and added up from bar 2,000 on: by then it does not matter any
more what a recursion began with, which is where definitions differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import openbell as ob
from benchmarks.data import as_tuples, make_bars, make_root
from benchmarks.peers import backtrader_feed, nautilus
from benchmarks.peers.work import Digest, Job, System, Work
from openbell.config import IndicatorConfig
from openbell.schema import BarArray

N_BARS = 6000
N_SETTLED = 2000
NAMES = ("sma", "ema", "rsi", "atr", "upper", "middle", "lower")
BANDS = {"timeperiod": 20, "nbdevup": 2.0, "nbdevdn": 2.0}
CONFIGS = tuple(
    IndicatorConfig(name=kind.lower(), type=kind, interval="1s", parameters=parameters)
    for kind, parameters in (
        ("SMA", {"timeperiod": 20}),
        ("EMA", {"timeperiod": 20}),
        ("RSI", {"timeperiod": 14}),
        ("ATR", {"timeperiod": 14}),
        ("BBANDS", BANDS),
    )
)


def day() -> BarArray:
    return make_bars(N_BARS)


class Sums:
    """Adds values up, of the bars that count."""

    def __init__(self) -> None:
        self.n = 0
        self.sums = [0.0] * len(NAMES)

    def add(self, *values: float) -> None:
        self.n += 1
        if self.n > N_SETTLED:
            sums = self.sums
            for at, value in enumerate(values):
                sums[at] += value


def digest_of(found: dict[str, Any]) -> Digest:
    return dict(zip(NAMES, found[""], strict=True))


def openbell_indicators(_n_symbols: int, _n_threads: int) -> Work:
    rows = as_tuples(day())
    fresh: list[Any] = [ob.SessionData()]

    def prepare() -> None:
        root, (record,) = make_root(1, fresh[0], intervals=())
        processor = ob.DataProcessor(root)
        fresh[:] = [root, record, [processor.add_indicator(record, c) for c in CONFIGS]]

    def run() -> list[float]:
        _, record, (sma, ema, rsi, atr, bands) = fresh
        append, sums = record.append, Sums()
        for row in rows:
            append(*row)
            one_of_three = bands.value or (0.0, 0.0, 0.0)
            sums.add(
                sma.value or 0.0,
                ema.value or 0.0,
                rsi.value or 0.0,
                atr.value or 0.0,
                *one_of_three,
            )
        return sums.sums

    return Work(len(rows), {"": run}, digest_of, prepare)


def talipp(_n_symbols: int, _n_threads: int) -> Work:
    from talipp.indicators import ATR, BB, EMA, RSI, SMA
    from talipp.ohlcv import OHLCV

    rows = as_tuples(day())

    def run() -> list[float]:
        sma, ema, rsi, atr, bands, sums = SMA(20), EMA(20), RSI(14), ATR(14), BB(20, 2), Sums()
        for at, (_, o, h, l, c, v) in enumerate(rows):  # noqa: E741
            sma.add(c)
            ema.add(c)
            rsi.add(c)
            atr.add(OHLCV(o, h, l, c, v))
            bands.add(c)
            if at >= 20:
                band = bands[-1]
                sums.add(sma[-1], ema[-1], rsi[-1], atr[-1], band.ub, band.cb, band.lb)
            else:
                sums.add()
        return sums.sums

    return Work(len(rows), {"": run}, digest_of)


def nautilus_trader(_n_symbols: int, _n_threads: int) -> Work:
    from nautilus_trader.indicators import (
        AverageTrueRange,
        BollingerBands,
        ExponentialMovingAverage,
        MovingAverageType,
        RelativeStrengthIndex,
        SimpleMovingAverage,
    )

    rows = as_tuples(day())

    def run() -> list[float]:
        sma, ema = SimpleMovingAverage(20), ExponentialMovingAverage(20)
        rsi = RelativeStrengthIndex(14, MovingAverageType.WILDER)
        atr = AverageTrueRange(14, MovingAverageType.WILDER)
        bands, sums = BollingerBands(20, 2.0), Sums()
        for _, _, h, l, c, _ in rows:  # noqa: E741
            sma.update_raw(c)
            ema.update_raw(c)
            rsi.update_raw(c)
            atr.update_raw(h, l, c)
            bands.update_raw(c, c, c)
            sums.add(
                sma.value,
                ema.value,
                100.0 * rsi.value,
                atr.value,
                bands.upper,
                bands.middle,
                bands.lower,
            )
        return sums.sums

    return Work(len(rows), {"": run}, digest_of)


def backtrader(_n_symbols: int, _n_threads: int) -> Work:
    import backtrader as bt

    bars = day()
    fresh: list[Any] = []

    class Reader(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.read = Sums()
            self.of = [bt.ind.SMA(period=20), bt.ind.EMA(period=20)]
            self.of += [bt.ind.RSI(period=14), bt.ind.ATR(period=14)]
            self.bands = bt.ind.BollingerBands(period=20, devfactor=2.0)

        def prenext(self) -> None:
            self.read.add()

        def next(self) -> None:
            bands = self.bands
            self.read.add(*(one[0] for one in self.of), bands.top[0], bands.mid[0], bands.bot[0])

    def prepare() -> None:
        cerebro = bt.Cerebro(stdstats=False, runonce=False)
        cerebro.adddata(backtrader_feed.feed(bars))
        cerebro.addstrategy(Reader)
        fresh[:] = [cerebro]

    def run() -> list[float]:
        (strategy,) = fresh[0].run()
        found: list[float] = strategy.read.sums
        return found

    return Work(len(bars), {"": run}, digest_of, prepare)


def vectorbt(_n_symbols: int, _n_threads: int) -> Work:
    import pandas as pd
    import vectorbt as vbt

    frame = pd.DataFrame(day())
    high, low, close = frame["high"], frame["low"], frame["close"]

    def run() -> list[float]:
        # A span of 2 n - 1 smooths as Wilder's n does.
        bands = vbt.BBANDS.run(close, window=20, alpha=2.0, ddof=0)
        series = [
            vbt.MA.run(close, window=20).ma,
            vbt.MA.run(close, window=20, ewm=True).ma,
            vbt.RSI.run(close, window=27, ewm=True).rsi,
            vbt.ATR.run(high, low, close, window=27, ewm=True).atr,
            bands.upper,
            bands.middle,
            bands.lower,
        ]
        return [float(np.sum(one.to_numpy()[N_SETTLED:])) for one in series]

    return Work(len(frame), {"": run}, digest_of)


JOB = Job(
    "indicators",
    f"5 indicators read after each of {N_BARS:,} bars",
    (
        System(
            "openbell indicators",
            openbell_indicators,
            note="`record.append` and `.value` of each; TA-Lib's",
        ),
        System("talipp", talipp, ("talipp",)),
        System(
            "NautilusTrader",
            nautilus_trader,
            nautilus.PACKAGES,
            note="`update_raw`, the bar not stored; Wilder's averages",
        ),
        System("backtrader", backtrader, backtrader_feed.PACKAGES, note="`runonce=False`"),
        System(
            "vectorbt",
            vectorbt,
            ("vectorbt",),
            note="**batch**: all bars at once, nothing read in between",
        ),
    ),
    rounds=5,
)
