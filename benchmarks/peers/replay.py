"""Event replay: a callback on each 1s bar and on each 1m, 5m and 15m bar derived from them.

The callback counts, and adds up the closes, by symbol and interval; these sums are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

import openbell as ob
from benchmarks.data import N_DAY, OPEN_NS, make_bars, make_window
from benchmarks.peers import backtrader_feed, nautilus
from benchmarks.peers.disk import dataset
from benchmarks.peers.plain import PlainSession, plain_bars
from benchmarks.peers.work import Digest, Job, System, Work, symbols
from openbell.schema import NS_PER_SECOND, BarArray

#: The first hour of each symbol: the slowest takes seconds for one.
N_BARS = 3600
DERIVED = {"1m": 60 * NS_PER_SECOND, "5m": 300 * NS_PER_SECOND, "15m": 900 * NS_PER_SECOND}
INTERVALS = ("1s", *DERIVED)
N_SYMBOLS = 100

TALLY = np.dtype([("n", "i8", (4,)), ("total", "f8", (4,))])

Tallies = dict[tuple[str, str], list[float]]


def hours(n_symbols: int) -> list[BarArray]:
    return [make_bars(N_BARS, seed=k) for k in range(n_symbols)]


def new_tallies(n_symbols: int) -> Tallies:
    return {(name, interval): [0, 0.0] for name in symbols(n_symbols) for interval in INTERVALS}


def digest_of(tallies: Tallies) -> Digest:
    found: Digest = {}
    for (symbol, interval), (count, total) in tallies.items():
        found[f"{symbol} {interval} count"] = int(count)
        found[f"{symbol} {interval} sum of closes"] = total
    return found


def adder(tallies: Tallies, interval: str) -> Callable[[Any, Any], None]:
    """A callback that takes a record and a bar."""
    of = {symbol: tally for (symbol, name), tally in tallies.items() if name == interval}

    def add(record: Any, bar: Any) -> None:
        tally = of[record.symbol]
        tally[0] += 1
        tally[1] += bar.close

    return add


def open_session(n_symbols: int) -> ob.SessionCoordinator:
    folder = dataset("replay", partial(hours, n_symbols))
    return ob.open_session(
        {
            "session": {
                "start_date": make_window().date,
                "symbols": symbols(n_symbols),
                "streams": list(INTERVALS),
            },
            "data": {"parquet": str(folder)},
        }
    )


class Ours:
    """A session loaded anew before each round."""

    def __init__(self, n_symbols: int, watched: tuple[str, ...]) -> None:
        self.n_symbols = n_symbols
        self.watched = watched
        self.days: Any = None
        self.day: Any = None
        self.tallies: Tallies = {}

    def open(self) -> ob.SessionCoordinator:
        self.day = self.days = None
        self.tallies = new_tallies(self.n_symbols)
        session = open_session(self.n_symbols)
        for interval in self.watched:
            session.on_close(interval, adder(self.tallies, interval))
        return session

    def load(self) -> None:
        self.days = self.open().days()
        self.day = next(self.days)

    def replay(self, on_slice: Any = None) -> Tallies:
        self.day.run(on_slice)
        return self.tallies

    def by_slices(self) -> Tallies:
        of = {symbol: t for (symbol, name), t in self.tallies.items() if name == "1s"}

        def on_slice(_ts_ns: int, records: Any) -> None:
            for record in records:
                tally = of[record.symbol]
                tally[0] += 1
                tally[1] += record.bars["1s"].last_close

        return self.replay(on_slice)


def openbell_callbacks(n_symbols: int, _n_threads: int) -> Work:
    ours = Ours(n_symbols, INTERVALS)
    return Work(n_symbols * N_BARS, {"": ours.replay}, lambda f: digest_of(f[""]), ours.load)


def openbell_slices(n_symbols: int, _n_threads: int) -> Work:
    ours = Ours(n_symbols, tuple(DERIVED))
    return Work(n_symbols * N_BARS, {"": ours.by_slices}, lambda f: digest_of(f[""]), ours.load)


def openbell_compiled(n_symbols: int, _n_threads: int) -> Work:
    ours = Ours(n_symbols, ())

    @ob.compiled(on="1s", intervals=list(DERIVED), state=TALLY)
    def add(ts_ns: Any, ids: Any, bars: Any, state: Any) -> None:
        for k in ids:
            tally = state[k]
            tally.n[0] += 1
            tally.total[0] += bars.last(k).close
            if bars.count(k, "1m") > tally.n[1]:
                tally.n[1] += 1
                tally.total[1] += bars.last(k, "1m").close
            if bars.count(k, "5m") > tally.n[2]:
                tally.n[2] += 1
                tally.total[2] += bars.last(k, "5m").close
            if bars.count(k, "15m") > tally.n[3]:
                tally.n[3] += 1
                tally.total[3] += bars.last(k, "15m").close

    add.compile()

    def run() -> Tallies:
        ours.replay(add)
        return {
            (record.symbol, interval): [row["n"][j], row["total"][j]]
            for record, row in zip(add.records, add.state, strict=True)
            for j, interval in enumerate(INTERVALS)
        }

    return Work(n_symbols * N_BARS, {"": run}, lambda f: digest_of(f[""]), ours.load)


def openbell_whole(n_symbols: int, _n_threads: int) -> Work:
    ours = Ours(n_symbols, INTERVALS)

    def run() -> Tallies:
        ours.open().run()
        return ours.tallies

    return Work(n_symbols * N_BARS, {"": run}, lambda f: digest_of(f[""]))


def plain_python(n_symbols: int, _n_threads: int) -> Work:
    names = symbols(n_symbols)
    made = [plain_bars(bars) for bars in hours(n_symbols)]
    rows = list(chain.from_iterable(zip(*made, strict=True)))
    fresh: list[Any] = []

    def prepare() -> None:
        tallies = new_tallies(n_symbols)
        close_ns = OPEN_NS + N_DAY * NS_PER_SECOND
        session = PlainSession(OPEN_NS, close_ns, NS_PER_SECOND, DERIVED)
        for interval in INTERVALS:
            key = "base" if interval == "1s" else interval
            session.callbacks[key].append(adder(tallies, interval))
        fresh[:] = [session, tallies]

    def run() -> Tallies:
        session, tallies = fresh
        add_bar = session.add_bar
        for at, bar in enumerate(rows):
            add_bar(names[at % n_symbols], bar)
        session.end()
        found: Tallies = tallies
        return found

    return Work(n_symbols * N_BARS, {"": run}, lambda f: digest_of(f[""]), prepare)


def nautilus_trader(n_symbols: int, _n_threads: int) -> Work:
    from nautilus_trader.common.actor import Actor
    from nautilus_trader.common.config import ActorConfig

    bars = {
        name: nautilus.nautilus_bars(name, one)
        for name, one in zip(symbols(n_symbols), hours(n_symbols), strict=True)
    }
    fresh: list[Any] = []

    class Adder(Actor):  # type: ignore[misc]
        """One for each series: looking a bar's type up would cost as much as ten sums."""

        def __init__(self, symbol: str, interval: str, tally: list[float]) -> None:
            super().__init__(ActorConfig(component_id=f"{symbol}-{interval}"))
            self.kind = nautilus.bar_type(symbol, interval, None if interval == "1s" else "1s")
            self.tally = tally

        def on_start(self) -> None:
            self.subscribe_bars(self.kind)

        def on_bar(self, bar: Any) -> None:
            tally = self.tally
            tally[0] += 1
            tally[1] += bar.close.as_double()

    def prepare() -> None:
        if fresh:
            fresh[0].dispose()
        tallies = new_tallies(n_symbols)
        engine = nautilus.backtest_engine(bars)
        for (symbol, interval), tally in tallies.items():
            engine.add_actor(Adder(symbol, interval, tally))
        fresh[:] = [engine, tallies]

    def run() -> Tallies:
        fresh[0].run()
        found: Tallies = fresh[1]
        return found

    return Work(n_symbols * N_BARS, {"": run}, lambda f: digest_of(f[""]), prepare)


