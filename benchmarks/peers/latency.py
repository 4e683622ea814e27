"""One bar into eight derived intervals, by the clock: what a bar that just came in waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.data import INTERVALS, N_DAY, OPEN_NS, as_tuples, make_bars, make_root
from benchmarks.peers import nautilus
from benchmarks.peers.plain import PlainBar, PlainSession
from benchmarks.peers.work import Digest, Job, System, Work, hashed
from openbell.intervals import interval
from openbell.schema import BAR_FIELDS, NS_PER_SECOND

SYMBOL = "S00000"
CLOSE_NS = OPEN_NS + N_DAY * NS_PER_SECOND
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def percentiles(taken: list[int]) -> dict[str, float]:
    taken = sorted(taken)
    return {name: taken[int(share * len(taken))] * 1e-9 for name, share in SHARES.items()}


def figures(found: dict[str, Any]) -> dict[str, float]:
    return percentiles(found[""][1])


def digest_of(columns_of: Callable[[str], Iterable[Any]]) -> Digest:
    """Of every interval but the last hour, and of that one: who closes a stub tells both."""
    found: Digest = {}
    for name in INTERVALS:
        columns = [np.asarray(column) for column in columns_of(name)]
        found[name] = hashed(*(column[:6] if name == "1h" else column for column in columns))
        if name == "1h" and len(columns[0]) > 6:
            found["1h, the last"] = hashed(*(column[6:] for column in columns))
    return found


def openbell_append(_n_symbols: int, _n_threads: int) -> Work:
    rows = as_tuples(make_bars())
    fresh: list[Any] = list(make_root(1))

    def prepare() -> None:
        fresh[:] = make_root(1, fresh[0])

    def run() -> tuple[Any, list[int]]:
        record = fresh[1][0]
        append, taken = record.append, []
        note = taken.append
        for ts, o, h, l, c, v in rows:  # noqa: E741
            start = perf_counter_ns()
            append(ts, o, h, l, c, v)
            note(perf_counter_ns() - start)
        return record, taken

    def digest(found: dict[str, Any]) -> Digest:
        record = found[""][0]
        return digest_of(lambda name: [record.bars[name].data[field] for field in BAR_FIELDS])

    return Work(len(rows), {"": run}, digest, prepare, figures)


def plain_python(_n_symbols: int, _n_threads: int) -> Work:
    rows = as_tuples(make_bars())
    steps = {name: interval(name).step_ns for name in INTERVALS}

    def run() -> tuple[Any, list[int]]:
        session = PlainSession(OPEN_NS, CLOSE_NS, NS_PER_SECOND, steps)
        add_bar, taken = session.add_bar, []
        note = taken.append
        for ts, o, h, l, c, v in rows:  # noqa: E741
            start = perf_counter_ns()
            add_bar(SYMBOL, PlainBar(ts, o, h, l, c, v))
            note(perf_counter_ns() - start)
        return session.get_symbol_data(SYMBOL), taken

    def digest(found: dict[str, Any]) -> Digest:
        derived = found[""][0].bars_derived
        return digest_of(
            lambda name: [[getattr(bar, field) for bar in derived[name]] for field in BAR_FIELDS]
        )

    return Work(len(rows), {"": run}, digest, None, figures)


def nautilus_trader(_n_symbols: int, _n_threads: int) -> Work:
    bars = nautilus.nautilus_bars(SYMBOL, make_bars())
    kinds = {name: nautilus.bar_type(SYMBOL, name, "1s") for name in INTERVALS}

    def run() -> tuple[Any, list[int]]:
        engine, clock, cache = nautilus.data_engine(SYMBOL, list(kinds.values()), OPEN_NS)
        process, advance, taken = engine.process, clock.advance_time, []
        note = taken.append
        for bar in bars:
            start = perf_counter_ns()
            process(bar)
            # As its backtest does: what a bar's time closes is closed after the bar.
            for event in advance(bar.ts_init):
                event.handle()
            note(perf_counter_ns() - start)
        engine.stop()
        return cache, taken

    def digest(found: dict[str, Any]) -> Digest:
        cache = found[""][0]
        return digest_of(
            lambda name: nautilus.bar_columns(cache.bars(kinds[name].standard()), name)
        )

    return Work(len(bars), {"": run}, digest, None, figures)


JOB = Job(
    "latency",
    "latency of one 1s bar into 8 intervals, clock included",
    (
        System(
            "openbell append",
            openbell_append,
            goals={"p99.9": 3e-6},
            note="`record.append`: gaps and metrics too",
        ),
        System("plain Python", plain_python, note="`add_bar`, the bar made too"),
        System(
            "NautilusTrader",
            nautilus_trader,
            nautilus.PACKAGES,
            goals={"p50": 100},
            without=("1h, the last",),
            note="`DataEngine.process` and its timers; drops the last hour bar",
        ),
    ),
)
