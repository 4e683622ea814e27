"""The Parquet source: what is refused by name, and files of other shapes."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openbell.clock import SessionWindow
from openbell.errors import DatasetError, OpenbellError, SchemaError
from openbell.schema import BAR_DTYPE, to_ns
from openbell.sources import DatasetWriter, DataSource, ParquetSource

DAY = date(2025, 7, 2)
OPEN = to_ns("2025-07-02T13:30:00+00:00")
WINDOW = SessionWindow(DAY, [(OPEN, OPEN + 23_400 * 10**9)], calendar="XNYS")
SECOND = 10**9


def walk(n: int, first_s: int = 0, step_s: int = 1, seed: int = 0) -> np.ndarray:
    cents = 10_000 + np.cumsum(np.random.default_rng(seed).integers(-2, 3, n))
    array = np.zeros(n, BAR_DTYPE)
    array["timestamp"] = OPEN + (first_s + np.arange(n) * step_s) * SECOND
    for name in ("open", "high", "low", "close"):
        array[name] = cents / 100
    array["volume"] = 100
    return array


def table_of(data: dict[str, np.ndarray], **names: str) -> pa.Table:
    """An ordinary table, symbols one below the other, columns under other names."""
    joined = np.concatenate(list(data.values()))
    symbols = [s for s, array in data.items() for _ in range(len(array))]
    columns: dict[str, object] = {"symbol": symbols}
    columns["timestamp"] = pa.array(joined["timestamp"], pa.timestamp("ns", "UTC"))
    for name in BAR_DTYPE.names[1:]:
        columns[name] = joined[name]
    return pa.table({names.get(name, name): values for name, values in columns.items()})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    data = {"A": walk(3000), "B": walk(3000, seed=1)}
    return DatasetWriter(tmp_path, calendar="XNYS").write(DAY, data, interval="1s").path


def test_source_is_a_data_source(tmp_path: Path) -> None:
    assert isinstance(ParquetSource(tmp_path), DataSource)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.3, 0.7, 0.95, -1, -4, -9])
def test_truncated_file_is_refused_with_its_name(dataset: Path, keep: float) -> None:
    whole = dataset.read_bytes()
    cut = int(len(whole) * keep) if isinstance(keep, float) else keep
    dataset.write_bytes(whole[:cut])
    source = ParquetSource(dataset.parents[2])
    for call in (
        lambda: source.load("A", "1s", WINDOW),
        lambda: list(source.load_many(["A", "B"], "1s", WINDOW)),
        lambda: source.has_data("A", "1s", DAY),
        lambda: source.count("A", "1s", WINDOW),
    ):
        with pytest.raises(DatasetError, match="date=2025-07-02") as caught:
            call()
        assert caught.value.path == str(dataset)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.45])
def test_damaged_pages_of_one_symbol_are_refused_and_the_other_loads(
    dataset: Path, share: float
) -> None:
    whole = bytearray(dataset.read_bytes())
    at = int(len(whole) * share)
    for k in range(at, at + 8):
        whole[k] ^= 0xFF
    dataset.write_bytes(whole)
    source = ParquetSource(dataset.parents[2])
    with pytest.raises(DatasetError, match="date=2025-07-02"):
        source.load("A", "1s", WINDOW)
    with pytest.raises(DatasetError, match="date=2025-07-02"):
        list(source.load_many(["B", "A"], "1s", WINDOW))
    assert source.load("B", "1s", WINDOW).tobytes() == walk(3000, seed=1).tobytes()


def test_any_damage_is_refused_by_name_or_changes_nothing(
    dataset: Path, rng: np.random.Generator
) -> None:
    whole = np.frombuffer(dataset.read_bytes(), np.uint8)
    n_runs, n_named = 60, 0
    for k in range(n_runs):
        damaged = whole.copy()
        first = len(whole) - 1700 if k % 2 else 0
        damaged[rng.integers(first, len(whole), 3)] = rng.integers(0, 256, 3)
        dataset.write_bytes(damaged.tobytes())
        source = ParquetSource(dataset.parents[2])
        try:
            loaded = dict(source.load_many(["A", "B"], "1s", WINDOW))
        except (DatasetError, SchemaError) as error:
            n_named += "date=2025-07-02" in str(error)
        else:
            n_named += 1
            assert loaded["A"].tobytes() == walk(3000).tobytes()
            assert loaded["B"].tobytes() == walk(3000, seed=1).tobytes()
    assert n_named == n_runs


DAYS = [date(2025, 7, 1), DAY, date(2025, 7, 3)]


def window_of(day: date) -> SessionWindow:
    opened = OPEN + (day - DAY).days * 86_400 * SECOND
    return SessionWindow(day, [(opened, opened + 23_400 * SECOND)], calendar="XNYS")


def write_three(root: Path) -> dict[date, Path]:
    """Three dates of A; the first and the last have a symbol of their own."""
    writer = DatasetWriter(root, calendar="XNYS")
    paths = {}
    for day in DAYS:
        bars = walk(5)
        bars["timestamp"] += window_of(day).open_ns - OPEN
        data = {"A": bars, **({} if day == DAY else {f"ONLY{day.day}": bars})}
        paths[day] = writer.write(day, data, interval="1s").path
    return paths


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("bad", DAYS)
def test_truncated_date_fails_only_its_own_day(
    bad: date, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_three(tmp_path)[bad]
    truncate(path)
    source = ParquetSource(tmp_path)
    good = [day for day in DAYS if day != bad]
    for _ in range(2):
        assert source.has_symbol("A")
        assert source.intervals("A") == ["1s"]
        assert source.dates("A", "1s") == (good[0], good[-1])
        assert source.symbols("1s") == sorted({"A", *(f"ONLY{d.day}" for d in good if d != DAY)})
    for day in good:
        assert source.has_data("A", "1s", day)
        assert source.count("A", "1s", window_of(day)) == 5
        assert len(source.load("A", "1s", window_of(day))) == 5
    with pytest.raises(DatasetError, match=f"date={bad}"):
        source.has_data("A", "1s", bad)
    with pytest.raises(DatasetError, match=f"date={bad}"):
        source.load("A", "1s", window_of(bad))
    assert [str(path) in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("bad", [DAYS[0], DAYS[2]])
def test_truncated_date_is_named_when_no_other_has_the_symbol(bad: date, tmp_path: Path) -> None:
    truncate(write_three(tmp_path)[bad])
    source = ParquetSource(tmp_path)
    for call in (
        lambda: source.has_symbol(f"ONLY{bad.day}"),
        lambda: source.intervals(f"ONLY{bad.day}"),
        lambda: source.dates(f"ONLY{bad.day}", "1s"),
        lambda: source.has_symbol("NONE"),
    ):
        with pytest.raises(DatasetError, match=f"date={bad}"):
            call()


def test_every_date_truncated_is_refused(tmp_path: Path) -> None:
    for path in write_three(tmp_path).values():
        truncate(path)
    source = ParquetSource(tmp_path)
    for call in (source.symbols, lambda: source.dates("A", "1s")):
        with pytest.raises(DatasetError, match="truncated"):
            call()


def test_date_with_a_column_missing_fails_only_its_own_day(tmp_path: Path) -> None:
    path = write_three(tmp_path)[DAYS[2]]
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["close"]), path)
    source = ParquetSource(tmp_path)
    assert source.intervals("A") == ["1s"]
    assert source.dates("A", "1s") == (DAYS[0], DAY)
    with pytest.raises(SchemaError, match="a column for close"):
        source.has_data("A", "1s", DAYS[2])


def test_interval_whose_only_file_is_truncated_leaves_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_three(tmp_path)
    minutes = DatasetWriter(tmp_path, calendar="XNYS").write(
        DAY, {"A": walk(5, step_s=60)}, interval="1m"
    )
    truncate(minutes.path)
    source = ParquetSource(tmp_path)
    assert source.has_symbol("A")
    assert source.intervals("A") == ["1s"]
    assert [str(minutes.path) in message for message in caplog.messages] == [True]
    with pytest.raises(DatasetError, match="interval=1m"):
        source.dates("A", "1m")


@pytest.mark.parametrize("calendar", ["CMES", "24/7"])
def test_truncated_neighbour_of_a_session_across_midnight(calendar: str, tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, calendar=calendar)
    truncate(writer.write(DAYS[0], {"A": walk(5)}, interval="1s").path)
    midnight = to_ns("2025-07-02T00:00:00+00:00")
    bars = walk(20)
    bars["timestamp"] += midnight - OPEN - 10 * SECOND
    writer.write(DAY, {"A": bars}, interval="1s")
    across = SessionWindow(DAY, [(midnight - 10 * SECOND, midnight + 10 * SECOND)], calendar="CMES")
    source = ParquetSource(tmp_path)
    if calendar == "CMES":
        assert source.load("A", "1s", across).tobytes() == bars.tobytes()
    else:
        # Dates of another calendar: the session may have begun in the file before.
        with pytest.raises(DatasetError, match="date=2025-07-01"):
            source.load("A", "1s", across)


def test_missing_root_and_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        ParquetSource(tmp_path / "nowhere").has_symbol("A")
    with pytest.raises(DatasetError, match="holds no Parquet file"):
        ParquetSource(tmp_path).has_symbol("A")


def test_missing_column_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table_of({"A": walk(5)}).drop_columns(["close"]), path)
    with pytest.raises(SchemaError, match=r"x\.parquet.*a column for close") as caught:
        ParquetSource(path).has_symbol("A")
    assert caught.value.what == str(path)


def test_naive_timestamps_are_refused_and_import_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = table_of({"A": walk(5)})
    naive = table["timestamp"].cast(pa.timestamp("ns"))
    pq.write_table(table.set_column(1, "timestamp", naive), path)
    with pytest.raises(SchemaError, match=r"without a time zone.*--tz"):
        ParquetSource(path).has_symbol("A")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_another_zone_and_unit_are_the_same_instants(
    tmp_path: Path, unit: str
) -> None:
    path = tmp_path / "x.parquet"
    table = table_of({"A": walk(5)})
    other = table["timestamp"].cast(pa.timestamp(unit, "America/New_York"))
    pq.write_table(table.set_column(1, "timestamp", other), path)
    assert ParquetSource(path).load("A", "1s", WINDOW).tobytes() == walk(5).tobytes()


def test_null_price_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = table_of({"A": walk(5)})
    high = pa.array([1.0, 2.0, None, 3.0, 4.0])
    pq.write_table(table.set_column(3, "high", high), path)
    with pytest.raises(DatasetError, match="high is null in row 2"):
        ParquetSource(path).load("A", "1s", WINDOW)


def test_text_prices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = table_of({"A": walk(5)})
    pq.write_table(table.set_column(3, "high", pa.array(["1"] * 5)), path)
    with pytest.raises(SchemaError, match="high: received type string, expected numbers"):
        ParquetSource(path).load("A", "1s", WINDOW)


def test_flat_file_with_mixed_symbols_other_names_and_types_is_read(tmp_path: Path) -> None:
    data = {"B": walk(300, seed=3), "A": walk(200, first_s=50)}
    table = table_of(data, symbol="Ticker", timestamp="ts", open="o", volume="Vol")
    table = table.set_column(6, "Vol", table["Vol"].cast(pa.int32()))
    table = table.set_column(0, "Ticker", table["Ticker"].dictionary_encode())
    shuffled = table.take(pa.array(np.random.default_rng(5).permutation(500)))
    path = tmp_path / "all.parquet"
    pq.write_table(shuffled, path, row_group_size=64)
    source = ParquetSource(path)
    assert source.intervals("A") == ["1s"]
    assert source.symbols() == ["A", "B"]
    assert source.dates("B", "1s") == (DAY, DAY)
    assert source.has_data("A", "1s", DAY)
    assert not source.has_data("A", "1s", date(2025, 7, 3))
    assert source.count("A", "1s", WINDOW) == 200
    assert source.load("A", "1s", WINDOW).tobytes() == data["A"].tobytes()
    many = dict(source.load_many(["A", "B", "C"], "1s", WINDOW))
    assert {s: array.tobytes() for s, array in many.items()} == {
        "A": data["A"].tobytes(), "B": data["B"].tobytes(), "C": b"",
    }  # fmt: skip


def test_hive_folders_give_interval_date_and_symbol(tmp_path: Path) -> None:
    for symbol, seed in (("A", 1), ("B", 2)):
        folder = tmp_path / "interval=1Min" / f"symbol={symbol}" / "date=2025-07-02"
        folder.mkdir(parents=True)
        table = table_of({symbol: walk(10, step_s=60, seed=seed)}).drop_columns(["symbol"])
        pq.write_table(table, folder / "part-0.parquet")
    source = ParquetSource(tmp_path)
    assert source.intervals("B") == ["1m"]
    assert source.dates("B", "1m") == (DAY, DAY)
    assert source.load("B", "1m", WINDOW).tobytes() == walk(10, step_s=60, seed=2).tobytes()


def test_folder_of_a_file_per_symbol_takes_the_symbol_from_the_name(tmp_path: Path) -> None:
    pq.write_table(
        table_of({"X": walk(10, step_s=60)}).drop_columns(["symbol"]), tmp_path / "MSFT.parquet"
    )
    assert ParquetSource(tmp_path).load("MSFT", "1m", WINDOW).tobytes() == (
        walk(10, step_s=60).tobytes()
    )


def test_file_uri_is_read_as_its_path(dataset: Path) -> None:
    source = ParquetSource(dataset.parents[2].as_uri())
    assert source.load("A", "1s", WINDOW).tobytes() == walk(3000).tobytes()


def test_load_gives_the_window_only_breaks_left_out(tmp_path: Path) -> None:
    data = walk(100, first_s=-10)
    DatasetWriter(tmp_path, calendar="X").write(DAY, {"A": data}, interval="1s")
    lunch = SessionWindow(
        DAY, [(OPEN, OPEN + 20 * SECOND), (OPEN + 40 * SECOND, OPEN + 50 * SECOND)]
    )
    loaded = ParquetSource(tmp_path).load("A", "1s", lunch)
    assert ((loaded["timestamp"] - OPEN) // SECOND).tolist() == [*range(20), *range(40, 50)]


def test_session_across_midnight_is_found_in_both_utc_files(tmp_path: Path) -> None:
    before, after = date(2025, 7, 1), DAY
    midnight = to_ns("2025-07-02T00:00:00+00:00")
    rows = walk(20)
    rows["timestamp"] = midnight + (np.arange(20) - 10) * SECOND
    writer = DatasetWriter(tmp_path, calendar="24/7")
    writer.write(before, {"A": rows[:10]}, interval="1s")
    writer.write(after, {"A": rows[10:]}, interval="1s")
    window = SessionWindow(after, [(midnight - 5 * SECOND, midnight + 5 * SECOND)])
    assert ParquetSource(tmp_path).load("A", "1s", window).tolist() == rows[5:15].tolist()


def test_load_many_closed_early_stops_reading(dataset: Path) -> None:
    stream = ParquetSource(dataset.parents[2]).load_many(["A", "B"] * 50, "1s", WINDOW)
    assert next(stream)[0] == "A"
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(stream)


def test_refresh_shows_what_was_written_since(dataset: Path) -> None:
    source = ParquetSource(dataset.parents[2])
    assert not source.has_symbol("C")
    DatasetWriter(dataset.parents[2], calendar="XNYS").write(DAY, {"C": walk(4)}, interval="1s")
    source.refresh()
    assert source.load("C", "1s", WINDOW).tobytes() == walk(4).tobytes()


def test_bad_key_in_a_path_is_refused_with_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "bars" / "interval=7x"
    folder.mkdir(parents=True)
    pq.write_table(table_of({"A": walk(4)}), folder / "date=2025-07-02.parquet")
    with pytest.raises(OpenbellError, match="interval=7x"):
        ParquetSource(tmp_path).has_symbol("A")


def test_reading_a_dataset_loads_no_pandas(dataset: Path) -> None:
    code = f"""
import sys
from datetime import date
from openbell.clock.window import SessionWindow
from openbell.sources.parquet import ParquetSource
assert "pyarrow" not in sys.modules
window = SessionWindow(date(2025, 7, 2), [({OPEN}, {OPEN + 23_400 * SECOND})])
source = ParquetSource({str(dataset.parents[2])!r})
assert sum(len(b) for _, b in source.load_many(["A", "B"], "1s", window)) == 6000
assert source.has_data("A", "1s", date(2025, 7, 2))
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
