"""Bars as CSV and Parquet files, and a session written as a dataset that replays the same."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.errors import DatasetError, IntervalError, SessionStateError, UnknownSymbolError
from openbell.export import write_dataset
from openbell.schema import BAR_DTYPE, BarArray
from openbell.sources import ParquetSource, import_bars, write_sample
from tests.export_session import AAPL_BARS, at, make_session, make_window, ns
from tests.facade_bars import WINDOW, minutes
from tests.strategies import MINUTE, day_windows, make_bars, window_of

DAY = date(2025, 7, 2)
DAYS = [date(2025, 6, 30), date(2025, 7, 1), DAY]


def session_of(
    bars: dict[str, BarArray], window: ob.SessionWindow, base: str = "1m", **options: Any
) -> ob.SessionData:
    root = ob.SessionData()
    root.begin(window)
    for symbol, rows in bars.items():
        rec = ob.SymbolSessionData(symbol, base_interval=base, **options)
        root.register_symbol_data(rec).append_block(rows)
    root.advance(window.close_ns)
    return root


def write_bytes(path: Path, content: bytes = b"old") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# CSV


def test_bars_csv_of_a_series_is_the_one_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    make_session()["TSLA"].bars["1m"].to_csv(path)
    assert path.read_bytes() == (
        b"symbol,timestamp,open,high,low,close,volume\n"
        b"TSLA,2025-07-02T14:00:00+00:00,250,251,249,250.5,12.5\n"
    )
    make_session()["AAPL"].bars["5m"].to_csv(path)
    assert path.read_text().splitlines() == [
        "symbol,timestamp,open,high,low,close,volume,n_base",
        "AAPL,2025-07-02T13:30:00+00:00,100,102,99.5,101.25,1650,4",
        "AAPL,2025-07-02T13:35:00+00:00,101.25,103.25,101,103,650,2",
        "AAPL,2025-07-02T14:00:00+00:00,103,103,98.75,99.75,1325,5",
    ]
    assert os.listdir(tmp_path) == ["bars.csv"]


def test_bars_csv_of_a_session_lists_symbol_after_symbol(tmp_path: Path) -> None:
    path, root = tmp_path / "bars.csv", make_session()
    root.bars_to_csv(path, "1m")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["symbol"] for row in rows] == ["AAPL"] * 12 + ["TSLA"]
    wanted = [tuple(map(float, bar[1:])) for bar in AAPL_BARS]
    columns = ("open", "high", "low", "close", "volume")
    assert [tuple(float(row[name]) for name in columns) for row in rows[:12]] == wanted
    assert [row["volume"] for row in rows[-2:]] == ["25", "12.5"]
    root.bars_to_csv(path, "1m", ["TSLA", "NVDA"])
    assert path.read_text().count("\n") == 2


def test_bars_csv_tells_n_base_only_of_what_is_derived(tmp_path: Path) -> None:
    path, root = tmp_path / "bars.csv", make_session()
    rec = root.register_symbol_data(
        ob.SymbolSessionData("B", base_interval="30s", derived_intervals=["1m"])
    )
    rec.append(ns(at(13, 30, 30)), 1.0, 1.0, 1.0, 1.0, 5)
    root.bars_to_csv(path, "1m", ["TSLA", "B"])
    assert path.read_text().splitlines()[1:] == [
        "B,2025-07-02T13:30:00+00:00,1,1,1,1,5,1",
        "TSLA,2025-07-02T14:00:00+00:00,250,251,249,250.5,12.5,",
    ]
    root.on_incomplete = "skip"
    root.bars_to_csv(path, "1m", ["TSLA", "B"])
    assert path.read_text().splitlines()[1:] == [
        "TSLA,2025-07-02T14:00:00+00:00,250,251,249,250.5,12.5,"
    ]


def test_bars_csv_without_bars_has_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    make_session()["NVDA"].bars["1m"].to_csv(path)
    assert path.read_text() == "symbol,timestamp,open,high,low,close,volume\n"
    ob.SessionData().bars_to_csv(path, "1m")
    assert path.read_text() == "symbol,timestamp,open,high,low,close,volume\n"


@pytest.mark.parametrize("symbol", ["A,B", 'say "A"', "A;B", "ÅÄ 日本"])
def test_bars_csv_keeps_odd_symbols_apart_from_its_commas(tmp_path: Path, symbol: str) -> None:
    path = tmp_path / "bars.csv"
    root = session_of({symbol: minutes(0, 1), "PLAIN": minutes(0)}, WINDOW)
    root.bars_to_csv(path, "1m")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["symbol"] for row in rows) == sorted([symbol, symbol, "PLAIN"])
    assert {row["close"] for row in rows} == {"10", "11"}
    assert rows[0]["timestamp"] == "2025-07-02T13:30:00+00:00"


prices = st.floats(allow_nan=False, allow_infinity=False)
volumes = st.floats(min_value=0, allow_infinity=False) | st.integers(0, 2**60).map(float)


@given(st.lists(st.tuples(prices, volumes), min_size=1, max_size=20))
def test_bars_csv_numbers_read_back_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "bars.csv"
    rows = np.array(
        [(WINDOW.open_ns + k * MINUTE, p, p, p, p, v) for k, (p, v) in enumerate(values)],
        dtype=BAR_DTYPE,
    )
    root = session_of({"X": rows}, WINDOW)
    root["X"].bars["1m"].to_csv(path)
    with open(path, newline="") as file:
        read = list(csv.DictReader(file))
    for k, (price, volume) in enumerate(values):
        assert np.float64(read[k]["open"]).tobytes() == np.float64(price).tobytes()
        assert float(read[k]["volume"]) == volume
    if all(v.is_integer() and v < 2**53 for _, v in values):
        assert [row["volume"] for row in read] == [str(int(v)) for _, v in values]


@given(day_windows(), st.sampled_from(["1m", "5m", "1h"]), st.integers(0, 2**32 - 1))
def test_bars_csv_labels_are_iso_times(
    tmp_path_factory: pytest.TempPathFactory, window: ob.SessionWindow, interval: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "bars.csv"
    bars = make_bars(window, interval, 0.2, np.random.default_rng(seed))
    session_of({"X": bars}, window, interval)["X"].bars[interval].to_csv(path)
    with open(path, newline="") as file:
        labels = [row["timestamp"] for row in csv.DictReader(file)]
    assert labels == [ob.BarData(*row).timestamp.isoformat() for row in bars.tolist()]


@pytest.mark.parametrize("base", ["1s", "1m"])
def test_bars_csv_imports_as_the_same_bars(
    tmp_path: Path, base: str, rng: np.random.Generator
) -> None:
    bars = {
        "AAA": make_bars(WINDOW, base, 0.3, rng, whole_volumes=False),
        "BBB": make_bars(WINDOW, base, 0.9, rng, ties=True),
        "CCC": make_bars(WINDOW, base, 1.0, rng),
    }
    root = session_of(bars, WINDOW, base, derived_intervals=["5m", "1h"])
    for interval in (base, "5m", "1h"):
        path = tmp_path / f"{interval}.csv"
        root.bars_to_csv(path, interval)
        report = import_bars(path, tmp_path / "dataset", calendar="XNYS", interval=interval)
        assert (report.n_bad, report.symbols) == ({}, list(bars))
        source = ParquetSource(tmp_path / "dataset")
        for rec in root:
            held = rec.bars[interval].data
            assert source.load(rec.symbol, interval, WINDOW).tobytes() == held.tobytes()


def test_bars_csv_imports_without_being_told_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    session_of({"AAA": minutes(*range(200))}, WINDOW)["AAA"].bars["1m"].to_csv(path)
    report = import_bars(path, tmp_path / "dataset", calendar="XNYS")
    assert (report.intervals, report.n_written, report.symbols) == (["1m"], 200, ["AAA"])


def test_bars_csv_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path, root = write_bytes(tmp_path / "bars.csv"), make_session()
    with pytest.raises(IntervalError, match="15m"):
        root.bars_to_csv(path, "15m")
    with pytest.raises(UnknownSymbolError, match="NOPE"):
        root.bars_to_csv(path, "1m", ["NOPE"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["bars.csv"]
    with pytest.raises(FileNotFoundError):
        root.bars_to_csv(tmp_path / "no" / "bars.csv", "1m")


def test_bars_csv_needs_no_pandas(tmp_path: Path) -> None:
    code = f"""
