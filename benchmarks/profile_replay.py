"""Where the time of a replay goes, by who is told: ``python -m benchmarks.profile_replay``.

Days of made bars through whole sessions: validated, read from memory, loaded, replayed.
"""

from __future__ import annotations

from typing import Any

import openbell as ob
from benchmarks.profiled import MemorySource, best_of, config_of, names_of, options_of, show
from openbell.profiling import profile

INDICATORS = [
    {"name": "vwap", "type": "VWAP", "interval": "1m"},
    {"name": "sma", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 20}},
    {"name": "ema", "type": "EMA", "interval": "1m", "parameters": {"timeperiod": 20}},
    {"name": "rsi", "type": "RSI", "interval": "1m", "parameters": {"timeperiod": 14}},
    {"name": "atr", "type": "ATR", "interval": "1m", "parameters": {"timeperiod": 14}},
]


def on_slice(ts_ns: int, records: object) -> None:
    pass


def on_bar(record: object, bar: object) -> None:
    pass


def read_all(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
    for indicator in record.indicators.values():
        indicator.value  # noqa: B018


def run_alone(session: ob.SessionCoordinator) -> None:
    session.run()


def run_slices(session: ob.SessionCoordinator) -> None:
    session.run(on_slice)


def run_bars(session: ob.SessionCoordinator) -> None:
    session.on_close("1s", on_bar)
    session.run()


def run_indicators(session: ob.SessionCoordinator) -> None:
    session.on_close("1m", read_all)
    session.run()


MODES: dict[str, Any] = {
    "no callback": (run_alone, {}),
    "per timestamp": (run_slices, {}),
    "per bar": (run_bars, {}),
    "five indicators a minute": (run_indicators, {"indicators": INDICATORS}),
}


def main() -> None:
    options = options_of(__doc__, symbols=500, bars=5850, rounds=3)
    names = names_of(options.symbols)
    source, clock = MemorySource(names, options.bars), ob.TimeManager("XNYS")
    columns = {}
    for mode, (run, tables) in MODES.items():
        config = config_of(names, **tables)
        columns[mode] = best_of(
            options.rounds,
            lambda config=config: ob.open_session(config, data=ob.DataManager([source], clock)),
            run,
            profile,
        )
    n_bars = options.symbols * options.bars
    assert all(found.n_bars == n_bars for found, _ in columns.values())
    show(f"replay of {options.symbols} symbols", columns, n_bars)


if __name__ == "__main__":
    main()
