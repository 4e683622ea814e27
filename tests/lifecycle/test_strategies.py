"""The worked example in Python, numba and Cython: over whole sessions they trade alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    bars_at,
    config_of,
    ns_at,
    sparse_slots,
    window_of,
    write_days,
)
from tests.native_probe import load_probe
from tests.strategies import MINUTE

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ma_cross"
DAYS = [WEDNESDAY, HALF_DAY]
#: Bars in all seconds, in some, in very few; one that comes late, and one that leaves.
N_BARS = {"ALL": None, "SOME": 900, "FEW": 40, "LATE": 2500, "LEAVES": 2500}
FIRST = ["ALL", "SOME", "FEW", "LEAVES"]
JOINS, LEAVES = "11:00:30", "10:30:30"

Trades = list[tuple[int, str, int, float]]


@pytest.fixture(scope="module")
def bars() -> dict[date, dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    days: dict[date, dict[str, np.ndarray]] = {}
    for day in DAYS:
        window = window_of(day)
        n_slots = (window.close_ns - window.open_ns) // SECOND
        days[day] = {
            symbol: bars_at(
                window, "1s", range(n_slots) if n is None else sparse_slots(rng, n_slots, n)
            )
            for symbol, n in N_BARS.items()
        }
    return days


@pytest.fixture(scope="module")
def market(bars: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    days = {day: {"1s": of} for day, of in bars.items()}
    return write_days(tmp_path_factory.mktemp("market"), days)


@pytest.fixture(scope="module")
def example() -> Any:
    """The modules of the example that are Python."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        import numba_cross
        import python_cross
    finally:
        sys.path.remove(str(EXAMPLE))
    return python_cross, numba_cross


