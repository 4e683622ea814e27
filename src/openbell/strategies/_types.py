"""What a compiled strategy's function is given: the types of `bars` and `log`, for numba.

Both are pointers to what the replay passes, and methods that look behind them. Importing this
loads numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba import extending
from numba.core import cgutils
from numba.np import arrayobj

from openbell.errors import ArgumentError, IntervalError
from openbell.schema import BAR_DTYPE

__all__ = ["SIGNATURE", "BarsType", "LogType", "as_bars", "as_log"]

F = TypeVar("F", bound=Callable[..., Any])

# numba's own types leave out half of what it exports.
nb: Any = numba
of_struct: Any = cgutils.create_struct_proxy
fill_array: Any = arrayobj.populate_array

_INT64 = nb.types.int64
_INT64S = nb.types.CPointer(nb.types.int64)
_INT32S = nb.types.CPointer(nb.types.int32)
_BARS = nb.types.Array(nb.from_dtype(BAR_DTYPE), 1, "C", readonly=True)

#: ``SliceFunction`` of openbell/_native/compiled.pxd: ts_ns, ids, n, views, n_records,
#: n_intervals, symbols, state, log.
SIGNATURE = _INT64(
    _INT64, _INT32S, _INT64, _INT64S, _INT64, _INT64, _INT32S, nb.types.voidptr, _INT64S
)  # fmt: skip


class BarsType(nb.types.Type):  # type: ignore[misc]
    """The views of a strategy; which intervals they are of is known when it is compiled."""

    def __init__(self, intervals: tuple[str, ...], on: int) -> None:
        self.intervals = intervals
        self.on = on
        super().__init__(f"Bars({', '.join(intervals)} on {intervals[on]})")

    def place_of(self, interval: Any) -> int:
        """Where an interval, as numba saw it in a call, stands among them."""
        if interval is None or isinstance(interval, nb.types.NoneType | nb.types.Omitted):
            return self.on
        named = getattr(interval, "literal_value", None)
        if named is None:
            raise ArgumentError("interval", str(interval), "a constant, such as '5m'")
        if named not in self.intervals:
            held = ", ".join(self.intervals)
            raise IntervalError(named, f"the strategy reads {held}; name it in `intervals`")
        return self.intervals.index(named)


class LogType(nb.types.Type):  # type: ignore[misc]
    """The log of a strategy; `rows` is the type of an array of them."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        super().__init__(f"Log({rows})")


def _models(of: Any, **members: Any) -> None:
    # In machine code it is a struct, whose members are attributes that begin with `_`.
    class Model(nb.extending.models.StructModel):  # type: ignore[misc]
        def __init__(self, manager: Any, instance: Any) -> None:
            super().__init__(manager, instance, list(members.items()))

    nb.extending.register_model(of)(Model)
    for name in members:
        nb.extending.make_attribute_wrapper(of, name, f"_{name}")


_models(BarsType, views=_INT64S, n_records=_INT64, symbols=_INT32S)
_models(LogType, head=_INT64S)


def _intrinsic(function: Callable[..., Any]) -> Any:
    return extending.intrinsic(function)


def _method(of: Any, name: str) -> Callable[[F], F]:
    made: Callable[[F], F] = nb.extending.overload_method(of, name, prefer_literal=True)
    return made


def _made_of(of: Any, *members: Any) -> Any:
    # The typing and the code of making a struct of its members.
    made = of.instance_type

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = of_struct(made)(context, builder)
        for name, value in zip(struct._datamodel._fields, args[1:], strict=True):
            setattr(struct, name, value)
        return struct._getvalue()

    return made(of, *members), codegen


@_intrinsic
def as_bars(typing: Any, of: Any, views: Any, n_records: Any, symbols: Any) -> Any:
    """Make the `bars` of a slice."""
    return _made_of(of, views, n_records, symbols)


@_intrinsic
def as_log(typing: Any, of: Any, head: Any) -> Any:
    """Make the `log` of a slice."""
    return _made_of(of, head)


