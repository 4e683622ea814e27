"""Series of a real session as Arrow tables."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import openbell as ob
from openbell.export import series_to_arrow
from openbell.schema import BAR_FIELDS
from tests.export_session import at, make_session, ns


@pytest.fixture
def aapl() -> ob.SymbolSessionData:
    rec = make_session().get_symbol_data("AAPL")
    assert rec is not None
    return rec


def test_export_arrow_base_series_has_the_bar_columns(aapl: ob.SymbolSessionData) -> None:
    table = series_to_arrow(aapl.bars["1m"])
    assert table.column_names == list(BAR_FIELDS)
    assert table.schema.field("timestamp").type == pa.timestamp("ns", tz="UTC")
    assert {table.schema.field(name).type for name in BAR_FIELDS[1:]} == {pa.float64()}
    assert table.schema.metadata == {b"interval": b"1m", b"label": b"start"}
    assert table.num_rows == 12
    assert table["timestamp"].cast(pa.int64())[3].as_py() == ns(at(13, 34))
    assert table["close"].to_pylist()[:4] == [100.5, 100.5, 101.75, 101.25]


def test_export_arrow_derived_series_tells_n_base(aapl: ob.SymbolSessionData) -> None:
    table = series_to_arrow(aapl.bars["5m"])
    assert table.column_names == [*BAR_FIELDS, "n_base"]
    assert table.schema.field("n_base").type == pa.int32()
    assert table["n_base"].to_pylist() == [4, 2, 5]
    assert table["volume"].to_pylist() == [1650.0, 650.0, 1325.0]


def test_export_arrow_table_does_not_follow_the_series(aapl: ob.SymbolSessionData) -> None:
    table = series_to_arrow(aapl.bars["1m"])
    before = table["close"].to_pylist()
    aapl.append(ns(at(13, 33)), 101.75, 101.75, 101.0, 101.5, 1)
    aapl.append(ns(at(14, 5)), 99.75, 100.25, 99.75, 100.25, 25)
    assert table["close"].to_pylist() == before


def test_export_arrow_empty_series_keeps_its_types() -> None:
    rec = make_session().get_symbol_data("NVDA")
    assert rec is not None
    table = series_to_arrow(rec.bars["1m"])
    assert table.num_rows == 0
    assert table.schema.field("timestamp").type == pa.timestamp("ns", tz="UTC")


def test_export_arrow_stream_is_taken_by_a_consumer_of_the_interface(
    aapl: ob.SymbolSessionData,
) -> None:
    table = pa.table(aapl.bars["5m"])
    np.testing.assert_array_equal(table["open"].to_numpy(), aapl.bars["5m"].data["open"])


def test_export_arrow_needs_no_pandas() -> None:
    code = """
import sys
from openbell.export import series_to_arrow
from tests.export_session import make_session
assert series_to_arrow(make_session()["AAPL"].bars["5m"]).num_rows == 3
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_export_arrow_of_a_root_that_skips_incomplete_bars_leaves_them_out() -> None:
    root = make_session()
    assert root.to_arrow("AAPL", "5m")["n_base"].to_pylist() == [4, 2, 5]
    root.on_incomplete = "skip"
    table = root.to_arrow("AAPL", "5m")
    assert (table["n_base"].to_pylist(), table["volume"].to_pylist()) == ([5], [1325.0])
    assert root.to_arrow("AAPL", "1m").num_rows == 12
