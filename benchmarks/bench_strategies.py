"""Strategies inside the replay of a loaded day: numba, Cython, and Python beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import openbell as ob
from benchmarks.bench_replay import N_ALL, Day
from benchmarks.harness import Beside
from benchmarks.native import load_file, load_native

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "ma_cross"
TOTALS = np.dtype([("n_bars", "i8"), ("volume", "f8"), ("closes", "f8")])

Trades = list[tuple[int, str, int, float]]


@ob.compiled(on="1s", state=TOTALS)
def every_bar(ts_ns, ids, bars, state):
    for k in ids:
        bar = bars.last(k)
        state[k].n_bars += 1
        state[k].volume += bar.volume
        state[k].closes += bar.close


def bench_strategy_numba_cross(beside: Beside) -> None:
    example = load_file("numba_cross", EXAMPLE / "numba_cross.py")
    strategy = example.ma_cross
    run(beside, "numba strategy, moving averages at each 1m", strategy, strategy.clear_log)
    assert sorted(example.trades_of(strategy)) == trades_in_python()


def bench_strategy_cython_cross(beside: Beside) -> None:
    strategy = load_native("strategies").MaCross()
    run(beside, "Cython strategy, moving averages at each 1m", strategy, strategy.trades.clear)
    assert sorted(strategy.trades) == trades_in_python()


def bench_strategy_numba_every_bar(beside: Beside) -> None:
    day = run(beside, "numba strategy, reading every 1s bar", every_bar)
    assert every_bar.state["n_bars"].sum() == N_ALL
    assert every_bar.state["volume"].tolist() == [r.session_volume for r in day.held[1]]


def bench_strategy_cython_every_bar(beside: Beside) -> None:
    strategy = load_native("strategies").EveryBar()
    day = run(beside, "Cython strategy, reading every 1s bar", strategy, strategy.clear)
    assert strategy.n_bars == N_ALL
    assert strategy.volume == sum(r.session_volume for r in day.held[1])


def bench_strategy_python_cross(beside: Beside) -> None:
    day = Day()
    strategy = python_cross()

    def load() -> None:
        strategy.trades.clear()
        day.load(lambda cursor: cursor.on_close("1m", strategy.on_close))

    day.replay(beside, "Python strategy, moving averages at each 1m", prepare=load, rounds=5)
    day.check()
    assert sorted(strategy.trades) == trades_in_python()


def run(beside: Beside, row: str, strategy: Any, clear: Callable[[], object] | None = None) -> Day:
    """Measure a native strategy; the day of the last round."""
    day = Day()

    def load() -> None:
        day.load()
        if clear is not None:
            clear()

    day.replay(beside, row, strategy, prepare=load, goal=1e3 / 45)
    day.check()
    return day


def python_cross() -> Any:
    return load_file("python_cross", EXAMPLE / "python_cross.py").MaCross()


@cache
def trades_in_python() -> Trades:
    day, strategy = Day(), python_cross()
    day.load(lambda cursor: cursor.on_close("1m", strategy.on_close))
    day.cursor.run()
    assert strategy.trades
    return sorted(strategy.trades)
