"""A clock that every moment belongs to one stage of."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from time import perf_counter, process_time, thread_time
from typing import Final, Literal, ParamSpec, TypeVar

if sys.platform != "win32":
    from resource import RUSAGE_SELF, getrusage

__all__ = ["MEASURING", "OTHER", "Marks", "Spent", "StageClock", "extra_cost_s", "switch_cost_s"]

OTHER: Final = "other"
#: What the clock itself takes.
MEASURING: Final = "measuring"

#: What is read where a stage begins and ends, beside the clock.
Marks = Literal["all", "processor", "none"]

_Args = ParamSpec("_Args")
_Found = TypeVar("_Found")


class Spent:
    """What one stage took so far.

    Attributes
    ----------
    name : str
    wall_s, cpu_s : float
        Seconds by the clock, and of all processors.
    pending_s : float
        Seconds by the clock since the last mark; they are not in `wall_s` yet.
    memory : int
        Bytes by which it raised the process's peak.
    n : int
        How often it was left.
    """

    __slots__ = ("cpu_s", "memory", "n", "name", "pending_s", "wall_s")

    def __init__(self, name: str) -> None:
        self.name = name
        self.wall_s = self.cpu_s = self.pending_s = 0.0
        self.memory = self.n = 0

    @property
    def so_far_s(self) -> float:
        """Seconds by the clock, those since the last mark included."""
        return self.wall_s + self.pending_s


class StageClock:
    """Gives every moment from its making to :meth:`stop` to the stage that is current.

    Wall time is read at each change of stage. Processor time and memory cost more to read: that
    is done at marks, and what passed between two of them is shared out by the wall time.

    Attributes
    ----------
    stages : dict of str to Spent
        By stage, in the order of their first appearance.
    others_stage : str or None
        Who is charged with the processor time of other threads; whoever is current when None.
    peak : int
        The most bytes the process had resident at the last mark; 0 where the system is silent.
    switch : callable
        Makes a stage the current one, and returns which was: takes and gives a :class:`Spent`.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Spent] = {}
        self.others_stage: str | None = None
        self._thread = get_ident()
        self._measuring = self.spent(MEASURING)
        self._began_s = perf_counter()
        self.switch = _switch_from(self.spent(OTHER), self._began_s)
        self._process_s, self._thread_s = process_time(), thread_time()
        self.peak = peak_bytes() or 0
        self._is_running = True

    @property
    def is_mine(self) -> bool:
        """Whether it runs, and for the thread that asks."""
        return self._is_running and get_ident() == self._thread

    @property
    def wall_s(self) -> float:
        """Seconds of all stages together."""
        return sum(spent.so_far_s for spent in self.stages.values())

    @property
    def current(self) -> Spent:
        """The stage that time is given to."""
        found = self.switch(self._measuring)
        self.switch(found)
        return found

    def count_process(self) -> None:
        """Count what the process did before as well, as the stage ``start``."""
        spent = self.spent("start")
        spent.cpu_s, spent.memory = self._process_s, self.peak
        spent.wall_s = process_age_s() - (perf_counter() - self._began_s)

    def spent(self, stage: str) -> Spent:
        """What a stage took so far; from now on there is such a stage."""
        found = self.stages.get(stage)
        if found is None:
            found = self.stages[stage] = Spent(stage)
        return found

    def mark(self, *, memory: bool = True) -> None:
        """Read processor time for the stages since the last mark, and memory for the current."""
        before = self.switch(self._measuring)
        process_s, thread_s = process_time(), thread_time()
        mine_s = thread_s - self._thread_s
        others_s = process_s - self._process_s - mine_s
        self._process_s, self._thread_s = process_s, thread_s
        self._share_out(mine_s)
        if others_s > 0:
            charged = before if self.others_stage is None else self.spent(self.others_stage)
            charged.cpu_s += others_s
        # It takes longer to read than all the rest.
        peak = peak_bytes() if memory else None
        if peak is not None and peak > self.peak:
            before.memory += peak - self.peak
            self.peak = peak
        self.switch(before)

    def _share_out(self, cpu_s: float) -> None:
        waiting = [spent for spent in self.stages.values() if spent.pending_s]
        per_s = cpu_s / sum(spent.pending_s for spent in waiting) if waiting else 0.0
        for spent in waiting:
            spent.cpu_s += per_s * spent.pending_s
            spent.wall_s += spent.pending_s
            spent.pending_s = 0.0

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Give what the block takes to a stage, but for what stages within it take."""
        if not self.is_mine:
            yield
            return
        self.mark()
        before = self.switch(self.spent(stage))
        try:
            yield
        finally:
            if self._is_running:
                self.mark()
                self.switch(before)

    def timed(
        self, stage: str, call: Callable[_Args, _Found], marks: Marks = "all"
    ) -> Callable[_Args, _Found]:
        """Return the call, whose time is that of a stage; with fewer marks where it is frequent."""
        spent, switch = self.spent(stage), self.switch

        def marked(*args: _Args.args, **others: _Args.kwargs) -> _Found:
            if not self.is_mine:
                return call(*args, **others)
            self.mark(memory=marks == "all")
            before = switch(spent)
            try:
                return call(*args, **others)
            finally:
                self.mark(memory=marks == "all")
                switch(before)

        def unmarked(*args: _Args.args, **others: _Args.kwargs) -> _Found:
            if not self.is_mine:
                return call(*args, **others)
            before = switch(spent)
            try:
                return call(*args, **others)
            finally:
                switch(before)

        return unmarked if marks == "none" else marked

    def timed_each(
        self, stage: str, call: Callable[_Args, Iterator[_Found]], marks: Marks = "all"
    ) -> Callable[_Args, Iterator[_Found]]:
        """Return the call of a generator, each of whose steps is a stage's."""

        def stepped(*args: _Args.args, **others: _Args.kwargs) -> Iterator[_Found]:
            steps = call(*args, **others)
            step = self.timed(stage, steps.__next__, marks)
            while True:
                try:
                    found = step()
                except StopIteration:
                    return
                yield found

        return stepped

    def move(self, source: str, target: str, wall_s: float) -> None:
        """Give wall time of one stage, and as much of its processor time, to another."""
        one, other = self.spent(source), self.spent(target)
        wall_s = max(0.0, min(wall_s, one.wall_s))
        cpu_s = one.cpu_s * wall_s / one.wall_s if one.wall_s else 0.0
        one.wall_s -= wall_s
        one.cpu_s -= cpu_s
        other.wall_s += wall_s
        other.cpu_s += cpu_s

    def stop(self) -> None:
        """Count no more; what a switch costs is taken off the stages. It may be called again."""
        if not self._is_running:
            return
        self.mark()
        self.switch(self._measuring)
        self._share_out(0.0)
        self._is_running = False
        cost_s = switch_cost_s()
        for stage, spent in list(self.stages.items()):
            if stage != MEASURING:
                # It is entered as often as left; each half lies on this side of the reading.
                self.move(stage, MEASURING, spent.n * cost_s)