def meddled_session(market: Path) -> ob.SessionCoordinator:
    """On each day one symbol joins and another one leaves, between two minutes."""
    session = ob.open_session(config_of(market, DAYS, FIRST, ["1s", "30s", "1m"]))

    def meddle(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if record.symbol != "ALL":
            return
        day = session.root.current_session_date
        if session.root.now_ns == ns_at(day, JOINS):
            assert session.add_symbol("LATE")
        if session.root.now_ns == ns_at(day, LEAVES):
            assert session.remove_symbol("LEAVES")

    session.on_close("30s", meddle)
    return session


def in_python(session: ob.SessionCoordinator, example: Any) -> Trades:
    strategy = example[0].MaCross()
    session.on_close("1m", strategy.on_close)
    session.run()
    return strategy.trades


def in_numba(session: ob.SessionCoordinator, example: Any) -> Trades:
    strategy = example[1].ma_cross.again()
    session.run(on_slice=strategy)
    return example[1].trades_of(strategy)


def in_cython(session: ob.SessionCoordinator, example: Any) -> Trades:
    strategy = load_probe().MaCross()
    session.run(on_slice=strategy)
    return strategy.trades


def trades_of_day(symbol: str, seconds: np.ndarray, day: date) -> Trades:
    """From the bars of the day alone: minutes, averages, and where they cross."""
    minutes = seconds["timestamp"] // MINUTE * MINUTE
    is_last = np.append(minutes[1:] != minutes[:-1], True)
    labels, closes = minutes[is_last], seconds["close"][is_last]
    # All prices are sixty-fourths, so that sums are exact in whatever order.
    means = {
        n: np.convolve(closes, np.ones(n), "valid")[-(len(closes) - 19) :] / n for n in (5, 20)
    }
    labels, closes, is_above = labels[19:], closes[19:], means[5] > means[20]
    ends = labels + MINUTE
    is_told = np.full(len(ends), True)
    if symbol == "LATE":
        is_told = ends > ns_at(day, JOINS)
    elif symbol == "LEAVES":
        is_told = ends < ns_at(day, LEAVES)
    labels, closes, is_above = labels[is_told], closes[is_told], is_above[is_told]
    at = np.flatnonzero(is_above[1:] != is_above[:-1]) + 1
    return [(int(labels[i]), symbol, 1 if is_above[i] else -1, float(closes[i])) for i in at]


@pytest.mark.parametrize("run", [in_python, in_numba, in_cython])
def test_ma_cross_trades_what_the_bars_say(
    run: Callable[[Any, Any], Trades], market: Path, bars: Any, example: Any
) -> None:
    with meddled_session(market) as session:
        found = run(session, example)
    expected = [
        trade
        for day, of in bars.items()
        for symbol, seconds in of.items()
        for trade in trades_of_day(symbol, seconds, day)
    ]
    assert {symbol for _, symbol, _, _ in expected} == set(N_BARS)
    assert sorted(found) == sorted(expected)
    assert [ts for ts, *_ in found] == sorted(ts for ts, *_ in found)


def test_native_strategy_error_ends_the_day(market: Path) -> None:
    def breaks(ts_ns, ids, bars):
        if bars.count(ids[0]) == 2:
            raise ValueError("enough")

    session = ob.open_session(config_of(market, DAYS, FIRST, ["1s", "1m"]))
    with pytest.raises(ob.StrategyError, match="enough"):
        session.run(on_slice=ob.compiled(on="1m", cache=False)(breaks))
    assert session.phase == "stopped"


def test_native_strategy_is_told_beside_callbacks_and_by_day(market: Path) -> None:
    strategy = load_probe().Seen("1m", ["1s"])
    session = ob.open_session(config_of(market, DAYS, FIRST, ["1s", "1m"]))
    told: list[tuple[Any, ...]] = []

    def tell(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        base = record.bars["1s"]
        told.append(
            (session.root.now_ns, record.symbol, len(record.bars["1m"]), bar.close, len(base),
             base.close(1)[0])
        )  # fmt: skip

    session.on_close("1m", tell)
    for day in session.days():
        day.run(strategy)
    assert sorted(strategy.told) == sorted(told)
    assert strategy.n_kept_when_bound.count(0) == len(DAYS)


def tree_of(session: ob.SessionCoordinator) -> dict[str, Any]:
    root = session.root
    return {
        rec.symbol: (
            rec.session_volume,
            rec.session_high,
            rec.session_low,
            {
                name: (s.data.tobytes(), s.n_gaps, s.coverage, str(s.open_bar))
                for name, s in rec.bars.items()
            },
        )
        for rec in root
    }


@pytest.mark.parametrize("at", ["09:31:00", "10:02:17", "11:00:40", "12:59:59"])
def test_strategy_that_raises_leaves_the_day_where_it_raised(
    bars: Any, at: str, tmp_path: Path
) -> None:
    of = bars[HALF_DAY]
    # One has its last bar within a minute that is not over when the strategy raises.
    of = {"ALL": of["ALL"], "FEW": of["FEW"], "SOME": of["SOME"], "ENDS": of["ALL"][:5411]}
    market = write_days(tmp_path, {HALF_DAY: {"1s": of}})
    config = config_of(market, [HALF_DAY], list(of), ["1s", "30s", "1m"])
    stop_ns = ns_at(HALF_DAY, at)

    @ob.compiled(on="1s", intervals=["1m"])
    def raises(ts_ns: Any, ids: Any, bars: Any) -> None:
        if ts_ns >= stop_ns:
            raise ValueError("enough")

    def stops(ts_ns: int, _records: Any) -> None:
        if ts_ns >= stop_ns:
            raise ValueError("enough")

    trees = []
    for strategy, error in ((raises, ob.StrategyError), (stops, ValueError)):
        with ob.open_session(config) as session:
            for day in session.days():
                with pytest.raises(error):
                    day.run(strategy)
                raised = session.root.now_ns, tree_of(session)
                # What waits is still there, and comes as if nothing had happened.
                day.run()
                trees.append((raised, tree_of(session)))
    assert trees[0] == trees[1]
    assert trees[0][0][0] >= stop_ns
