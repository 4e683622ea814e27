"""Real trade bars: imported whole, and read back as the vendor gave them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from openbell.clock import TimeManager
from openbell.schema import BAR_FIELDS
from openbell.sources import ParquetSource, import_bars

COINBASE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coinbase"
pytestmark = pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")


def rows_of(path: Path) -> list[tuple[str, int, float, float, float, float, float]]:
    table = pq.read_table(path)
    table = table.set_column(1, "timestamp", table["timestamp"].cast("int64"))
    return list(zip(*(table[name].to_pylist() for name in ("symbol", *BAR_FIELDS)), strict=True))


@pytest.mark.parametrize(("interval", "n_rows"), [("1s", 7516), ("1m", 16_826)])
def test_import_of_coinbase_bars_keeps_every_row(
    tmp_path: Path, interval: str, n_rows: int
) -> None:
    report = import_bars(
        COINBASE / f"bars_{interval}.parquet", tmp_path, calendar="24/7", interval=interval
    )
    assert (report.n_read, report.n_written, report.n_bad) == (n_rows, n_rows, {})
    clock, source = TimeManager("24/7"), ParquetSource(tmp_path)
    loaded = [
        (symbol, *row)
        for symbol in report.symbols
        for day in report.dates
        for row in source.load(symbol, interval, clock.session_window(day)).tolist()
    ]
    assert loaded == sorted(rows_of(COINBASE / f"bars_{interval}.parquet"))


def test_import_tells_the_interval_of_sparse_seconds(tmp_path: Path) -> None:
    report = import_bars(COINBASE / "bars_1s.parquet", tmp_path, calendar="24/7")
    assert report.intervals == ["1s"]
    assert report.symbols == ["BTCUSD"]
    assert report.dates == [date(2016, 10, 7), date(2016, 10, 8)]


def test_flat_folder_is_read_without_import() -> None:
    source = ParquetSource(COINBASE)
    assert source.intervals("BTCUSD") == ["1s", "1m", "1d"]
    assert source.symbols("1m") == ["BTCEUR", "BTCUSD", "ETHUSD", "LTCUSD"]
    window = TimeManager("24/7").session_window(date(2016, 10, 7))
    midnight = window.open_ns
    expected = [
        row[1:]
        for row in rows_of(COINBASE / "bars_1s.parquet")
        if midnight <= row[1] < midnight + 86_400 * 10**9
    ]
    assert source.load("BTCUSD", "1s", window).tolist() == expected
