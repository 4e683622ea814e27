"""How every kernel is compiled: one decorator, so that they all have the same options.

Only the compiled modules import this; it is what loads numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["jit"]

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
