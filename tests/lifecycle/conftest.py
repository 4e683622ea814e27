"""A market to run whole sessions over: real files, written once."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.sources import DatasetWriter, SyntheticSource, write_sample
from tests.lifecycle_days import HALF_DAY, WEDNESDAY

MONDAY = date(2025, 7, 7)
PAST = [date(2025, 6, 27), date(2025, 6, 30), date(2025, 7, 1)]
#: The half day, a holiday and a weekend lie between the last two.
DAYS = [WEDNESDAY, HALF_DAY, MONDAY]

# In seconds and minutes, on every day.
WHOLE = ["AAPL", "NVDA", "RIVN", "TSLA"]


def write_market(folder: Path) -> Path:
    """Beside those of `WHOLE`: NEWCO has no past, OLDCO no bars since, MINCO minutes only."""
    write_sample(folder, WHOLE, [*PAST, *DAYS], intervals=["1s", "1m"], fill_rate=0.04)
    clock = ob.TimeManager("XNYS")
    source = SyntheticSource(fill_rate=0.04)
    writer = DatasetWriter(folder, calendar="XNYS", timezone=clock.timezone)
    for symbol, interval, days in (
        ("NEWCO", "1s", DAYS),
        ("OLDCO", "1s", PAST),
        ("MINCO", "1m", [*PAST, *DAYS]),
    ):
        for day in days:
            bars: np.ndarray = source.load(symbol, interval, clock.session_window(day))
            writer.write(day, {symbol: bars}, interval=interval)
    return folder


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To read from."""
    return write_market(tmp_path_factory.mktemp("market"))


@pytest.fixture
def own_market(market: Path, tmp_path: Path) -> Path:
    """To damage."""
    folder = tmp_path / "market"
    shutil.copytree(market, folder)
    return folder
