"""Trade count and vwap beside the bars: by slot, whatever happens to the bars, and into files."""

from __future__ import annotations

from datetime import date
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.clock import SessionWindow
from openbell.errors import IntervalError, RecordDetached, SchemaError, SessionStateError
from openbell.schema import BAR_DTYPE, to_ns
from openbell.sources import DatasetWriter, ParquetSource, dataset_path

DAY = date(2025, 7, 2)
OPEN = to_ns("2025-07-02T13:30:00+00:00")
MINUTE = 60 * 10**9
SEGMENTS = [(OPEN, OPEN + 60 * MINUTE), (OPEN + 90 * MINUTE, OPEN + 120 * MINUTE)]
WINDOW = SessionWindow(DAY, SEGMENTS, calendar="XNYS", timezone="America/New_York")


def bars(*minutes: int, close: float = 10.0) -> np.ndarray[Any, Any]:
    return np.array(
        [(OPEN + m * MINUTE, close, close, close, close, 5.0) for m in minutes], BAR_DTYPE
    )


@pytest.fixture
def root() -> ob.SessionData:
    root = ob.SessionData()
    root.begin(WINDOW)
    return root


@pytest.fixture
def record(root: ob.SessionData) -> ob.SymbolSessionData:
    return root.register_symbol_data(
        ob.SymbolSessionData("AAA", base_interval="1m", derived_intervals=["5m"])
    )


def put(record: ob.SymbolSessionData, minute: int, count: float = nan, vwap: float = nan) -> None:
    record.append(*bars(minute)[0].item())
    record.note_extras(record.base_interval, OPEN + minute * MINUTE, count, vwap)


def listed(values: Any) -> list[float | None]:
    return [None if np.isnan(v) else v for v in values.tolist()]


def test_columns_are_none_until_a_value_is_known(record: ob.SymbolSessionData) -> None:
    series = record.bars["1m"]
    put(record, 0)
    assert series.trade_count is None
    assert series.vwap is None
    put(record, 1, count=7.0)
    assert listed(series.trade_count) == [None, 7.0]
    assert series.vwap is None
    put(record, 2, vwap=10.5)
    assert listed(series.vwap) == [None, None, 10.5]
    assert record.bars["5m"].trade_count is None


def test_columns_are_copies(record: ob.SymbolSessionData) -> None:
    put(record, 0, 1.0, 2.0)
    held = record.bars["1m"].trade_count
    assert held is not None
    held[:] = 99.0
    assert listed(record.bars["1m"].trade_count) == [1.0]


def test_columns_follow_late_bars_and_corrections(record: ob.SymbolSessionData) -> None:
    put(record, 3, 3.0, 10.3)
    put(record, 91, 91.0, 10.9)
    put(record, 1, 1.0, 10.1)
    series = record.bars["1m"]
    assert listed(series.trade_count) == [1.0, 3.0, 91.0]
    put(record, 3, 33.0)
    assert listed(series.trade_count) == [1.0, 33.0, 91.0]
    # The newest bar of a slot is the one that counts, also in what is not known of it.
    assert listed(series.vwap) == [10.1, None, 10.9]


def test_block_notes_what_single_ones_do(record: ob.SymbolSessionData) -> None:
    block = bars(5, 0, 92, 5)
    record.append_block(block)
    record.note_extras_block("1m", block["timestamp"], np.array([1.0, 2.0, 3.0, 4.0]))
    assert listed(record.bars["1m"].trade_count) == [2.0, 4.0, 3.0]
    assert record.bars["1m"].vwap is None
    record.note_extras_block("1m", block["timestamp"][:1], None, np.array([9.5]))
    assert listed(record.bars["1m"].trade_count) == [2.0, None, 3.0]
    assert listed(record.bars["1m"].vwap) == [None, 9.5, None]


