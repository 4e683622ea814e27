"""How every kernel is compiled: one decorator, so that they all have the same options.

Only the compiled modules import this; it is what loads numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.extending import intrinsic

from openbell.schema import BarArray

__all__ = ["jit", "prefetch"]

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile `function` without the GIL, cached on disk where some place can be written.

    Neither fastmath nor contraction: sums are added in the order the bars came, so that
    kernels, blocks and single bars give the same bytes.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    compiled: F
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # numba looks for its cache's place here, not at the first call, and raises when the
        # package, NUMBA_CACHE_DIR and the user's cache directory are all read-only.
        compiled = numba.njit(**options)(function)
    return compiled


def _generate_prefetch(_: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(data, [arguments[1]])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        call = builder.module.declare_intrinsic("llvm.prefetch", [pointer], fnty=kind)
        to_read, keep, of_data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(call, [builder.bitcast(address, pointer), to_read, keep, of_data])
        return context.get_dummy_value()

    return numba.void(array, index), generate


_intrinsic: Any = intrinsic(_generate_prefetch)
#: Of an array and an index: ask for the memory there, which may lie beyond the array's end.
#: The processor's own guesses stop at each page; a kernel that reads days from memory waits a
#: fifth of its time without this.
prefetch: Callable[[BarArray, Any], None] = _intrinsic
