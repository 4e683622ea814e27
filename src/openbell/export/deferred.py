"""Rows and ranges kept out of a dump's tree, and written as text without becoming objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from openbell._native.json_rows import encode_ranges, encode_rows
from openbell.export.files import write_in_pieces
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
        self._n_held = 0

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

    def encode(self, tree: object) -> None:
        """Make a tree JSON, what was kept out of it included, and hold the text.

        Parameters
        ----------
        tree : object
            All that has been kept out since the last call was kept out of it.

        Notes
        -----
        In the place of what was held: in memory that is used again.
        """
        deferred, self._deferred = self._deferred, []
        buffer = self._buffer
        first, *others = self._encode(tree).split(_PLACE)
        buffer[: len(first)] = first
        end = len(first)
        for (encode, arguments), text in zip(deferred, others, strict=True):
            end = encode(buffer, *arguments, at=end)
            buffer[end : end + len(text)] = text
            end += len(text)
        self._n_held = end

    def flush(self, file: BinaryIO) -> None:
        """Write the text that is held to a file open for writing bytes."""
        with memoryview(self._buffer) as held:
            write_in_pieces(file, held[: self._n_held])
