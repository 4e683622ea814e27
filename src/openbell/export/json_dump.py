"""The JSON dump, ``schema_version: 1``: the session's tree as a dict or as a streamed file.

Each record is captured first (arrays copied, scalars read) and turned into text after, so
that bars arriving meanwhile do not tear it. A file's text is made of the bars themselves, and of
copies only where that takes so long that something arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from openbell._native.captures import read_states
from openbell.errors import OpenbellError, SessionStateError
from openbell.export.deferred import DeferredRows
from openbell.export.files import replacing
from openbell.export.texts import (
    Labels,
    float_or_none,
    gaps_tree,
    iso_or_none,
    plain,
    volume_or_none,
)
from openbell.gaps import explained_quality, n_unexplained
from openbell.intervals import interval
from openbell.schema import HISTORICAL_KEYS, BarArray, to_iso

if TYPE_CHECKING:
    from os import PathLike

    from openbell._native.captures import SeriesState
    from openbell.bars import BarIntervalData
    from openbell.error_log import RecordError
    from openbell.events import EventSequence
    from openbell.gaps import GapInfo
    from openbell.session import SessionData
    from openbell.symbol import SymbolSessionData

__all__ = [
    "SCHEMA_VERSION",
    "session_to_dict",
    "symbol_to_dict",
    "write_session_json",
    "write_tree",
]

#: The version of the dump's layout, its first key.
SCHEMA_VERSION: Final = 1

_T = TypeVar("_T")
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
    exporter = Exporter(root, intervals, bars)
    symbols = {rec.symbol: exporter.symbol(rec) for rec in root}
    return {"schema_version": SCHEMA_VERSION, "session": exporter.session, "symbols": symbols}


def symbol_to_dict(
    rec: SymbolSessionData, *, intervals: Iterable[str] | None = None, bars: bool = True
) -> dict[str, Any]:
    """Return one record as its branch of the dump's tree, incomplete bars and all.

    See :func:`session_to_dict`.
    """
    return Exporter(None, intervals, bars).symbol(rec)


def write_session_json(
    root: SessionData,
    path: str | PathLike[str],
    *,
    intervals: Iterable[str] | None = None,
    bars: bool = True,
) -> None:
    """Write the dump to a file, one symbol after another.

    Memory holds the text of one symbol at a time, and a copy of its bars only where other threads
    change them. The file appears under its name only when it is whole: it is written beside it
    and renamed.

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
    rows = DeferredRows(root.window)
    exporter = Exporter(root, intervals, bars, rows)
    head = {"schema_version": SCHEMA_VERSION, "session": exporter.session}

    def write(file: BinaryIO, rec: SymbolSessionData) -> None:
        captured = exporter.capture(rec, copies=False)
        rows.encode(exporter.branch(rec, captured))
        if not exporter.is_current(rec, captured):
            rows.encode(exporter.symbol(rec))
        rows.flush(file)

    with replacing(path) as file:
        write_tree(file, head, ((rec.symbol, rec) for rec in root), write)


def write_tree(
    file: BinaryIO,
    head: dict[str, Any],
    symbols: Iterable[tuple[str, _T]],
    write: Callable[[BinaryIO, _T], object],
) -> None:
    """Write a dump: its head, then symbol by symbol, each branch by a call of `write`."""
    import msgspec

    encode = msgspec.json.encode
    file.write(encode(head)[:-1] + b',"symbols":{')
    separator = b"\n"
    for symbol, branch in symbols:
        file.write(separator + encode(symbol) + b":")
        write(file, branch)
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
    n_shown: int
    quality: float | None
    coverage: float | None
    n_expected: int
    gaps: Sequence[GapInfo]
    n_evicted: int
    n_incomplete: int
    place: tuple[int, int]


@dataclass(slots=True)
class _Events:
    """Quotes or trades at the moment of the capture."""

    rows: npt.NDArray[np.void]
    n_held: int
    n_evicted: int


