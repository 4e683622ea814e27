"""The quality thread: asks history for what is missing, and does what must not hold up bars."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from openbell.clock.live import LiveClock
from openbell.errors import SourceUnavailableError
from openbell.gaps import GapInfo
from openbell.processing import DataQualityManager
from openbell.schema import NS_PER_MINUTE, NS_PER_SECOND, BarArray, to_iso
from openbell.sources.streaming import Extras

__all__ = ["Answer", "QualityWorker", "Range"]

_log = logging.getLogger("openbell.live")

#: Gaps of several symbols that lie so near each other are asked for together.
_NEAR_NS: Final = 10 * NS_PER_MINUTE
# How often the thread looks for what is due, as a share of the time between two attempts.
_LOOKS_PER_RETRY: Final = 4
_LONGEST_WAIT_S: Final = 1.0
_SHORTEST_WAIT_S: Final = 0.02
_N_SHOWN: Final = 5


class PastBars(Protocol):
    """Where missing bars are asked for."""

    def load_since(
        self, symbols: Collection[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Bars of several symbols for a part of the day, with what else is known of them."""
        ...


@dataclass(slots=True)
class Range:
    """A part of the day that is to be asked for, of several symbols.

    Attributes
    ----------
    interval : str
    symbols : set of str
    start_ns, end_ns : int
        Labels from the start (inclusive) to the end (exclusive).
    why : str
        In a few words; of several ranges that were made one, each of theirs once, after commas.
    gaps : list of GapInfo
        Those it is asked for, when it is for gaps.
    to_confirm : set of str
        Symbols to be asked for once more: history may lag behind what it is asked for.
    answered : set of str
        Symbols that history has answered for, once at least.
    """

    interval: str
    symbols: set[str]
    start_ns: int
    end_ns: int
    why: str
    gaps: list[GapInfo] = field(default_factory=list)
    to_confirm: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    n_attempts: int = 0
    n_failed: int = 0
    due_ns: int = 0
    is_under_way: bool = False

    def takes_in(self, other: Range) -> bool:
        """Take another range in, if both may go as one: nothing of this one was had yet."""
        if (
            self.interval != other.interval
            or self.is_under_way
            or self.answered
            or other.start_ns > self.end_ns + _NEAR_NS
            or self.start_ns > other.end_ns + _NEAR_NS
        ):
            return False
        self.start_ns = min(self.start_ns, other.start_ns)
        self.end_ns = max(self.end_ns, other.end_ns)
        self.symbols |= other.symbols
        self.to_confirm |= other.to_confirm
        if other.why not in self.why:
            self.why += f", {other.why}"
        self.n_failed = self.n_attempts = 0
        return True


@dataclass(frozen=True, slots=True)
class Answer:
    """What history had of one symbol for a range."""

    symbol: str
    interval: str
    bars: BarArray
    extras: Extras
    why: str


