"""Bars of many records as one table, and as frames of libraries that are there when called."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import openbell as ob
from openbell.errors import ArgumentError, IntervalError, MissingLibraryError, UnknownSymbolError
from openbell.schema import BAR_FIELDS, NS_PER_MINUTE
from tests.engine import begin
from tests.export_session import AAPL_BARS, at, make_session, make_window, ns
from tests.facade_bars import WINDOW
from tests.meddled import MeddledSeries
from tests.strategies import make_bars


@pytest.fixture
def root() -> ob.SessionData:
    return make_session()


def ring_of_seconds(root: ob.SessionData) -> None:
    """ZZ with 1m derived from 30s, beside records whose base is 1m."""
    rec = root.register_symbol_data(
        ob.SymbolSessionData("ZZ", base_interval="30s", derived_intervals=["1m"])
    )
    rec.append(ns(at(13, 30)), 1.0, 2.0, 1.0, 2.0, 3)
    rec.append(ns(at(13, 30, 30)), 2.0, 4.0, 2.0, 3.0, 4)
    rec.append(ns(at(13, 31)), 3.0, 3.0, 3.0, 3.0, 5)


def test_frames_table_is_sorted_by_symbol_then_time(root: ob.SessionData) -> None:
    table = root.to_table("1m")
    assert table.column_names == ["symbol", *BAR_FIELDS]
    assert table.schema.metadata == {b"interval": b"1m", b"label": b"start"}
    assert table.schema.field("symbol").type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.field("timestamp").type == pa.timestamp("ns", tz="UTC")
    assert table["symbol"].to_pylist() == ["AAPL"] * 12 + ["TSLA"]
    labels = [ns(moment) for moment, *_ in AAPL_BARS] + [ns(at(14, 0))]
    assert table["timestamp"].cast(pa.int64()).to_pylist() == labels
    assert table["close"].to_pylist() == [bar[4] for bar in AAPL_BARS] + [250.5]
    assert table["volume"].to_pylist() == [float(bar[5]) for bar in AAPL_BARS] + [12.5]


def test_frames_table_leaves_out_a_record_without_the_series(root: ob.SessionData) -> None:
    table = root.to_table("5m")
    assert table["symbol"].to_pylist() == ["AAPL"] * 3
    assert table["n_base"].to_pylist() == [4, 2, 5]
    assert root.to_table("5m", ["TSLA", "AAPL"]).equals(table)


def test_frames_table_has_the_symbols_asked_for_once_each(root: ob.SessionData) -> None:
    table = root.to_table("1m", iter(["TSLA", "NVDA", "TSLA"]))
    assert table["symbol"].to_pylist() == ["TSLA"]
    assert root.to_table("1m", []).num_rows == 0


def test_frames_table_tells_n_base_only_of_what_is_derived(root: ob.SessionData) -> None:
    ring_of_seconds(root)
    table = root.to_table("1m")
    assert table["n_base"].to_pylist() == [None] * 13 + [2, 1]
    assert table["symbol"].to_pylist()[-2:] == ["ZZ", "ZZ"]
    assert "n_base" not in root.to_table("1m", ["AAPL", "TSLA"]).column_names


def test_frames_table_of_a_root_that_skips_incomplete_bars_leaves_them_out(
    root: ob.SessionData,
) -> None:
    ring_of_seconds(root)
    root.on_incomplete = "skip"
    assert root.to_table("5m")["n_base"].to_pylist() == [5]
    assert root.to_table("1m")["n_base"].to_pylist() == [None] * 13 + [2]
    assert root["AAPL"].bars["5m"].to_arrow().num_rows == 3
    assert root["AAPL"].bars["5m"].to_arrow(complete_only=True).num_rows == 1


def test_frames_table_does_not_follow_the_session(root: ob.SessionData) -> None:
    table = root.to_table("1m")
    before = table.to_pylist()
    root["AAPL"].append(ns(at(13, 33)), 101.75, 101.75, 101.0, 101.5, 1)
    root.remove_symbol("TSLA")
    assert table.to_pylist() == before
    assert root.to_table("1m").num_rows == 13


def test_frames_table_of_an_empty_session_keeps_its_types() -> None:
    root = ob.SessionData()
    table = root.to_table("5m")
    assert table.num_rows == 0
    assert table.column_names == ["symbol", *BAR_FIELDS]
    assert table.schema.metadata[b"interval"] == b"5m"


def test_frames_refuse_unknown_names_by_name(root: ob.SessionData) -> None:
    with pytest.raises(UnknownSymbolError, match="'NOPE'"):
        root.to_table("1m", ["AAPL", "NOPE"])
    with pytest.raises(IntervalError, match="7x"):
        root.to_table("7x")
    with pytest.raises(IntervalError, match="'15m': no record has such a series; they have 1m, 5m"):
        root.to_table("15m")
    with pytest.raises(IntervalError, match="'5m': no record"):
        root.to_table("5m", ["TSLA"])
    with pytest.raises(ArgumentError, match=r"\['AAPL'\]"):
        root.to_table("1m", "AAPL")


def test_frames_table_needs_no_pandas() -> None:
    code = """
