"""Days on disk, written once a run by whoever comes first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.data import make_window
from benchmarks.peers.work import symbols
from openbell.schema import BarArray
from openbell.sources import DatasetWriter, dataset_path

#: Names the folder, in the environment of the workers.
FOLDER = "OPENBELL_PEERS_FOLDER"


def dataset(name: str, make_bars: Callable[[], list[BarArray]]) -> Path:
    """Folder of a dataset with these symbols' 1s bars of the day."""
    folder = Path(os.environ[FOLDER]) / name
    if not folder.exists():
        bars, window = make_bars(), make_window()
        named = dict(zip(symbols(len(bars)), bars, strict=True))
        DatasetWriter(folder, calendar=window.calendar).write(window.date, named, interval="1s")
    return folder


def day_file(folder: Path) -> Path:
    return dataset_path(folder, "bars", make_window().date, "1s")
