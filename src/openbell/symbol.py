"""The record of one symbol for one trading day: all that is known of it, in one object.

Bars, rings and counters are native; provenance, history and indicators are plain attributes.
Nothing is stored twice: what the specification names in several ways are properties over
``bars``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from math import nan
from typing import Any, Final, Literal, NamedTuple

from openbell._native.core import Core
from openbell._native.engine import SymbolEngine
from openbell._native.values import BarData
from openbell.bars import BarIntervalData, BarSequence, refuse_live
from openbell.error_log import ErrorLog, RecordError
from openbell.errors import ArgumentError, BarRefused, IntervalError, ProvenanceError
from openbell.events import Event, EventArray, EventSequence, EventStore, QuoteData, TickData
from openbell.gaps import GapInfo
from openbell.intervals import fold_sources
from openbell.intervals import interval as parse_interval
from openbell.provenance import check_provenance
from openbell.schema import ADDED_BY, BarArray, Int64Array, to_datetime, to_ns
from openbell.side_columns import FloatColumn

__all__ = ["AddedBy", "SessionMetrics", "SymbolSessionData"]

AddedBy = Literal["config", "strategy", "scanner", "adhoc"]

#: Quotes, and trades, that a record keeps at least.
EVENT_CAPACITY = 65_536


class SessionMetrics(NamedTuple):
    """What the day's base bars add up to.

    Attributes
    ----------
    volume : float
    high, low : float or None
        None while there is no bar.
    last_update_ns : int or None
        End of the newest base bar, nanoseconds UTC.
    """

    volume: float
    high: float | None
    low: float | None
    last_update_ns: int | None

    @property
    def last_update(self) -> datetime | None:
        """End of the newest base bar, aware UTC."""
        return None if self.last_update_ns is None else to_datetime(self.last_update_ns)


class SymbolSessionData(SymbolEngine):
    """Session data of one symbol, and where it came from.

    Parameters
    ----------
    symbol : str
    base_interval : str
        The interval that arrives, such as ``1s``.
    derived_intervals : iterable of str
        What to fold from it; each a multiple of the base.
    is_loaded : bool
        Whether loading has finished.
    meets_session_config_requirements : bool
        Whether the record honours the session's config.
    added_by : "config", "strategy", "scanner" or "adhoc"
    auto_provisioned : bool
        Whether it was made for a bar or an indicator nobody had announced.
    added_at : aware datetime, optional
        When it joined a running day; None for a record of the config.
    upgraded_from_adhoc : bool
    capacity : int
        Bars each series keeps at least (and twice as many at most); 0 keeps the whole day.
    n_reserve : int, optional
        Base bars to reserve memory for when the day begins. None: the whole day for a record
        that meets the config, else nothing.

    Raises
    ------
    IntervalError
        When an interval is unknown or cannot be folded from the base.
    ArgumentError, TimeError
        When another argument is not what it should be.
    """

    __slots__ = (
        "__weakref__",
        "_errors",
        "_events",
        "_is_loaded",
        "_noted_quality",
        "_readers",
        "added_at",
        "added_by",
        "auto_provisioned",
        "bars",
        "historical_bars",
        "historical_gaps",
        "historical_indicators",
        "historical_quality",
        "indicators",
        "meets_session_config_requirements",
        "n_reserve",
        "symbol",
        "upgraded_from_adhoc",
    )

    def __init__(
        self,
        symbol: str,
        *,
        base_interval: str = "1m",
        derived_intervals: Iterable[str] = (),
        is_loaded: bool = False,
        meets_session_config_requirements: bool = False,
        added_by: AddedBy = "config",
        auto_provisioned: bool = False,
        added_at: datetime | None = None,
        upgraded_from_adhoc: bool = False,
        capacity: int = 0,
        n_reserve: int | None = None,
    ) -> None:
        if not isinstance(symbol, str) or not is_name(symbol):
            raise ArgumentError("symbol", symbol, "a printable name without blanks around it")
        if added_by not in ADDED_BY:
            raise ArgumentError("added_by", added_by, f"one of {', '.join(ADDED_BY)}")
        if capacity < 0:
            raise ArgumentError("capacity", capacity, "a count of bars, or 0 for the whole day")
        if added_at is not None:
            to_ns(added_at, "added_at")
        base = parse_interval(base_interval).name
        sources = fold_sources(base, derived_intervals)
        core = Core(symbol, capacity)
        core.link(base, sources)
        self._attach_core(core)
        # A slot: callbacks read it for each bar, and a native property costs them three times that.
        self.symbol: Final = symbol
        self.meets_session_config_requirements = meets_session_config_requirements
        self.added_by: AddedBy = added_by
        self.auto_provisioned = auto_provisioned
        self.added_at = added_at
        self.upgraded_from_adhoc = upgraded_from_adhoc
        self.n_reserve = n_reserve
        #: Every series by interval, ascending; the storage that all else reads.
        self.bars: dict[str, BarIntervalData] = {}
        self.indicators: dict[str, Any] = {}
        self.historical_bars: dict[str, dict[date, BarArray]] = {}
        self.historical_indicators: dict[str, Any] = {}
        self.historical_quality: dict[str, float | None] = {}
        self.historical_gaps: dict[str, Sequence[GapInfo]] = {}
        self._noted_quality: dict[str, float] = {}
        self._readers: dict[str, Any] = {}
        self._events: dict[type[QuoteData | TickData], EventStore[Any]] = {}
        self._errors = ErrorLog()
        self._collect_series([base, *sources])
        self._is_loaded = False
        self.is_loaded = is_loaded

    def _collect_series(self, names: Iterable[str]) -> None:
        held = self.bars
        self.bars = {
            name: held[name] if name in held else BarIntervalData(self.core, name)
            for name in sorted(names, key=parse_interval)
        }

    # What the record is

    @property
    def is_loaded(self) -> bool:
        """Whether loading has finished. Setting it binds the record to the provenance rules.

        Raises
        ------
        ProvenanceError
            When the flags contradict each other; the record then stays not loaded.
        """
        return self._is_loaded

    @is_loaded.setter
    def is_loaded(self, value: bool) -> None:
        before = self._is_loaded
        self._is_loaded = bool(value)
        if value and (broken := check_provenance(self)):
            self._is_loaded = before
            raise ProvenanceError(self.symbol, broken)

    @property
    def derived_intervals(self) -> list[str]:
        """The intervals folded from the base, ascending. A list of its own."""
        return [name for name, series in self.bars.items() if series.derived]

    def set_intervals(
        self, base_interval: str, derived_intervals: Iterable[str], *, written: Iterable[str] = ()
    ) -> None:
        """Change what arrives and what is folded; every bar held stays. O(bars).

        Parameters
        ----------
        base_interval : str
            The interval that arrives.
        derived_intervals : iterable of str
            What to fold from it.
        written : iterable of str
            Series that take bars directly. These, and those the record has already, are folded
            too where they are multiples of the base.

        Raises
        ------
        IntervalError
            When a derived interval cannot be folded from the base.
        """
        base = parse_interval(base_interval)
        derived = {parse_interval(name) for name in derived_intervals}
        direct = {parse_interval(name) for name in (*self.bars, *written)} - {base}
        derived |= {item for item in direct if base.divides(item)}
        sources: dict[str, str | None] = dict(fold_sources(base.name, map(str, derived)))
        sources.update({item.name: None for item in sorted(direct - derived)})
        self.core.link(base.name, sources)
        self._collect_series([base.name, *sources])
        for item in (base, *derived):
            self._noted_quality.pop(item.name, None)

    # Bars, as the specification names them

    def add_bar(self, interval: str, bar: BarData) -> None:
        """Store one bar of any interval, making its series when there is none.

        A finer interval than the base becomes the base. One that can be folded from the base
        becomes derived: a bar of it is kept only where no base bar covers its slot.

        Raises
        ------
        BarRefused
            When the bar cannot be stored; it is counted in ``rejected``.
        IntervalError
            When the interval is unknown, or is finer than the base and does not divide it.
        ArgumentError
            When the bar says that it is of another interval.
        """
        item = parse_interval(interval)
        if bar.interval and parse_interval(bar.interval) != item:
            raise ArgumentError("bar", f"a {bar.interval} bar", f"a {item} bar")
        held, base, derived = self.bars, parse_interval(self.base_interval), self.derived_intervals
        self.core.require_attached("add_bar")
        if item.name not in held:
            if item < base and not item.divides(base):
                raise IntervalError(item.name, f"does not divide the record's base {base}")
            self.set_intervals(min(item, base).name, derived, written=[item.name])
        try:
            self.write(item.name, bar.ts_ns, bar.open, bar.high, bar.low, bar.close, bar.volume)
        except BarRefused:
            # Neither a base nor a series of no bars stays behind; a derived one has bars to show.
            if item.name not in held and not self.bars[item.name].derived:
                self.bars = held
                self.set_intervals(base.name, derived)
            raise

    def get_latest_bar(self, interval: str | None = None) -> BarData | None:
        """The newest closed bar of an interval (the base when None), or None."""
        return self._series(interval).last

    def get_last_n_bars(self, n: int, interval: str | None = None) -> BarArray:
        """The newest `n` closed bars: the view of ``bars[interval].window(n)``."""
        return self._series(interval).window(n)

    def get_bars_since(self, since: datetime | int, interval: str | None = None) -> BarArray:
        """The closed bars whose start is at or after an instant: a read-only view."""
        series = self._series(interval)
        return series.data[series.count_before(to_ns(since)) :]

    def get_bar_count(self, interval: str | None = None) -> int:
        """How many closed bars of an interval are held."""
        return len(self._series(interval))

    @property
    def bars_base(self) -> BarSequence:
        """The base bars, each as :class:`BarData` when looked at."""
        return BarSequence(self.bars[self.base_interval])

    @property
    def bars_derived(self) -> dict[str, BarSequence]:
        """The derived bars by interval, each as :class:`BarData` when looked at."""
        return {name: BarSequence(self.bars[name]) for name in self.derived_intervals}

    @property
    def bars_updated(self) -> bool:
        """Whether base bars changed since somebody set this to False."""
        return self.bars[self.base_interval].updated

    @bars_updated.setter
    def bars_updated(self, value: bool) -> None:
        self.bars[self.base_interval].updated = value

    @property
    def session_metrics(self) -> SessionMetrics:
        """Volume, high, low and last update of the day."""
        return SessionMetrics(
            self.session_volume, self.session_high, self.session_low, self.last_update_ns
        )

    @property
    def last_update(self) -> datetime | None:
        """End of the newest base bar, aware UTC; None while there is none."""
        at = self.last_update_ns
        return None if at is None else to_datetime(at)

    # What sources know of bars beside prices and volume

    def note_extras(
        self, interval: str, ts_ns: int, trade_count: float = nan, vwap: float = nan
    ) -> None:
        """Note what the source says of one bar, which is appended apart. O(segments).

        Parameters
        ----------
        interval : str
        ts_ns : int
            The bar's label; one outside the session is passed over.
        trade_count, vwap : float
            NaN where they are not known. What was noted of the bar's slot before is forgotten.

        Raises
        ------
        IntervalError
            When there is no such series.
        SessionStateError
            When there is no running day.
        """
        held = self.bars.get(interval)
        series = self._series(interval) if held is None else held
        series.side_columns().put(ts_ns, trade_count, vwap)

    def note_extras_block(
        self,
        interval: str,
        ts_ns: Int64Array,
        trade_count: FloatColumn | None = None,
        vwap: FloatColumn | None = None,
    ) -> None:
        """Note the same of many bars, in any order; of one slot the last wins. O(values).

        Raises
        ------
        SchemaError
            When a column is of another length than the labels.
        IntervalError, SessionStateError
            As :meth:`note_extras`.
        """
        self._series(interval).side_columns().put_block(ts_ns, trade_count, vwap)

    # Quality and gaps

    @property
    def quality(self) -> dict[str, float | None]:
        """100 x present / expected by interval, None while nothing is expected."""
        return {n: self._noted_quality.get(n, s.quality) for n, s in self.bars.items()}

    bar_quality = quality

    @property
    def bar_gaps(self) -> dict[str, Sequence[GapInfo]]:
        """The runs of missing slots by interval."""
        return {name: series.gaps for name, series in self.bars.items()}

    def set_quality(self, interval: str, value: float) -> None:
        """Note the quality of a historical or a directly written series.

        Parameters
        ----------
        interval : str
        value : float
            100 x present / expected, 0 to 100.

        Raises
        ------
        SessionStateError
            For a series the engine counts itself.
        ArgumentError
            When the value is no percentage.
        """
        if not 0 <= value <= 100:
            raise ArgumentError("value", value, "100 x present / expected, 0 to 100")
        key = parse_interval(interval).name
        series = self.bars.get(key)
        if series is None or key in self.historical_bars:
            self.historical_quality[key] = value
        elif series.is_base or series.derived:
            refuse_live("set_quality", series)
        else:
            self._noted_quality[key] = value

    def set_gaps(self, interval: str, gaps: Sequence[GapInfo]) -> None:
        """Store the gaps of a historical series, or attach reasons to those of a live one.

        Raises
        ------
        SessionStateError
            When a live series has no such gap: the engine counts them itself.
        """
        key = parse_interval(interval).name
        series = self.bars.get(key)
        if series is None or key in self.historical_bars:
            self.historical_gaps[key] = list(gaps)
            return
        counted = {(gap.start_time, gap.bar_count) for gap in series.gaps}
        if any((gap.start_time, gap.bar_count) not in counted for gap in gaps):
            refuse_live("set_gaps", series)
        series.set_gaps(gaps)

    # Quotes and trades

    @property
    def quotes(self) -> EventSequence[QuoteData]:
        """The day's quotes in the order received; ``.data`` is their structured array."""
        return EventSequence(self._store_of(QuoteData))

    @property
    def ticks(self) -> EventSequence[TickData]:
        """The day's trades in the order received; ``.data`` is their structured array."""
        return EventSequence(self._store_of(TickData))

    def add_quote(self, quote: QuoteData) -> None:
        """Append a quote that was received; it is visible at once.

        Raises
        ------
        EventRefused
            When a value is not finite, a size is negative, or it was made before the session's
            open or after its close. It is counted in ``rejected``.
        ArgumentError
            When it was made from a bar (``source`` is ``bar``): such are not stored.
        SessionStateError
            When there is no running day.
        """
        if quote.source == "bar":
            raise ArgumentError("quote", "one made from a bar", "one that was received")
        self._store_of(QuoteData).add(quote)

    def add_tick(self, tick: TickData) -> None:
        """Append a trade. Raises as :meth:`add_quote` does."""
        self._store_of(TickData).add(tick)

    def preload_quotes(self, rows: EventArray) -> int:
        """Take the day's quotes; each becomes visible when the clock reaches its timestamp.

        Parameters
        ----------
        rows : numpy.ndarray
            Of ``QUOTE_DTYPE``, shape (n,), any order; copied. Those that :meth:`add_quote`
            would refuse are left out and counted in ``rejected``.

        Returns
        -------
        int
            How many were taken.

        Raises
        ------
        SchemaError
            When `rows` is something else.
        SessionStateError
            When there is no running day.
        """
        return self._store_of(QuoteData).preload(rows)

    def get_latest_quote(self) -> QuoteData | None:
        """The newest quote, else one made from the latest base bar, else None.

        The newest is the one with the latest timestamp, and stands also when bars closed after
        it: a real spread is not replaced by none. Where there are no quotes at all, bid and ask
        are the latest bar's close, sizes 0, the timestamp is the bar's END and ``source`` is
        ``bar``. Such a quote is made when asked for; ``quotes`` holds none of it. O(1).
        """
        newest: QuoteData | None = self._store_of(QuoteData).newest
        if newest is not None:
            return newest
        series = self.bars[self.base_interval]
        bar, grid = series.last, series.grid
        if bar is None or grid is None:
            return None
        end = to_datetime(int(grid.ends_ns[grid.slot_of(bar.ts_ns)]))
        return QuoteData(end, bar.close, bar.close, symbol=self.symbol, source="bar")

    @property
    def quotes_updated(self) -> bool:
        """Whether quotes became visible since somebody set this to False."""
        return self._store_of(QuoteData).updated

    @quotes_updated.setter
    def quotes_updated(self, value: bool) -> None:
        self._store_of(QuoteData).updated = value

    @property
    def ticks_updated(self) -> bool:
        """Whether trades came in since somebody set this to False."""
        return self._store_of(TickData).updated

    @ticks_updated.setter
    def ticks_updated(self, value: bool) -> None:
        self._store_of(TickData).updated = value

    def _store_of(self, kind: type[Event]) -> EventStore[Event]:
        held = self._events.get(kind)
        if held is None:
            # Of two threads that both come first, one makes the store that both use.
            store = EventStore(kind, self.core, EVENT_CAPACITY)
            held = self._events.setdefault(kind, store)
        return held

    # What went wrong

    @property
    def rejected(self) -> dict[str, int]:
        """How many bars, quotes and trades were refused, by reason; others are absent.

        Bars by the reason alone, quotes and trades as ``quote_not_finite``.
        """
        counts = super().rejected
        for kind in (QuoteData, TickData):
            if (store := self._events.get(kind)) is not None:
                counts |= {f"{kind.KIND}_{reason}": n for reason, n in store.refused.items()}
        return counts

    @property
    def n_rejected(self) -> int:
        """How many bars, quotes and trades were refused."""
        n = self.n_refused
        for store in tuple(self._events.values()):
            n += sum(store.refused.values())
        return n

    @property
    def n_errors(self) -> int:
        """How many different ``errors`` there are."""
        return len(self._errors)

    @property
    def errors(self) -> list[RecordError]:
        """What code working on this record raised, in the order first raised. A copy."""
        return self._errors.listed()

    def note_error(self, where: str, error: Exception) -> None:
        """Note an exception that does not stop the day; the first of its kind is also logged.

        Parameters
        ----------
        where : str
            What raised it. An error of the same place and text is counted, not repeated.
        error : Exception

        Notes
        -----
        At most 100 different ones are kept; others are counted together, as ``further errors``.
        Logged as errors of ``openbell.session``. May be called from any thread.
        """
        now_ns = 0 if self.core.root is None else self.core.root.now_ns
        self._errors.note(self.symbol, where, error, now_ns)

    # Export

    def to_json(self, complete: bool = True, *, reader: str = "default") -> dict[str, Any]:
        """The record as the JSON dump has it, or what is new in it: plain values, a copy. O(bars).

        Parameters as in ``SessionData.to_json``, whose readers are others.
        """
        from openbell.export import export_record

        return export_record(self, self._readers, reader, complete=complete)

    def forget_reader(self, reader: str) -> bool:
        """Forget how far somebody has read; False when there is none of that name."""
        return self._readers.pop(reader, None) is not None

    def _series(self, interval: str | None) -> BarIntervalData:
        key = self.base_interval if interval is None else parse_interval(interval).name
        found = self.bars.get(key)
        if found is None:
            raise IntervalError(
                key, f"{self.symbol} has no such series; it has {', '.join(self.bars)}"
            )
        return found

    def __repr__(self) -> str:
        held = ", ".join(f"{name}: {len(series)}" for name, series in self.bars.items())
        return f"<SymbolSessionData {self.symbol} by {self.added_by} ({held})>"


def is_name(text: str) -> bool:
    """Whether a symbol may be called so: what no file could hold is no name."""
    return bool(text) and text == text.strip() and text.isprintable()
