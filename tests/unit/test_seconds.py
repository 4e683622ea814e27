"""Bars of one second from trades: against a plain reference, live and from arrays alike."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import ArgumentError, SchemaError
from openbell.schema import BAR_DTYPE
from openbell.sources.seconds import SecondBar, SecondsBuilder, seconds_from_trades

SECOND = 10**9
START = 1_751_463_000 * SECOND


class Trade(NamedTuple):
    ts_ns: int
    price: float
    size: float
    conditions: tuple[str, ...] = ()
    tape: str = ""


def sets_prices(trade: Trade) -> bool:
    forbidden = set("CGHIMNPQRUVWZ479") | ({"B"} if trade.tape != "C" else set())
    return not forbidden & set(trade.conditions)


def adds_volume(trade: Trade) -> bool:
    return not {"M", "Q", "9"} & set(trade.conditions)


def expected(trades: list[Trade]) -> dict[int, tuple[float, ...]]:
    """By second, the bar with its count and vwap: exact arithmetic, no state."""
    found = {}
    for second in {t.ts_ns // SECOND for t in trades}:
        mine = [t for t in trades if t.ts_ns // SECOND == second]
        priced = sorted((t for t in mine if sets_prices(t)), key=lambda t: t.ts_ns)
        sizes = [Fraction(t.size) for t in mine if adds_volume(t)]
        if not priced or not sum(sizes):
            continue
        prices = [t.price for t in priced]
        products = sum(Fraction(t.price * t.size) for t in priced)
        size = sum(Fraction(t.size) for t in priced)
        vwap = float(products) / float(size) if size else math.nan
        found[second * SECOND] = (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            float(sum(sizes)),
            float(len(sizes)),
            vwap,
        )
    return found


def same(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    return np.array(left).tobytes() == np.array(right).tobytes()


def from_arrays(trades: list[Trade]) -> dict[int, tuple[float, ...]]:
    bars, counts, vwap = seconds_from_trades(
        np.array([t.ts_ns for t in trades], np.int64),
        np.array([t.price for t in trades], np.float64),
        np.array([t.size for t in trades], np.float64),
        [t.conditions for t in trades],
        [t.tape for t in trades],
    )
    assert bars.dtype == BAR_DTYPE
    assert (np.diff(bars["timestamp"]) > 0).all()
    rows = zip(bars.tolist(), counts.tolist(), vwap.tolist(), strict=True)
    return {row[0]: (*row[1:], count, mean) for row, count, mean in rows}


def as_values(bar: SecondBar) -> tuple[float, ...]:
    return bar[2:9]


TRADES = st.builds(
    Trade,
    ts_ns=st.integers(0, 5 * SECOND).map(lambda t: START + t // (SECOND // 4) * (SECOND // 4)),
    price=st.floats(0.01, 1e5),
    size=st.integers(0, 500).map(float) | st.floats(0, 1e4),
    conditions=st.lists(st.sampled_from(" @ABCEFIMPQTZ49?"), max_size=3).map(tuple),
    tape=st.sampled_from(["A", "B", "C", "O", ""]),
)


@given(st.lists(TRADES, max_size=40))
def test_bars_of_arrays_are_those_of_the_reference_to_the_bit(trades: list[Trade]) -> None:
    found, wanted = from_arrays(trades), expected(trades)
    assert found.keys() == wanted.keys()
    assert all(same(found[key], wanted[key]) for key in wanted)


@given(
    st.lists(st.tuples(st.sampled_from("XY"), TRADES), max_size=40),
    st.lists(st.integers(0, 10 * SECOND), max_size=10),
    st.randoms(use_true_random=False),
)
def test_builder_ends_with_the_bars_of_the_reference_whatever_the_order_and_the_clock(
    trades: list[tuple[str, Trade]], flushes: list[int], random: object
) -> None:
    builder = SecondsBuilder()
    steps: list[object] = [*trades, *(START + at for at in flushes)]
    random.shuffle(steps)  # type: ignore[attr-defined]
    held: dict[tuple[str, int], tuple[float, ...]] = {}
    clock = 0
    for step in [*steps, START + 20 * SECOND]:
        if isinstance(step, int):
            clock = max(clock, step)
            told = builder.flush(step)
            assert [(b.ts_ns, b.symbol) for b in told] == sorted((b.ts_ns, b.symbol) for b in told)
        else:
            symbol, trade = step
            told = builder.add(symbol, *trade)
        for bar in told:
            key = (bar.symbol, bar.ts_ns)
            assert bar.ts_ns + 2 * SECOND <= clock
            # It is an update exactly when it is not told because the clock moved.
            assert bar.is_update == (not isinstance(step, int))
            assert isinstance(step, tuple) or key not in held
            held[key] = as_values(bar)
    arrived = [step for step in steps if isinstance(step, tuple)]
    for name in "XY":
        wanted = expected([trade for symbol, trade in arrived if symbol == name])
        found = {ts: values for (symbol, ts), values in held.items() if symbol == name}
        assert found.keys() == wanted.keys()
        assert all(same(found[key], wanted[key]) for key in wanted)
    assert (builder.n_too_late, builder.n_refused) == (0, 0)


def test_flush_closes_a_second_when_its_delay_is_over_though_nothing_trades() -> None:
    builder = SecondsBuilder(delay_s=0.5)
    builder.add("A", START + 999_999_999, 10.0, 5.0)
    assert builder.flush(START + 1_499_999_999) == []
    (bar,) = builder.flush(START + 1_500_000_000)
    assert bar == ("A", START, 10.0, 10.0, 10.0, 10.0, 5.0, 1.0, 10.0, False)
    assert builder.flush(START + 9 * SECOND) == []


def test_flush_of_an_earlier_instant_opens_nothing_again() -> None:
    builder = SecondsBuilder()
    builder.add("A", START, 10.0, 5.0)
    assert len(builder.flush(START + 2 * SECOND)) == 1
    assert builder.flush(START) == []
    (bar,) = builder.add("A", START, 11.0, 5.0)
    assert bar.is_update


def test_late_trade_of_a_second_without_one_makes_its_bar() -> None:
    builder = SecondsBuilder()
    builder.flush(START + 10 * SECOND)
    (bar,) = builder.add("A", START + SECOND, 10.0, 5.0)
    assert (bar.ts_ns, bar.is_update, bar.volume) == (START + SECOND, True, 5.0)


def test_late_trade_that_counts_for_nothing_tells_nothing() -> None:
    builder = SecondsBuilder()
    builder.add("A", START, 10.0, 5.0)
    builder.flush(START + 2 * SECOND)
    assert builder.add("A", START, 99.0, 5.0, ["@", "M"], "C") == []
    assert builder.add("A", START + SECOND // 2, 10.5, 1.0, [" ", "I"], "A")[0].close == 10.0


def test_trade_later_than_a_minute_is_counted_and_left_out() -> None:
    builder = SecondsBuilder()
    builder.add("A", START, 10.0, 5.0)
    builder.flush(START + 62 * SECOND)
    assert builder.n_too_late == 0
    assert builder.add("A", START, 11.0, 5.0) == []
    assert builder.add("A", START + SECOND, 11.0, 5.0) != []
    assert builder.n_too_late == 1


def test_seconds_of_the_past_are_forgotten() -> None:
    builder = SecondsBuilder()
    for k in range(1000):
        builder.add("A", START + k * SECOND, 10.0, 1.0)
        builder.flush(START + (k + 1) * SECOND)
    assert len(builder._seconds) <= 63


def test_begin_leaves_out_the_second_under_way() -> None:
    builder = SecondsBuilder()
    builder.begin("A", START + SECOND // 2)
    builder.add("A", START + SECOND - 1, 10.0, 1.0)
    builder.add("A", START + SECOND, 11.0, 1.0)
    builder.add("B", START + SECOND - 1, 12.0, 1.0)
    told = builder.flush(START + 5 * SECOND)
    assert [(bar.symbol, bar.ts_ns - START) for bar in told] == [("B", 0), ("A", SECOND)]
    assert builder.n_too_late == 1


@pytest.mark.parametrize(
    ("price", "size"),
    [(math.nan, 1.0), (math.inf, 1.0), (0.0, 1.0), (1.0, -1.0), (1.0, math.nan), (1e300, 1e300)],
)
def test_trade_without_a_price_or_size_is_refused_and_counted(price: float, size: float) -> None:
    builder = SecondsBuilder()
    assert builder.add("A", START, price, size) == []
    builder.add("A", START, 10.0, 1.0)
    assert [as_values(b)[4] for b in builder.flush(START + 9 * SECOND)] == [1.0]
    assert builder.n_refused == 1
    trades = [Trade(START, price, size), Trade(START, 10.0, 1.0)]
    assert list(from_arrays(trades)) == [START]
    assert from_arrays(trades)[START][4] == 1.0


@pytest.mark.parametrize(
    ("conditions", "tape", "volume", "high"),
    [
        # Official close: a notice. Odd lot: volume alone. B is an average price, but on tape C a
        # bunched trade. An extended hours trade sets prices, as in the minute bars of the vendor.
        ("@M", "C", 100.0, 10.0),
        ("@9", "C", 100.0, 10.0),
        (" I", "A", 150.0, 10.0),
        (" B", "A", 150.0, 10.0),
        ("@B", "C", 150.0, 20.0),
        ("@W", "C", 150.0, 10.0),
        ("@T", "C", 150.0, 20.0),
        (" F", "B", 150.0, 20.0),
        (" P", "B", 150.0, 10.0),
        (" ~", "B", 150.0, 20.0),
        ("@TI", "C", 150.0, 10.0),
        ("IQ", "C", 100.0, 10.0),
    ],
)
def test_conditions_decide_what_a_trade_counts_for(
    conditions: str, tape: str, volume: float, high: float
) -> None:
    trades = [Trade(START, 10.0, 100.0), Trade(START, 20.0, 50.0, tuple(conditions), tape)]
    bar = from_arrays(trades)[START]
    assert (bar[4], bar[1]) == (volume, high)
    # A price that is no market's is in no vwap either.
    assert bar[6] == (10.0 if high == 10.0 else pytest.approx(2000 / 150))


def test_second_of_odd_lots_alone_has_no_bar() -> None:
    assert from_arrays([Trade(START, 10.0, 5.0, ("I",), "A")]) == {}
    assert from_arrays([]) == {}
    assert from_arrays([Trade(START, 10.0, 0.0)]) == {}


def test_arguments_are_checked() -> None:
    with pytest.raises(ArgumentError, match="delay_s"):
        SecondsBuilder(-1.0)
    one, two = np.zeros(1), np.zeros(2)
    with pytest.raises(SchemaError, match="size: received 2 values, expected 1"):
        seconds_from_trades(np.zeros(1, np.int64), one, two)