def backtrader(n_symbols: int, _n_threads: int) -> Work:
    import backtrader as bt

    loaded = hours(n_symbols)
    fresh: list[Any] = []

    class Adder(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.tallies = new_tallies(n_symbols)
            self.of = list(self.tallies.values())
            self.seen = [0] * len(self.of)

        def prenext(self) -> None:
            self.next()

        def next(self) -> None:
            for at, data in enumerate(self.datas):
                n = len(data)
                if n > self.seen[at]:
                    self.seen[at] = n
                    tally = self.of[at]
                    tally[0] += 1
                    tally[1] += data.close[0]

    def prepare() -> None:
        cerebro = bt.Cerebro(stdstats=False)
        for bars in loaded:
            data = backtrader_feed.feed(bars)
            cerebro.adddata(data)
            for step in DERIVED.values():
                cerebro.resampledata(
                    data,
                    timeframe=bt.TimeFrame.Minutes,
                    compression=step // (60 * NS_PER_SECOND),
                )
        cerebro.addstrategy(Adder)
        fresh[:] = [cerebro]

    def run() -> Tallies:
        (strategy,) = fresh[0].run()
        found: Tallies = strategy.tallies
        return found

    return Work(n_symbols * N_BARS, {"": run}, lambda f: digest_of(f[""]), prepare)


JOB = Job(
    "replay",
    "event replay, a callback on each bar of 1s, 1m, 5m, 15m",
    (
        System(
            "openbell on_close",
            openbell_callbacks,
            n_symbols=N_SYMBOLS,
            note=f"{N_SYMBOLS} symbols, loaded; `session.on_close`",
        ),
        System(
            "openbell on_slice",
            openbell_slices,
            n_symbols=N_SYMBOLS,
            note=f"{N_SYMBOLS} symbols; 1s bars through `on_slice`, the others `on_close`",
        ),
        System(
            "openbell compiled",
            openbell_compiled,
            n_symbols=N_SYMBOLS,
            note=f"{N_SYMBOLS} symbols; the same sums by a function that numba compiled",
        ),
        System(
            "openbell run",
            openbell_whole,
            n_symbols=N_SYMBOLS,
            note=f"{N_SYMBOLS} symbols; opening, validating and loading from Parquet included",
        ),
        System("plain Python", plain_python, n_symbols=10, note="10 symbols"),
        System(
            "NautilusTrader",
            nautilus_trader,
            nautilus.PACKAGES,
            n_symbols=4,
            goals={"": 100},
            note="4 symbols; `BacktestEngine`, data added before",
        ),
        System(
            "backtrader",
            backtrader,
            backtrader_feed.PACKAGES,
            goals={"": 1000},
            note="1 symbol; `resampledata`, reading the feed included",
        ),
    ),
    rounds=3,
)
