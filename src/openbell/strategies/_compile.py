"""Making one C function of a strategy's function: what the replay calls in each slice.

Importing this loads numba.
"""

from __future__ import annotations

from functools import cache as remember
from hashlib import sha256
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.core.errors import NumbaError

from openbell.errors import StrategyError
from openbell.strategies._fingerprint import fingerprint
from openbell.strategies._types import SIGNATURE, BarsType, LogType, as_bars, as_log, nb

__all__ = ["compile_slice"]

carray: Any = nb.carray
stack_value: Any = cgutils.alloca_once_value
unpack: Any = cgutils.unpack_tuple


@nb.extending.intrinsic  # type: ignore[untyped-decorator]
def call(typing: Any, function: Any, arguments: Any) -> Any:
    """Call a numba function: 0, or 1 with the Python exception set that it raised.

    A C function of numba's own would print it, return 0, and go on.
    """
    signature = function.get_call_type(typing, arguments.types, {})
    if signature.return_type != nb.types.none:
        name = function.dispatcher.py_func.__name__
        raise StrategyError(name, f"it returns {signature.return_type}, expected nothing")
    compiled = function.dispatcher.overloads[tuple(signature.args)]

    def codegen(context: Any, builder: Any, outer: Any, args: Any) -> Any:
        context.active_code_library.add_linking_library(compiled.library)
        status, _ = context.call_internal_no_propagate(
            builder, compiled.fndesc, signature, unpack(builder, args[1])
        )
        code = stack_value(builder, context.get_constant(nb.types.int64, 0))
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.raise_error(builder, context.get_python_api(builder), status)
            builder.store(context.get_constant(nb.types.int64, 1), code)
        return builder.load(code)

    return nb.types.int64(function, arguments), codegen


# What each copy of the functions below has of its own.
FUNCTION: Any = None
BARS: Any = None
STATE: Any = None
LOG: Any = None


def _plain(
    ts_ns: Any, ids: Any, n: Any, views: Any, n_records: Any, n_intervals: Any,
    symbols: Any, state: Any, log: Any,
) -> Any:  # fmt: skip
    bars = as_bars(BARS, views, n_records, symbols)
    return call(FUNCTION, (ts_ns, carray(ids, n), bars))


def _with_state(
    ts_ns: Any, ids: Any, n: Any, views: Any, n_records: Any, n_intervals: Any,
    symbols: Any, state: Any, log: Any,
) -> Any:  # fmt: skip
    bars = as_bars(BARS, views, n_records, symbols)
    return call(FUNCTION, (ts_ns, carray(ids, n), bars, carray(state, n_records, STATE)))


def _with_log(
    ts_ns: Any, ids: Any, n: Any, views: Any, n_records: Any, n_intervals: Any,
    symbols: Any, state: Any, log: Any,
) -> Any:  # fmt: skip
    bars = as_bars(BARS, views, n_records, symbols)
    return call(FUNCTION, (ts_ns, carray(ids, n), bars, as_log(LOG, log)))


def _with_both(
    ts_ns: Any, ids: Any, n: Any, views: Any, n_records: Any, n_intervals: Any,
    symbols: Any, state: Any, log: Any,
) -> Any:  # fmt: skip
    bars = as_bars(BARS, views, n_records, symbols)
    rows = carray(state, n_records, STATE)
    return call(FUNCTION, (ts_ns, carray(ids, n), bars, rows, as_log(LOG, log)))


@remember
def compile_slice(
    function: Any,
    intervals: tuple[str, ...],
    on: int,
    state: np.dtype[Any] | None,
    log: np.dtype[Any] | None,
    cache: bool,
) -> Any:
    """The C function (of ``numba.cfunc``) that calls a strategy's function in each slice.

    Raises
    ------
    StrategyError
        When numba cannot compile it, or is switched off.
    """
    plain = getattr(function, "py_func", function)
    if nb.config.DISABLE_JIT:
        raise StrategyError(plain.__name__, "numba is switched off by NUMBA_DISABLE_JIT; unset it")
    jitted = nb.njit(boundscheck=True)(function) if plain is function else function
    bars = BarsType(intervals, on)
    types = [nb.types.int64, nb.types.int32[::1], bars]
    names = {**globals(), "__name__": plain.__module__, "FUNCTION": jitted, "BARS": bars}
    if state is not None:
        names["STATE"] = state
        types.append(nb.from_dtype(state)[::1])
    if log is not None:
        names["LOG"] = LogType(nb.from_dtype(log)[::1])
        types.append(names["LOG"])
    templates = (_plain, _with_log), (_with_state, _with_both)
    code = templates[state is not None][log is not None].__code__
    # To numba's cache it is a function of the user's file.
    code = code.replace(
        co_filename=plain.__code__.co_filename, co_firstlineno=plain.__code__.co_firstlineno
    )
    made = FunctionType(code, names, plain.__name__)
    kept = cache and fingerprint(
        _digest_of_ours(), numba.__version__, function, intervals, on, repr(state), repr(log)
    )
    try:
        if not kept:
            return nb.cfunc(SIGNATURE)(made)
        made.__qualname__ = f"{plain.__qualname__}-{kept}"
        try:
            return nb.cfunc(SIGNATURE, cache=True)(made)
        except RuntimeError:
            # No place can be written, or the function is in no file.
            return nb.cfunc(SIGNATURE)(made)
    except NumbaError as error:
        raise StrategyError(plain.__name__, _reason(jitted, types, error)) from error


def _reason(jitted: Any, types: list[Any], error: NumbaError) -> str:
    # Of the function alone numba says more plainly what it is.
    try:
        jitted.compile(tuple(types))
    except NumbaError as plainer:
        error = plainer
    return f"numba cannot compile it\n{error}"


@remember
def _digest_of_ours() -> str:
    ours = sorted(Path(__file__).parent.glob("_*.py"))
    return sha256(b"".join(path.read_bytes() for path in ours)).hexdigest()
