"""Strategies compiled from a Python function, which a replay calls without the interpreter.

numba is imported when the first one runs, and not before.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell._native.compiled import FunctionStrategy
from openbell.errors import ArgumentError

__all__ = ["CompiledStrategy", "compiled", "slice_signature"]

Function = Callable[..., Any]

#: What the function takes, whatever it calls it; ``state`` and ``log`` where it has them.
PARAMETERS = ("ts_ns", "ids", "bars", "state", "log")

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p
# What the functions of a library and of CFUNCTYPE have in common.
_C_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]
# The parameters of `SliceFunction` in openbell/_native/compiled.pxd.
_SLICE_TYPES = (_INT, _POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _POINTER, _POINTER)


def compiled(
    *,
    on: str,
    intervals: Sequence[str] = (),
    state: npt.DTypeLike | None = None,
    log: npt.DTypeLike | None = None,
    log_rows: int = 1_000_000,
    cache: bool = True,
) -> Callable[[Function], CompiledStrategy]:
    """Make a strategy of a function: it is compiled, and called where bars of `on` close.

    Parameters
    ----------
    on : str
        The interval whose closes call the function, by data or by clock.
    intervals : sequence of str
        What it reads besides.
    state : dtype, optional
        What it keeps for each record: a row that begins with zeros each day.
    log : dtype with fields, optional
        What it writes down, such as its trades.
    log_rows : int
        How many rows of that are kept at most; those that find no room are counted in
        ``n_lost``. Rows that are not written take no memory.
    cache : bool
        Whether the machine code is kept on disk, by numba and where it keeps its own. It is
        found again while the function, and every constant and function it uses, are the same.

    Returns
    -------
    callable
        Takes the function and returns a :class:`CompiledStrategy`.

    Raises
    ------
    ArgumentError
        When the function takes something else, or a dtype cannot be used.
    IntervalError
        When an interval is unknown.

    Notes
    -----
    The function is ``f(ts_ns, ids, bars, state, log)``, without the last two where there is no
    state or no log. It is compiled by numba, or was by ``numba.njit``, whose options then hold;
    a plain one is compiled with bounds checked. It returns nothing.

    - ``ts_ns``: the instant, int64 nanoseconds UTC.
    - ``ids``: the records that closed a bar of `on` there: an int32 array, ascending. An id
      stays that of its record for the day.
    - ``bars.window(k, n)``: the newest `n` closed bars of record `k` (fewer while there are
      fewer), oldest first: a read-only array of ``BAR_DTYPE`` over the ring itself, valid
      during the call. ``bars.window(k, n, "5m")`` has those of another interval. The last is
      the newest one closed at or before ``ts_ns``, so there is nothing from the future.
    - ``bars.last(k)``: the newest bar; ``bars.count(k)``: how many there are; both also of
      another interval. ``bars.symbol(k)``: the place of its symbol in ``strategy.symbols``,
      which stays from day to day. ``len(bars)``: how many records there are.
    - ``state[k]``: the row of record `k`.
    - ``log.add()``: the next row of the log, to be filled in.

    What it raises breaks the replay off as a :class:`~openbell.StrategyError`. Global values
    and those of enclosing functions are constants, as ever with numba.

    Examples
    --------
    >>> import numpy as np
    >>> import openbell as ob
    >>> @ob.compiled(on="1m", state=np.dtype([("n_up", "i8")]))
    ... def count_rises(ts_ns, ids, bars, state):
    ...     for k in ids:
    ...         bar = bars.last(k)
    ...         state[k].n_up += bar.close > bar.open
    >>> count_rises
    <CompiledStrategy count_rises on 1m>
    """

    def make(function: Function) -> CompiledStrategy:
        return CompiledStrategy(
            function,
            on=on,
            intervals=intervals,
            state=state,
            log=log,
            log_rows=log_rows,
            cache=cache,
        )

    return make


class CompiledStrategy(FunctionStrategy):
    """A compiled function with its state and its log, for ``session.run(on_slice=...)``.

    Parameters
    ----------
    function : callable
        A plain function, or one of ``numba.njit``, as :func:`compiled` describes it. Or a C
        function, made by ``numba.cfunc(slice_signature())`` or had by ctypes, of the type
        ``SliceFunction`` in ``openbell/_native/compiled.pxd``; it returns 0, or another number
        to break off.
    on, intervals, state, log, log_rows, cache
        As for :func:`compiled`.

    Attributes
    ----------
    on : str
    intervals : tuple of str
        All that it reads.
    records : list of SymbolSessionData
        Record k is that of id k; None once it has left.
    state, log : numpy.ndarray or None
    n_lost : int
        Rows that found no room in the log.
    symbols : list of str
        Every symbol there has been; ``bars.symbol(k)`` is a place in it.
    """

    def __init__(
        self,
        function: Function,
        *,
        on: str,
        intervals: Sequence[str] = (),
        state: npt.DTypeLike | None = None,
        log: npt.DTypeLike | None = None,
        log_rows: int = 1_000_000,
        cache: bool = True,
    ) -> None:
        if isinstance(intervals, str):
            raise ArgumentError("intervals", intervals, "a sequence of intervals")
        if log_rows < 1:
            raise ArgumentError("log_rows", log_rows, "at least 1")
        self._state_dtype = None if state is None else _plain_dtype("state", state)
        self._log_dtype = None if log is None else _plain_dtype("log", log, with_fields=True)
        self._log_rows = log_rows
        self._function = function
        self._cache = cache
        self._held: Any = None
        super().__init__(on, tuple(intervals), self._state_dtype, self._log_dtype, log_rows)
        self._check()

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self._function, "__name__", None) or repr(self._function)

    @property
    def function(self) -> Function:
        """The function, as it was given."""
        return self._function

    def again(self) -> CompiledStrategy:
        """Another strategy of the same function, for another session: nothing is compiled anew."""
        return CompiledStrategy(
            self._function,
            on=self.on,
            intervals=self.intervals,
            state=self._state_dtype,
            log=self._log_dtype,
            log_rows=self._log_rows,
            cache=self._cache,
        )

    def compile(self) -> int:
        """Compile the function now, and not when it first runs; once in a process.

        Returns
        -------
        int
            The address of the C function that a replay calls.

        Raises
        ------
        StrategyError
            When numba cannot compile it.
        """
        pointer = _c_pointer(self._function)
        if pointer is not None:
            self._held = pointer
            return ctypes.cast(pointer, ctypes.c_void_p).value or 0
        from openbell.strategies._compile import compile_slice

        self._held = compile_slice(
            self._function,
            self.intervals,
            self.intervals.index(self.on),
            self._state_dtype,
            self._log_dtype,
            self._cache,
        )
        address: int = self._held.address
        return address

    def _check(self) -> None:
        pointer = _c_pointer(self._function)
        if pointer is not None:
            received = (pointer.restype, *(pointer.argtypes or ()))
            if [_kind(each) for each in received] != [_INT, *_SLICE_TYPES]:
                raise ArgumentError(
                    "function",
                    [getattr(each, "__name__", each) for each in received],
                    "a C function of slice_signature()",
                )
            return
        plain = getattr(self._function, "py_func", self._function)
        if not inspect.isfunction(plain):
            raise ArgumentError(
                "function", self._function, "a Python function, a numba one, or a C function"
            )
        wanted = [*PARAMETERS[:3]]
        wanted += ["state"] * (self._state_dtype is not None)
        wanted += ["log"] * (self._log_dtype is not None)
        parameters = inspect.signature(plain).parameters.values()
        is_plain = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        if not is_plain or len(parameters) != len(wanted):
            raise ArgumentError(
                plain.__name__,
                str(inspect.signature(plain)),
                f"({', '.join(wanted)}), of which state and log are there when they are asked for",
            )

    def __repr__(self) -> str:
        return f"<CompiledStrategy {self.name} on {self.on}>"


def slice_signature() -> Any:
    """The numba signature of a C function that a replay may call, for ``numba.cfunc``.

    Returns
    -------
    numba.core.typing.Signature
        ``int64(ts_ns, ids, n, views, n_records, n_intervals, symbols, state, log)``, as
        ``openbell/_native/compiled.pxd`` describes it.
    """
    from openbell.strategies._types import SIGNATURE

    return SIGNATURE


def _plain_dtype(what: str, given: npt.DTypeLike, with_fields: bool = False) -> np.dtype[Any]:
    try:
        dtype = np.dtype(given)
    except TypeError:
        raise ArgumentError(what, given, "a numpy dtype") from None
    if dtype.hasobject:
        raise ArgumentError(what, dtype, "a dtype without Python objects")
    if with_fields and not dtype.names:
        raise ArgumentError(what, dtype, "a dtype with fields, such as [('ts_ns', 'i8'), ...]")
    return dtype


def _c_pointer(function: Any) -> Any:
    # numba's C functions have it in `.ctypes`.
    pointer = getattr(function, "ctypes", function)
    return pointer if isinstance(pointer, _C_FUNCTION) else None


def _kind(each: Any) -> Any:
    is_pointer = isinstance(each, type) and issubclass(each, ctypes._Pointer)
    return _POINTER if is_pointer else each
