"""Where bars come from: sources behind one protocol, the dataset format, and the import into it."""

from typing import TYPE_CHECKING

from openbell._lazy import lazily
from openbell.sources.manager import DataManager
from openbell.sources.protocol import DataSource

if TYPE_CHECKING:
    from openbell.sources.dataset import DatasetWriter, WriteResult, dataset_path
    from openbell.sources.importing import BadRow, FailedFile, ImportReport, import_bars
    from openbell.sources.parquet import ParquetSource
    from openbell.sources.synthetic import SyntheticSource, synthetic_symbols, write_sample

__all__ = [
    "BadRow",
    "DataManager",
    "DataSource",
    "DatasetWriter",
    "FailedFile",
    "ImportReport",
    "ParquetSource",
    "SyntheticSource",
    "WriteResult",
    "dataset_path",
    "import_bars",
    "synthetic_symbols",
    "write_sample",
]

__getattr__ = lazily(
    __name__,
    {
        "dataset": ("DatasetWriter", "WriteResult", "dataset_path"),
        "importing": ("BadRow", "FailedFile", "ImportReport", "import_bars"),
        "parquet": ("ParquetSource",),
        "synthetic": ("SyntheticSource", "synthetic_symbols", "write_sample"),
    },
)
