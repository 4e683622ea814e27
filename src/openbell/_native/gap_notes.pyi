import numpy as np
import numpy.typing as npt

from openbell.schema import Int64Array, NoteArray

def match_notes(runs: Int64Array, notes: NoteArray) -> tuple[Int64Array, npt.NDArray[np.int8]]: ...
