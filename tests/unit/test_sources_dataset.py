"""The dataset format: written whole, merged row by row, read back to the bit."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from openbell.clock import SessionWindow
from openbell.errors import DatasetError, SchemaError
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, to_ns
from openbell.sources import DatasetWriter, ParquetSource, dataset_path
from openbell.sources.parquet_file import ParquetTable

DAY = date(2025, 7, 2)
OPEN = to_ns("2025-07-02T13:30:00+00:00")
CLOSE = to_ns("2025-07-02T20:00:00+00:00")
WINDOW = SessionWindow(DAY, [(OPEN, CLOSE)], calendar="XNYS", timezone="America/New_York")
SECOND = 1_000_000_000


def bars(*rows: tuple[int, float, float]) -> np.ndarray:
    """Bars of (second since the open, close, volume)."""
    return np.array(
        [(OPEN + s * SECOND, c - 0.01, c + 0.02, c - 0.03, c, v) for s, c, v in rows], BAR_DTYPE
    )


@pytest.fixture
def writer(tmp_path: Path) -> DatasetWriter:
    return DatasetWriter(tmp_path, calendar="XNYS", timezone="America/New_York")


def test_dataset_path_names_kind_interval_and_date(tmp_path: Path) -> None:
    expected = tmp_path / "bars" / "interval=1m" / "date=2025-07-02.parquet"
    assert dataset_path(tmp_path, "bars", DAY, "60s") == expected
    assert dataset_path(tmp_path, "trades", DAY) == tmp_path / "trades" / "date=2025-07-02.parquet"


def test_write_and_load_give_the_same_bytes(
    writer: DatasetWriter, tmp_path: Path, rng: np.random.Generator
) -> None:
    data = {}
    for symbol in ("B", "A", "C"):
        array = np.zeros(23_400, BAR_DTYPE)
        array["timestamp"] = OPEN + np.arange(23_400) * SECOND
        for name in ("open", "high", "low", "close", "volume"):
            array[name] = rng.normal(100, 10, 23_400)
        data[symbol] = array
    result = writer.write(DAY, data, interval="1s")
    assert result == (tmp_path / "bars/interval=1s/date=2025-07-02.parquet", 70_200, 0)
    source = ParquetSource(tmp_path)
    for symbol, array in data.items():
        loaded = source.load(symbol, "1s", WINDOW)
        assert loaded.dtype == BAR_DTYPE
        assert loaded.tobytes() == array.tobytes()
    many = list(source.load_many(["C", "NONE", "A"], "1s", WINDOW))
    assert [symbol for symbol, _ in many] == ["C", "NONE", "A"]
    assert many[0][1].tobytes() == data["C"].tobytes()
    assert len(many[1][1]) == 0
    assert many[2][1].tobytes() == data["A"].tobytes()


def test_write_lays_out_one_row_group_per_symbol_with_its_encodings(
    writer: DatasetWriter,
) -> None:
    path = writer.write(
        DAY, {"MSFT": bars((5, 2.0, 1.5)), "AAPL": bars((0, 1.0, 3), (1, 1.0, 4))}, interval="1s"
    ).path
    file = pq.ParquetFile(path)
    assert file.schema_arrow.names == [
        "symbol", "timestamp", "open", "high", "low", "close", "volume",
    ]  # fmt: skip
    assert str(file.schema_arrow.field("timestamp").type) == "timestamp[ns, tz=UTC]"
    groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [2, 1]
    assert [group.column(0).statistics.min for group in groups] == ["AAPL", "MSFT"]
    assert "DELTA_BINARY_PACKED" in groups[0].column(1).encodings
    assert "RLE_DICTIONARY" in groups[0].column(2).encodings
    assert groups[0].column(2).compression == "UNCOMPRESSED"
    meta = {k.decode(): v.decode() for k, v in file.schema_arrow.metadata.items()}
    assert meta["openbell.calendar"] == "XNYS"
    assert meta["openbell.timezone"] == "America/New_York"
    assert meta["openbell.label"] == "start"
    assert meta["openbell.adjustment"] == "raw"
    assert meta["openbell.interval"] == "1s"
    assert meta["openbell.version"]


def test_write_second_symbol_keeps_the_first(writer: DatasetWriter, tmp_path: Path) -> None:
    writer.write(DAY, {"AAPL": bars((0, 1.0, 3))}, interval="1s")
    writer.write(DAY, {"MSFT": bars((1, 2.0, 4))}, interval="1s")
    source = ParquetSource(tmp_path)
    assert source.symbols("1s") == ["AAPL", "MSFT"]
    assert source.load("AAPL", "1s", WINDOW).tolist() == bars((0, 1.0, 3)).tolist()
    assert source.load("MSFT", "1s", WINDOW).tolist() == bars((1, 2.0, 4)).tolist()


def test_write_same_symbol_merges_by_label_and_counts_replaced(
    writer: DatasetWriter, tmp_path: Path
) -> None:
    writer.write(DAY, {"AAPL": bars((0, 1.0, 3), (1, 1.1, 3), (2, 1.2, 3))}, interval="1s")
    again = bars((3, 1.3, 3), (1, 9.0, 3), (2, 1.2, 3))
    assert writer.write(DAY, {"AAPL": again}, interval="1s")[1:] == (3, 1)
    expected = bars((0, 1.0, 3), (1, 9.0, 3), (2, 1.2, 3), (3, 1.3, 3))
    assert ParquetSource(tmp_path).load("AAPL", "1s", WINDOW).tolist() == expected.tolist()


def test_write_replace_drops_the_old_rows_of_that_symbol_only(
    writer: DatasetWriter, tmp_path: Path
) -> None:
    writer.write(DAY, {"A": bars((0, 1.0, 3)), "B": bars((0, 2.0, 3))}, interval="1s")
    writer.write(DAY, {"A": bars((7, 1.5, 3))}, interval="1s", on_existing="replace")
    source = ParquetSource(tmp_path)
    assert source.load("A", "1s", WINDOW).tolist() == bars((7, 1.5, 3)).tolist()
    assert source.load("B", "1s", WINDOW).tolist() == bars((0, 2.0, 3)).tolist()


def test_write_unsorted_bars_with_doubles_sorts_and_keeps_the_last(
    writer: DatasetWriter, tmp_path: Path
) -> None:
    result = writer.write(DAY, {"A": bars((2, 1.2, 1), (0, 1.0, 1), (2, 7.0, 1))}, interval="1s")
    assert result.n_rows == 2
    expected = bars((0, 1.0, 1), (2, 7.0, 1)).tolist()
    assert ParquetSource(tmp_path).load("A", "1s", WINDOW).tolist() == expected


def test_write_extras_are_kept_and_null_where_a_symbol_has_none(
    writer: DatasetWriter,
) -> None:
    more = {"A": {"trade_count": np.array([7.0, np.nan]), "vwap": np.array([1.5, 1.25])}}
    writer.write(DAY, {"A": bars((0, 1.0, 3), (1, 1.1, 3))}, interval="1s", extras=more)
    path = writer.write(DAY, {"B": bars((0, 2.0, 3))}, interval="1s").path
    rows = pq.read_table(path, columns=["symbol", "trade_count", "vwap"]).to_pylist()
    assert rows == [
        {"symbol": "A", "trade_count": 7.0, "vwap": 1.5},
        {"symbol": "A", "trade_count": None, "vwap": 1.25},
        {"symbol": "B", "trade_count": None, "vwap": None},
    ]


def test_write_quotes_and_trades_have_folders_of_their_own(
    writer: DatasetWriter, tmp_path: Path
) -> None:
    quotes = np.array([(OPEN, 1.0, 1.1, 5, 6), (OPEN, 1.0, 1.2, 5, 6)], QUOTE_DTYPE)
    trades = np.array([(OPEN + 1, 1.05, 10), (OPEN + 1, 1.05, 10)], TICK_DTYPE)
    writer.write(DAY, {"A": quotes})
    writer.write(DAY, {"A": trades})
    source = ParquetSource(tmp_path)
    assert source.load_quotes("A", WINDOW).tolist() == quotes.tolist()
    assert source.load_ticks("A", WINDOW).tolist() == trades.tolist()
    assert source.load_ticks("B", WINDOW).dtype == TICK_DTYPE
    assert source.intervals("A") == []


def test_write_trades_again_replaces_their_span(writer: DatasetWriter, tmp_path: Path) -> None:
    rows = [(OPEN + k, 1.0 + k, 10) for k in range(4)]
    writer.write(DAY, {"A": np.array(rows, TICK_DTYPE)})
    writer.write(DAY, {"A": np.array([(OPEN + 1, 8.0, 1), (OPEN + 2, 9.0, 1)], TICK_DTYPE)})
    loaded = ParquetSource(tmp_path).load_ticks("A", WINDOW)
    assert loaded["price"].tolist() == [1.0, 8.0, 9.0, 4.0]


def test_write_nothing_makes_no_file(writer: DatasetWriter, tmp_path: Path) -> None:
    assert writer.write(DAY, {"A": np.empty(0, BAR_DTYPE)}, interval="1s").n_rows == 0
    assert list(tmp_path.rglob("*.parquet")) == []


def test_write_swapped_fields_is_refused(writer: DatasetWriter) -> None:
    swapped = np.dtype([(n, BAR_DTYPE[n]) for n in ("timestamp", "high", "open")])
    with pytest.raises(SchemaError, match="BAR_DTYPE"):
        writer.write(DAY, {"A": np.zeros(1, swapped)}, interval="1s")
    with pytest.raises(SchemaError, match="BAR_DTYPE"):
        writer.write(DAY, {"A": bars((0, 1, 1)), "B": np.zeros(1, TICK_DTYPE)}, interval="1s")
    with pytest.raises(SchemaError, match="interval"):
        writer.write(DAY, {"A": bars((0, 1, 1))})


class Crash(BaseException):
    """What a killed process would be."""


def test_write_interrupted_leaves_the_old_file_and_nothing_else(
    writer: DatasetWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = writer.write(DAY, {"A": bars((0, 1.0, 3))}, interval="1s").path
    before = path.read_bytes()
    written = pq.ParquetWriter.write_table

    def dies_at_second_symbol(self: pq.ParquetWriter, table: object, **kw: object) -> None:
        if table.column("symbol")[0].as_py() == "B":  # type: ignore[attr-defined]
            raise Crash
        written(self, table, **kw)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", dies_at_second_symbol)
    with pytest.raises(Crash):
        writer.write(DAY, {"B": bars((0, 2.0, 3))}, interval="1s")
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_leftover_temporary_file_of_a_killed_process_is_not_read(
    writer: DatasetWriter, tmp_path: Path
) -> None:
    path = writer.write(DAY, {"A": bars((0, 1.0, 3))}, interval="1s").path
    (path.parent / f".{path.name}.99-abcd.tmp").write_bytes(b"PAR1 half a file")
    (path.parent / ".date=2025-07-03.parquet").write_bytes(b"PAR1 half a file")
    assert ParquetSource(tmp_path).dates("A", "1s") == (DAY, DAY)


def test_write_over_a_corrupt_file_is_refused_and_leaves_it(writer: DatasetWriter) -> None:
    path = writer.write(DAY, {"A": bars((0, 1.0, 3))}, interval="1s").path
    path.write_bytes(path.read_bytes()[:-10])
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="date=2025-07-02"):
        writer.write(DAY, {"B": bars((0, 1.0, 3))}, interval="1s")
    assert path.read_bytes() == before


def test_table_footer_tells_symbols_and_bounds_without_reading_rows(
    writer: DatasetWriter,
) -> None:
    path = writer.write(
        DAY, {"A": bars((3, 1.0, 1), (9, 1.0, 1)), "B": bars((1, 1.0, 1))}, interval="1s"
    ).path
    table = ParquetTable(path)
    assert table.is_split
    assert table.symbols == {"A", "B"}
    assert table.bounds_ns == (OPEN + SECOND, OPEN + 9 * SECOND)
    assert [group.n_rows for group in table.groups_of("A")] == [2]
