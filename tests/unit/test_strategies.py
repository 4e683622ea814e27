"""Compiled strategies: what is refused, what becomes of errors, the state and the log."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

import openbell as ob
from openbell._native.replay import ReplayCursor
from openbell.strategies import slice_signature
from openbell.strategies._fingerprint import fingerprint
from tests.facade_bars import OPEN, WINDOW
from tests.strategies import MINUTE

COUNT = np.dtype([("n", "i8")])
SEEN = np.dtype([("ts_ns", "i8"), ("symbol", "i4"), ("n_bars", "i4"), ("close", "f8")])


def bars_of(n: int, price: float = 10.0) -> Any:
    bars = np.zeros(n, ob.BAR_DTYPE)
    bars["timestamp"] = OPEN + MINUTE * np.arange(n)
    for name in ("open", "high", "low", "close"):
        bars[name] = price + np.arange(n)
    return bars


def cursor_over(*lengths: int) -> tuple[Any, Any]:
    """A replay of records A, B, ... with as many minutes, and its root."""
    root = ob.SessionData()
    root.begin(WINDOW)
    cursor = ReplayCursor(root.core)
    for k, n in enumerate(lengths):
        record = ob.SymbolSessionData(
            chr(ord("A") + k), base_interval="1m", derived_intervals=["5m"]
        )
        root.register_symbol_data(record)
        record.preload(bars_of(n, 10.0 * (k + 1)))
        cursor.add(record)
    return cursor, root


def seen(ts_ns, ids, bars, state, log):
    for k in ids:
        state[k].n += 1
        row = log.add()
        row.ts_ns = ts_ns
        row.symbol = bars.symbol(k)
        row.n_bars = len(bars.window(k, 3))
        row.close = bars.last(k).close + bars.count(k, "5m") / 100


@pytest.fixture(scope="module")
def seen_strategy() -> Any:
    """To take another of; compiled once."""
    return ob.compiled(on="1m", intervals=["5m"], state=COUNT, log=SEEN)(seen)


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"on": "7x"}, ob.IntervalError, "7x"),
        ({"intervals": ["1m", "nonsense"]}, ob.IntervalError, "nonsense"),
        ({"intervals": "5m"}, ob.ArgumentError, "a sequence of intervals"),
        ({"state": "no dtype"}, ob.ArgumentError, "state: received 'no dtype', expected a numpy"),
        ({"state": np.dtype("O")}, ob.ArgumentError, "without Python objects"),
        ({"log": np.dtype("f8")}, ob.ArgumentError, "log: .* expected a dtype with fields"),
        ({"log_rows": 0}, ob.ArgumentError, "log_rows: received 0"),
    ],
)
def test_compiled_options_that_cannot_be_are_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    wanted = {"on": "1m", "state": COUNT, "log": SEEN} | options
    with pytest.raises(error, match=text):
        ob.compiled(**wanted)(seen)


def test_compiled_function_that_takes_something_else_is_refused() -> None:
    with pytest.raises(ob.ArgumentError, match=r"seen: .*expected \(ts_ns, ids, bars, state\)"):
        ob.compiled(on="1m", state=COUNT)(seen)
    with pytest.raises(ob.ArgumentError, match=r"expected \(ts_ns, ids, bars\)"):
        ob.compiled(on="1m")(lambda ts_ns, ids, *bars: None)
    with pytest.raises(ob.ArgumentError, match="a Python function, a numba one, or a C function"):
        ob.compiled(on="1m")(print)


def test_compiled_c_function_of_another_signature_is_refused() -> None:
    wrong = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(lambda a, b: 0)
    with pytest.raises(ob.ArgumentError, match=r"slice_signature\(\)"):
        ob.compiled(on="1m")(wrong)


def test_compiled_interval_that_it_does_not_read_is_refused_by_name() -> None:
    def reads_5m(ts_ns, ids, bars):
        for k in ids:
            bars.count(k, "5m")

    with pytest.raises(ob.IntervalError, match="'5m': the strategy reads 1m; name it"):
        ob.compiled(on="1m", cache=False)(reads_5m).compile()


def test_compiled_function_that_numba_cannot_compile_is_refused() -> None:
    def looks_for_more(ts_ns, ids, bars):
        bars.volume_profile(ids[0])

    with pytest.raises(ob.StrategyError, match="looks_for_more: numba cannot compile it") as found:
        ob.compiled(on="1m", cache=False)(looks_for_more).compile()
    assert "Unknown attribute 'volume_profile'" in found.value.reason
    assert found.value.ts_ns is None


def test_compiled_decorator_alone_loads_no_numba() -> None:
    code = (
        "import sys, openbell as ob\n"
        "s = ob.compiled(on='1m', state='f8')(lambda ts_ns, ids, bars, state: None)\n"
        "assert 'numba' not in sys.modules, 'numba was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# What becomes of errors


def test_compiled_error_breaks_off_and_names_function_and_instant() -> None:
    def divides(ts_ns, ids, bars):
        for k in ids:
            1 / (3 - bars.count(k))

    cursor, root = cursor_over(9)
    with pytest.raises(ob.StrategyError, match=r"^divides in the slice of .*ZeroDiv") as found:
        cursor.run(ob.compiled(on="1m", cache=False)(divides))
    assert found.value.ts_ns == OPEN + 3 * MINUTE == root.now_ns
    assert isinstance(found.value.__cause__, ZeroDivisionError)


# A C function


def rows_at(address: int, n: int, dtype: Any) -> Any:
    held = (ctypes.c_char * (n * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(held, dtype)


def c_function(call: Any) -> Any:
    types = slice_signature().args
    return ctypes.CFUNCTYPE(ctypes.c_int64, *map(as_ctypes, types))(call)


def as_ctypes(of: Any) -> Any:
    return ctypes.c_int64 if isinstance(of, numba.types.Integer) else ctypes.c_void_p


def test_compiled_c_function_gets_views_and_breaks_off_with_its_code() -> None:
    told: list[tuple[Any, ...]] = []

    def look(ts_ns, ids, n, views, n_records, n_intervals, symbols, state, log):
        table = rows_at(views, n_records * n_intervals, "i8, i8")
        for k in rows_at(ids, n, "i4").tolist():
            row, held = table[k * n_intervals].tolist()
            told.append((ts_ns, k, n_records, n_intervals, held))
            assert rows_at(row, held, ob.BAR_DTYPE)["close"][-1] == 10.0 * (k + 1) + held - 1
        return 42 if len(told) >= 5 else 0

    cursor, _ = cursor_over(4, 2)
    strategy = ob.compiled(on="1m", intervals=["5m"])(c_function(look))
    with pytest.raises(ob.StrategyError, match="returned 42"):
        cursor.run(strategy)
    m = MINUTE
    assert told == [
        (OPEN + m, 0, 2, 2, 1), (OPEN + m, 1, 2, 2, 1), (OPEN + 2 * m, 0, 2, 2, 2),
        (OPEN + 2 * m, 1, 2, 2, 2), (OPEN + 3 * m, 0, 2, 2, 3),
    ]  # fmt: skip


def test_compiled_takes_a_c_function_of_numba() -> None:
    @numba.cfunc(slice_signature())
    def count(ts_ns, ids, n, views, n_records, n_intervals, symbols, state, log):
        numba.carray(state, n_records, COUNT)[ids[n - 1]].n += n
        return 0

    cursor, _ = cursor_over(4, 2)
    strategy = ob.compiled(on="1m", state=COUNT)(count)
    cursor.run(strategy)
    assert strategy.state["n"].tolist() == [2, 4]


# State and log


def test_compiled_state_and_log_hold_what_the_function_wrote(seen_strategy: Any) -> None:
    cursor, root = cursor_over(6, 2)
    strategy = seen_strategy.again()
    cursor.run(strategy)
    assert strategy.records == [root["A"], root["B"]]
    assert strategy.symbols == ["A", "B"]
    assert strategy.state["n"].tolist() == [6, 2]
    assert strategy.log[["symbol", "n_bars", "close"]].tolist() == [
        (0, 1, 10.0), (1, 1, 20.0), (0, 2, 11.0), (1, 2, 21.0), (0, 3, 12.0),
        (0, 3, 13.0), (0, 3, 14.01), (0, 3, 15.01),
    ]  # fmt: skip
    assert (strategy.log["ts_ns"][[0, 7]] - OPEN).tolist() == [MINUTE, 6 * MINUTE]
    strategy.clear_log()
    assert len(strategy.log) == 0


def test_compiled_log_that_is_full_counts_what_it_loses(seen_strategy: Any) -> None:
    cursor, _ = cursor_over(9, 4)
    strategy = ob.CompiledStrategy(
        seen, on="1m", intervals=["5m"], state=COUNT, log=SEEN, log_rows=3
    )
    cursor.run(strategy)
    assert strategy.log["symbol"].tolist() == [0, 1, 0]
    assert strategy.n_lost == 10
    assert strategy.state["n"].tolist() == [9, 4]


def test_compiled_state_grows_with_records_and_begins_anew_each_day(seen_strategy: Any) -> None:
    cursor, root = cursor_over(6, 9)
    strategy = seen_strategy.again()
    cursor.attach(strategy)
    while cursor.step():
        if root.now_ns == OPEN + 3 * MINUTE:
            late = ob.SymbolSessionData("C", base_interval="1m", derived_intervals=["5m"])
            root.register_symbol_data(late)
            late.preload(bars_of(5))
            cursor.add(late)
        if root.now_ns == OPEN + 5 * MINUTE:
            root.remove_symbol("A")
            cursor.drop_detached()
    counts = [strategy.state["n"].tolist()]
    assert strategy.records == [None, root["B"], root["C"]]
    cursor, root = cursor_over(1, 2)
    cursor.run(strategy)
    counts.append(strategy.state["n"].tolist())
    assert counts == [[5, 9, 2], [1, 2]]
    assert strategy.symbols == ["A", "B", "C"]


# What is kept on disk


def of_constant(value: Any) -> Any:
    def function(ts_ns: Any, ids: Any, bars: Any) -> Any:
        return helper(value)

    return function


def helper(value: Any) -> Any:
    return value


def test_fingerprint_tells_constants_and_callees_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    five = fingerprint(of_constant(5))
    assert five == fingerprint(of_constant(5))
    assert five != fingerprint(of_constant(6))
    assert fingerprint(of_constant(np.arange(3))) != fingerprint(of_constant(np.arange(4)))
    assert fingerprint(numba.njit(of_constant(5))) != fingerprint(
        numba.njit(fastmath=True)(of_constant(5))
    )
    monkeypatch.setitem(of_constant.__globals__, "helper", lambda value: -value)
    assert fingerprint(of_constant(5)) != five


def test_fingerprint_of_what_may_differ_in_another_process_is_none() -> None:
    assert fingerprint(of_constant(object())) is None
    assert fingerprint(of_constant(np.array([object()]))) is None
