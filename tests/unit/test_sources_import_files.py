"""Import from LEAN zips, Parquet and Arrow files; long files; what spills to disk."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from openbell.clock import TimeManager
from openbell.errors import DatasetError, DataSourceError, SchemaError, TimeError
from openbell.schema import BAR_FIELDS, to_ns
from openbell.sources import ParquetSource, import_bars
from openbell.sources.importing import job, readers
from openbell.sources.importing.staging import Staging

DAY = date(2013, 10, 7)
MINUTE = 60 * 10**9


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def load(to: Path, symbol: str, interval: str, day: date, calendar: str = "XNYS") -> list:
    return (
        ParquetSource(to).load(symbol, interval, TimeManager(calendar).session_window(day)).tolist()
    )


def lean(path: Path, inner: str, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(inner, "\r\n".join(lines) + "\r\n")
    return path


def test_lean_equity_seconds_are_new_york_and_scaled(tmp_path: Path, to: Path) -> None:
    # 34,200,000 ms after midnight is 09:30 in New York, 13:30 UTC in October.
    path = lean(
        tmp_path / "equity/usa/second/spy/20131007_trade.zip",
        "20131007_spy_second_trade.csv",
        "14400000,1688200,1688200,1688200,1688200,500",
        "34200000,1681600,1682500,1681400,1682300,106500",
        "34203000,1682300,1682300,1681900,1682000,2300",
        "34203500,1682300,1682300,1681900,1682000,2300",
        "57599000,1672601,1672800,1672600,1672800,9000",
        "oops,1672601,1672800,1672600,1672800,9000",
    )
    report = import_bars(path, to, calendar="XNYS")
    assert (report.symbols, report.intervals, report.dates) == (["SPY"], ["1s"], [DAY])
    assert load(to, "SPY", "1s", DAY) == [
        (to_ns("2013-10-07T13:30:00+00:00"), 168.16, 168.25, 168.14, 168.23, 106500.0),
        (to_ns("2013-10-07T13:30:03+00:00"), 168.23, 168.23, 168.19, 168.2, 2300.0),
        (to_ns("2013-10-07T19:59:59+00:00"), 167.2601, 167.28, 167.26, 167.28, 9000.0),
    ]
    assert [(b.row, b.line, b.reason) for b in report.bad_rows] == [
        (1, 1, "outside_session"), (4, 4, "off_grid"), (6, 6, "unparsable"),
    ]  # fmt: skip
    assert report.files == [f"{path}#20131007_spy_second_trade.csv"]


def test_lean_path_without_a_kind_is_equity(tmp_path: Path, to: Path) -> None:
    path = lean(
        tmp_path / "minute/spy/20131007_trade.zip",
        "20131007_spy_minute_trade.csv",
        "34200000,1681600,1682500,1681400,1682300,106500",
    )
    import_bars(path, to, calendar="XNYS")
    [bar] = load(to, "SPY", "1m", DAY)
    assert bar[1] == 168.16


def test_lean_crypto_is_utc_and_unscaled(tmp_path: Path, to: Path) -> None:
    path = lean(
        tmp_path / "crypto/coinbase/minute/btcusd/20161007_trade.zip",
        "20161007_btcusd_minute_trade.csv",
        "0,611.78,612.5,611.5,612,0.60046",
        "86340000,613,613,612.25,612.25,1.5",
    )
    import_bars(path, to, calendar="24/7")
    assert load(to, "BTCUSD", "1m", date(2016, 10, 7), "24/7") == [
        (to_ns("2016-10-07T00:00:00+00:00"), 611.78, 612.5, 611.5, 612.0, 0.60046),
        (to_ns("2016-10-07T23:59:00+00:00"), 613.0, 613.0, 612.25, 612.25, 1.5),
    ]


def test_lean_daily_history_is_labelled_by_the_open(tmp_path: Path, to: Path) -> None:
    path = lean(
        tmp_path / "equity/usa/daily/spy.zip", "spy.csv",
        "20131004 00:00,1678500,1690600,1675300,1688900,96876000",
        "20131005 00:00,1678500,1690600,1675300,1688900,96876000",
        "20131007 00:00,1671300,1685400,1671000,1674300,91700000",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS")
    assert report.n_bad == {"outside_session": 1}
    assert load(to, "SPY", "1d", DAY) == [
        (to_ns("2013-10-07T13:30:00+00:00"), 167.13, 168.54, 167.1, 167.43, 91700000.0)
    ]


def test_lean_folder_takes_trades_and_names_what_it_cannot(tmp_path: Path, to: Path) -> None:
    root = tmp_path / "Data"
    row = "34200000,1681600,1682500,1681400,1682300,1"
    lean(root / "equity/usa/minute/spy/20131007_trade.zip", "a.csv", row)
    lean(root / "equity/usa/minute/spy/20131007_quote.zip", "a.csv", row)
    lean(root / "equity/usa/tick/spy/20131007_trade.zip", "a.csv", row)
    broken = lean(root / "equity/usa/minute/aig/20131007_trade.zip", "a.csv", row)
    broken.write_bytes(broken.read_bytes()[:-30])
    report = import_bars(root, to, calendar="XNYS")
    assert report.n_written == 1
    reasons = {Path(f.file).relative_to(root).as_posix(): f.reason for f in report.failed}
    assert "quote" in reasons["equity/usa/minute/spy/20131007_quote.zip"]
    assert "second, minute" in reasons["equity/usa/tick/spy/20131007_trade.zip"]
    assert "truncated zip" in reasons["equity/usa/minute/aig/20131007_trade.zip"]


def test_interval_that_contradicts_the_file_is_refused(tmp_path: Path, to: Path) -> None:
    path = lean(
        tmp_path / "minute/spy/20131007_trade.zip", "a.csv", "34200000,16816,16825,16814,16823,1"
    )
    with pytest.raises(SchemaError, match="received bars of 1m, expected bars of 1s"):
        import_bars(path, to, calendar="XNYS", interval="1s")


def table(n: int = 3, symbol: str = "A") -> pa.Table:
    start = to_ns("2025-07-02T13:30:00+00:00")
    columns = {
        "symbol": pa.array([symbol] * n),
        "timestamp": pa.array([start + k * MINUTE for k in range(n)], pa.timestamp("ns", "UTC")),
        "open": [1.0] * n, "high": [2.0] * n, "low": [0.5] * n, "close": [1.5] * n,
        "volume": pa.array([10 * k for k in range(n)], pa.int64()),
    }  # fmt: skip
    return pa.table(columns)


def expected(n: int = 3) -> list:
    start = to_ns("2025-07-02T13:30:00+00:00")
    return [(start + k * MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0 * k) for k in range(n)]


JULY = date(2025, 7, 2)


@pytest.mark.parametrize("form", ["parquet", "feather", "arrow", "stream"])
def test_arrow_formats_give_the_same_bars(tmp_path: Path, to: Path, form: str) -> None:
    if form == "parquet":
        path = tmp_path / "x.parquet"
        pq.write_table(table(), path, row_group_size=2)
    elif form == "feather":
        path = tmp_path / "x.feather"
        feather.write_feather(table(), path)
    else:
        path = tmp_path / "x.arrow"
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with make(str(path), table().schema) as sink:
            sink.write_table(table(), max_chunksize=2)
    report = import_bars(path, to, calendar="XNYS")
    assert (report.intervals, report.n_written) == (["1m"], 3)
    assert load(to, "A", "1m", JULY) == expected()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, -3])
def test_truncated_arrow_and_parquet_are_refused(
    tmp_path: Path, to: Path, suffix: str, keep: float
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(table(500), path)
    else:
        with pa.ipc.new_file(str(path), table(500).schema) as sink:
            sink.write_table(table(500))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DatasetError) as caught:
        import_bars(path, to, calendar="XNYS")
    assert caught.value.path == str(path)


def test_parquet_naive_timestamps_are_local_of_the_zone_given(tmp_path: Path, to: Path) -> None:
    naive = pa.array([np.datetime64("2025-07-02T09:30:00"), np.datetime64("2025-07-02T09:31:00")])
    path = tmp_path / "x.parquet"
    pq.write_table(table(2).set_column(1, "timestamp", naive), path)
    with pytest.raises(TimeError):
        import_bars(path, to, calendar="XNYS")
    import_bars(path, to, calendar="XNYS", tz="America/New_York")
    assert load(to, "A", "1m", JULY) == expected(2)


def test_parquet_nulls_are_bad_rows(tmp_path: Path, to: Path) -> None:
    path = tmp_path / "x.parquet"
    changed = table(4).set_column(3, "high", pa.array([2.0, None, 2.0, 2.0]))
    changed = changed.set_column(0, "symbol", pa.array(["A", "A", None, "A"]))
    pq.write_table(changed, path)
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert [(b.row, b.line, b.reason) for b in report.bad_rows] == [
        (2, None, "unparsable"), (3, None, "no_symbol"),
    ]  # fmt: skip


def test_trade_count_and_vwap_come_along(tmp_path: Path, to: Path) -> None:
    path = tmp_path / "x.parquet"
    more = table(2).append_column("n", pa.array([7, 8])).append_column("vw", pa.array([1.1, None]))
    pq.write_table(more, path)
    [written] = import_bars(path, to, calendar="XNYS").paths
    assert pq.read_table(written, columns=["trade_count", "vwap"]).to_pylist() == [
        {"trade_count": 7.0, "vwap": 1.1}, {"trade_count": 8.0, "vwap": None},
    ]  # fmt: skip
    assert load(to, "A", "1m", JULY) == expected(2)


def test_dataset_of_another_calendar_is_imported_from_its_own_files(
    tmp_path: Path, to: Path
) -> None:
    first = tmp_path / "first"
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path)
    import_bars(path, first, calendar="24/7", interval="1m")
    report = import_bars(first, to, calendar="XNYS")
    assert (report.intervals, report.n_written) == (["1m"], 3)
    assert load(to, "A", "1m", JULY) == expected()


def test_rows_of_a_long_csv_keep_their_numbers_across_blocks(
    tmp_path: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_BLOCK_BYTES", 500)
    start = to_ns("2025-07-02T13:30:00+00:00") // 10**9
    lines = [f"{start + k},1,2,0.5,1,1" for k in range(400)]
    lines[17] = "torn"
    lines[133] = f"{start + 133},1,2,0.5,1,many"
    lines[134] = ""
    lines[250] = "torn,again"
    lines[399] = "torn,at,the,end"
    path = tmp_path / "A.csv"
    path.write_text("\n\n" + "t,o,h,l,c,v\n" + "\n".join(lines))
    report = import_bars(path, to, calendar="XNYS", interval="1s")
    assert sorted((b.row, b.line, b.reason) for b in report.bad_rows) == [
        (18, 21, "malformed"), (134, 137, "unparsable"), (251, 254, "malformed"),
        (400, 403, "malformed"),
    ]  # fmt: skip
    labels = [(row[0] // 10**9 - start) for row in load(to, "A", "1s", JULY)]
    assert labels == [k for k in range(400) if k not in (17, 133, 134, 250, 399)]
    assert report.n_read == 399


def test_spilled_rows_are_written_as_those_in_memory(
    tmp_path: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "Staging", lambda root: Staging(root, max_rows=100))
    monkeypatch.setattr(readers, "_BATCH_ROWS", 64)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.concat_tables([table(390), table(390, "B"), table(390)]), path)
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert (report.n_read, report.n_written, report.n_duplicate) == (1170, 780, 390)
    for symbol in ("A", "B"):
        assert load(to, symbol, "1m", JULY) == expected(390)
    assert [p.name for p in to.iterdir()] == ["bars"]


def test_failed_date_file_is_reported_and_the_others_are_written(tmp_path: Path, to: Path) -> None:
    target = to / "bars" / "interval=1m" / "date=2025-07-02.parquet"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"not a Parquet file")
    (tmp_path / "x.csv").write_text(
        "symbol,t,o,h,l,c,v\nA,2025-07-02T14:00:00Z,1,2,0.5,1,1\nA,2025-07-03T14:00:00Z,1,2,0.5,1,1\n"
    )
    report = import_bars(tmp_path / "x.csv", to, calendar="XNYS", interval="1m")
    assert [path.name for path in report.paths] == ["date=2025-07-03.parquet"]
    [failed] = report.failed
    assert "date=2025-07-02" in failed.reason
    assert target.read_bytes() == b"not a Parquet file"


def test_empty_folder_and_unknown_format_are_refused(tmp_path: Path, to: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataSourceError, match="no rows"):
        import_bars(tmp_path / "in", to, calendar="XNYS")
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="no known format"):
        import_bars(tmp_path / "x.xlsx", to, calendar="XNYS")


def test_fields_of_the_report_say_what_was_done(tmp_path: Path, to: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path)
    report = import_bars([path], to, calendar="XNYS", adjustment="split")
    assert report.to == to
    assert report.n_rejected == 0
    meta = pq.read_schema(report.paths[0]).metadata
    assert meta[b"openbell.adjustment"] == b"split"
    assert pq.read_schema(report.paths[0]).names == ["symbol", *BAR_FIELDS]
