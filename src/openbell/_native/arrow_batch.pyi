import numpy as np
import numpy.typing as npt

from openbell.schema import BarArray

def export_bars(bars: BarArray, n_base: npt.NDArray[np.int32] | None = None) -> object: ...
