import numpy as np
import numpy.typing as npt

from openbell.schema import BarArray, Int64Array

_Column = npt.NDArray[np.float64]

def interleave(
    timestamp: Int64Array,
    open: _Column,
    high: _Column,
    low: _Column,
    close: _Column,
    volume: _Column,
    out: BarArray | None = None,
) -> BarArray: ...
def deinterleave(
    bars: BarArray,
) -> tuple[Int64Array, _Column, _Column, _Column, _Column, _Column]: ...
def all_fit(bars: BarArray, segments: Int64Array, step_ns: int) -> bool: ...
def is_ascending(values: Int64Array) -> bool: ...
