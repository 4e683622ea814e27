import numpy as np
import numpy.typing as npt

from openbell._native.core import Core
from openbell._native.rings import SessionCore

class Latest:
    def __init__(
        self, root: SessionCore, cores: list[Core], interval: str, n_changes: int
    ) -> None: ...
    def read(self, field: str) -> npt.NDArray[np.float64] | None: ...
