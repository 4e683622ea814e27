"""The stages of a session, timed from outside while it is profiled.

Each stage begins and ends where one call does that the coordinator makes a few times a day or
for each symbol, so that these calls are replaced on the one session, and put back afterwards.
Slices that somebody is told of are timed one by one; of a subscriber that is called for each of
many bars, one call in 61.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from openbell.errors import ArgumentError, SessionStateError
from openbell.lifecycle import SessionCoordinator, TradingDay
from openbell.processing.indicators import IndicatorData
from openbell.profiling.clock import MEASURING, Marks, StageClock, extra_cost_s, switch_cost_s
from openbell.profiling.result import Profile

if TYPE_CHECKING:
    from datetime import date as Date

    from openbell.lifecycle.day import Records, SliceCallback
    from openbell.processing import CloseCallback

__all__ = ["profile"]

#: So many calls of a subscriber are timed one by one.
_FEW_CALLS: Final = 2_000
#: Beyond that, one call in so many: prime to 60, so that in time it meets every second of a minute.
_STRIDE: Final = 61
#: A call so many times slower than the first ones took stands for itself alone.
_OUTLIER: Final = 20

_open: list[SessionCoordinator | None] = []


@contextmanager
def profile(
    session: SessionCoordinator | None = None, *, whole_process: bool = False
) -> Iterator[Profile]:
    """Measure where the time of a ``with`` block goes, by stage of the session that runs in it.

    The stages: ``validation`` (Step 0), ``decode`` (reading what the sources hold), ``ingest``
    (bars checked and put on their records, history sifted and folded), ``cascade`` (replaying:
    bars made visible, derived bars folded), ``indicators`` (made, and brought up to date when
    they are read), ``callbacks`` (``on_close``, ``on_slice``, the body of a loop over
    ``day.slices()``, with what the engine does when they read), ``quality`` (reasons of gaps),
    ``export`` (JSON, CSV and Arrow of the session's root), ``measuring`` (what all this costs),
    and ``other``. Each moment belongs to one of them, so that they add up to the whole.

    Parameters
    ----------
    session : SessionCoordinator, optional
        A backtest that does not run yet. Without one, only stages named by
        :meth:`Profile.stage` are told apart.
    whole_process : bool
        Whether what the process did before is counted as well, as the stage ``start``.

    Yields
    ------
    Profile
        Complete when the block is over.

    Raises
    ------
    ArgumentError
        When the session is live: there is little in it but waiting.
    SessionStateError
        When another profile is under way in the process.

    Notes
    -----
    Of the thread that makes it: what other threads take is processor time of the stage they
    work for. A session that is not profiled pays nothing.

    Examples
    --------
    >>> import openbell as ob
    >>> from openbell.profiling import profile
    >>> session = ob.open_session({
    ...     "session": {"start_date": "2025-07-02", "symbols": ["A", "B"], "streams": ["1m"]},
    ...     "data": {"sources": ["synthetic"]},
    ... })
    >>> with profile(session) as found:
    ...     session.run()
    >>> found.n_bars == sum(len(record.bars["1s"]) for record in session.root)
    True
    >>> round(sum(stage.share for stage in found.stages.values()), 9)
    1.0
    """
    if session is not None and session.live is not None:
        raise ArgumentError("session", session, "a backtest, or none")
    if _open:
        raise SessionStateError("profile", "under way", "end the one that runs first")
    _open.append(session)
    clock = StageClock()
    if whole_process:
        clock.count_process()
    found = Profile(clock)
    attached = None if session is None else _Attached(session, clock, found)
    try:
        if attached is not None:
            attached.attach()
        yield found
    finally:
        if attached is not None:
            attached.detach()
        clock.stop()
        if attached is not None:
            attached.finish()
        _open.clear()


class _Attached:
    def __init__(self, session: SessionCoordinator, clock: StageClock, found: Profile) -> None:
        self._session = session
        self._begin = session._begin_day
        self._clock = clock
        self._found = found
        self._replaced: list[tuple[Any, str, Any]] = []
        self._day: TradingDay | None = None
        self._subscribers: dict[CloseCallback, _Subscriber] = {}

    def attach(self) -> None:
        session, clock = self._session, self._clock
        data, loader, root = session.data_manager, session._loader, session.root
        self._replace(session, "_begin_day", self._begin_day)
        timed: tuple[tuple[object, str, str, Marks], ...] = (
            (session, "_validate_symbols_for_loading", "validation", "all"),
            (session, "_register_single_symbol", "ingest", "none"),
            (loader, "put", "ingest", "none"),
            (loader, "add_indicator", "indicators", "none"),
            (data, "load_extras", "decode", "none"),
            (data, "load_quotes", "decode", "none"),
            (IndicatorData, "_catch_up", "indicators", "none"),
            (session.quality, "_look", "quality", "all"),
            (root, "write_json", "export", "all"),
            (root, "to_json", "export", "all"),
            (root, "to_csv", "export", "all"),
            (root, "to_arrow", "export", "all"),
        )
        for owner, name, stage, marks in timed:
            call = clock.timed(stage, getattr(owner, name), marks)
            self._replace(owner, name, call)
        self._replace(loader, "fetch", clock.timed_each("ingest", loader.fetch, "none"))
        steps = clock.timed_each("decode", data.load_session_bars, "processor")
        self._replace(data, "load_session_bars", steps)
        processor = session.processor
        subscribed = processor._on_close
        subscribed[:] = [(name, self._timed(call), again) for name, call, again in subscribed]
        on_close = processor.on_close

        def timed_on_close(
            interval: str, callback: CloseCallback, *, corrections: bool = False
        ) -> None:
            told = self._timed(callback) if callable(callback) else callback
            on_close(interval, told, corrections=corrections)

        self._replace(processor, "on_close", timed_on_close)

    def detach(self) -> None:
        self._count_day()
        for owner, name, before in reversed(self._replaced):
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        subscribed, known = self._session.processor._on_close, self._subscribers
        subscribed[:] = [
            (name, known[call].callback if call in known else call, again)
            for name, call, again in subscribed
        ]

    def finish(self) -> None:
        """Share out what was only estimated, when the clock has stopped."""
        for subscriber in self._subscribers.values():
            subscriber.finish()

    def _replace(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self._replaced.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, call)

    def _begin_day(self, date: Date) -> TradingDay | None:
        self._count_day()
        clock = self._clock
        day = self._timed_begin(date) if clock.is_mine else self._begin(date)
        if day is not None:
            self._found.n_days += 1
            self._day = day
            run, plain, timed = day.run, day.slices, self._timed_slices(day.slices)

            def run_timed(on_slice: SliceCallback | None = None) -> None:
                # Nobody is told of slices: they need not be timed one by one.
                day.slices = plain if on_slice is None else timed  # type: ignore[method-assign]
                run(on_slice)

            day.slices = timed  # type: ignore[method-assign]
            day.run = clock.timed("cascade", run_timed)  # type: ignore[method-assign]
        return day

    def _timed_begin(self, date: Date) -> TradingDay | None:
        clock = self._clock
        clock.mark()
        # Threads that work while a day is loaded read it, and the rings take the memory over.
        clock.others_stage = "decode"
        try:
            return self._begin(date)
        finally:
            before = clock.switch(clock.spent("decode"))
            clock.mark()
            clock.others_stage = None
            clock.switch(before)

    def _count_day(self) -> None:
        # Its cursor would keep its bars: it is let go of before the next day comes.
        day, self._day = self._day, None
        if day is not None:
            # What replaced its methods holds it, and so would its bars be held.
            del day.run, day.slices
            self._found.n_bars += day.n_bars
            self._found.n_symbols = max(self._found.n_symbols, len(self._session.root))

    def _timed(self, callback: CloseCallback) -> CloseCallback:
        subscriber = _Subscriber(self._clock, callback)
        told = subscriber.told()
        # What it raises is noted under its name.
        told.__qualname__ = getattr(callback, "__qualname__", type(callback).__qualname__)
        self._subscribers[told] = subscriber
        return told

    def _timed_slices(
        self, slices: Callable[[], Iterator[tuple[int, Records]]]
    ) -> Callable[[], Iterator[tuple[int, Records]]]:
        clock = self._clock

        def timed() -> Iterator[tuple[int, Records]]:
            if not clock.is_mine:
                yield from slices()
                return
            steps, nothing = slices(), object()
            clock.mark()
            switch, before = clock.switch, clock.current
            cascade, callbacks = clock.spent("cascade"), clock.spent("callbacks")
            try:
                while True:
                    switch(cascade)
                    found: Any = next(steps, nothing)
                    switch(callbacks)
                    if found is nothing:
                        return
                    yield found
            finally:
                # Left half way, it may be closed when others have put the stage back already.
                if clock.is_mine and clock.current is callbacks:
                    clock.mark()
                    clock.switch(before)

        return timed


class _Subscriber:
    """Times the calls of one subscriber: each of the first, then some, for all the others."""

    def __init__(self, clock: StageClock, callback: CloseCallback) -> None:
        self._clock = clock
        self._spent = clock.spent("callbacks")
        self.callback = callback
        self._n = self._n_sampled = 0
        self._exact_s = self._sampled_s = 0.0

    def told(self) -> CloseCallback:
        """Return what is called in its place."""
        callback, time = self.callback, self._time
        n_until_timed = 1

        def told(record: Any, bar: Any) -> None:
            nonlocal n_until_timed
            n_until_timed -= 1
            if n_until_timed:
                callback(record, bar)
            else:
                n_until_timed = 1
                n_until_timed = time(record, bar)

        return told

    def _time(self, record: Any, bar: Any) -> int:
        clock = self._clock
        if not clock.is_mine:
            self.callback(record, bar)
            return 1
        spent = self._spent
        before = clock.switch(spent)
        began_s = spent.so_far_s
        try:
            self.callback(record, bar)
        finally:
            clock.switch(before)
            took_s = spent.so_far_s - began_s
            self._n += 1
            if self._n <= _FEW_CALLS:
                self._exact_s += took_s
            elif took_s < _OUTLIER * self._exact_s / _FEW_CALLS:
                self._n_sampled += 1
                self._sampled_s += took_s
        return 1 if self._n < _FEW_CALLS else _STRIDE

    def finish(self) -> None:
        """Give the stage what the calls took that were not timed."""
        if not self._n_sampled:
            return
        clock = self._clock
        n_passed = (self._n - _FEW_CALLS) * (_STRIDE - 1)
        empty = _Subscriber(StageClock(), _nothing)
        passing_s = extra_cost_s(partial(_passing(), None, None), partial(_nothing, None, None))
        timing_s = extra_cost_s(partial(empty._time, None, None), partial(_nothing, None, None))
        # The clock has taken off what its two changes of stage cost.
        timing_s = max(0.0, timing_s - 2 * switch_cost_s())
        call_s = max(0.0, self._sampled_s / self._n_sampled - empty._exact_s / empty._n)
        clock.move("cascade", "callbacks", n_passed * call_s)
        clock.move("cascade", MEASURING, n_passed * passing_s + self._n * timing_s)


def _nothing(record: Any, bar: Any) -> None:
    pass


def _passing() -> Callable[[Any, Any], None]:
    # What a call goes through that is not timed.
    n_until_timed = 1 << 60

    def told(record: Any, bar: Any) -> None:
        nonlocal n_until_timed
        n_until_timed -= 1
        if n_until_timed:
            _nothing(record, bar)

    return told
