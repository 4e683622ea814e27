"""The gates in front of the kernels: what arrays they get, and how a refusal reads.

numba compiles anew for each kind of array (writable or not, recarray, other alignment), so
everything becomes the one kind that :func:`openbell.kernels.warmup` covers. Loads no numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError, TimeError
from openbell.schema import BAR_DTYPE, BarArray, Int64Array, as_bars

__all__ = [
    "Derived",
    "DerivedEach",
    "Int32Array",
    "as_column",
    "as_counts",
    "as_labels",
    "canonical",
    "canonical_counts",
    "described",
    "refuse",
    "slot_ranges",
    "space",
    "writable",
]

Int32Array = npt.NDArray[np.int32]
Derived = tuple[BarArray, Int32Array]


class DerivedEach(NamedTuple):
    """The bars of one interval of many symbols, one after the other.

    Attributes
    ----------
    bars : numpy.ndarray
        :data:`~openbell.schema.BAR_DTYPE`; ``bars[edges[k]:edges[k + 1]]`` are the k-th symbol's.
    n_base : numpy.ndarray
        int32, how many base bars each was folded from.
    edges : numpy.ndarray
        int64, one more than there are symbols.
    """

    bars: BarArray
    n_base: Int32Array
    edges: Int64Array


def canonical(bars: BarArray) -> BarArray:
    checked = as_bars(bars)
    if type(checked) is np.ndarray and checked.dtype is BAR_DTYPE and not checked.flags.writeable:
        return checked
    view = np.asarray(checked).view(BAR_DTYPE)
    view.flags.writeable = False
    return view


def canonical_counts(n_base: Int32Array, n: int) -> Int32Array:
    if not isinstance(n_base, np.ndarray) or n_base.dtype != np.int32 or n_base.shape != (n,):
        raise SchemaError("n_base", described(n_base), f"an int32 array of {n} counts")
    view = np.ascontiguousarray(n_base).view()
    view.flags.writeable = False
    return view


def space(out: Derived | None, n: int, *sources: BarArray) -> Derived:
    if out is None:
        return np.empty(n, dtype=BAR_DTYPE), np.empty(n, dtype=np.int32)
    bars, n_base = out
    bars = writable(bars, BAR_DTYPE, "out bars")
    n_base = writable(n_base, np.dtype(np.int32), "out n_base")
    if min(len(bars), len(n_base)) < n:
        raise SchemaError("out", f"{len(bars)} bars, {len(n_base)} counts", f"at least {n} of each")
    if any(np.may_share_memory(bars, source) for source in sources):
        raise SchemaError("out", "the memory of the bars to fold", "memory of its own")
    return bars, n_base


def writable(array: Any, dtype: np.dtype[Any], what: str) -> Any:
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.ndim != 1
        or not (flags := array.flags).c_contiguous
        or not flags.writeable
    ):
        raise SchemaError(what, described(array), f"a contiguous, writable array of dtype {dtype}")
    if type(array) is np.ndarray and array.dtype is dtype:
        return array
    return np.asarray(array).view(dtype)


def as_labels(ts: npt.ArrayLike) -> Int64Array:
    labels = np.asarray(ts)
    if labels.dtype == np.dtype("datetime64[ns]"):
        labels = labels.view(np.int64)
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise SchemaError(
            "timestamp", described(labels), "1 dimension of int64 nanoseconds or datetime64[ns]"
        )
    found: Int64Array = _read_only(labels)
    return found


def as_column(name: str, values: npt.ArrayLike, n: int) -> npt.NDArray[np.float64]:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iuf" or numbers.shape != (n,):
        raise SchemaError(name, described(numbers), f"{n} numbers in 1 dimension")
    found: npt.NDArray[np.float64] = _read_only(numbers.astype(np.float64, copy=False))
    return found


def slot_ranges(name: str, ranges: Sequence[Int64Array | None] | None, n: int) -> list[Int64Array]:
    none: Int64Array = _read_only(np.empty((0, 2), dtype=np.int64))
    if ranges is None:
        return [none] * n
    if len(ranges) != n:
        raise SchemaError(name, f"{len(ranges)} arrays", f"{n}, one for each symbol")
    found = []
    for of in ranges:
        if of is None:
            found.append(none)
            continue
        if not isinstance(of, np.ndarray) or of.dtype != np.int64 or of.shape != (len(of), 2):
            raise SchemaError(name, described(of), "an int64 array of shape (n, 2)")
        found.append(_read_only(of))
    return found


def as_counts(name: str, counts: Sequence[int], n: int, most: int) -> list[int]:
    found = [int(count) for count in counts]
    if len(found) != n:
        raise SchemaError(name, f"{len(found)} counts", f"{n}, one for each symbol")
    for count in found:
        if not 0 <= count <= most:
            raise SchemaError(name, str(count), f"a count of 0 to {most} slots")
    return found


def _read_only(column: Any) -> Any:
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def described(value: object) -> str:
    if isinstance(value, np.ndarray):
        kind = "" if value.flags.writeable else "read-only "
        return f"a {kind}array of dtype {value.dtype} and shape {value.shape}"
    return type(value).__name__


def refuse(bars: BarArray, index: int, name: str, of: str = "") -> NoReturn:
    stamps = bars["timestamp"]
    ts = int(stamps[index])
    if index and ts <= int(stamps[index - 1]):
        reason = f"bar {index} is not after the one before it, {int(stamps[index - 1])}"
    else:
        reason = f"bar {index} is not in a slot of its own of the {name} grid"
    raise TimeError(ts, f"{of}{reason}; bars must ascend, one to a slot, within the session")
