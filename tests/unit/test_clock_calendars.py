"""The calendar tables and their cache on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from openbell.clock import calendars
from openbell.clock.calendars import NEVER, CalendarTable, cache_dir, load_table
from openbell.errors import CalendarError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, in memory and on disk; gives the folder the tables go to."""
    monkeypatch.setenv("OPENBELL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(calendars, "_tables", {})
    return tmp_path / "calendars"


def forget() -> None:
    calendars._tables.clear()


def same(a: CalendarTable, b: CalendarTable) -> bool:
    names = ("name", "timezone", "first", "last", "bound_first", "bound_last")
    arrays = ("ordinals", "opens", "break_starts", "break_ends", "closes")
    return all(getattr(a, n) == getattr(b, n) for n in names) and all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays
    )


@pytest.mark.parametrize("name", ["24/7", "XHKG", "HKEX", "XBOM"])
def test_table_read_back_equals_the_computed_one(name: str, cache: Path) -> None:
    computed = load_table(name)
    assert len(list(cache.iterdir())) == 1
    forget()
    read = load_table(name)
    assert read is not computed
    assert same(read, computed)
    assert load_table(name) is read


def test_table_arrays_are_read_only_int64(cache: Path) -> None:
    load_table("XHKG")
    forget()
    table = load_table("XHKG")
    for name in ("ordinals", "opens", "break_starts", "break_ends", "closes"):
        array = getattr(table, name)
        assert array.dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert table.break_starts[table.index_of(date(2024, 12, 24))] == NEVER


def test_table_covers_1990_to_the_end_of_next_year(cache: Path) -> None:
    table = load_table("24/7")
    assert table.first == date(1990, 1, 1)
    assert table.last == date(date.today().year + 1, 12, 31)
    assert len(table.ordinals) == (table.last - table.first).days + 1


def test_table_asked_for_an_earlier_day_is_widened_and_kept(cache: Path) -> None:
    narrow = load_table("24/7")
    wide = load_table("24/7", date(1988, 5, 5))
    assert (wide.first, wide.last) == (date(1988, 1, 1), narrow.last)
    forget()
    assert same(load_table("24/7"), wide)


def test_table_out_of_bounds_is_refused_and_keeps_what_is_there(cache: Path) -> None:
    table = load_table("XBOM")
    with pytest.raises(CalendarError, match="1997-01-01"):
        load_table("XBOM", date(1990, 1, 1))
    assert load_table("XBOM") is table
    with pytest.raises(CalendarError, match="1997-01-01"):
        load_table("BSE", date(1990, 1, 1))


DAMAGES = {
    "empty": lambda whole: b"",
    "no archive": lambda whole: b"something else entirely",
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "cut at the end": lambda whole: whole[:-10],
    "one byte changed": lambda whole: whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_replaced(damage: str, cache: Path) -> None:
    computed = load_table("24/7")
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    forget()
    assert same(load_table("24/7"), computed)
    assert path.read_bytes() == whole
    assert list(cache.iterdir()) == [path]


def test_cache_of_another_calendar_or_version_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_table("24/5")
    (path,) = cache.iterdir()
    path.rename(calendars._path("24/7"))
    forget()
    assert load_table("24/7").name == "24/7"
    forget()
    monkeypatch.setattr(calendars, "_library_version", lambda: "0.0.1")
    assert load_table("24/7").name == "24/7"
    assert {p.name for p in cache.iterdir()} >= {"24-7-0.0.1.table"}


def test_unusable_cache_folder_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("OPENBELL_CACHE_DIR", str(blocked))
    monkeypatch.setattr(calendars, "_tables", {})
    assert load_table("24/7").index_of(date(2025, 7, 4)) >= 0
    assert blocked.read_text() == "not a folder"


def test_failed_write_leaves_no_temporary_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder where the file should be: replacing it fails, whoever runs the test.
    calendars._path("24/7").mkdir(parents=True)
    (calendars._path("24/7") / "occupied").touch()
    assert load_table("24/7").name == "24/7"
    assert list(cache.iterdir()) == [calendars._path("24/7")]


@pytest.mark.skipif(sys.platform != "linux", reason="folders of Linux")
def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBELL_CACHE_DIR", "/a/b")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setenv("HOME", "/home/x")
    assert cache_dir() == Path("/a/b")
    monkeypatch.delenv("OPENBELL_CACHE_DIR")
    assert cache_dir() == Path("/c/openbell")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/home/x/.cache/openbell")


def test_warm_cache_imports_neither_pandas_nor_exchange_calendars(cache: Path) -> None:
    load_table("XNYS")
    code = (
        "import sys\n"
        "from datetime import date\n"
        "from openbell.clock import TimeManager\n"
        "clock = TimeManager('XNYS', hours='extended')\n"
        "window = clock.session_window(date(2025, 7, 3))\n"
        "days = clock.trailing_days(date(2025, 7, 3), 5)\n"
        "heavy = {'pandas', 'exchange_calendars', 'numba', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy or len(days) != 5 else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# exchange_calendars warns about pandas.
@pytest.mark.filterwarnings("ignore")
def test_calendar_registered_by_the_program_is_not_cached(cache: Path) -> None:
    import exchange_calendars

    always = exchange_calendars.get_calendar("24/7", start="2020-01-01", end="2020-12-31")
    exchange_calendars.register_calendar("openbell-test", always)
    try:
        table = load_table("openbell-test")
        assert (table.first, table.last) == (date(2020, 1, 1), date(2020, 12, 31))
        with pytest.raises(CalendarError, match="out of bounds"):
            load_table("openbell-test", date(2021, 1, 1))
    finally:
        exchange_calendars.deregister_calendar("openbell-test")
    assert not list(cache.glob("*test*"))
