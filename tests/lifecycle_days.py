"""Small datasets to replay, and sessions over them."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest

import openbell as ob
from openbell.provenance import check_provenance
from openbell.sources import DatasetWriter
from tests.model import RecordModel, slots_of, step_of

SECOND = 1_000_000_000
WEDNESDAY = date(2025, 7, 2)
HALF_DAY = date(2025, 7, 3)

_TABLES = ("historical", "historical_indicators", "indicators")


def window_of(day: date, calendar: str = "XNYS") -> ob.SessionWindow:
    return ob.TimeManager(calendar).session_window(day)


def bars_at(
    window: ob.SessionWindow, interval: str, slots: Iterable[int], price: float = 100.0
) -> np.ndarray:
    """A bar in each of these slots of an interval; no two alike."""
    starts = [start for start, _ in slots_of(window.segments, interval, "session", "UTC")]
    wanted = sorted({slot for slot in slots if slot < len(starts)})
    bars = np.zeros(len(wanted), ob.BAR_DTYPE)
    bars["timestamp"] = [starts[slot] for slot in wanted]
    walk = price + np.array([(slot * 7919) % 997 for slot in wanted]) / 64.0
    bars["open"], bars["close"] = walk, walk + 0.25
    bars["high"], bars["low"] = walk + 0.5, walk - 0.125
    bars["volume"] = [1 + slot % 13 for slot in wanted]
    return bars


def sparse_slots(rng: np.random.Generator, n_slots: int, n: int) -> list[int]:
    """Slots here and there, the first and the last among them, and a stretch without holes."""
    return sorted({0, n_slots - 1, *range(60, 420), *rng.integers(0, n_slots, n).tolist()})


def write_days(
    folder: Path,
    days: Mapping[date, Mapping[str, Mapping[str, np.ndarray]]],
    calendar: str = "XNYS",
) -> Path:
    """Write bars by day, interval and symbol as a dataset."""
    clock = ob.TimeManager(calendar)
    writer = DatasetWriter(folder, calendar=calendar, timezone=clock.timezone)
    for day, intervals in days.items():
        for interval, records in intervals.items():
            writer.write(day, records, interval=interval)
    return folder


def config_of(
    folder: Path,
    days: Sequence[date],
    symbols: Sequence[str],
    streams: Sequence[str],
    **others: Any,
) -> dict[str, Any]:
    tables = {k: others.pop(k) for k in _TABLES if k in others}
    session = {
        "start_date": days[0],
        "end_date": days[-1],
        "symbols": list(symbols),
        "streams": list(streams),
        **others,
    }
    return {"session": session, "data": {"parquet": str(folder)}, **tables}


def session_over(
    folder: Path,
    days: Sequence[date],
    symbols: Sequence[str],
    streams: Sequence[str],
    **others: Any,
) -> ob.SessionCoordinator:
    """A session over a dataset; other keywords are those of ``[session]``, or other tables."""
    return ob.open_session(config_of(folder, days, symbols, streams, **others))


def ends_of(window: ob.SessionWindow, interval: str) -> dict[int, int]:
    """End of each slot of a window, by its start."""
    return dict(slots_of(window.segments, interval, "session", "UTC"))


def expected_closings(
    window: ob.SessionWindow,
    watched: Iterable[str],
    bars: Mapping[str, tuple[str, np.ndarray]],
    *,
    complete: bool = False,
) -> list[tuple[int, str, str, int]]:
    """(when, interval, symbol, label) of each bar that closes, from base bars by symbol."""
    found = []
    for interval in watched:
        slots = slots_of(window.segments, interval, "session", "UTC")
        starts = [start for start, _ in slots]
        for symbol, (base, rows) in bars.items():
            if step_of(interval) < step_of(base):
                continue
            held = Counter(bisect_right(starts, label) - 1 for label in rows["timestamp"].tolist())
            for slot, n in held.items():
                start, end = slots[slot]
                if not complete or n == -(-(end - start) // step_of(base)):
                    found.append((end, interval, symbol, start))
    return sorted(found, key=lambda c: (c[0], step_of(c[1]), c[2]))


def model_of(window: ob.SessionWindow, base: str, derived: Iterable[str]) -> RecordModel:
    return RecordModel(window.segments, base, derived, window.anchor, window.timezone)


def tree(root: ob.SessionData) -> dict[str, Any]:
    """All that a root shows of its records, as bytes and numbers."""
    return {
        rec.symbol: {
            "rejected": rec.rejected,
            "metrics": rec.session_metrics,
            "counters": (rec.n_duplicate, rec.n_corrected, rec.n_late),
            **{
                name: (
                    series.data.tobytes(),
                    None if series.n_base is None else series.n_base.tobytes(),
                    series.gap_runs().tobytes(),
                    series.quality,
                )
                for name, series in rec.bars.items()
            },
        }
        for rec in root
    }


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "openbell.lifecycle" and record.levelno == logging.WARNING
    ]


def damage_pages(path: Path, symbol: str, column: str = "close") -> None:
    """Overwrite a symbol's block of one column; the footer stays whole."""
    metadata = pq.ParquetFile(path).metadata
    for n in range(metadata.num_row_groups):
        group = metadata.row_group(n)
        if group.column(0).statistics.min == symbol:
            (chunk,) = (
                c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column
            )
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content = bytearray(path.read_bytes())
            content[start : start + chunk.total_compressed_size] = (
                b"\xff" * chunk.total_compressed_size
            )
            path.write_bytes(content)
            return
    raise AssertionError(symbol)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def instant(day: date, clock: str) -> datetime:
    """A time of a day in New York, such as ``11:00``, as UTC."""
    local = datetime.combine(day, time.fromisoformat(clock), ZoneInfo("America/New_York"))
    return local.astimezone(ZoneInfo("UTC"))


