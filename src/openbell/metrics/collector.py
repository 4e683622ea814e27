"""What a session's counters are to Prometheus."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final, Protocol, get_args
from weakref import WeakKeyDictionary

from openbell._native.series import glance
from openbell.live.latency import LatencySnapshot
from openbell.live.states import FeedHealth, FeedState, SymbolHealth, SymbolState
from openbell.schema import NS_PER_SECOND
from openbell.session import SessionData
from openbell.sources.sdk import import_sdk
from openbell.symbol import SymbolSessionData

__all__ = ["Collector", "MeteredSession", "import_library"]

#: Seconds that the rate of bars is over: at least, so that two scrapes at once do not make it a
#: matter of chance, and at most.
_RATE_OVER_S: Final = (1.0, 60.0)

# Records read in one go: between them, threads that wait for the interpreter get it.
_AT_ONCE: Final = 32
_BREATH_S: Final = 1e-6

#: Counters of a feed: name, what it says, and the attribute of its health.
_FEED_COUNTERS: Final = (
    ("bars", "Bars that came", "n_bars"),
    ("updates", "Corrections of bars that came", "n_updates"),
    ("messages", "Bars, corrections and other data that came", "n_messages"),
    ("drops", "Established connections that were lost", "n_drops"),
    ("garbage", "Messages that could not be understood", "n_garbage"),
    ("outside", "Bars outside the session", "n_outside"),
    ("overflow", "Messages that found the queue full", "n_overflow"),
    ("superseded", "Bars that did not replace better ones", "n_superseded"),
    ("backfilled", "Missing bars that history gave", "n_backfilled"),
)

_FEED_STATES: Final = get_args(FeedState)
_SYMBOL_STATES: Final = get_args(SymbolState)


class MeteredSession(Protocol):
    """What is read of a session; a ``SessionCoordinator`` has it.

    One that is live also has `feed_health`, `symbol_health`, `queue_depth`, `queue_capacity` and
    `latency`.
    """

    root: SessionData
    config: Any

    @property
    def phase(self) -> str:
        """Where the session is."""


def import_library(module: str) -> Any:
    """Import a module of prometheus_client; raises MissingLibraryError."""
    return import_sdk(module, "prometheus_client", "serve_metrics", "metrics")


class _Totals:
    # Sums of what records count. A record that is removed takes its counts with it; a sum that
    # went down would look like a restart.

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[SymbolSessionData, dict[str, int]] = WeakKeyDictionary()
        self.sums: dict[str, int] = {}

    def take(self, record: SymbolSessionData, counts: Mapping[str, int]) -> None:
        seen = self._seen.get(record)
        if seen is None:
            seen = self._seen[record] = {}
        for key, n in counts.items():
            known = seen.get(key, 0)
            seen[key] = n
            self.sums[key] = self.sums.get(key, 0) + max(0, n - known)


class Collector:
    """What prometheus_client asks for a session's metrics; several scrapes may ask at once.

    Parameters
    ----------
    session : MeteredSession
    per_symbol : bool
        Whether to give series for each symbol, too.

    Raises
    ------
    MissingLibraryError
        When prometheus_client is not installed.
    """

    def __init__(self, session: MeteredSession, *, per_symbol: bool) -> None:
        self._session = session
        self._families = import_library("prometheus_client.core")
        self._per_symbol = per_symbol
        self._lock = threading.Lock()
        self._bars = _Totals()
        self._rejects = _Totals()
        self._pace: deque[tuple[float, int]] = deque()

    def describe(self) -> list[Any]:
        """Nothing: what there is depends on the session."""
        return []

    def collect(self) -> list[Any]:
        """Read every metric. O(symbols)."""
        with self._lock:
            return [
                *self._of_session(),
                *self._of_records(),
                *self._of_feeds(getattr(self._session, "feed_health", ())),
                *self._of_symbols(getattr(self._session, "symbol_health", {})),
                *self._of_queue(),
            ]

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Any:
        return self._families.GaugeMetricFamily(f"openbell_{name}", text, labels=labels)

    def _one(self, name: str, text: str, value: float) -> Any:
        return self._families.GaugeMetricFamily(f"openbell_{name}", text, value=value)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Any:
        return self._families.CounterMetricFamily(f"openbell_{name}", text, labels=labels)

    def _of_session(self) -> Iterator[Any]:
        session = self._session
        root = session.root
        window = root.window
        info = self._gauge(
            "session_info", "The session, always 1", ["name", "calendar", "date", "phase"]
        )
        day = ("", "") if window is None else (window.calendar, str(window.date))
        info.add_metric([str(session.config.session.name), *day, session.phase], 1)
        yield info
        if window is not None:
            text = "Time of the session's clock"
            yield self._one("session_clock_seconds", text, root.now_ns / NS_PER_SECOND)
        yield self._one("symbols", "Symbols in the session", len(root))

    def _of_records(self) -> Iterator[Any]:
        held: dict[str, list[int]] = {}
        qualities: dict[str, dict[str, float]] = {}
        for n, record in enumerate(self._session.root):
            if n % _AT_ONCE == _AT_ONCE - 1:
                sleep(_BREATH_S)
            core = record.core
            name = core.names[0]
            series = record.bars.get(name)
            if series is None:
                # Its series are changing at this moment; the next scrape finds it.
                continue
            _, _, _, _, n_expected, n_gaps, n_bars, _ = glance(series)
            counts = held.setdefault(name, [0, 0, 0])
            counts[0] += n_bars
            counts[1] += n_gaps
            counts[2] += n_expected - n_bars
            if n_expected:
                of = qualities.setdefault(name, {})
                of[core.symbol] = 100.0 * n_bars / n_expected
            self._bars.take(record, {name: n_bars})
            if record.n_rejected:
                self._rejects.take(record, record.rejected)
        yield from self._of_bars()
        for n, (key, text) in enumerate(
            (
                ("bars_held", "Base bars that the records hold"),
                ("gaps", "Runs of missing base bars"),
                ("missing_bars", "Base bars that are missing"),
            )
        ):
            family = self._gauge(key, text, ["interval"])
            for interval, counts in held.items():
                family.add_metric([interval], counts[n])
            yield family
        yield from self._of_qualities(qualities)

    def _of_bars(self) -> Iterator[Any]:
        bars = self._counter("bars", "Base bars that records took in", ["interval"])
        for interval, n in self._bars.sums.items():
            bars.add_metric([interval], n)
        yield bars
        rate = self._rate(sum(self._bars.sums.values()))
        if rate is not None:
            text = "Base bars a second since an earlier scrape"
            yield self._one("bars_per_second", text, rate)
        rejects = self._counter("rejects", "Bars, quotes and trades refused", ["reason"])
        for reason, n in self._rejects.sums.items():
            rejects.add_metric([reason], n)
        yield rejects

    def _of_qualities(self, qualities: dict[str, dict[str, float]]) -> Iterator[Any]:
        lowest = self._gauge("quality_min", "Quality of the worst base series", ["interval"])
        mean = self._gauge("quality_mean", "Mean quality of base series", ["interval"])
        each = self._gauge("symbol_quality", "Quality of the base", ["symbol", "interval"])
        for interval, of in qualities.items():
            lowest.add_metric([interval], min(of.values()))
            mean.add_metric([interval], sum(of.values()) / len(of))
            for symbol, value in of.items():
                each.add_metric([symbol, interval], value)
        yield lowest
        yield mean
        if self._per_symbol:
            yield each

    def _rate(self, n_bars: int) -> float | None:
        now = monotonic()
        shortest, longest = _RATE_OVER_S
        pace = self._pace
        # The last that is old enough is kept, however old: scrapes may be far apart.
        while len(pace) > 1 and now - pace[0][0] > longest and now - pace[1][0] >= shortest:
            pace.popleft()
        rate = None
        if pace and now - pace[0][0] >= shortest:
            rate = (n_bars - pace[0][1]) / (now - pace[0][0])
        if not pace or now - pace[-1][0] >= shortest:
            pace.append((now, n_bars))
        return rate

    def _of_feeds(self, feeds: Sequence[FeedHealth]) -> Iterator[Any]:
        if not feeds:
            return
        for name, text, field in _FEED_COUNTERS:
            family = self._counter(f"feed_{name}", text, ["source"])
            for feed in feeds:
                family.add_metric([feed.source], getattr(feed, field))
            yield family
        state = self._gauge("feed_state", "1 for the state it is in", ["source", "state"])
        lag = self._gauge("feed_lag_seconds", "How late the newest bar was", ["source"])
        last = self._gauge("feed_last_message_seconds", "When the newest came", ["source"])
        for feed in feeds:
            for name in _FEED_STATES:
                state.add_metric([feed.source, name], feed.state == name)
            if feed.lag_s is not None:
                lag.add_metric([feed.source], feed.lag_s)
            if feed.last_message_ns is not None:
                last.add_metric([feed.source], feed.last_message_ns / NS_PER_SECOND)
        yield from (state, lag, last)

    def _of_symbols(self, symbols: Mapping[str, SymbolHealth]) -> Iterator[Any]:
        if not symbols:
            return
        counts = {
            (health.source, name): 0 for health in symbols.values() for name in _SYMBOL_STATES
        }
        labels = ["symbol", "source"]
        lag = self._gauge("symbol_lag_seconds", "How late the newest bar was", labels)
        last = self._gauge("symbol_last_message_seconds", "When the newest came", labels)
        state = self._gauge("symbol_state", "1: the state it is in", [*labels, "state"])
        for health in symbols.values():
            counts[health.source, health.state] += 1
            of = [health.symbol, health.source]
            state.add_metric([*of, health.state], 1)
            if health.lag_s is not None:
                lag.add_metric(of, health.lag_s)
            if health.last_message_ns is not None:
                last.add_metric(of, health.last_message_ns / NS_PER_SECOND)
        family = self._gauge("feed_symbols", "Symbols by state", ["source", "state"])
        for (source, name), n in counts.items():
            family.add_metric([source, name], n)
        yield family
        if self._per_symbol:
            yield from (state, lag, last)

    def _of_queue(self) -> Iterator[Any]:
        latency = getattr(self._session, "latency", None)
        if latency is None:
            # Nothing streams.
            return
        for key, text in (
            ("queue_depth", "Messages that wait to be taken in"),
            ("queue_capacity", "Messages that may wait"),
        ):
            yield self._one(key, text, getattr(self._session, key))
        text = "From when a bar came until callbacks had been told of it"
        family = self._families.HistogramMetricFamily("openbell_latency_seconds", text)
        held = latency.snapshot()
        family.add_metric([], _cumulative(held), held.sum_s)
        yield family


def _cumulative(held: LatencySnapshot) -> list[tuple[str, float]]:
    below = 0
    buckets = []
    for bound, count in zip((*held.bounds_s, float("inf")), held.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(below)))
    return buckets
