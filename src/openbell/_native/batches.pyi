from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell._native.arena import Arena
from openbell.schema import BarArray, Int64Array

_Column = npt.NDArray[np.float64]

class Interleaver:
    def __init__(self, arena: Arena, sizes: Sequence[int], step_ns: int) -> None: ...
    @property
    def arrays(self) -> list[BarArray]: ...
    @property
    def n_left(self) -> int: ...
    def add(
        self,
        timestamp: Int64Array,
        open: _Column,
        high: _Column,
        low: _Column,
        close: _Column,
        volume: _Column,
    ) -> None: ...
    def add_batch(self, batch: Any, order: Sequence[int]) -> bool: ...

def is_judged(bars: BarArray) -> bool: ...
