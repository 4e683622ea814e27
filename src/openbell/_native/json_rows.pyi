from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from openbell.schema import Int64Array, NoteArray

def encode_rows(
    buffer: bytearray,
    rows: npt.NDArray[np.void],
    counted: Collection[str] = (),
    n_base: npt.NDArray[np.int32] | None = None,
    *,
    at: int = 0,
) -> int: ...
def encode_ranges(
    buffer: bytearray,
    runs: Int64Array,
    starts_ns: Int64Array,
    reasons: npt.NDArray[np.int8],
    notes: NoteArray,
    places: Int64Array,
    *,
    at: int = 0,
) -> int: ...
