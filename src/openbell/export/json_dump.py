"""The JSON dump, ``schema_version: 1``: the session's tree as a dict or as a streamed file.

Each record is captured first (arrays copied, scalars read) and turned into text after, so
that bars arriving meanwhile do not tear it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import OpenbellError, SessionStateError
from openbell.export.files import replacing
from openbell.export.texts import (
    Labels,
    float_or_none,
    gaps_tree,
    iso_column,
    iso_or_none,
    plain,
    rows_tree,
    volume_or_none,
)
from openbell.intervals import interval
from openbell.schema import HISTORICAL_KEYS, BarArray, to_iso

if TYPE_CHECKING:
    from os import PathLike

    from openbell.bars import BarIntervalData
    from openbell.error_log import RecordError
    from openbell.gaps import GapInfo
    from openbell.session import SessionData
    from openbell.symbol import SymbolSessionData

__all__ = ["SCHEMA_VERSION", "session_to_dict", "symbol_to_dict", "write_session_json"]

#: The version of the dump's layout, its first key.
SCHEMA_VERSION: Final = 1

_CAPTURE_TRIES: Final = 64


def session_to_dict(
    root: SessionData, *, intervals: Iterable[str] | None = None, bars: bool = True
) -> dict[str, Any]:
    """Return the whole session as the dump's tree of plain Python values.

    Parameters
    ----------
    root : SessionData
    intervals : iterable of str, optional
        Show only the series of these intervals; all of them when None.
    bars : bool
        Whether the rows of bars, quotes and ticks are included; counts, gaps and
        quality always are.

    Returns
    -------
    dict
        A copy, equal to what :func:`write_session_json` writes once decoded. Times are
        ISO-8601 UTC with offset, absent numbers None, integral volumes ints. Where
        ``root.on_incomplete`` is ``skip``, derived bars that lack base bars are left out and
        counted as ``incomplete``; quality, coverage and gaps are of all that is stored.

    Raises
    ------
    IntervalError
        When one of `intervals` is not an interval.
    SessionStateError
        When other threads change a record faster than it can be copied; a torn dump is not made.
    """
    exporter = _Exporter(root, intervals, bars)
    symbols = {rec.symbol: exporter.symbol(rec) for rec in root}
    return {"schema_version": SCHEMA_VERSION, "session": exporter.session, "symbols": symbols}


def symbol_to_dict(
    rec: SymbolSessionData, *, intervals: Iterable[str] | None = None, bars: bool = True
) -> dict[str, Any]:
    """Return one record as its branch of the dump's tree, incomplete bars and all.

    See :func:`session_to_dict`.
    """
    return _Exporter(None, intervals, bars).symbol(rec)


def write_session_json(
    root: SessionData,
    path: str | PathLike[str],
    *,
    intervals: Iterable[str] | None = None,
    bars: bool = True,
) -> None:
    """Write the dump to a file, one symbol after another.

    Memory holds one symbol's tree at a time. The file appears under its name only when it is
    whole: it is written beside it and renamed.

    Parameters
    ----------
    root, intervals, bars
        As in :func:`session_to_dict`.
    path : str or os.PathLike
        The file; replaced when it exists. Its folder must exist.

    Raises
    ------
    IntervalError
        When one of `intervals` is not an interval.
    OSError
        When the file cannot be written; an older one of that name is left as it was.
    """
    exporter = _Exporter(root, intervals, bars)
    with replacing(path) as file:
        _write_tree(file, exporter, iter(root))


def _write_tree(file: BinaryIO, exporter: _Exporter, records: Iterator[SymbolSessionData]) -> None:
    import msgspec

    encode = msgspec.json.Encoder().encode
    file.write(b'{"schema_version":%d,"session":' % SCHEMA_VERSION)
    file.write(encode(exporter.session))
    file.write(b',"symbols":{')
    separator = b"\n"
    for rec in records:
        file.write(separator + encode(rec.symbol) + b":" + encode(exporter.symbol(rec)))
        separator = b",\n"
    file.write(b"\n}}\n")


@dataclass(slots=True)
class _Series:
    """What one series held at the moment of the capture."""

    interval: str
    generated: bool
    base: str | None
    bars: BarArray
    n_base: npt.NDArray[np.int32] | None
    quality: float | None
    coverage: float | None
    gaps: Sequence[GapInfo]
    n_evicted: int
    n_incomplete: int


class _Exporter:
    """One export: its filters, and what its symbols share."""

    def __init__(
        self, root: SessionData | None, intervals: Iterable[str] | None, bars: bool
    ) -> None:
        self._root = root
        self._wanted = None if intervals is None else {interval(name).name for name in intervals}
        self._bars = bars
        self._skips_incomplete = root is not None and root.on_incomplete == "skip"
        self._labels = Labels(None if root is None else root.window)
        has_day = root is not None and root.window is not None
        self._now_ns = root.now_ns if root is not None and has_day else None
        self.session: dict[str, Any] = {} if root is None else _session_tree(root, self._now_ns)

    def symbol(self, rec: SymbolSessionData) -> dict[str, Any]:
        series, scalars, now_ns = self._capture(rec)
        session = scalars["session"]
        if now_ns != self._now_ns:
            # Time passed since the head was written; the checker must know what had elapsed here.
            session["as_of"] = None if now_ns is None else to_iso(now_ns)
        session["data"] = {s.interval: self._series_tree(s) for s in series}
        session["quotes"] = self._events_tree(*scalars.pop("quotes"))
        session["ticks"] = self._events_tree(*scalars.pop("ticks"))
        scalars["historical"] = self._historical_tree(rec)
        return scalars

    def _capture(self, rec: SymbolSessionData) -> tuple[list[_Series], dict[str, Any], int | None]:
        # Other threads may feed the record meanwhile. A capture during which nothing changed is of
        # one instant; within it nothing lets go of the interpreter, so that few need a second try.
        for _ in range(_CAPTURE_TRIES):
            before = self._state(rec)
            scalars = _scalars_tree(rec)
            scores = scalars["quality"]
            series = [
                self._capture_series(item, scores.get(name))
                for name, item in rec.bars.items()
                if self._shows(name)
            ]
            if self._state(rec) == before:
                return series, scalars, before[0]
        raise SessionStateError(
            f"export of {rec.symbol}",
            "taking bars faster than they can be copied",
            "export from the thread that feeds it, or while that one waits",
        )

    def _state(self, rec: SymbolSessionData) -> tuple[int | None, list[Any]]:
        # The clock first: the lengths settle what it has reached. A record that was removed
        # meanwhile has one of its own, which stands still. Without a day there is none.
        now_ns = None if self._now_ns is None else rec.core.now_ns
        series = [(len(s), s.revision, s.n_evicted) for s in rec.bars.values()]
        events = [(len(e), e.n_evicted) for e in (rec.quotes, rec.ticks)]
        return now_ns, [list(rec.bars), rec.derived_intervals, series, events]

    def _shows(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    def _capture_series(self, series: BarIntervalData, quality: float | None) -> _Series:
        bars, n_base, n_incomplete = series.copy(), series.n_base, 0
        if n_base is not None:
            n_base = _copy(n_base)
            if self._skips_incomplete:
                # Of another length only when bars came meanwhile, and then it is captured again.
                full = series.n_base_full()[: len(n_base)]
                whole = n_base[: len(full)] == full
                n_incomplete = int(np.count_nonzero(~whole))
                bars, n_base = bars[: len(whole)][whole], n_base[: len(whole)][whole]
        return _Series(
            interval=series.interval,
            generated=series.derived,
            base=series.base,
            bars=bars,
            n_base=n_base,
            quality=quality,
            coverage=series.coverage,
            gaps=series.gaps,
            n_evicted=series.n_evicted,
            n_incomplete=n_incomplete,
        )

    def _series_tree(self, series: _Series) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "count": len(series.bars),
            "generated": series.generated,
            "base": series.base,
            "quality": float_or_none(series.quality),
            "coverage": float_or_none(series.coverage),
            "gaps": self._labels.gaps(series.interval, series.gaps),
        }
        if series.n_evicted:
            tree["evicted"] = series.n_evicted
        if series.n_incomplete:
            tree["incomplete"] = series.n_incomplete
        if self._bars:
            labels = self._labels.of(series.interval, series.bars["timestamp"])
            tree |= rows_tree(series.bars, labels, series.n_base)
        return tree

    def _events_tree(self, events: npt.NDArray[np.void], n_evicted: int) -> dict[str, Any]:
        tree: dict[str, Any] = {"count": len(events)}
        if n_evicted:
            tree["evicted"] = n_evicted
        return tree | rows_tree(events, iso_column(events["timestamp"])) if self._bars else tree

    def _historical_tree(self, rec: SymbolSessionData) -> dict[str, Any]:
        data = {}
        for name, by_date in rec.historical_bars.items():
            if not self._shows(name):
                continue
            days = dict(sorted(by_date.items()))
            tree: dict[str, Any] = {
                "count": sum(map(len, days.values())),
                "quality": float_or_none(rec.historical_quality.get(name)),
            }
            gaps = rec.historical_gaps.get(name)
            if gaps is not None:
                tree["gaps"] = gaps_tree(gaps)
            tree["days"] = {day.isoformat(): len(rows) for day, rows in days.items()}
            if self._bars and days:
                rows = np.concatenate(list(days.values()))
                tree |= rows_tree(rows, iso_column(rows["timestamp"]))
            data[name] = tree
        found: dict[str, Any] = {"loaded": bool(rec.historical_bars), "data": data}
        for name, value in rec.historical_indicators.items():
            if name in HISTORICAL_KEYS:
                raise OpenbellError(
                    f"{rec.symbol}: a historical indicator is named {name!r}, which the dump "
                    f"uses itself; give it another name"
                )
            found[name] = plain(value)
        return found


def metadata_tree(rec: SymbolSessionData) -> dict[str, Any]:
    """Return a record's provenance under the names document 000 gives them."""
    return {
        "meets_session_config_requirements": bool(rec.meets_session_config_requirements),
        "added_by": rec.added_by,
        "auto_provisioned": bool(rec.auto_provisioned),
        "added_at": iso_or_none(rec.added_at),
        "upgraded_from_adhoc": bool(rec.upgraded_from_adhoc),
    }


