"""Loading many symbols at once: the same bytes as one by one, in the order asked, damage named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openbell.clock import SessionWindow
from openbell.errors import DatasetError
from openbell.schema import BAR_DTYPE, BAR_FIELDS, BarArray, to_ns
from openbell.sources import DatasetWriter, ParquetSource

DAY = date(2025, 7, 2)
SECOND = 10**9
OPEN = to_ns("2025-07-02T13:30:00+00:00")
WINDOW = SessionWindow(DAY, [(OPEN, OPEN + 23_400 * SECOND)], calendar="XNYS")
LUNCH = SessionWindow(
    DAY, [(OPEN, OPEN + 100 * SECOND), (OPEN + 200 * SECOND, OPEN + 300 * SECOND)], calendar="XNYS"
)
NAMES = [f"S{k:02}" for k in range(24)]


def bars_of(n: int, seed: int, first_s: int = 0) -> BarArray:
    bars = np.zeros(n, BAR_DTYPE)
    bars["timestamp"] = OPEN + SECOND * (first_s + np.arange(n))
    for k, name in enumerate(BAR_FIELDS[1:]):
        bars[name] = np.random.default_rng(seed + k).integers(1, 500, n) / 8
    return bars


@pytest.fixture
def data() -> dict[str, BarArray]:
    return {name: bars_of(1 + 397 * k % 9000, k, first_s=-50) for k, name in enumerate(NAMES)}


@pytest.fixture
def path(tmp_path: Path, data: dict[str, BarArray]) -> Path:
    return DatasetWriter(tmp_path, calendar="XNYS").write(DAY, data, interval="1s").path


def inside(bars: BarArray, window: SessionWindow) -> BarArray:
    ts = bars["timestamp"]
    kept = np.zeros(len(bars), bool)
    for opened, closed in window.segments:
        kept |= (ts >= opened) & (ts < closed)
    return bars[kept]


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("window", [WINDOW, LUNCH], ids=["whole", "lunch"])
def test_load_many_gives_the_bars_of_each_in_the_order_asked(
    path: Path, data: dict[str, BarArray], n_threads: int, window: SessionWindow
) -> None:
    asked = [*NAMES[::-1], "NONE", NAMES[3]]
    source = ParquetSource(path.parents[2], n_threads=n_threads)
    for _ in range(2):
        loaded = list(source.load_many(asked, "1s", window))
        assert [symbol for symbol, _ in loaded] == asked
        for symbol, bars in loaded:
            expected = inside(data[symbol], window) if symbol in data else np.empty(0, BAR_DTYPE)
            assert bars.tobytes() == expected.tobytes()
            assert bars.flags.c_contiguous
            assert source.load(symbol, "1s", window).tobytes() == expected.tobytes()


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("bad", [0, 11, 23])
def test_damaged_symbol_among_many_is_named_when_it_is_reached(
    path: Path, data: dict[str, BarArray], n_threads: int, bad: int
) -> None:
    footer = pq.read_metadata(path).row_group(bad)
    whole = bytearray(path.read_bytes())
    close = footer.column(5)
    whole[close.data_page_offset + close.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(whole)
    source = ParquetSource(path.parents[2], n_threads=n_threads)
    stream = source.load_many(NAMES, "1s", WINDOW)
    before = [next(stream) for _ in range(bad)]
    assert [symbol for symbol, _ in before] == NAMES[:bad]
    with pytest.raises(DatasetError, match="date=2025-07-02"):
        next(stream)
    for symbol in NAMES[:bad] + NAMES[bad + 1 :]:
        assert source.load(symbol, "1s", WINDOW).tobytes() == inside(data[symbol], WINDOW).tobytes()
    others = dict(source.load_many(NAMES[:bad] + NAMES[bad + 1 :], "1s", WINDOW))
    assert all(bars.tobytes() == inside(data[s], WINDOW).tobytes() for s, bars in others.items())


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_row_groups_out_of_order_and_of_other_types_are_the_same_bars(
    tmp_path: Path, unit: str, data: dict[str, BarArray], rng: np.random.Generator
) -> None:
    folder = tmp_path / "bars" / "interval=1s" / "date=2025-07-02"
    folder.mkdir(parents=True)
    for part in range(2):
        schema = pa.schema(
            [("symbol", pa.string()), ("timestamp", pa.timestamp(unit, "America/New_York"))]
            + [
                (name, pa.float32() if name == "volume" else pa.float64())
                for name in BAR_FIELDS[1:]
            ]
        )
        with pq.ParquetWriter(folder / f"part{part}.parquet", schema) as writer:
            for name in rng.permutation(NAMES):
                mine = data[name][part::2]
                for rows in np.array_split(mine[rng.permutation(len(mine))], 2):
                    columns = {"symbol": pa.repeat(str(name), len(rows))}
                    columns["timestamp"] = pa.array(rows["timestamp"], pa.timestamp("ns", "UTC"))
                    columns |= {key: pa.array(rows[key].copy()) for key in BAR_FIELDS[1:]}
                    if len(rows):
                        writer.write_table(pa.table(columns).cast(schema))
    source = ParquetSource(tmp_path)
    loaded = dict(source.load_many(NAMES, "1s", WINDOW))
    for name in NAMES:
        expected = inside(data[name], WINDOW)
        assert loaded[name].tobytes() == expected.tobytes()
        assert source.load(name, "1s", WINDOW).tobytes() == expected.tobytes()