import sys
from tests.export_session import make_session
make_session().bars_to_csv({str(tmp_path / "bars.csv")!r}, "1m")
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Parquet


def test_bars_parquet_holds_the_columns_of_the_csv(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    root = make_session()
    root["AAPL"].bars["5m"].to_parquet(path)
    table = pq.read_table(path)
    assert table.column_names == [
        "symbol", "timestamp", "open", "high", "low", "close", "volume", "n_base",
    ]  # fmt: skip
    assert table.schema.field("symbol").type == pa.string()
    assert table.schema.metadata == {b"openbell.interval": b"5m", b"openbell.label": b"start"}
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [
        ns(moment) for moment in (at(13, 30), at(13, 35), at(14, 0))
    ]
    assert table["close"].to_pylist() == [101.25, 103.0, 99.75]
    assert table["n_base"].to_pylist() == [4, 2, 5]
    root["AAPL"].bars["5m"].to_parquet(path, complete_only=True)
    assert pq.read_table(path)["n_base"].to_pylist() == [5]
    root["NVDA"].bars["1m"].to_parquet(path)
    assert pq.read_table(path).num_rows == 0
    assert os.listdir(tmp_path) == ["bars.parquet"]


def test_bars_parquet_imports_as_the_same_bars(tmp_path: Path, rng: np.random.Generator) -> None:
    bars = make_bars(WINDOW, "1s", 0.4, rng, whole_volumes=False)
    path = tmp_path / "any name.parquet"
    session_of({"AAA": bars}, WINDOW, "1s")["AAA"].bars["1s"].to_parquet(path)
    report = import_bars(path, tmp_path / "dataset", calendar="XNYS")
    assert (report.intervals, report.symbols, report.n_bad) == (["1s"], ["AAA"], {})
    loaded = ParquetSource(tmp_path / "dataset").load("AAA", "1s", WINDOW)
    assert loaded.tobytes() == bars.tobytes()


# A dataset


def replayed(config: dict[str, Any]) -> dict[str, Any]:
    """All bars and past bars of the last day, as bytes."""
    session = ob.open_session(config)
    session.run()
    held = held_by(session.root)
    session.close()
    return held


def held_by(root: ob.SessionData) -> dict[str, Any]:
    return {
        rec.symbol: (
            {name: series.data.tobytes() for name, series in rec.bars.items()},
            {name: [b.tobytes() for b in days.values()]
             for name, days in rec.historical_bars.items()},
            rec.historical_indicators,
            rec.quality,
        )
        for rec in root
    }  # fmt: skip


def config_of(dataset: Path) -> dict[str, Any]:
    return {
        "session": {
            "start_date": DAY,
            "symbols": ["AAA", "BBB", "CCC"],
            "streams": ["1s", "10s", "1m", "5m", "1h"],
        },
        "historical": [{"trailing_days": 2, "intervals": ["1m"]}],
        "historical_indicators": {
            "high_2d": {"type": "trailing_max", "field": "high", "period": "2d"}
        },
        "data": {"parquet": str(dataset)},
    }


def test_dataset_of_a_session_replays_bit_for_bit(tmp_path: Path) -> None:
    write_sample(tmp_path / "first", ["AAA", "BBB", "CCC"], DAYS, fill_rate=0.3)
    session = ob.open_session(config_of(tmp_path / "first"))
    session.run()
    held = held_by(session.root)
    paths = session.root.to_parquet(tmp_path / "second")
    session.close()
    assert sorted(str(p.relative_to(tmp_path / "second")) for p in paths) == [
        "bars/interval=1m/date=2025-06-30.parquet",
        "bars/interval=1m/date=2025-07-01.parquet",
        "bars/interval=1s/date=2025-07-02.parquet",
    ]
    assert all(path.is_file() for path in paths)
    assert replayed(config_of(tmp_path / "second")) == held


def test_dataset_holds_derived_series_when_they_are_asked_for(tmp_path: Path) -> None:
    root = make_session()
    root.to_parquet(tmp_path, ["5m"])
    loaded = ParquetSource(tmp_path).load("AAPL", "5m", make_window())
    assert loaded.tobytes() == root["AAPL"].bars["5m"].data.tobytes()
    assert os.listdir(tmp_path / "bars") == ["interval=5m"]


def test_dataset_holds_bars_written_beside_a_finer_base(tmp_path: Path) -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    five = ob.BarData(WINDOW.open_ns, 1.0, 2.0, 0.5, 1.5, 10.0)
    root.add_bar("TSLA", "5m", five)
    root.add_bar("TSLA", "1m", ob.BarData(WINDOW.open_ns + 6 * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert root["TSLA"].bars["5m"].derived
    root.to_parquet(tmp_path)
    source = ParquetSource(tmp_path)
    assert source.load("TSLA", "5m", WINDOW)["volume"].tolist() == [10.0]
    assert len(source.load("TSLA", "1m", WINDOW)) == 1


def test_dataset_of_late_and_corrected_bars_holds_what_the_record_held(tmp_path: Path) -> None:
    root = session_of({"AAA": minutes(0, 1, 5)}, WINDOW)
    root["AAA"].append_block(minutes(3, volume=7))
    root["AAA"].append_block(minutes(1, volume=9))
    root.to_parquet(tmp_path)
    loaded = ParquetSource(tmp_path).load("AAA", "1m", WINDOW)
    assert loaded["volume"].tolist() == [100, 9, 7, 100]
    assert loaded.tobytes() == root["AAA"].bars["1m"].data.tobytes()


def test_dataset_holds_quotes_and_trades_too(tmp_path: Path) -> None:
    root = make_session()
    paths = root.to_parquet(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "bars/interval=1m/date=2025-07-02.parquet",
        "bars/interval=1d/date=2025-06-30.parquet",
        "bars/interval=1d/date=2025-07-01.parquet",
        "quotes/date=2025-07-02.parquet",
        "trades/date=2025-07-02.parquet",
    ]
    quotes = ParquetSource(tmp_path).load_quotes("AAPL", make_window())
    assert quotes.tobytes() == root["AAPL"].quotes.data.tobytes()
    assert pq.read_table(tmp_path / "trades" / "date=2025-07-02.parquet")["price"].to_pylist() == [
        99.9, 100.0,
    ]  # fmt: skip


def test_dataset_says_where_its_bars_come_from(tmp_path: Path) -> None:
    write_dataset(make_session(), tmp_path, ["5m"], adjustment="split")
    meta = pq.read_schema(tmp_path / "bars/interval=5m/date=2025-07-02.parquet").metadata
    told = {key.decode().removeprefix("openbell."): value.decode() for key, value in meta.items()}
    assert told.items() >= {
        "calendar": "custom", "timezone": "America/New_York", "adjustment": "split",
        "label": "start", "interval": "5m",
    }.items()  # fmt: skip


def test_dataset_of_a_root_that_skips_incomplete_bars_leaves_them_out(tmp_path: Path) -> None:
    root = make_session()
    root.on_incomplete = "skip"
    root.to_parquet(tmp_path, ["1m", "5m"])
    source = ParquetSource(tmp_path)
    assert source.load("AAPL", "5m", root.window)["close"].tolist() == [99.75]
    assert len(source.load("AAPL", "1m", root.window)) == 12


def test_dataset_that_is_there_is_added_to(tmp_path: Path) -> None:
    session_of({"AAA": minutes(0, 1), "ZZZ": minutes(5)}, WINDOW).to_parquet(tmp_path)
    session_of({"AAA": minutes(1, 2, volume=7)}, WINDOW).to_parquet(tmp_path)
    source = ParquetSource(tmp_path)
    assert source.load("AAA", "1m", WINDOW)["volume"].tolist() == [100, 7, 7]
    assert source.load("ZZZ", "1m", WINDOW).tobytes() == minutes(5).tobytes()


def test_dataset_file_that_cannot_be_read_stays_as_it_is(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "bars/interval=1m/date=2025-07-02.parquet", b"PAR1 torn")
    with pytest.raises(DatasetError, match=path.name):
        session_of({"AAA": minutes(0)}, WINDOW).to_parquet(tmp_path)
    assert path.read_bytes() == b"PAR1 torn"
    assert os.listdir(path.parent) == [path.name]


def test_dataset_of_what_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "dataset"
    with pytest.raises(SessionStateError, match="not begun"):
        ob.SessionData().to_parquet(folder)
    with pytest.raises(IntervalError, match="15m"):
        make_session().to_parquet(folder, ["1m", "15m"])
    with pytest.raises(IntervalError, match="7x"):
        make_session().to_parquet(folder, ["7x"])
    assert not folder.exists()


def test_dataset_of_a_session_without_bars_writes_nothing(tmp_path: Path) -> None:
    root = ob.SessionData()
    root.begin(window_of(("2025-07-02T13:30", "2025-07-02T20:00")))
    assert root.to_parquet(tmp_path / "dataset") == []
    root.register_symbol("AAA")
    assert root.to_parquet(tmp_path / "dataset") == []
    assert not (tmp_path / "dataset").exists()
