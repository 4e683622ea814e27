"""Import of bars from files of other formats into the dataset."""

from openbell.sources.importing.job import import_bars
from openbell.sources.importing.report import BadRow, FailedFile, ImportReport

__all__ = ["BadRow", "FailedFile", "ImportReport", "import_bars"]