def _session_tree(root: SessionData, now_ns: int | None) -> dict[str, Any]:
    window = root.window
    tree: dict[str, Any] = {
        "date": None, "open": None, "close": None, "segments": [],
        "active": bool(root.session_active),
        "now": None if now_ns is None else to_iso(now_ns),
        "calendar": None, "timezone": None, "anchor": None,
    }  # fmt: skip
    if window is not None:
        tree["date"] = window.date.isoformat()
        tree["open"] = to_iso(window.open_ns)
        tree["close"] = to_iso(window.close_ns)
        tree["segments"] = [[to_iso(o), to_iso(c)] for o, c in window.segments]
        tree["calendar"] = window.calendar
        tree["timezone"] = window.timezone
        tree["anchor"] = window.anchor
    return tree


def _scalars_tree(rec: SymbolSessionData) -> dict[str, Any]:
    # Reading an indicator settles it, and may note an error: before the errors are read.
    return {
        "symbol": rec.symbol,
        "base_interval": rec.base_interval,
        "is_loaded": bool(rec.is_loaded),
        "metadata": metadata_tree(rec),
        "session": {
            "volume": volume_or_none(rec.session_volume),
            "high": float_or_none(rec.session_high),
            "low": float_or_none(rec.session_low),
            "last_update": iso_or_none(rec.last_update),
        },
        "quotes": (_copy(rec.quotes.data), rec.quotes.n_evicted),
        "ticks": (_copy(rec.ticks.data), rec.ticks.n_evicted),
        "indicators": {name: _indicator(item) for name, item in rec.indicators.items()},
        "quality": {name: float_or_none(score) for name, score in rec.quality.items()},
        "rejected": {reason: int(n) for reason, n in rec.rejected.items()},
        "errors": [_error_tree(item) for item in rec.errors],
        "revised": {
            "duplicate": int(rec.n_duplicate),
            "corrected": int(rec.n_corrected),
            "late": int(rec.n_late),
        },
    }


def _error_tree(item: RecordError) -> dict[str, Any]:
    first = iso_or_none(item.first_ns or None)
    return {"where": item.where, "error": item.error, "first": first, "n": item.n}


def _copy(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Unlike ndarray.copy, this does not let other threads run in the middle.
    return np.frombuffer(rows.tobytes(), dtype=rows.dtype)


def _indicator(item: Any) -> Any:
    to_json: Callable[[], Any] | None = getattr(item, "to_json", None)
    tree = plain(item if to_json is None else to_json())
    # NaN is a value to whoever asks the indicator; a dump has none to show.
    if isinstance(tree, dict) and tree.get("value", ...) is None:
        tree["ready"] = False
    return tree