@_intrinsic
def _array_at(typing: Any, of: Any, address: Any, n: Any) -> Any:
    # `n` rows that lie at an address, as an array that owns nothing.
    made = of.instance_type

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(made)(context, builder)
        size = context.get_constant(nb.types.intp, made.dtype.size)
        data = builder.inttoptr(args[1], array.data.type)
        fill_array(array, data, [args[2]], [size], size, meminfo=None)
        return array._getvalue()

    return made(of, nb.types.int64, nb.types.int64), codegen


def _require_integer(what: str, given: Any) -> None:
    if not isinstance(given, nb.types.Integer):
        raise ArgumentError(what, str(given), "an integer")


# The functions inside are what numba compiles. Indices are unsigned because it looks at signed
# ones at each access whether they count from the end.


@nb.extending.overload(len)  # type: ignore[untyped-decorator]
def _len(bars: Any) -> Any:
    def n_records(bars: Any) -> Any:
        return bars._n_records

    return n_records if isinstance(bars, BarsType) else None


@_method(BarsType, "window")
def _window(bars: Any, k: Any, n: Any, interval: Any = None) -> Any:
    _require_integer("bars.window: the record", k)
    _require_integer("bars.window: how many bars", n)
    at, width, rows, size = bars.place_of(interval), len(bars.intervals), _BARS, BAR_DTYPE.itemsize

    def window(bars: Any, k: Any, n: Any, interval: Any = None) -> Any:
        if k < 0 or k >= bars._n_records:
            raise IndexError("bars.window: there is no such record")
        if n < 0:
            raise ValueError("bars.window: a negative number of bars")
        view = np.uint64(2 * (np.int64(k) * width + at))
        n_held = bars._views[view + np.uint64(1)]
        n_shown = min(np.int64(n), n_held)
        return _array_at(rows, bars._views[view] + size * (n_held - n_shown), n_shown)

    return window


@_method(BarsType, "last")
def _last(bars: Any, k: Any, interval: Any = None) -> Any:
    _require_integer("bars.last: the record", k)
    at, width, rows, size = bars.place_of(interval), len(bars.intervals), _BARS, BAR_DTYPE.itemsize

    def last(bars: Any, k: Any, interval: Any = None) -> Any:
        if k < 0 or k >= bars._n_records:
            raise IndexError("bars.last: there is no such record")
        view = np.uint64(2 * (np.int64(k) * width + at))
        n_held = bars._views[view + np.uint64(1)]
        if n_held == 0:
            raise IndexError("bars.last: the record has no bar of that interval yet")
        return _array_at(rows, bars._views[view] + size * (n_held - 1), 1)[0]

    return last


@_method(BarsType, "count")
def _count(bars: Any, k: Any, interval: Any = None) -> Any:
    _require_integer("bars.count: the record", k)
    at, width = bars.place_of(interval), len(bars.intervals)

    def count(bars: Any, k: Any, interval: Any = None) -> Any:
        if k < 0 or k >= bars._n_records:
            raise IndexError("bars.count: there is no such record")
        return bars._views[np.uint64(2 * (np.int64(k) * width + at) + 1)]

    return count


@_method(BarsType, "symbol")
def _symbol(bars: Any, k: Any) -> Any:
    _require_integer("bars.symbol: the record", k)

    def symbol(bars: Any, k: Any) -> Any:
        if k < 0 or k >= bars._n_records:
            raise IndexError("bars.symbol: there is no such record")
        return bars._symbols[np.uint64(k)]

    return symbol


@_method(LogType, "add")
def _add(log: Any) -> Any:
    rows, size = log.rows, log.rows.dtype.size

    def add(log: Any) -> Any:
        # LogHead: rows, room, n, n_lost. Behind the last row there is one more, to be spoilt.
        at = log._head[2]
        if at < log._head[1]:
            log._head[2] = at + 1
        else:
            log._head[3] += 1
        return _array_at(rows, log._head[0] + size * at, 1)[0]

    return add
