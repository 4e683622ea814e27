"""What a stored bar costs all in: growth of the process while a day is taken in and kept.

Of all bars that are stored then, those of the derived intervals included.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import INTERVALS, N_DAY, OPEN_NS, make_root
from benchmarks.peers import backtrader_feed, derive, nautilus
from benchmarks.peers.plain import PlainBar, PlainSession
from benchmarks.peers.work import Digest, Job, System, Work, columns, days, symbols
from openbell.schema import NS_PER_SECOND

ALL_INTERVALS = ("1s", *INTERVALS)
N_SYMBOLS = 50
N_FEW = 10


def resident() -> int:
    """Bytes of memory that this process holds."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def make_work(take_in: Callable[[], Any], counted: Callable[[Any], Digest]) -> Work:
    """Work that is done once in its process; `counted` tells how many bars of what are stored."""

    def run() -> tuple[Any, int]:
        gc.collect()
        before = resident()
        held = take_in()
        gc.collect()
        return held, resident() - before

    def figures(found: dict[str, Any]) -> dict[str, float]:
        held, grown = found[""]
        return {"": grown / sum(int(count) for count in counted(held).values())}

    return Work(1, {"": run}, lambda found: counted(found[""][0]), None, figures)


def openbell_records(n_symbols: int, _n_threads: int) -> Work:
    bars = days(n_symbols)
    # What it imports only now is not the bars'.
    make_root(0)

    def take_in() -> Any:
        root, records = make_root(n_symbols)
        for record, day in zip(records, bars, strict=True):
            record.append_block(day)
        return root

    return make_work(
        take_in,
        lambda root: {
            f"{record.symbol} {name}": len(record.bars[name])
            for record in root
            for name in ALL_INTERVALS
        },
    )


def plain_python(n_symbols: int, _n_threads: int) -> Work:
    bars = days(n_symbols)

    def take_in() -> Any:
        session = PlainSession(OPEN_NS, OPEN_NS + N_DAY * NS_PER_SECOND, NS_PER_SECOND, STEPS_NS)
        for symbol, day in zip(symbols(n_symbols), bars, strict=True):
            for row in day.tolist():
                session.add_bar(symbol, PlainBar(*row))
        return session

    def counted(session: Any) -> Digest:
        found: Digest = {}
        for symbol in symbols(n_symbols):
            record = session.get_symbol_data(symbol)
            found[f"{symbol} 1s"] = len(record.bars_base)
            found.update({f"{symbol} {name}": len(b) for name, b in record.bars_derived.items()})
        return found

    return make_work(take_in, counted)


def pandas(n_symbols: int, _n_threads: int) -> Work:
    import pandas as pd

    made = derive.numpy_reduceat(n_symbols, 1)
    made_of = {"1s": columns(days(n_symbols)), **made.runs[""]()}

    def take_in() -> dict[str, Any]:
        return {name: frame_of(column) for name, column in made_of.items()}

    def frame_of(column: dict[str, Any]) -> Any:
        frame = pd.DataFrame({key: column[key] for key in list(column)[2:]}, copy=True)
        frame.insert(0, "timestamp", column["timestamp"].astype("M8[ns]"))
        kind = pd.CategoricalDtype(symbols(n_symbols))
        frame.insert(0, "symbol", pd.Categorical.from_codes(column["symbol"], dtype=kind))
        return frame

    def counted(frames: dict[str, Any]) -> Digest:
        return {
            f"{symbol} {name}": int(count)
            for name, frame in frames.items()
            for symbol, count in zip(
                symbols(n_symbols), np.bincount(frame["symbol"].cat.codes), strict=True
            )
        }

    return make_work(take_in, counted)


def nautilus_trader(n_symbols: int, _n_threads: int) -> Work:
    bars = days(n_symbols)
    names = symbols(n_symbols)
    kinds = {
        f"{symbol} {name}": nautilus.bar_type(symbol, name, None if name == "1s" else "1s")
        for symbol in names
        for name in ALL_INTERVALS
    }
    # What it imports only now is not the bars'.
    nautilus.data_engine(names[0], [], OPEN_NS)
    nautilus.nautilus_bars(names[0], bars[0][:10])

    def take_in() -> Any:
        caches = []
        for symbol, day in zip(names, bars, strict=True):
            mine = [kind for key, kind in kinds.items() if key.startswith(symbol)]
            engine, clock, cache = nautilus.data_engine(symbol, mine, OPEN_NS)
            for bar in nautilus.nautilus_bars(symbol, day):
                engine.process(bar)
                for event in clock.advance_time(bar.ts_init):
                    event.handle()
            engine.stop()
            caches.append(cache)
        return caches

    def counted(caches: Any) -> Digest:
        return {
            key: sum(cache.bar_count(kind.standard()) for cache in caches)
            for key, kind in kinds.items()
            if not key.endswith(" 1h")
        }

    return make_work(take_in, counted)


def backtrader(n_symbols: int, _n_threads: int) -> Work:
    import backtrader as bt

    bars = days(n_symbols)

    def take_in() -> Any:
        cerebro = bt.Cerebro(stdstats=False)
        for day in bars:
            cerebro.adddata(backtrader_feed.feed(day, n_ahead=1000))
        cerebro.addstrategy(bt.Strategy)
        return cerebro.run()[0]

    return make_work(
        take_in,
        lambda strategy: {
            f"{symbol} 1s": len(data)
            for symbol, data in zip(symbols(n_symbols), strategy.datas, strict=True)
        },
    )


STEPS_NS = derive.STEPS_NS

JOB = Job(
    "memory",
    "memory of a stored bar, all in",
    (
        System(
            "openbell records",
            openbell_records,
            n_symbols=N_SYMBOLS,
            goals={"": 52},
            note=f"{N_SYMBOLS} symbol-days of 1s and 8 intervals",
        ),
        System(
            "openbell records, few",
            openbell_records,
            n_symbols=N_FEW,
            goals={"": 52},
            note=f"{N_FEW} symbol-days",
        ),
        System(
            "pandas",
            pandas,
            ("pandas",),
            n_symbols=N_SYMBOLS,
            note=f"{N_SYMBOLS} symbol-days; a frame for each interval, symbols categorical",
        ),
        System("plain Python", plain_python, n_symbols=4, note="4 symbol-days"),
        System(
            "NautilusTrader",
            nautilus_trader,
            nautilus.PACKAGES,
            n_symbols=2,
            without=(".* 1h",),
            note="2 symbol-days in its `Cache`; drops the last hour bar",
        ),
        System(
            "backtrader",
            backtrader,
            backtrader_feed.PACKAGES,
            n_symbols=4,
            without=(".* (?!1s)[0-9]+[smh]",),
            note="4 symbol-days of 1s alone",
        ),
    ),
    unit="bytes",
    rounds=3,
    fresh=True,
)