def _switch_from(first: Spent, began_s: float) -> Callable[[Spent], Spent]:
    # A closure, as it is called in each slice: its variables cost less than attributes.
    current, since_s, now = first, began_s, perf_counter

    def switch(stage: Spent) -> Spent:
        nonlocal current, since_s
        now_s = now()
        before = current
        before.pending_s += now_s - since_s
        before.n += 1
        current, since_s = stage, now_s
        return before

    return switch


def extra_cost_s(call: Callable[[], object], plain: Callable[[], object]) -> float:
    """How many seconds longer a call takes than another, measured now."""
    n = 200
    with_call, without = [], []
    for _ in range(7):
        start = perf_counter()
        for _ in range(n):
            call()
        called = perf_counter()
        for _ in range(n):
            plain()
        with_call.append(called - start)
        without.append(perf_counter() - called)
    return max(0.0, min(with_call) - min(without)) / n


def switch_cost_s() -> float:
    """What a change of stage costs, in seconds, measured now."""
    return extra_cost_s(StageClock().timed(OTHER, _nothing, marks="none"), _nothing) / 2


def _nothing() -> None:
    pass


def process_age_s() -> float:
    """How long the process runs, to 10 ms; its processor time where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, AttributeError):
        return process_time()


def peak_bytes() -> int | None:
    """The most memory the process has had resident; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
