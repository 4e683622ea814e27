"""Rows and ranges kept out of a dump's tree, and written as text without becoming objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from openbell._native.json_rows import encode_ranges, encode_rows
from openbell.export.texts import COUNTED, Labels, columns_of
from openbell.gaps import GapRuns

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.gaps import GapInfo

__all__ = ["DeferredRows"]

#: Stands in the tree's text where something is written later; no other text holds it.
_PLACE: Final = b"\0"


class DeferredRows(Labels):
    """Puts marks into a tree where rows and ranges belong, and writes them when the tree is.

    Parameters
    ----------
    window : SessionWindow or None
    """

    def __init__(self, window: SessionWindow | None) -> None:
        import msgspec

        super().__init__(window)
        self._encode = msgspec.json.Encoder().encode
        self._mark = msgspec.Raw(_PLACE)
        self._deferred: list[tuple[Callable[..., int], tuple[Any, ...]]] = []
        self._buffer = bytearray()

    def rows(
        self,
        rows: npt.NDArray[np.void],
        name: str | None = None,
        n_base: npt.NDArray[np.int32] | None = None,
    ) -> dict[str, Any]:
        """Return the ``columns``, and a mark for the ``data``."""
        self._deferred.append((encode_rows, (rows, COUNTED, n_base)))
        return {"columns": columns_of(rows, n_base), "data": self._mark}

    def gaps(self, name: str, gaps: Sequence[GapInfo]) -> dict[str, Any]:
        """Return the sums, and a mark for the ``ranges``."""
        if not gaps or self._window is None or not isinstance(gaps, GapRuns):
            return super().gaps(name, gaps)
        runs, starts_ns = np.ascontiguousarray(gaps.slots), self._window.grid(name).starts_ns
        notes, places = gaps.noted
        noted = np.ascontiguousarray(notes), places
        self._deferred.append((encode_ranges, (runs, starts_ns, gaps.reasons, *noted)))
        return {"gap_count": len(gaps), "missing_bars": gaps.n_missing, "ranges": self._mark}

    def write(self, file: BinaryIO, tree: object) -> None:
        """Write a tree as JSON, what was kept out of it included.

        Rows are written one series after another, through memory that is used again.

        Parameters
        ----------
        file : file object
            Open for writing bytes.
        tree : object
            All that has been kept out since the last call was kept out of it.
        """
        deferred, self._deferred = self._deferred, []
        first, *others = self._encode(tree).split(_PLACE)
        file.write(first)
        for (encode, arguments), text in zip(deferred, others, strict=True):
            n_bytes = encode(self._buffer, *arguments)
            with memoryview(self._buffer) as written:
                file.write(written[:n_bytes])
            file.write(text)