@given(
    st.lists(
        st.tuples(
            st.integers(-2, 122), st.sampled_from([nan, 1.0, 2.5]), st.sampled_from([nan, 3.0])
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_columns_are_those_of_a_dict(
    values: list[tuple[int, float, float]], as_block: bool
) -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    record = root.register_symbol_data(ob.SymbolSessionData("AAA", base_interval="1m"))
    labels = np.array([OPEN + m * MINUTE for m, _, _ in values], np.int64)
    wanted: dict[int, tuple[float, float]] = {}
    for minute, count, vwap in values:
        if WINDOW.contains(OPEN + minute * MINUTE):
            record.append(*bars(minute)[0].item())
            wanted[minute] = count, vwap
    if as_block:
        counts, vwaps = (np.array([row[k] for row in values]) for k in (1, 2))
        record.note_extras_block("1m", labels, counts, vwaps)
    else:
        for ts_ns, (_, count, vwap) in zip(labels.tolist(), values, strict=True):
            record.note_extras("1m", ts_ns, count, vwap)
    for column, at in (("trade_count", 0), ("vwap", 1)):
        expected = [wanted[minute][at] for minute in sorted(wanted)]
        found = getattr(record.bars["1m"], column)
        if np.isnan(expected).all():
            assert found is None
        else:
            assert np.array_equal(found, expected, equal_nan=True)


def test_columns_stay_through_an_upgrade(root: ob.SessionData) -> None:
    root.add_bar("AAA", "1m", ob.BarData(OPEN, 10.0, 10.0, 10.0, 10.0, 5.0))
    record = root["AAA"]
    record.note_extras("1m", OPEN, 7.0, 10.0)
    record.set_intervals("1m", ["5m"])
    put(record, 1, 8.0)
    assert listed(record.bars["1m"].trade_count) == [7.0, 8.0]
    record.set_intervals("1s", ["1m", "5m"])
    assert listed(record.bars["1m"].trade_count) == [7.0, 8.0]


def test_columns_show_no_bar_that_is_ahead_of_the_clock(root: ob.SessionData) -> None:
    record = ob.SymbolSessionData("AAA", base_interval="1m")
    root.register_symbol_data(record)
    block = bars(0, 1, 2)
    record.preload(block)
    record.note_extras_block("1m", block["timestamp"], np.array([1.0, 2.0, 3.0]))
    assert record.bars["1m"].trade_count is None
    record.append(*block[0].item())
    assert listed(record.bars["1m"].trade_count) == [1.0]


def test_columns_follow_a_ring_that_lets_go(root: ob.SessionData) -> None:
    record = ob.SymbolSessionData("AAA", base_interval="1m", capacity=4)
    root.register_symbol_data(record)
    for minute in range(30):
        put(record, minute, float(minute))
    series = record.bars["1m"]
    assert series.n_evicted > 0
    assert series.trade_count is not None
    labels = OPEN + series.trade_count.astype(np.int64) * MINUTE
    assert np.array_equal(labels, series.data["timestamp"])


def test_columns_are_forgotten_with_the_day(root: ob.SessionData) -> None:
    def fresh() -> ob.SymbolSessionData:
        return root.register_symbol_data(ob.SymbolSessionData("AAA", base_interval="1m"))

    record = fresh()
    put(record, 0, 1.0)
    root.remove_symbol("AAA")
    with pytest.raises(RecordDetached):
        record.note_extras("1m", OPEN, 1.0)
    record = fresh()
    put(record, 0)
    assert record.bars["1m"].trade_count is None
    put(record, 1, 2.0)
    root.clear()
    root.begin(WINDOW)
    record = fresh()
    put(record, 0)
    assert record.bars["1m"].trade_count is None


def test_what_cannot_be_noted_is_refused_by_name(record: ob.SymbolSessionData) -> None:
    with pytest.raises(IntervalError, match="AAA has no such series; it has 1m, 5m"):
        record.note_extras("1s", OPEN, 1.0)
    with pytest.raises(SchemaError, match="vwap: received 2 values, expected 1"):
        record.note_extras_block("1m", np.array([OPEN]), None, np.zeros(2))
    record.note_extras("60s", OPEN, 4.0)
    record.append(*bars(0)[0].item())
    assert listed(record.bars["1m"].trade_count) == [4.0]
    with pytest.raises(SessionStateError):
        ob.SymbolSessionData("BBB").note_extras("1m", OPEN, 1.0)


def test_dump_stays_as_it_is(record: ob.SymbolSessionData) -> None:
    put(record, 0)
    before = record.to_json()
    record.note_extras("1m", OPEN, 4.0, 10.0)
    assert record.to_json() == before


# Into files and out of them


def test_dataset_of_a_session_holds_the_columns_and_gives_them_back(
    root: ob.SessionData, record: ob.SymbolSessionData, tmp_path: Path
) -> None:
    put(record, 0, 1.0, 10.1)
    put(record, 91, 2.0)
    other = root.register_symbol_data(ob.SymbolSessionData("BBB", base_interval="1m"))
    put(other, 3)
    root.to_parquet(tmp_path)
    source = ParquetSource(tmp_path)
    extras = source.load_extras("AAA", "1m", WINDOW)
    assert {name: listed(values) for name, values in extras.items()} == {
        "trade_count": [1.0, 2.0],
        "vwap": [10.1, None],
    }
    unknown = source.load_extras("BBB", "1m", WINDOW)
    assert {name: listed(values) for name, values in unknown.items()} == {
        "trade_count": [None],
        "vwap": [None],
    }
    assert {name: len(v) for name, v in source.load_extras("NONE", "1m", WINDOW).items()} == {
        "trade_count": 0,
        "vwap": 0,
    }
    assert pq.read_schema(dataset_path(tmp_path, "bars", DAY, "1m")).names[-1] == "vwap"


def test_dataset_without_the_columns_gives_none(
    root: ob.SessionData, record: ob.SymbolSessionData, tmp_path: Path
) -> None:
    put(record, 0)
    root.to_parquet(tmp_path)
    assert ParquetSource(tmp_path).load_extras("AAA", "1m", WINDOW) == {}
    assert "vwap" not in pq.read_schema(dataset_path(tmp_path, "bars", DAY, "1m")).names


def test_dataset_added_to_keeps_what_it_knew(
    root: ob.SessionData, record: ob.SymbolSessionData, tmp_path: Path
) -> None:
    put(record, 0, 1.0)
    root.to_parquet(tmp_path)
    record.note_extras("1m", OPEN)
    put(record, 1)
    root.to_parquet(tmp_path)
    # Of the bar that came again nothing is known.
    extras = ParquetSource(tmp_path).load_extras("AAA", "1m", WINDOW)
    assert {name: listed(values) for name, values in extras.items()} == {
        "trade_count": [None, None],
        "vwap": [None, None],
    }


@pytest.mark.parametrize("row_group_size", [2, 100])
def test_extras_lie_beside_the_bars_of_any_file(tmp_path: Path, row_group_size: int) -> None:
    # Several symbols in a row group, out of order, with a duplicate and bars of the lunch break.
    minutes = [5, 0, 70, 5, 91, 3, 119, 200]
    rows = [(s, m) for m in minutes for s in "BA"]
    table = pa.table(
        {
            "ticker": [s for s, _ in rows],
            "t": pa.array([OPEN + m * MINUTE for _, m in rows], pa.timestamp("ns", "UTC")),
            **{name: [float(m) for _, m in rows] for name in ("o", "h", "l", "c")},
            "v": [float(k) for k in range(len(rows))],
            "n": [None if k == 3 else k + 100 for k in range(len(rows))],
        }
    )
    pq.write_table(table, tmp_path / "interval=1m.parquet", row_group_size=row_group_size)
    source = ParquetSource(tmp_path)
    for symbol in "AB":
        loaded = source.load(symbol, "1m", WINDOW)
        extras = source.load_extras(symbol, "1m", WINDOW)
        assert list(extras) == ["trade_count"]
        numbers = loaded["volume"]
        expected = [None if k == 3 else k + 100 for k in numbers.tolist()]
        assert listed(extras["trade_count"]) == expected
        assert len(loaded) == 6


def test_extras_of_several_files_are_put_in_the_order_of_the_bars(tmp_path: Path) -> None:
    late, early = bars(2, 3), bars(0, 1)
    pq.write_table(_table(late, {"vw": [2.0, 3.0]}), tmp_path / "a.parquet")
    pq.write_table(_table(early, {}), tmp_path / "b.parquet")
    pq.write_table(_table(bars(4, 5), {"vwap": [4.0, None]}), tmp_path / "c.parquet")
    source = ParquetSource(tmp_path)
    assert len(source.load("AAA", "1m", WINDOW)) == 6
    extras = source.load_extras("AAA", "1m", WINDOW)
    assert listed(extras["vwap"]) == [None, None, 2.0, 3.0, 4.0, None]


def _table(rows: np.ndarray[Any, Any], extras: dict[str, list[float | None]]) -> pa.Table:
    columns = {name: rows[name].tolist() for name in ("open", "high", "low", "close", "volume")}
    stamps = pa.array(rows["timestamp"].tolist(), pa.timestamp("ns", "UTC"))
    return pa.table({"symbol": ["AAA"] * len(rows), "timestamp": stamps, **columns, **extras})


def test_writer_and_source_agree_on_every_row(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    block = bars(*range(60), *range(90, 120))
    given = {"trade_count": generator.random(90), "vwap": generator.random(90)}
    given["vwap"][::7] = nan
    writer = DatasetWriter(tmp_path, calendar="XNYS", timezone="America/New_York")
    writer.write(DAY, {"AAA": block}, interval="1m", extras={"AAA": given})
    found = ParquetSource(tmp_path).load_extras("AAA", "1m", WINDOW)
    for name, values in given.items():
        assert found[name].tobytes() == values.tobytes()