@dataclass(slots=True)
class Places:
    """Up to where the rows of a record went out: counts and labels, no bar.

    Attributes
    ----------
    layout : tuple
        How the record was linked, and which bars were shown. In another layout rows may differ
        in ways that no revision tells.
    series : dict of str to (int, int)
        By interval: the revision, and the label of the newest bar.
    n_events : dict of str to int
        ``quotes`` and ``ticks``: how many there had been.
    """

    layout: tuple[int, bool]
    series: dict[str, tuple[int, int]]
    n_events: dict[str, int]


class _State(NamedTuple):
    """What tells whether a record has changed."""

    now_ns: int | None
    n_links: int
    series: list[SeriesState]
    n_events: list[tuple[int, int]]


@dataclass(slots=True)
class Captured:
    """What one record held at one instant, rows only from the places given on."""

    state: _State
    series: list[_Series]
    events: dict[str, _Events]
    scalars: dict[str, Any]
    layout: tuple[int, bool]

    @property
    def now_ns(self) -> int | None:
        """What the record's clock showed."""
        return self.state.now_ns

    @property
    def places(self) -> Places:
        """Where the next export goes on."""
        return Places(
            self.layout,
            {item.interval: item.place for item in self.series},
            {kind: item.n_evicted + item.n_held for kind, item in self.events.items()},
        )


