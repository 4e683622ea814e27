"""Import from CSV: every bad row is named, every good one is written."""

from __future__ import annotations

import csv
import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock import TimeManager
from openbell.errors import CalendarError, DataSourceError, IntervalError, SchemaError, TimeError
from openbell.schema import to_ns
from openbell.sources import ImportReport, ParquetSource, import_bars

DAY = date(2025, 7, 2)
HEADER = "symbol,timestamp,open,high,low,close,volume"


def at(text: str) -> int:
    return to_ns(text)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def load(to: Path, symbol: str, interval: str, day: date = DAY, calendar: str = "XNYS") -> list:
    return (
        ParquetSource(to).load(symbol, interval, TimeManager(calendar).session_window(day)).tolist()
    )


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def is_whole(report: ImportReport) -> bool:
    return report.n_read == report.n_written + report.n_duplicate + report.n_rejected


def test_rows_are_written_as_they_are(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "AAPL,2025-07-02T13:30:00Z,1.1,1.4,1.0,1.3,100",
        "AAPL,2025-07-02T09:31:00-04:00,1.3,1.5,1.2,1.4,0.25",
        "MSFT,2025-07-02T13:30:00Z,2.1,2.4,2.0,2.3,7",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert (report.n_read, report.n_written, report.n_bad) == (3, 3, {})
    assert (report.symbols, report.dates, report.intervals) == (["AAPL", "MSFT"], [DAY], ["1m"])
    assert report.files == [str(path)]
    assert report.paths == [to / "bars" / "interval=1m" / "date=2025-07-02.parquet"]
    assert load(to, "AAPL", "1m") == [
        (at("2025-07-02T13:30:00Z"), 1.1, 1.4, 1.0, 1.3, 100.0),
        (at("2025-07-02T13:31:00Z"), 1.3, 1.5, 1.2, 1.4, 0.25),
    ]
    assert load(to, "MSFT", "1m") == [(at("2025-07-02T13:30:00Z"), 2.1, 2.4, 2.0, 2.3, 7.0)]


def test_each_bad_row_is_reported_with_row_line_and_reason(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-07-02T13:30:00Z,1,2,0.5,1,1",          # 1
        "A,2025-07-02T13:31:00Z,1,2,abc,1,1",          # 2 unparsable
        "A,yesterday,1,2,0.5,1,1",                     # 3 unparsable
        "A,2025-07-02T13:32:00Z,nan,2,0.5,1,1",        # 4 not_finite
        "A,2025-07-02T13:32:00Z,1,inf,0.5,1,1",        # 5 not_finite
        "A,2025-07-02T13:33:00Z,1,0.4,0.5,1,1",        # 6 high_below_low
        "A,2025-07-02T13:34:00Z,3,2,0.5,1,1",          # 7 outside_range
        "A,2025-07-02T13:35:00Z,1,2,0.5,0.1,1",        # 8 outside_range
        "A,2025-07-02T13:36:00Z,1,2,0.5,1,-1",         # 9 negative_volume
        "A,2025-07-02T13:29:00Z,1,2,0.5,1,1",          # 10 outside_session
        "A,2025-07-02T20:00:00Z,1,2,0.5,1,1",          # 11 outside_session: the close is not in it
        "A,2025-07-04T15:00:00Z,1,2,0.5,1,1",          # 12 outside_session: a holiday
        "A,2025-07-02T13:37:30Z,1,2,0.5,1,1",          # 13 off_grid
        "",                                            # 14 blank, nothing
        ",2025-07-02T13:38:00Z,1,2,0.5,1,1",           # 15 no_symbol
        "A,2025-07-02T13:39:00Z,1,2,0.5,1",            # 16 malformed
        "A,2025-07-02T13:40:00Z,1,2,0.5,1,1,9",        # 17 malformed
        "A,2025-07-02T13:41:00Z,1,2,0.5,1,",           # 18 unparsable
        "A,2025-02-30T13:41:00Z,1,2,0.5,1,1",          # 19 unparsable: no such day
        "A,2025-07-02T19:59:00Z,1,2,0.5,1,1",          # 20
    )  # fmt: skip
    all_of_them = tmp_path / "bad.csv"
    report = import_bars(
        path, to, calendar="XNYS", interval="1m", max_bad_rows=5, bad_rows_to=all_of_them
    )
    expected = [
        (2, "unparsable"), (3, "unparsable"), (4, "not_finite"), (5, "not_finite"),
        (6, "high_below_low"), (7, "outside_range"), (8, "outside_range"),
        (9, "negative_volume"), (10, "outside_session"), (11, "outside_session"),
        (12, "outside_session"), (13, "off_grid"), (15, "no_symbol"), (16, "malformed"),
        (17, "malformed"), (18, "unparsable"), (19, "unparsable"),
    ]  # fmt: skip
    with all_of_them.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert sorted((int(r["row"]), r["reason"]) for r in listed) == expected
    assert all(int(r["line"]) == int(r["row"]) + 1 for r in listed)
    assert {r["file"] for r in listed} == {str(path)}
    assert len(report.bad_rows) == 5
    assert report.n_bad == {
        "malformed": 2, "unparsable": 4, "no_symbol": 1, "not_finite": 2, "high_below_low": 1,
        "outside_range": 2, "negative_volume": 1, "outside_session": 3, "off_grid": 1,
    }  # fmt: skip
    assert (report.n_read, report.n_written) == (19, 2)
    assert is_whole(report)
    [detail] = [r["detail"] for r in listed if r["row"] == "2"]
    assert "low='abc'" in detail
    assert [row[0] for row in load(to, "A", "1m")] == [
        at("2025-07-02T13:30:00Z"), at("2025-07-02T19:59:00Z"),
    ]  # fmt: skip


def test_bad_rows_beyond_those_kept_are_counted(tmp_path: Path, to: Path) -> None:
    bad = [f"A,2025-07-02T13:{m:02d}:00Z,1,2,0.5,1,{v}" for m, v in ((30, "x"), (31, -1))] * 20
    path = write(tmp_path / "x.csv", HEADER, *bad, "A,2025-07-02T14:00:00Z,1,2,0.5,1,1")
    report = import_bars(path, to, calendar="XNYS", interval="1m", max_bad_rows=3)
    assert [row.row for row in report.bad_rows] == [1, 2, 3]
    assert report.n_bad == {"unparsable": 20, "negative_volume": 20}
    assert is_whole(report)


def test_doubles_identical_are_counted_and_other_values_last_wins(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-07-02T13:30:00Z,1,2,0.5,1,1",
        "A,2025-07-02T13:31:00Z,1,2,0.5,1,1",
        "A,2025-07-02T13:30:00Z,1,2,0.5,1,1",
        "A,2025-07-02T13:31:00Z,1,2,0.5,1.5,1",
        "B,2025-07-02T13:31:00Z,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert (report.n_duplicate, report.n_bad, report.n_written) == (1, {"conflict": 1}, 3)
    [lost] = report.bad_rows
    assert (lost.row, lost.line, lost.reason, lost.detail) == (
        2,
        3,
        "conflict",
        "replaced by row 4",
    )
    assert [row[4] for row in load(to, "A", "1m")] == [1.0, 1.5]
    assert is_whole(report)


def test_second_import_keeps_what_is_there_and_counts_what_it_replaces(
    tmp_path: Path, to: Path
) -> None:
    one = write(
        tmp_path / "1.csv", HEADER,
        "A,2025-07-02T13:30:00Z,1,2,0.5,1,1", "A,2025-07-02T13:31:00Z,1,2,0.5,1,1",
    )  # fmt: skip
    two = write(
        tmp_path / "2.csv", HEADER,
        "A,2025-07-02T13:31:00Z,1,2,0.5,1.9,1", "B,2025-07-02T13:31:00Z,1,2,0.5,1,1",
    )  # fmt: skip
    import_bars(one, to, calendar="XNYS", interval="1m")
    report = import_bars(two, to, calendar="XNYS", interval="1m")
    assert (report.n_written, report.n_replaced) == (2, 1)
    assert [row[4] for row in load(to, "A", "1m")] == [1.0, 1.9]
    assert len(load(to, "B", "1m")) == 1


def test_naive_times_need_a_zone(tmp_path: Path, to: Path) -> None:
    path = write(tmp_path / "x.csv", HEADER, "A,2025-07-02 09:30:00,1,2,0.5,1,1")
    with pytest.raises(TimeError, match=r"no time zone.*tz"):
        import_bars(path, to, calendar="XNYS", interval="1m")
    assert not to.exists() or list(to.rglob("*.parquet")) == []
    import_bars(path, to, calendar="XNYS", interval="1m", tz="America/New_York")
    assert [row[0] for row in load(to, "A", "1m")] == [at("2025-07-02T13:30:00Z")]


def test_clock_changes_make_bad_rows_not_guesses(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-03-09 01:59:00,1,2,0.5,1,1",   # 06:59 UTC, standard time
        "A,2025-03-09 02:30:00,1,2,0.5,1,1",   # skipped
        "A,2025-03-09 03:00:00,1,2,0.5,1,1",   # 07:00 UTC
        "A,2025-11-02 00:59:00,1,2,0.5,1,1",   # 04:59 UTC, summer time
        "A,2025-11-02 01:30:00,1,2,0.5,1,1",   # twice
        "A,2025-11-02 02:00:00,1,2,0.5,1,1",   # 07:00 UTC
    )  # fmt: skip
    report = import_bars(path, to, calendar="24/7", interval="1m", tz="America/New_York")
    assert [(b.row, b.reason) for b in report.bad_rows] == [
        (2, "nonexistent_time"), (5, "ambiguous_time"),
    ]  # fmt: skip
    rows = load(to, "A", "1m", date(2025, 3, 9), "24/7")
    rows += load(to, "A", "1m", date(2025, 11, 2), "24/7")
    assert [row[0] for row in rows] == [
        at("2025-03-09T06:59:00Z"), at("2025-03-09T07:00:00Z"),
        at("2025-11-02T04:59:00Z"), at("2025-11-02T07:00:00Z"),
    ]  # fmt: skip


def test_exchange_times_follow_the_clock_change(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-03-07 09:30:00,1,2,0.5,1,1", "A,2025-03-10 09:30:00,1,2,0.5,1,1",
    )  # fmt: skip
    import_bars(path, to, calendar="XNYS", interval="1m", tz="America/New_York")
    assert load(to, "A", "1m", date(2025, 3, 7))[0][0] == at("2025-03-07T14:30:00Z")
    assert load(to, "A", "1m", date(2025, 3, 10))[0][0] == at("2025-03-10T13:30:00Z")


def test_label_end_is_moved_to_the_start_stubs_included(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-07-02T10:30:00-04:00,1,2,0.5,1,1",   # 09:30
        "A,2025-07-02T15:30:00-04:00,1,2,0.5,1,1",   # 14:30
        "A,2025-07-02T16:00:00-04:00,1,2,0.5,1,1",   # the stub from 15:30
        "A,2025-07-02T09:30:00-04:00,1,2,0.5,1,1",   # would start before the open
        "A,2025-07-02T11:00:00-04:00,1,2,0.5,1,1",   # no bucket ends there
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1h", label="end")
    assert [row[0] for row in load(to, "A", "1h")] == [
        at("2025-07-02T13:30:00Z"), at("2025-07-02T18:30:00Z"), at("2025-07-02T19:30:00Z"),
    ]  # fmt: skip
    assert [(b.row, b.reason) for b in report.bad_rows] == [(4, "outside_session"), (5, "off_grid")]


def test_anchor_clock_accepts_its_own_grid(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-07-02T09:30:00-04:00,1,2,0.5,1,1", "A,2025-07-02T10:00:00-04:00,1,2,0.5,1,1",
        "A,2025-07-02T10:30:00-04:00,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1h", anchor="clock")
    assert [(b.row, b.reason) for b in report.bad_rows] == [(3, "off_grid")]


def test_hours_extended_takes_the_early_morning(tmp_path: Path, to: Path) -> None:
    path = write(tmp_path / "x.csv", HEADER, "A,2025-07-02T04:00:00-04:00,1,2,0.5,1,1")
    assert import_bars(path, to, calendar="XNYS", interval="1m", hours="extended").n_written == 1


def test_lunch_break_is_outside_the_session(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER,
        "A,2025-07-02T11:59:00+08:00,1,2,0.5,1,1", "A,2025-07-02T12:00:00+08:00,1,2,0.5,1,1",
        "A,2025-07-02T13:00:00+08:00,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XHKG", interval="1m")
    assert [(b.row, b.reason) for b in report.bad_rows] == [(2, "outside_session")]


def test_columns_are_found_by_alias_and_by_mapping(tmp_path: Path, to: Path) -> None:
    body = "2025-07-02T13:30:00Z;3;1.5;1;2;0.5;9"
    aliases = write(tmp_path / "AAPL.csv", "T;Vol;O;C;High;L;n", body)
    import_bars(aliases, to, calendar="XNYS", interval="1m")
    bar = (at("2025-07-02T13:30:00Z"), 1.5, 2.0, 0.5, 1.0, 3.0)
    assert load(to, "AAPL", "1m") == [bar]
    mapped = write(tmp_path / "x.csv", "when;Vol;O;settle;High;L;who", body[:-1] + "MSFT")
    columns = {"timestamp": "when", "close": "settle", "symbol": "who"}
    import_bars(mapped, to, calendar="XNYS", interval="1m", columns=columns)
    assert load(to, "MSFT", "1m") == [bar]
    with pytest.raises(SchemaError, match="a column 'nope' for close"):
        import_bars(
            mapped, to, calendar="XNYS", interval="1m", columns={**columns, "close": "nope"}
        )
    with pytest.raises(SchemaError, match="key 'closing'"):
        import_bars(mapped, to, calendar="XNYS", interval="1m", columns={"closing": "settle"})


def test_date_and_time_columns_are_joined(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "A.csv", "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        "20250702,09:30:00,1,2,0.5,1,1", "2025-07-02,09:31,1,2,0.5,1,1",
    )  # fmt: skip
    import_bars(path, to, calendar="XNYS", interval="1m", tz="America/New_York")
    assert [row[0] for row in load(to, "A", "1m")] == [
        at("2025-07-02T13:30:00Z"), at("2025-07-02T13:31:00Z"),
    ]  # fmt: skip


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_epoch_numbers_tell_their_unit_by_size(tmp_path: Path, to: Path, per_second: int) -> None:
    second = 1_751_463_000  # 2025-07-02T13:30:00Z
    path = write(
        tmp_path / "A.csv", "t,o,h,l,c,v",
        *(f"{(second + 60 * k) * per_second},1,2,0.5,1,1" for k in range(3)), "17514x,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert [row[0] for row in load(to, "A", "1m")] == [(second + 60 * k) * 10**9 for k in range(3)]
    assert [(b.row, b.reason) for b in report.bad_rows] == [(4, "unparsable")]


@pytest.mark.parametrize(
    "dates", [("2025-07-02", "2025-07-03"), ("20250702", "20250703"),
              ("2025-07-02T13:30:00Z", "2025-07-03T13:30:00Z"),
              ("2025-07-02T04:00:00Z", "2025-07-03T04:00:00Z")],
)  # fmt: skip
def test_daily_dates_are_labelled_by_the_open(
    tmp_path: Path, to: Path, dates: tuple[str, str]
) -> None:
    path = write(tmp_path / "A.csv", "date,o,h,l,c,v", *(f"{d},1,2,0.5,1,1" for d in dates))
    report = import_bars(path, to, calendar="XNYS")
    assert (report.intervals, report.dates) == (["1d"], [DAY, date(2025, 7, 3)])
    assert load(to, "A", "1d") == [(at("2025-07-02T13:30:00Z"), 1.0, 2.0, 0.5, 1.0, 1.0)]


def test_daily_rows_on_no_session_are_reported(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "A.csv", "date,o,h,l,c,v", "2025-07-03,1,2,0.5,1,1", "2025-07-04,1,2,0.5,1,1",
        "2025-07-07 15:00:00,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1d", tz="America/New_York")
    assert [(b.row, b.reason) for b in report.bad_rows] == [(2, "outside_session"), (3, "off_grid")]


def test_interval_is_told_by_the_labels(tmp_path: Path, to: Path) -> None:
    lines = [f"A,2025-07-02T{14 + m // 60}:{m % 60:02d}:00Z,1,2,0.5,1,1" for m in range(0, 180, 5)]
    path = write(tmp_path / "x.csv", HEADER, *lines)
    assert import_bars(path, to, calendar="XNYS").intervals == ["5m"]
    single = write(tmp_path / "y.csv", HEADER, lines[0])
    with pytest.raises(IntervalError, match="name it"):
        import_bars(single, to, calendar="XNYS")


def test_folder_is_walked_and_one_bad_file_costs_itself_only(tmp_path: Path, to: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    row = "2025-07-02T13:30:00Z,1,2,0.5,1,1"
    write(folder / "AAPL.csv", "t,o,h,l,c,v", row)
    (folder / "deep" / "MSFT.csv.gz").write_bytes(
        gzip.compress(b"t,o,h,l,c,v\n" + row.encode() + b"\n")
    )
    write(folder / "SHORT.csv", "t,o,h,l,v", row)
    write(folder / "notes.md", "hello")
    write(folder / ".hidden.csv", "nothing")
    whole = gzip.compress(b"t,o,h,l,c,v\n" + row.encode() + b"\n")
    (folder / "CUT.csv.gz").write_bytes(whole[:-12])
    (folder / "EMPTY.csv").write_bytes(b"")
    told: list[tuple[str, int, int]] = []
    report = import_bars(
        folder, to, calendar="XNYS", interval="1m", on_progress=lambda *a: told.append(a)
    )
    assert report.symbols == ["AAPL", "MSFT"]
    assert sorted(Path(f.file).name for f in report.failed) == [
        "CUT.csv.gz", "EMPTY.csv", "SHORT.csv",
    ]  # fmt: skip
    assert any("a column for close" in f.reason for f in report.failed)
    assert [Path(f).name for f in report.skipped] == ["notes.md"]
    assert told[-1] == ("write", 1, 1)
    reads = [done for stage, done, _ in told if stage == "read"]
    assert reads == sorted(reads)


def test_symbol_argument_names_files_without_and_guards_files_with(
    tmp_path: Path, to: Path
) -> None:
    row = "2025-07-02T13:30:00Z,1,2,0.5,1,1"
    nameless = write(tmp_path / "prices_1m.csv", "t,o,h,l,c,v", row)
    with pytest.raises(SchemaError, match="no column for symbol"):
        import_bars(nameless, to, calendar="XNYS", interval="1m")
    report = import_bars(nameless, to, calendar="XNYS", interval="1m", symbol="AAPL")
    assert report.symbols == ["AAPL"]
    both = write(tmp_path / "b.csv", HEADER, "AAPL," + row, "MSFT," + row)
    report = import_bars(both, to, calendar="XNYS", interval="1m", symbol="AAPL")
    assert report.n_bad == {"other_symbol": 1}


def test_nothing_imported_raises_what_was_wrong(tmp_path: Path, to: Path) -> None:
    with pytest.raises(DataSourceError, match="no such file"):
        import_bars(tmp_path / "none.csv", to, calendar="XNYS")
    path = write(tmp_path / "x.csv", HEADER, "A,2025-07-02T13:30:00Z,1,2,0.5,1,-1")
    with pytest.raises(DataSourceError, match=r"none of 1 rows.*1 negative_volume.*line 2"):
        import_bars(path, to, calendar="XNYS", interval="1m")
    with pytest.raises(DataSourceError, match="no rows"):
        import_bars(write(tmp_path / "h.csv", HEADER), to, calendar="XNYS", interval="1m")
    with pytest.raises(CalendarError):
        import_bars(path, to, calendar="NOWHERE")
    with pytest.raises(TimeError, match="IANA"):
        import_bars(path, to, calendar="XNYS", tz="Mars/Olympus")
    with pytest.raises(TimeError, match="label"):
        import_bars(path, to, calendar="XNYS", label="middle")  # type: ignore[arg-type]
    with pytest.raises(IntervalError):
        import_bars(path, to, calendar="XNYS", interval="7x")


def test_bytes_that_are_not_text_cost_their_rows_only(tmp_path: Path, to: Path) -> None:
    rows = [b"A,2025-07-02T13:%d:00Z,1,2,0.5,1,1" % m for m in range(30, 37)]
    rows[1] = b"A,2025-07-02T13:31:00Z,1,2,0.5,\xff,1"
    rows[2] = b"A\xff,2025-07-02T13:32:00Z,1,2,0.5,1,1"
    rows[3] = b"A,2025-07-02T13:33\xf0\x9f,1"
    rows[4] = "\u00c5,2025-07-02T13:34:00Z,1,2,0.5,1,1".encode()
    rows[6] = b"A,2025-07-02T13:36:00Z,1,2,0.5,1,1\xe2"
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n" + b"\r\n".join(rows))
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert sorted((b.row, b.reason) for b in report.bad_rows) == [
        (2, "unparsable"), (3, "no_symbol"), (4, "malformed"), (7, "unparsable"),
    ]  # fmt: skip
    assert report.symbols == ["A", "\u00c5"]
    assert is_whole(report)


def test_header_that_is_no_csv_is_refused(tmp_path: Path, to: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"symbol,t\rx,o,h\nA,1\n")
    with pytest.raises(DataSourceError, match="header line cannot be read"):
        import_bars(path, to, calendar="XNYS", interval="1m")


def test_outlier_years_are_bad_rows_only(tmp_path: Path, to: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEADER, "A,1700-01-01T13:30:00Z,1,2,0.5,1,1",
        "A,2025-07-02T13:30:00Z,1,2,0.5,1,1", "A,2250-07-02T13:30:00Z,1,2,0.5,1,1",
        "A,9999-07-02T13:30:00Z,1,2,0.5,1,1",
    )  # fmt: skip
    report = import_bars(path, to, calendar="XNYS", interval="1m")
    assert [(b.row, b.reason) for b in sorted(report.bad_rows)] == [
        (1, "outside_session"), (3, "outside_session"), (4, "unparsable"),
    ]  # fmt: skip
    assert report.n_written == 1


@given(
    st.lists(st.tuples(st.integers(0, 389), st.integers(1, 9999), st.integers(0, 50)), max_size=60),
    st.integers(1, 7),
)
def test_last_row_of_each_label_is_what_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], n_files: int
) -> None:
    folder = tmp_path_factory.mktemp("import")
    start = at("2025-07-02T13:30:00Z")
    expected = {}
    for k in range(n_files):
        part = rows[k::n_files]
        lines = [f"{(start + m * 60 * 10**9)},{c / 100},{c / 100},{c / 100},{c / 100},{v}"
                 for m, c, v in part]  # fmt: skip
        write(folder / f"f{k}.csv", "t,o,h,l,c,v", *lines)
        for m, c, v in part:
            expected[start + m * 60 * 10**9] = (*[c / 100] * 4, float(v))
    to = folder / "to"
    if not rows:
        with pytest.raises(DataSourceError):
            import_bars(folder, to, calendar="XNYS", interval="1m", symbol="A")
        return
    report = import_bars(folder, to, calendar="XNYS", interval="1m", symbol="A")
    assert is_whole(report)
    assert report.n_read == len(rows)
    assert {row[0]: row[1:] for row in load(to, "A", "1m")} == expected
    assert np.all(np.diff([row[0] for row in load(to, "A", "1m")]) > 0)