class QualityWorker:
    """Runs jobs in a thread of its own, and asks again for what is missing.

    What history cannot give for the moment is asked for again after `retry_interval_s`, up to
    `max_retries` times: ranges that :meth:`ask` was told of, and the gaps that
    ``quality.due_retries()`` names.

    Parameters
    ----------
    past : PastBars
    quality : DataQualityManager
        Its ``retries`` say how often a gap is asked for.
    clock : LiveClock
    on_answer : callable
        Told each :class:`Answer`, in the worker's thread.
    on_covered : callable
        ``on_covered(symbols, start_ns, end_ns)`` when history has given all it has of a range.
    """

    def __init__(
        self,
        past: PastBars,
        quality: DataQualityManager,
        clock: LiveClock,
        on_answer: Callable[[Answer], object],
        on_covered: Callable[[Collection[str], int, int], object],
    ) -> None:
        self._past = past
        self._quality = quality
        self._clock = clock
        self._on_answer = on_answer
        self._on_covered = on_covered
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._owed: list[Range] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._looks_for_gaps = False
        self._next_look_ns = 0
        self._n_unfinished = 0
        self._is_busy = False
        self._thread = threading.Thread(target=self._work, name="openbell quality", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Callable[[], object]) -> None:
        """Have a job done. What it raises is logged."""
        self._put(job)

    def ask(self, wanted: Range) -> None:
        """Ask history for a range, until it answers for every symbol or was asked too often."""
        with self._lock:
            if not any(owed.takes_in(wanted) for owed in self._owed):
                self._owed.append(wanted)
        self._put(_nothing)

    def forget(self, symbol: str) -> None:
        """Ask for a symbol no more."""
        with self._lock:
            for wanted in self._owed:
                wanted.symbols.discard(symbol)
            self._owed = [wanted for wanted in self._owed if wanted.symbols]

    def look_for_gaps(self) -> None:
        """Ask for the gaps that are due: at once, and from now on."""
        self._looks_for_gaps = True
        self._next_look_ns = 0
        self._put(_nothing)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, waits, or is owed."""
        return not self._n_unfinished and not self._is_busy and not self._owed

    @property
    def n_owed(self) -> int:
        """How many symbols history still owes bars of."""
        with self._lock:
            return len({symbol for wanted in self._owed for symbol in wanted.symbols})

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False when a request that is under way holds it longer."""
        self._over.set()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _put(self, job: Callable[[], object]) -> None:
        # Counted until it is done: between the queue and the thread it would be nowhere.
        with self._lock:
            self._n_unfinished += 1
        self._jobs.put(job)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                job = self._jobs.get(timeout=self._wait_s())
                n_taken = 1
            except Empty:
                job, n_taken = _nothing, 0
            if job is None:
                return
            self._is_busy = True
            for task in (job, self._ask_owed, self._ask_for_gaps):
                if self._over.is_set():
                    return
                try:
                    task()
                except Exception:
                    # Whatever it is, the next task may succeed: the day goes on.
                    _log.exception("in the quality thread")
            self._is_busy = False
            with self._lock:
                self._n_unfinished -= n_taken

    def _wait_s(self) -> float:
        share = self._quality.retries.retry_interval_s / _LOOKS_PER_RETRY
        return min(max(self._clock.wall_seconds(share), _SHORTEST_WAIT_S), _LONGEST_WAIT_S)

    def _ask_owed(self) -> None:
        now_ns = self._clock.now_ns()
        with self._lock:
            due = [wanted for wanted in self._owed if wanted.due_ns <= now_ns]
        for n, wanted in enumerate(due):
            # A job that waits, such as a symbol that joins, goes between two ranges.
            if self._over.is_set() or (n and not self._jobs.empty()):
                return
            self._ask_one(wanted, now_ns)

    def _ask_one(self, wanted: Range, now_ns: int) -> None:
        retries = self._quality.retries
        with self._lock:
            wanted.is_under_way = True
        answered = self._request(wanted)
        with self._lock:
            wanted.is_under_way = False
            wanted.answered |= answered
            again = wanted.to_confirm & answered
            wanted.to_confirm -= again
            wanted.symbols -= answered - again
            wanted.n_failed += not answered
        covered = answered - again
        wanted.due_ns = self._clock.now_ns() + round(retries.retry_interval_s * NS_PER_SECOND)
        is_given_up = bool(wanted.symbols) and wanted.n_failed > retries.max_retries
        if is_given_up:
            # Those that were answered for once are had, as far as can be known.
            covered |= wanted.symbols & wanted.answered
            _log.warning(
                "%s: history of %s to %s cannot be had after %d attempts (%s)",
                shown(sorted(wanted.symbols)), to_iso(wanted.start_ns), to_iso(wanted.end_ns),
                wanted.n_attempts, wanted.why,
            )  # fmt: skip
        if covered:
            self._on_covered(covered, wanted.start_ns, min(wanted.end_ns, now_ns))
        if is_given_up or not wanted.symbols:
            with self._lock:
                self._owed = [one for one in self._owed if one is not wanted]

    def _ask_for_gaps(self) -> None:
        now_ns = self._clock.now_ns()
        if not self._looks_for_gaps or now_ns < self._next_look_ns:
            return
        retries = self._quality.retries
        share_ns = round(retries.retry_interval_s / _LOOKS_PER_RETRY * NS_PER_SECOND)
        self._next_look_ns = now_ns + share_ns
        for wanted in clusters(self._quality.due_retries(now_ns)):
            # What is owed, and who waits, comes first; the rest is due again at the next look.
            if self._over.is_set() or not self._jobs.empty():
                return
            for gap in wanted.gaps:
                retries.note(gap, now_ns)
            self._request(wanted)

    def _request(self, wanted: Range) -> set[str]:
        # Returns the symbols that history answered for; those it never will are owed no more.
        wanted.n_attempts += 1
        answered: set[str] = set()
        failed: dict[str, list[str]] = {}
        asked = sorted(wanted.symbols)
        for symbol, bars, extras in self._past.load_since(
            asked, wanted.interval, wanted.start_ns, wanted.end_ns
        ):
            if self._over.is_set():
                break
            if not isinstance(bars, Exception):
                self._on_answer(Answer(symbol, wanted.interval, bars, extras, wanted.why))
                answered.add(symbol)
                continue
            failed.setdefault(str(bars), []).append(symbol)
            if not isinstance(bars, SourceUnavailableError):
                with self._lock:
                    wanted.symbols.discard(symbol)
        level = logging.DEBUG if wanted.n_attempts > 1 else logging.WARNING
        for reason, symbols in failed.items():
            _log.log(level, "%s: %s: history cannot be had: %s", shown(symbols), wanted.why, reason)
        return answered


def clusters(gaps: Iterable[GapInfo]) -> Iterator[Range]:
    """Put gaps that lie near each other together: one request for all their symbols."""
    current: Range | None = None
    for gap in sorted(gaps, key=lambda gap: (gap.interval, gap.start_ns)):
        if (
            current is None
            or current.interval != gap.interval
            or gap.start_ns > current.end_ns + _NEAR_NS
        ):
            if current is not None:
                yield current
            current = Range(gap.interval, set(), gap.start_ns, gap.end_ns, "missing bars")
        current.symbols.add(gap.symbol)
        current.gaps.append(gap)
        current.end_ns = max(current.end_ns, gap.end_ns)
    if current is not None:
        yield current


def shown(symbols: Sequence[str]) -> str:
    """Name some symbols for the log."""
    named = ", ".join(symbols[:_N_SHOWN])
    n_more = len(symbols) - _N_SHOWN
    return f"{named} and {n_more} more" if n_more > 0 else named


def _nothing() -> None:
    """What wakes the thread."""
