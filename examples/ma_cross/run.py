"""Replays two synthetic days through each of the three strategies, and compares their trades.

python setup.py build_ext --inplace
python run.py
"""

from __future__ import annotations

import tempfile
from datetime import date
from time import process_time
from typing import Any

from numba_cross import ma_cross, trades_of
from python_cross import MaCross

import openbell as ob
from openbell.sources import write_sample

SYMBOLS = [f"S{k:02}" for k in range(20)]
DAYS = [date(2025, 7, 2), date(2025, 7, 3)]

Trades = list[tuple[int, str, int, float]]


def run_python(config: dict[str, Any]) -> Trades:
    """A callback for each minute."""
    strategy = MaCross()
    with ob.open_session(config) as session:
        session.on_close("1m", strategy.on_close)
        session.run()
    return strategy.trades


def run_numba(config: dict[str, Any]) -> Trades:
    """A compiled function, called without the interpreter."""
    with ob.open_session(config) as session:
        session.run(on_slice=ma_cross)
    return trades_of(ma_cross)


def run_cython(config: dict[str, Any]) -> Trades:
    """The same from an extension module."""
    from cython_cross import MaCross as CythonCross

    strategy = CythonCross()
    with ob.open_session(config) as session:
        session.run(on_slice=strategy)
    return strategy.trades


def main() -> None:
    """Run them all."""
    ma_cross.compile()
    found: dict[str, Trades] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_sample(folder, SYMBOLS, DAYS, intervals=["1s"])
        config = {
            "session": {
                "start_date": DAYS[0],
                "end_date": DAYS[-1],
                "symbols": SYMBOLS,
                "streams": ["1s", "1m"],
            },
            "data": {"parquet": folder},
        }
        for run in (run_python, run_numba, run_cython):
            began = process_time()
            # Who comes first in a minute differs; what is traded does not.
            found[run.__name__] = sorted(run(config))
            print(f"{run.__name__:11} {process_time() - began:.2f} s, loading included")
    assert found["run_numba"] == found["run_python"]
    assert found["run_cython"] == found["run_python"]
    print(f"the same {len(found['run_python'])} trades from each")


if __name__ == "__main__":
    main()