import sys
from tests.export_session import make_session
assert make_session().to_table("1m").num_rows == 13
assert not {"pandas", "polars"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_frames_polars_has_the_columns_of_the_table(root: ob.SessionData) -> None:
    pl = pytest.importorskip("polars")
    frame = root.to_polars("1m")
    assert frame.schema["timestamp"] == pl.Datetime("ns", "UTC")
    assert frame.schema["symbol"] == pl.Categorical
    assert frame["symbol"].cast(pl.String).to_list() == ["AAPL"] * 12 + ["TSLA"]
    assert frame["open"].to_list() == [bar[1] for bar in AAPL_BARS] + [250.0]
    assert frame["timestamp"].dt.epoch("ns").to_list()[-1] == ns(at(14, 0))
    one = root["AAPL"].bars["5m"].to_polars()
    assert one.columns == [*BAR_FIELDS, "n_base"]
    assert one["n_base"].to_list() == [4, 2, 5]
    assert root["AAPL"].bars["5m"].to_polars(complete_only=True)["n_base"].to_list() == [5]
    assert root.to_polars("1m", ["TSLA"]).height == 1


def test_frames_pandas_are_indexed_by_symbol_and_time(root: ob.SessionData) -> None:
    pd = pytest.importorskip("pandas")
    one = root["AAPL"].bars["1m"].to_pandas()
    assert (one.index.name, str(one.index.dtype)) == ("timestamp", "datetime64[ns, UTC]")
    assert list(one.columns) == list(BAR_FIELDS[1:])
    assert one.index[3] == pd.Timestamp("2025-07-02T13:34:00Z")
    assert one["close"].tolist() == [bar[4] for bar in AAPL_BARS]
    every = root.to_pandas("1m")
    assert list(every.index.names) == ["symbol", "timestamp"]
    pd.testing.assert_frame_equal(every.loc["AAPL"], one)
    assert every.loc[("TSLA", pd.Timestamp("2025-07-02T14:00Z")), "volume"] == 12.5
    assert root.to_pandas("5m", ["AAPL"])["n_base"].tolist() == [4, 2, 5]


def test_frames_pandas_can_be_changed_and_unstacked(root: ob.SessionData) -> None:
    pytest.importorskip("pandas")
    wide = root.to_pandas("1m")["close"].unstack("symbol")
    wide["spread"] = wide["AAPL"] - wide["TSLA"]
    assert wide["spread"].dropna().tolist() == [102.5 - 250.5]
    frame = root["AAPL"].bars["1m"].to_pandas()
    frame.loc[frame.index[0], "close"] = -1.0
    frame["volume"] += 1
    assert root["AAPL"].bars["1m"].data[0]["close"] == 100.5


def test_frames_pandas_of_an_empty_session_has_its_index() -> None:
    pytest.importorskip("pandas")
    frame = ob.SessionData().to_pandas("1m")
    assert (len(frame), list(frame.index.names)) == (0, ["symbol", "timestamp"])


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_frames_without_the_library_say_what_to_install(
    root: ob.SessionData, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    call = f"to_{library}"
    for make in (getattr(root["AAPL"].bars["1m"], call), lambda: getattr(root, call)("1m")):
        with pytest.raises(MissingLibraryError, match=f"pip install {library}") as missing:
            make()
        assert (missing.value.library, missing.value.needed_for) == (library, f"{call}()")
        assert isinstance(missing.value, ImportError)
        assert isinstance(missing.value, ob.OpenbellError)


def test_frames_series_is_taken_as_it_is_by_pyarrow(root: ob.SessionData) -> None:
    series = root["AAPL"].bars["5m"]
    assert pa.table(series).equals(series.to_arrow())
    assert pa.RecordBatchReader.from_stream(series).read_all()["n_base"].to_pylist() == [4, 2, 5]
    renamed = pa.schema(
        [pa.field(f.name, f.type, metadata={"k": "v"}) for f in pa.table(series).schema]
    )
    assert pa.table(series, schema=renamed).column_names == [*BAR_FIELDS, "n_base"]


def test_frames_series_is_taken_as_it_is_by_polars(root: ob.SessionData) -> None:
    pl = pytest.importorskip("polars")
    series = root["AAPL"].bars["5m"]
    assert pl.DataFrame(series).equals(series.to_polars())


def test_frames_series_is_taken_as_it_is_by_pandas(root: ob.SessionData) -> None:
    pd = pytest.importorskip("pandas")
    if not hasattr(pd.DataFrame, "from_arrow"):
        pytest.skip("pandas before 3.0 takes no Arrow stream")
    series = root["AAPL"].bars["5m"]
    frame = pd.DataFrame.from_arrow(series)
    pd.testing.assert_frame_equal(frame.set_index("timestamp"), series.to_pandas())


def test_frames_of_whole_bars_are_of_one_instant_whatever_is_appended_meanwhile() -> None:
    _, record = begin(WINDOW, "1s", ["5s"])
    bars = make_bars(WINDOW, "1s", 0.9, np.random.default_rng(1))
    waiting = iter(bars)

    def append() -> None:
        for row in itertools.islice(waiting, 7):
            record.append(*row.tolist())

    append()
    series = MeddledSeries(record, "5s", append)
    seen = [(series.complete_only(), series.to_arrow(complete_only=True)) for _ in range(50)]
    record.append_block(bars)
    whole = record.bars["5s"].complete_only()
    assert len(whole) == np.count_nonzero(record.bars["5s"].n_base == 5)
    for rows, table in seen:
        assert rows.tobytes() == whole[: len(rows)].tobytes()
        assert table["close"].to_numpy().tobytes() == whole["close"][: len(table)].tobytes()
    assert len(seen[-1][0]) > len(seen[0][0])


def test_frames_of_many_records_hold_each_series_bit_for_bit() -> None:
    root, window = ob.SessionData(), make_window()
    root.begin(window)
    starts = window.grid("1m").starts_ns
    rng = np.random.default_rng(7)
    for k in range(30):
        rec = root.register_symbol_data(
            ob.SymbolSessionData(f"S{(k * 7) % 30:02}", derived_intervals=["2m", "5m"])
        )
        for ts_ns in starts[rng.random(len(starts)) < k / 30].tolist():
            price = float(rng.normal())
            rec.append(ts_ns, price, price, price, price, float(rng.random()))
    for interval in ("1m", "2m", "5m"):
        table = root.to_table(interval)
        symbols = np.array(table["symbol"].to_pylist())
        assert sorted(symbols) == symbols.tolist()
        assert (np.diff(table["timestamp"].cast(pa.int64()).to_numpy()) % NS_PER_MINUTE == 0).all()
        for rec in root:
            rows = table.filter(pa.array(symbols == rec.symbol))
            held = rec.bars[interval].data
            assert rows["timestamp"].cast(pa.int64()).to_pylist() == held["timestamp"].tolist()
            for name in BAR_FIELDS[1:]:
                assert rows[name].to_numpy().tobytes() == held[name].tobytes()
