"""What NautilusTrader needs to know: an instrument, bars, and bar types aggregated from them.

Its bars carry the time of their close, and its hours are moved to the session's open. Nothing is
traded: venues do not execute on bars, and neither logs nor statistics are asked for.
"""

from __future__ import annotations

from typing import Any

from benchmarks.data import as_tuples
from openbell.intervals import interval as parse_interval
from openbell.schema import NS_PER_SECOND, BarArray

PACKAGES = ("nautilus_trader",)
VENUE = "XNYS"
#: Bars of a type that its cache keeps: more than a day's, not its 10,000.
N_KEPT = 100_000
UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR"}


def instrument_of(symbol: str) -> Any:
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Price, Quantity

    return Equity(
        instrument_id=InstrumentId(Symbol(symbol), Venue(VENUE)),
        raw_symbol=Symbol(symbol),
        currency=USD,
        price_precision=2,
        price_increment=Price.from_str("0.01"),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
    )


def bar_type(symbol: str, interval: str = "1s", base: str | None = None) -> Any:
    """That of the bars given; or, with a base, of bars that the engine aggregates from those."""
    from nautilus_trader.model.data import BarType

    text = f"{symbol}.{VENUE}-{_spec(interval)}-LAST"
    if base is None:
        return BarType.from_str(f"{text}-EXTERNAL")
    return BarType.from_str(f"{text}-INTERNAL@{_spec(base)}-EXTERNAL")


def nautilus_bars(symbol: str, bars: BarArray) -> list[Any]:
    from nautilus_trader.model.data import Bar
    from nautilus_trader.model.objects import Price, Quantity

    kind = bar_type(symbol)
    made = []
    for start, o, h, l, c, v in as_tuples(bars):  # noqa: E741
        end = start + NS_PER_SECOND
        prices = Price(o, 2), Price(h, 2), Price(l, 2), Price(c, 2)
        made.append(Bar(kind, *prices, Quantity(v, 0), end, end))
    return made


def data_engine_config() -> Any:
    import pandas as pd
    from nautilus_trader.config import DataEngineConfig
    from nautilus_trader.model.enums import BarAggregation

    return DataEngineConfig(
        time_bars_build_with_no_updates=False,
        time_bars_origin_offset={BarAggregation.HOUR: pd.Timedelta(minutes=30)},
    )


def backtest_engine(bars: dict[str, list[Any]]) -> Any:
    """An engine with these symbols' bars added."""
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.config import BacktestEngineConfig, LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.enums import AccountType, OmsType
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money

    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            run_analysis=False,
            data_engine=data_engine_config(),
        )
    )
    engine.add_venue(
        Venue(VENUE), OmsType.NETTING, AccountType.CASH, [Money(1e6, USD)], bar_execution=False
    )
    for symbol, made in bars.items():
        engine.add_instrument(instrument_of(symbol))
        engine.add_data(made)
    return engine


def data_engine(symbol: str, kinds: list[Any], now_ns: int) -> tuple[Any, Any, Any]:
    """A data engine that aggregates these types from a symbol's bars; its clock and its cache."""
    from nautilus_trader.backtest.data_client import BacktestMarketDataClient
    from nautilus_trader.cache.cache import Cache
    from nautilus_trader.cache.config import CacheConfig
    from nautilus_trader.common.component import MessageBus, TestClock
    from nautilus_trader.core.uuid import UUID4
    from nautilus_trader.data.engine import DataEngine
    from nautilus_trader.data.messages import SubscribeBars
    from nautilus_trader.model.identifiers import ClientId, TraderId, Venue

    clock = TestClock()
    clock.set_time(now_ns)
    bus = MessageBus(trader_id=TraderId("PEER-001"), clock=clock)
    cache = Cache(config=CacheConfig(bar_capacity=N_KEPT))
    engine = DataEngine(bus, cache, clock, data_engine_config())
    cache.add_instrument(instrument_of(symbol))
    engine.register_client(BacktestMarketDataClient(ClientId(VENUE), bus, cache, clock))
    engine.start()
    for kind in kinds:
        engine.execute(SubscribeBars(kind, ClientId(VENUE), Venue(VENUE), UUID4(), now_ns))
    return engine, clock, cache


def bar_columns(newest_first: list[Any], interval: str) -> list[list[float]]:
    """Plain columns, oldest bar first, times those of a bar's start."""
    bars = newest_first[::-1]
    step_ns = parse_interval(interval).step_ns
    return [
        [bar.ts_event - step_ns for bar in bars],
        [bar.open.as_double() for bar in bars],
        [bar.high.as_double() for bar in bars],
        [bar.low.as_double() for bar in bars],
        [bar.close.as_double() for bar in bars],
        [bar.volume.as_double() for bar in bars],
    ]


def _spec(interval: str) -> str:
    return f"{interval[:-1]}-{UNITS[interval[-1]]}"
