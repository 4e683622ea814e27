"""Reading a recording: from its journal, from the dataset that it became, or from both.

What a journal has stands over what the dataset has of the same slot, so that making the one into
the other may be broken off anywhere and done again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import SessionWindow
from openbell.errors import DatasetError
from openbell.intervals import interval as parse_interval
from openbell.live.journal import HEARTBEAT, ROW_DTYPE, Batch, parts_of, read_part, to_rows
from openbell.live.ranks import RANK_HISTORY
from openbell.schema import BAR_DTYPE, BarArray
from openbell.sources.columns import columns_to_records
from openbell.sources.dataset import EXTRA_FIELDS, DatasetWriter
from openbell.sources.outages import FeedLog, Outage, encode_feed_log, feed_path, parse_feed_log
from openbell.sources.parquet_file import ParquetTable

__all__ = ["RecordedRows", "Recording", "compact", "is_recorded"]

_log = logging.getLogger("openbell.live")

Extras = dict[str, npt.NDArray[np.float64]]
#: Rows as opaque bytes, and their ranks.
_Part = tuple[npt.NDArray[np.void], npt.NDArray[Any]]
#: numpy copies records field by field, and bytes at once.
_RAW_ROW: Final = np.dtype((np.void, ROW_DTYPE.itemsize))


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """The recorded bars of one series, one for each slot.

    Attributes
    ----------
    bars : numpy.ndarray
        ``BAR_DTYPE``, ascending.
    ranks : numpy.ndarray
        uint8; those that come from the dataset, which knows none, have that of history.
    extras : dict of str to numpy.ndarray
        ``trade_count`` and ``vwap``, float64, NaN where unknown; what is never known is absent.
    """

    bars: BarArray
    ranks: npt.NDArray[np.uint8]
    extras: Extras


class Recording:
    """What was recorded of a day.

    Attributes
    ----------
    folder : Path
    window : SessionWindow
    outages : list of Outage
        By start.
    last_ns : int
        Until when it is known to have been recording, nanoseconds UTC; the window's open when it
        never was.
    series : list of (str, str)
        Symbol and interval of all that has bars.
    n_bars : int
    """

    def __init__(
        self,
        folder: Path,
        window: SessionWindow,
        rows: Mapping[tuple[str, str], RecordedRows],
        outages: list[Outage],
        last_ns: int,
    ) -> None:
        self.folder = folder
        self.window = window
        self.outages = outages
        self.last_ns = last_ns
        self.series = sorted(rows)
        self.n_bars = sum(len(one.bars) for one in rows.values())
        self._rows = rows

    @classmethod
    def load(cls, folder: str | Path, window: SessionWindow) -> Recording:
        """Read what a folder has of a window's date; empty when it has nothing.

        Of a part of the journal that is torn or damaged, what is whole is read and the rest is
        warned of.

        Raises
        ------
        DatasetError
            When a file cannot be opened, or one of the dataset is damaged.
        """
        folder = Path(folder)
        rows, outages, last_ns = _read_journal(folder, window)
        for path in _date_files(folder, window):
            name = parse_interval(path.parent.name.removeprefix("interval=")).name
            table = ParquetTable(path, extras=True)
            for symbol in table.symbols:
                older = _of_table(table, symbol)
                rows[symbol, name] = _over(rows.get((symbol, name)), older)
        log = _read_log(folder, window)
        if log is not None:
            outages |= set(log.outages)
            last_ns = max(last_ns, log.recorded_until_ns)
        return cls(folder, window, rows, _ordered(outages), max(last_ns, window.open_ns))

    def rows(self, symbol: str, interval: str) -> RecordedRows | None:
        """The bars of one series, None when it has none."""
        return self._rows.get((symbol, interval))

    def __repr__(self) -> str:
        return f"<Recording of {self.window.date} in {self.folder}: {self.n_bars} bars>"


def is_recorded(folder: Path, window: SessionWindow) -> bool:
    """Whether a folder has anything of a window's date that a recording could have written."""
    log = folder / feed_path(window.date)
    return bool(parts_of(folder, window.date) or _date_files(folder, window) or log.exists())


def compact(folder: str | Path, window: SessionWindow) -> list[Path]:
    """Make the journal of a date into the dataset, then remove it.

    A journal of no bars and no outages is removed, and nothing written.

    Broken off at any point, the journal or the dataset is complete, and it can be done again. No
    recorder may be writing.

    Returns
    -------
    list of pathlib.Path
        The files that were written.

    Raises
    ------
    DatasetError
        When a file that is there cannot be read; the journal stays.
    OSError
        When the dataset cannot be written; the journal stays.
    """
    folder = Path(folder)
    parts = parts_of(folder, window.date)
    if not parts:
        return []
    rows, outages, last_ns = _read_journal(folder, window)
    log = _read_log(folder, window)
    if log is not None:
        outages |= set(log.outages)
        last_ns = max(last_ns, log.recorded_until_ns)
    written: list[Path] = []
    if rows or outages or log is not None:
        written = _write_dataset(folder, window, rows)
        path = folder / feed_path(window.date)
        _replace(path, encode_feed_log(window.date, last_ns, _ordered(outages)))
        written.append(path)
    for part in parts:
        part.unlink()
    _release_memory()
    return written