def ns_at(day: date, clock: str) -> int:
    """The same as nanoseconds."""
    return int(instant(day, clock).timestamp()) * SECOND


def play(
    session: ob.SessionCoordinator,
    acts: Mapping[str, Callable[[], object]] | None = None,
    days: Iterator[Any] | None = None,
) -> Iterator[Any]:
    """Replay the next day; each act is done in the first slice at or after its time."""
    days = session.days() if days is None else days
    day = next(days)
    left = [(ns_at(day.date, clock), act) for clock, act in sorted((acts or {}).items())]
    n_changes = -1
    for ts_ns, _ in day.slices():
        while left and left[0][0] <= ts_ns:
            left.pop(0)[1]()
            n_changes = -1
        if n_changes != session.root.core.n_changes:
            check_all(session.root)
            # Again after what was asked for is served.
            n_changes = session.root.core.n_changes if n_changes != -1 else -2
    assert not left, "an act was not done"
    check_all(session.root)
    return days


def check_all(root: ob.SessionData) -> None:
    """Each record obeys the provenance rules."""
    for rec in root:
        assert check_provenance(rec) == [], rec.symbol


def adhoc_bar(
    symbol: str, interval: str, start: datetime, price: float = 50.0, volume: float = 10.0
) -> ob.BarData:
    return ob.BarData(
        int(start.timestamp()) * SECOND,
        price, price + 2.0, price - 2.0, price + 1.0, volume, symbol, interval,
    )  # fmt: skip


def everything(rec: ob.SymbolSessionData, *, by_clock: bool = True) -> dict[str, Any]:
    """All that a record holds, flags, history and indicators too, to compare before and after.

    Without what changes by time alone, when not `by_clock`.
    """
    return {
        "flags": (
            rec.is_loaded, rec.meets_session_config_requirements, rec.added_by,
            rec.auto_provisioned, rec.added_at, rec.upgraded_from_adhoc,
        ),
        "base": (rec.base_interval, rec.derived_intervals),
        "bars": {
            name: (
                series.data.tobytes(),
                None if series.n_base is None else series.n_base.tobytes(),
                series.revision,
                *((series.quality, series.gap_runs().tobytes()) if by_clock else ()),
            )
            for name, series in rec.bars.items()
        },
        "metrics": rec.session_metrics,
        "rejected": rec.rejected,
        "historical": {
            name: {day: bars.tobytes() for day, bars in by_date.items()}
            for name, by_date in rec.historical_bars.items()
        },
        "historical_indicators": dict(rec.historical_indicators),
        "historical_quality": dict(rec.historical_quality),
        "historical_gaps": {name: list(gaps) for name, gaps in rec.historical_gaps.items()},
        "indicators": {name: held.to_json() for name, held in rec.indicators.items()},
        "errors": rec.errors,
    }  # fmt: skip
