from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell._native.strategy import NativeStrategy

class FunctionStrategy(NativeStrategy):
    def __init__(
        self,
        on: str,
        intervals: Sequence[str] = (),
        state: np.dtype[Any] | None = None,
        log: np.dtype[Any] | None = None,
        log_rows: int = 0,
    ) -> None: ...
    def compile(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def symbols(self) -> list[str]: ...
    @property
    def state(self) -> npt.NDArray[Any] | None: ...
    @property
    def log(self) -> npt.NDArray[Any] | None: ...
    @property
    def n_lost(self) -> int: ...
    def clear_log(self) -> None: ...

def struct_sizes() -> tuple[int, ...]: ...
