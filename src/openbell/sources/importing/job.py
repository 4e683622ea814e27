"""The import job: files in, rows checked and placed, date files out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from openbell.clock import Anchor, TimeManager
from openbell.clock.manager import Hours
from openbell.errors import DatasetError, DataSourceError, OpenbellError, SchemaError, TimeError
from openbell.intervals import Interval
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_FIELDS, NS_PER_DAY, Int64Array
from openbell.sources.columns import infer_interval
from openbell.sources.dataset import EXTRA_FIELDS, DatasetWriter
from openbell.sources.importing.check import Codes, Sessions, check_values, mark
from openbell.sources.importing.lean import open_lean
from openbell.sources.importing.readers import (
    CSV_SUFFIXES,
    Batch,
    OpenedFile,
    open_arrow,
    open_csv,
)
from openbell.sources.importing.report import REASONS, BadRow, BadRows, FailedFile, ImportReport
from openbell.sources.importing.staging import STAGED_DTYPE, Staging, join_duplicates
from openbell.sources.importing.values import (
    TimeReader,
    Times,
    check_zone,
    parse_numbers,
    text_of,
    to_utc,
)
from openbell.sources.parquet_file import symbol_codes

__all__ = ["import_bars"]

_ARROW_SUFFIXES: Final = (".parquet", ".pq", ".arrow", ".feather", ".ipc", ".arrows")

#: Told ("read", bytes done, bytes in all), then ("write", date files done, date files in all).
Progress = Callable[[str, int, int], None]


def import_bars(
    paths: str | Path | Iterable[str | Path],
    to: str | Path,
    *,
    calendar: str,
    symbol: str | None = None,
    interval: str | None = None,
    tz: str | None = None,
    label: Literal["start", "end"] = "start",
    columns: Mapping[str, str] | None = None,
    hours: Hours = "regular",
    anchor: Anchor = "session",
    adjustment: str = "raw",
    on_progress: Progress | None = None,
    max_bad_rows: int = 100,
    bad_rows_to: str | Path | None = None,
) -> ImportReport:
    """Read bars from CSV, Parquet, Arrow or LEAN files into a dataset.

    Good rows are written, each bad one is counted and reported with its file and row. A label
    that comes twice with other values is written as it came last, files being taken in the order
    given and folders by name. What the dataset holds already is kept, row by row.

    Parameters
    ----------
    paths : path or iterable of paths
        Files; folders are walked.
    to : path
        The dataset's folder; made when absent.
    calendar : str
        The calendar that cuts the rows into sessions.
    symbol : str, optional
        The symbol of files that have no such column, instead of their name's (``AAPL.csv``). Rows
        of files that have one and name another symbol are bad.
    interval : str, optional
        The bars' interval, else told by the file's metadata, its path, or the labels' distances.
    tz : str, optional
        IANA zone of timestamps without one. Dates without a time, in daily bars, need none.
    label : "start" or "end"
        Which end of a bar its timestamp is.
    columns : mapping of str to str, optional
        Own names of columns: ``{"timestamp": "when"}``; keys are ``symbol``, ``timestamp``,
        ``time_of_day``, ``open``, ``high``, ``low``, ``close``, ``volume``, ``trade_count``,
        ``vwap``.
    hours, anchor
        As for :class:`~openbell.clock.TimeManager`; they decide what is outside a session and off
        its grid.
    adjustment : str
        Kept as metadata.
    on_progress : callable, optional
        Called with ("read", bytes done, bytes in all), then ("write", files done, files in all).
    max_bad_rows : int
        How many bad rows the report holds.
    bad_rows_to : path, optional
        A CSV file for all of them.

    Returns
    -------
    ImportReport

    Raises
    ------
    OpenbellError
        When nothing at all could be read: the one file's error, or all in one.
    CalendarError, TimeError, IntervalError, SchemaError
        When an argument is wrong.
    """
    if label not in ("start", "end"):
        raise TimeError(label, "label must be 'start' or 'end'")
    if tz is not None:
        check_zone(tz)
    clock = TimeManager(calendar, hours=hours, anchor=anchor)
    asked = Interval.from_alias(interval) if interval is not None else None
    report = ImportReport(Path(to))
    listed = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
    files = list(_walk(listed, Path(to), report.skipped))
    sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
    errors: list[OpenbellError] = []
    with BadRows(max_bad_rows, bad_rows_to) as bad, Staging(Path(to)) as staging:
        job = _Job(report, bad, staging, Sessions(clock, label), asked, tz, symbol)
        for k, file in enumerate(files):
            before, size = sum(sizes[:k]), sizes[k]
            try:
                for done in job.read(file, columns):
                    if on_progress is not None:
                        on_progress("read", before + int(done * size), sum(sizes))
            except OpenbellError as error:
                errors.append(error)
                report.failed.append(FailedFile(str(file), str(error)))
        writer = DatasetWriter(
            to, calendar=clock.calendar, timezone=clock.timezone, adjustment=adjustment
        )
        errors += job.write(writer, on_progress)
        report.n_bad = bad.in_order()
        report.bad_rows = bad.first
    if not report.paths:
        _refuse(report, errors, listed)
    return report


def _refuse(report: ImportReport, errors: list[OpenbellError], listed: list[Path]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        reasons = "; ".join(str(error) for error in errors[:5])
        raise DataSourceError("import", f"none of {len(errors)} files could be read: {reasons}")
    where = ", ".join(str(path) for path in listed) or "no path"
    if report.n_read:
        counts = ", ".join(f"{n} {reason}" for reason, n in report.n_bad.items())
        first = report.bad_rows[0] if report.bad_rows else None
        shown = f"; first: {first.file} {first.place}: {first.detail}" if first else ""
        raise DataSourceError(
            "import", f"{where}: none of {report.n_read} rows is a good bar: {counts}{shown}"
        )
    raise DataSourceError("import", f"{where}: no rows; expected CSV, Parquet, Arrow or LEAN zips")


def _walk(paths: Iterable[Path], to: Path, skipped: list[str]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            inside = file.relative_to(path).parts
            if not file.is_file() or any(part.startswith((".", "_")) for part in inside):
                continue
            if file.resolve().is_relative_to(to.resolve()) and not path.resolve().is_relative_to(
                to.resolve()
            ):
                continue
            if _opener_of(file) is None:
                skipped.append(str(file))
            else:
                yield file


def _opener_of(path: Path) -> Callable[[Path, Mapping[str, str] | None], OpenedFile] | None:
    name = path.name.lower()
    if name.endswith(CSV_SUFFIXES):
        return open_csv
    if name.endswith(_ARROW_SUFFIXES):
        return open_arrow
    if name.endswith(".zip"):
        return lambda file, _: open_lean(file)
    return None


class _Job:
    def __init__(
        self,
        report: ImportReport,
        bad: BadRows,
        staging: Staging,
        sessions: Sessions,
        interval: Interval | None,
        tz: str | None,
        symbol: str | None,
    ) -> None:
        self.report = report
        self.bad = bad
        self.staging = staging
        self.sessions = sessions
        self.asked = interval
        self.tz = tz
        self.symbol = symbol
        self.symbols: dict[str, int] = {}
        self.files: list[OpenedFile] = []

    def read(self, path: Path, columns: Mapping[str, str] | None) -> Iterator[float]:
        """Read one file into staging; yields the share done."""
        if not path.exists():
            raise DatasetError(path, "no such file or folder", "import")
        opener = _opener_of(path)
        if opener is None:
            raise DatasetError(
                path, "is of no known format; expected CSV, Parquet, Arrow or a LEAN zip", "import"
            )
        file = opener(path, columns)
        if not file.has_symbol and not (self.symbol or file.symbol):
            raise SchemaError(
                file.name, "no column for symbol", "one, or symbol=NAME, or a name like AAPL.csv"
            )
        item = self._interval_of(file)
        self.files.append(file)
        self.report.files.append(file.name)
        times = TimeReader(file.name)
        for batch in file.batches:
            for row, text in batch.malformed:
                self.report.n_read += 1
                self._reject(file, row, "malformed", text[:200])
            if len(batch.rows):
                item = self._take(file, batch, times, item)
            yield batch.done

    def _interval_of(self, file: OpenedFile) -> Interval | None:
        told = parse_interval(file.interval) if file.interval else None
        if self.asked is not None and told is not None and told != self.asked:
            raise SchemaError(file.name, f"bars of {told}", f"bars of {self.asked}, as was said")
        return self.asked or told

    def _take(
        self, file: OpenedFile, batch: Batch, reader: TimeReader, item: Interval | None
    ) -> Interval | None:
        n = len(batch.rows)
        codes: Codes = np.zeros(n, np.uint8)
        values: dict[str, Any] = {}
        for role in BAR_FIELDS[1:]:
            values[role], unread = parse_numbers(batch.columns[role])
            mark(codes, unread, "unparsable")
        times = reader.read(batch.columns["timestamp"], batch.columns.get("time_of_day"))
        mark(codes, times.bad, "unparsable")
        symbols = self._symbols_of(file, batch, codes)
        if item is None:
            good = codes == 0
            if not good.any():
                self.report.n_read += n
                self._reject_marked(file, batch, codes)
                return None
            item = parse_interval(infer_interval(times.ns[good], symbols[good], file.name))
        ts_ns = self._to_utc(file, times, codes, item)
        if file.price_divisor != 1.0:
            for role in BAR_FIELDS[1:5]:
                values[role] = values[role] / file.price_divisor
        check_values(codes, *(values[role] for role in BAR_FIELDS[1:]))
        start_ns, dates = self.sessions.place(ts_ns, codes, item)
        self.report.n_read += n
        self._reject_marked(file, batch, codes)
        good = codes == 0
        rows = np.empty(int(good.sum()), STAGED_DTYPE)
        rows["timestamp"] = start_ns[good]
        for role in BAR_FIELDS[1:]:
            rows[role] = values[role][good]
        for role in EXTRA_FIELDS:
            more = batch.columns.get(role)
            rows[role] = np.nan if more is None else parse_numbers(more)[0][good]
        rows["row"] = batch.rows[good]
        rows["symbol"] = symbols[good]
        rows["file"] = len(self.files) - 1
        self.staging.add(item.name, dates[good], rows)
        return item

    def _symbols_of(self, file: OpenedFile, batch: Batch, codes: Codes) -> Int64Array:
        if not file.has_symbol:
            name = self.symbol or file.symbol or ""
            number = self.symbols.setdefault(name, len(self.symbols))
            return np.full(len(codes), number, np.int64)
        names, local = symbol_codes(text_of(batch.columns["symbol"]), file.name)
        numbers = np.array(
            [
                self.symbols.setdefault(name, len(self.symbols)) if _is_symbol(name) else -1
                for name in names
            ],
            np.int64,
        )
        found = numbers[local]
        mark(codes, found < 0, "no_symbol")
        if self.symbol is not None:
            mark(codes, found != self.symbols.get(self.symbol, -1), "other_symbol")
        return found

    def _to_utc(self, file: OpenedFile, times: Times, codes: Codes, item: Interval) -> Int64Array:
        naive = times.naive & (codes == 0)
        if not naive.any():
            return times.ns
        if item.is_daily and not (times.ns[naive] % NS_PER_DAY).any():
            return times.ns
        zone = self.tz or file.zone
        if zone is None:
            raise TimeError(file.name, "its timestamps have no time zone; say which it is with tz")
        utc, ambiguous, nonexistent = to_utc(times.ns[naive], zone)
        ns = times.ns.copy()
        ns[naive] = utc
        for mask, reason in ((ambiguous, "ambiguous_time"), (nonexistent, "nonexistent_time")):
            where = np.zeros(len(ns), bool)
            where[naive] = mask
            mark(codes, where, reason)
        return ns

    def _reject_marked(self, file: OpenedFile, batch: Batch, codes: Codes) -> None:
        bad = np.flatnonzero(codes)
        for k, at in enumerate(bad):
            if not self.bad.wants_details:
                for code, n in zip(*np.unique(codes[bad[k:]], return_counts=True), strict=True):
                    self.bad.count(REASONS[int(code) - 1], int(n))
                return
            cells = (f"{role}={batch.columns[role][int(at)].as_py()!r}" for role in _shown(batch))
            self._reject(file, int(batch.rows[at]), REASONS[codes[at] - 1], ", ".join(cells))

    def _reject(self, file: OpenedFile, row: int, reason: str, detail: str) -> None:
        line = None if file.line_offset is None else row + file.line_offset
        self.bad.add(BadRow(file.name, row, line, reason, detail))

    def write(self, writer: DatasetWriter, on_progress: Progress | None) -> list[OpenbellError]:
        """Write every staged date; returns the errors of those that could not be."""
        report = self.report
        names = list(self.symbols)
        days = self.staging.days()
        symbols: set[str] = set()
        errors: list[OpenbellError] = []
        for k, (interval, date) in enumerate(days):
            day = join_duplicates(self.staging.take(interval, date), self._on_conflict)
            report.n_duplicate += day.n_duplicate
            try:
                result = writer.write(
                    date,
                    {names[number]: bars for number, bars in day.bars.items()},
                    interval=interval,
                    extras={names[number]: more for number, more in day.extras.items()},
                )
            except OpenbellError as error:
                errors.append(error)
                report.failed.append(FailedFile(f"{interval} {date}", str(error)))
                continue
            report.paths.append(result.path)
            report.n_written += result.n_rows
            report.n_replaced += result.n_replaced
            symbols.update(names[number] for number in day.bars)
            if on_progress is not None:
                on_progress("write", k + 1, len(days))
        report.symbols = sorted(symbols)
        report.dates = sorted({date for _, date in days})
        report.intervals = [i.name for i in sorted({parse_interval(i) for i, _ in days})]
        return errors

    def _on_conflict(self, lost: np.void, kept: np.void) -> None:
        file = self.files[int(lost["file"])]
        other = self.files[int(kept["file"])]
        where = "" if other is file else f"{other.name} "
        self._reject(
            file, int(lost["row"]), "conflict", f"replaced by {where}row {int(kept['row'])}"
        )


def _is_symbol(name: str) -> bool:
    return bool(name) and name.isprintable() and "\ufffd" not in name


def _shown(batch: Batch) -> list[str]:
    roles = ("symbol", "timestamp", "time_of_day", *BAR_FIELDS[1:])
    return [role for role in roles if role in batch.columns]