def _release_memory() -> None:
    # A whole day passed through Arrow's pool, which would keep it for the next one.
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _write_dataset(
    folder: Path, window: SessionWindow, rows: Mapping[tuple[str, str], RecordedRows]
) -> list[Path]:
    writer = DatasetWriter(folder, calendar=window.calendar, timezone=window.timezone)
    written = []
    for name in sorted({interval for _, interval in rows}, key=parse_interval):
        mine = {symbol: found for (symbol, interval), found in rows.items() if interval == name}
        bars = {symbol: found.bars for symbol, found in mine.items()}
        extras = {symbol: found.extras for symbol, found in mine.items()}
        written.append(writer.write(window.date, bars, interval=name, extras=extras).path)
    return written


def _ordered(outages: set[Outage]) -> list[Outage]:
    return sorted(outages, key=lambda o: (o.start_ns, o.end_ns, o.symbols or (), o.is_answered))


def _read_journal(
    folder: Path, window: SessionWindow
) -> tuple[dict[tuple[str, str], RecordedRows], set[Outage], int]:
    outages: set[Outage] = set()
    last_ns = 0
    found: dict[tuple[str, str], list[_Part]] = {}
    for path in parts_of(folder, window.date):
        for batch in read_part(path, partial(_warn_of, path)):
            last_ns = max([last_ns, *batch.rows["timestamp"][batch.ranks == HEARTBEAT].tolist()])
            outages |= set(batch.outages())
            for key, part in _by_series(batch):
                found.setdefault(key, []).append(part)
    # All of a day may be much: what was joined is let go of.
    rows = {key: _best(found.pop(key)) for key in list(found)}
    return rows, outages, last_ns


@cache
def _warn_of(path: Path, damage: str) -> None:
    # Once: a journal is read when it is gone on with, and again to make the dataset of it.
    _log.warning("%s: %s", path, damage)


def _by_series(batch: Batch) -> Iterator[tuple[tuple[str, str], _Part]]:
    symbols, of_symbol = batch.codes("symbol")
    intervals, of_interval = batch.codes("interval")
    rows = batch.rows.view(_RAW_ROW)
    keys = of_symbol * len(intervals) + of_interval
    order = np.argsort(keys, kind="stable")
    order = order[batch.ranks[order] >= 0]
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    for mine in np.split(order, ends) if len(order) else ():
        symbol, name = divmod(int(keys[mine[0]]), len(intervals))
        yield (symbols[symbol], intervals[name]), (rows[mine], batch.ranks[mine])


def _best(parts: list[_Part]) -> RecordedRows:
    raw = np.concatenate([rows for rows, _ in parts])
    ranks = np.concatenate([ranks for _, ranks in parts])
    rows = raw.view(ROW_DTYPE)
    labels = np.ascontiguousarray(rows["timestamp"])
    # Of one slot the highest rank, of equals the newest, stands last.
    order = np.lexsort((ranks, labels))
    chosen = order[np.append(np.diff(labels[order]) != 0, True)]
    rows = raw[chosen].view(ROW_DTYPE)
    columns = {name: np.ascontiguousarray(rows[name]) for name in ROW_DTYPE.names or ()}
    extras = {n: columns[n] for n in EXTRA_FIELDS if not np.isnan(columns[n]).all()}
    bars = columns_to_records(columns, BAR_DTYPE)
    return RecordedRows(bars, ranks[chosen].astype(np.uint8), extras)


def _of_table(table: ParquetTable, symbol: str) -> RecordedRows:
    columns = table.columns_of(symbol)
    rows = to_rows(columns_to_records(columns, BAR_DTYPE), columns)
    return _best([(rows.view(_RAW_ROW), np.full(len(rows), RANK_HISTORY, np.int8))])


def _over(newer: RecordedRows | None, older: RecordedRows) -> RecordedRows:
    if newer is None:
        return older
    kept = ~np.isin(older.bars["timestamp"], newer.bars["timestamp"])
    return _best(
        [
            (to_rows(older.bars, older.extras).view(_RAW_ROW)[kept], older.ranks[kept]),
            (to_rows(newer.bars, newer.extras).view(_RAW_ROW), newer.ranks),
        ]
    )


def _date_files(folder: Path, window: SessionWindow) -> list[Path]:
    return sorted(folder.glob(f"bars/interval=*/date={window.date.isoformat()}.parquet"))


def _read_log(folder: Path, window: SessionWindow) -> FeedLog | None:
    path = folder / feed_path(window.date)
    try:
        return parse_feed_log(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except (DatasetError, OSError) as error:
        _log.warning("%s", error)
        return None


def _replace(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with open(unfinished, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