class Exporter:
    """One export: its filters, and what its symbols share."""

    def __init__(
        self,
        root: SessionData | None,
        intervals: Iterable[str] | None,
        bars: bool,
        labels: Labels | None = None,
    ) -> None:
        self._root = root
        self._wanted = None if intervals is None else {interval(name).name for name in intervals}
        self._bars = bars
        self._skips_incomplete = root is not None and root.on_incomplete == "skip"
        self._labels = labels or Labels(None if root is None else root.window)
        has_day = root is not None and root.window is not None
        self._now_ns = root.now_ns if root is not None and has_day else None
        self.session: dict[str, Any] = {} if root is None else _session_tree(root, self._now_ns)

    def symbol(self, rec: SymbolSessionData) -> dict[str, Any]:
        """Return the record's branch of the tree."""
        return self.branch(rec, self.capture(rec))

    def branch(self, rec: SymbolSessionData, captured: Captured) -> dict[str, Any]:
        """Return what was captured as the record's branch, and its history."""
        tree = self.tree(captured)
        tree["historical"] = self.historical(rec)
        return tree

    def tree(self, captured: Captured) -> dict[str, Any]:
        """Return what was captured as the record's branch, all but its history."""
        tree = captured.scalars
        session = tree["session"]
        if captured.now_ns != self._now_ns:
            # Time passed since the head was written; the checker must know what had elapsed here.
            session["as_of"] = None if captured.now_ns is None else to_iso(captured.now_ns)
        session["data"] = {item.interval: self._series_tree(item) for item in captured.series}
        for kind, events in captured.events.items():
            session[kind] = self._events_tree(events)
        return tree

    def capture(
        self, rec: SymbolSessionData, places: Places | None = None, *, copies: bool = True
    ) -> Captured:
        """Take what a record holds at one instant; of the rows those behind the places.

        Without copies the rows are views: of that instant for as long as it :meth:`is_current`.
        """
        # Other threads may feed the record meanwhile. A capture during which nothing changed is of
        # one instant; within it nothing lets go of the interpreter, so that few need a second try.
        n_events = {} if places is None else places.n_events
        for _ in range(_CAPTURE_TRIES):
            before = self._state(rec)
            layout = rec.core.n_links, self._skips_incomplete
            known = {} if places is None or places.layout != layout else places.series
            scalars = _scalars_tree(rec)
            scores = scalars["quality"]
            series = [
                self._capture_series(item, state, scores.get(name), known.get(name), copies)
                for (name, item), state in zip(rec.bars.items(), before.series, strict=False)
                if self._shows(name)
            ]
            events = {
                "quotes": _capture_events(rec.quotes, n_events.get("quotes", 0), copies),
                "ticks": _capture_events(rec.ticks, n_events.get("ticks", 0), copies),
            }
            captured = Captured(before, series, events, scalars, layout)
            if self.is_current(rec, captured):
                return captured
        raise SessionStateError(
            f"export of {rec.symbol}",
            "taking bars faster than they can be copied",
            "export from the thread that feeds it, or while that one waits",
        )

    def is_current(self, rec: SymbolSessionData, captured: Captured) -> bool:
        """Whether nothing has changed since."""
        return self._state(rec) == captured.state

    def _state(self, rec: SymbolSessionData) -> _State:
        # The clock first: the lengths settle what it has reached. A record that was removed
        # meanwhile has one of its own, which stands still. Without a day there is none.
        now_ns = None if self._now_ns is None else rec.core.now_ns
        series = read_states(list(rec.bars.values()))
        n_events = [(len(e), e.n_evicted) for e in (rec.quotes, rec.ticks)]
        return _State(now_ns, rec.core.n_links, series, n_events)

    def _shows(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    def _capture_series(
        self,
        series: BarIntervalData,
        state: SeriesState,
        quality: float | None,
        place: tuple[int, int] | None,
        copies: bool,
    ) -> _Series:
        base, n_shown, n_evicted, revision, newest_ns, n_expected, n_gaps = state
        n_held = n_shown + n_evicted
        n_left_out = 0 if place is None else series.n_unchanged(*place)
        take = series.copy if copies else series.window
        bars = take(max(0, n_shown - n_left_out) if self._bars else 0)
        n_base, n_incomplete = series.n_base, 0
        if n_base is not None:
            if self._skips_incomplete:
                # Of another length only when bars came meanwhile, and then it is captured again.
                full = series.n_base_full()[: len(n_base)]
                whole = n_base[: len(full)] == full
                n_shown = int(np.count_nonzero(whole))
                n_incomplete = len(whole) - n_shown
                whole = whole[n_left_out:][: len(bars)]
                bars, n_base = bars[: len(whole)][whole], n_base[n_left_out:][: len(whole)][whole]
            else:
                n_base = _copy(n_base[n_left_out:]) if copies else n_base[n_left_out:]
        return _Series(
            interval=series.interval,
            generated=base is not None,
            base=base,
            bars=bars,
            n_base=n_base,
            n_shown=n_shown,
            quality=quality,
            coverage=n_held / n_expected if n_expected else None,
            n_expected=n_expected,
            gaps=series.gaps if n_gaps else (),
            n_evicted=n_evicted,
            n_incomplete=n_incomplete,
            place=(revision, newest_ns),
        )

    def _series_tree(self, series: _Series) -> dict[str, Any]:
        n_missing = n_unexplained(series.gaps) if series.gaps else 0
        tree: dict[str, Any] = {
            "count": series.n_shown,
            "generated": series.generated,
            "base": series.base,
            "quality": float_or_none(series.quality),
            "explained_quality": explained_quality(n_missing, series.n_expected),
            "coverage": float_or_none(series.coverage),
            "gaps": self._labels.gaps(series.interval, series.gaps),
        }
        if series.n_evicted:
            tree["evicted"] = series.n_evicted
        if series.n_incomplete:
            tree["incomplete"] = series.n_incomplete
        if self._bars:
            tree |= self._labels.rows(series.bars, series.interval, series.n_base)
        return tree

    def _events_tree(self, events: _Events) -> dict[str, Any]:
        tree: dict[str, Any] = {"count": events.n_held}
        if events.n_evicted:
            tree["evicted"] = events.n_evicted
        if self._bars:
            tree |= self._labels.rows(events.rows)
        return tree

    def historical(self, rec: SymbolSessionData) -> dict[str, Any]:
        """Return the days before the session as they stand in the record's branch."""
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
                tree |= self._labels.rows(rows)
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


def _capture_events(events: EventSequence[Any], n_known: int, copies: bool) -> _Events:
    n_evicted, rows = events.n_evicted, events.data
    taken = rows[max(0, n_known - n_evicted) :]
    return _Events(_copy(taken) if copies else taken, len(rows), n_evicted)


def _indicator(item: Any) -> Any:
    to_json: Callable[[], Any] | None = getattr(item, "to_json", None)
    tree = plain(item if to_json is None else to_json())
    # NaN is a value to whoever asks the indicator; a dump has none to show.
    if isinstance(tree, dict) and tree.get("value", ...) is None:
        tree["ready"] = False
    return tree
