"""What an import did: what it read, what it wrote, and every row it did not take."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from datetime import date as Date
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, TextIO

__all__ = ["REASONS", "BadRow", "BadRows", "FailedFile", "ImportReport"]

#: Why a row was not written, in the order in which the checks are made.
REASONS: Final = (
    "malformed",
    "unparsable",
    "no_symbol",
    "other_symbol",
    "ambiguous_time",
    "nonexistent_time",
    "not_finite",
    "high_below_low",
    "outside_range",
    "negative_volume",
    "outside_session",
    "off_grid",
    "conflict",
)


class BadRow(NamedTuple):
    """One row that was not written."""

    file: str
    row: int
    """Its number among the data rows, from 1; a header does not count, a blank line does."""
    line: int | None
    """Its line in a text file, from 1; None for other formats."""
    reason: str
    """One of :data:`REASONS`."""
    detail: str

    @property
    def place(self) -> str:
        """Where to look in the file: its line when it has lines, else its row."""
        return f"row {self.row}" if self.line is None else f"line {self.line}"


class FailedFile(NamedTuple):
    """A file that could not be read (further), or written."""

    file: str
    reason: str


@dataclass(slots=True)
class ImportReport:
    """The outcome of :func:`~openbell.sources.importing.import_bars`.

    Each row read is written, a duplicate, or bad: `n_read` is the sum of `n_written`, `n_duplicate`
    and `n_rejected`, unless a date file could not be written.

    Attributes
    ----------
    to : Path
        The dataset.
    files, skipped : list of str
        Files read, and files of a folder that are of no known format.
    failed : list of FailedFile
    n_read, n_written : int
        Rows.
    n_duplicate : int
        Rows that repeat another one exactly.
    n_replaced : int
        Written rows that took the place of other values in the dataset.
    n_bad : dict of str to int
        Rows not written, by reason. A `conflict` is a row whose label came again later with other
        values; the later one was written.
    bad_rows : list of BadRow
        The first of them.
    symbols, intervals : list of str
        Sorted.
    dates : list of datetime.date
        Ascending.
    paths : list of Path
        Dataset files written.
    """

    to: Path
    files: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[FailedFile] = field(default_factory=list)
    n_read: int = 0
    n_written: int = 0
    n_duplicate: int = 0
    n_replaced: int = 0
    n_bad: dict[str, int] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    intervals: list[str] = field(default_factory=list)
    dates: list[Date] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    @property
    def n_rejected(self) -> int:
        """Rows not written, for all reasons."""
        return sum(self.n_bad.values())


class BadRows:
    """Counts bad rows, keeps the first, and writes all to a CSV file when asked.

    Parameters
    ----------
    keep : int
    path : str or Path, optional
        The CSV file; made only when there is a bad row.
    """

    def __init__(self, keep: int, path: str | Path | None = None) -> None:
        self.first: list[BadRow] = []
        self.counts: Counter[str] = Counter()
        self._keep = keep
        self._path = None if path is None else Path(path)
        self._file: TextIO | None = None
        self._writer: Any = None

    @property
    def wants_details(self) -> bool:
        """Whether a further row would be shown anywhere."""
        return self._path is not None or len(self.first) < self._keep

    def add(self, row: BadRow) -> None:
        """Count a row, and keep and write it."""
        self.counts[row.reason] += 1
        if len(self.first) < self._keep:
            self.first.append(row)
        if self._path is not None:
            if self._file is None:
                self._file = self._path.open("w", newline="", encoding="utf-8")
                self._writer = csv.writer(self._file)
                self._writer.writerow(BadRow._fields)
            self._writer.writerow(["" if v is None else v for v in row])

    def count(self, reason: str, n: int) -> None:
        """Count rows that nobody would see."""
        self.counts[reason] += n

    def in_order(self) -> dict[str, int]:
        """Counts by reason, in the order of :data:`REASONS`, zeros left out."""
        return {reason: self.counts[reason] for reason in REASONS if self.counts[reason]}

    def __enter__(self) -> BadRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
