"""How a row is measured: rounds of the reference and of the thing itself, turn by turn.

A ratio of two times taken at the same moment means the same on a busy machine as on a quiet
one, and on the next machine too. Times are processor time, so that waiting for a neighbour
does not count. pytest-benchmark runs and times the rounds and writes the file; what the rows
have in common is here.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time
from typing import Any, Literal

from pytest_benchmark.fixture import BenchmarkFixture

GoalOf = Literal["ratio", "value", "excess"]

#: Seconds to the unit a row is shown in.
SCALES = {"ns": 1e9, "us": 1e6, "ms": 1e3}


class Beside:
    """Measures one row of the table.

    Parameters
    ----------
    benchmark : BenchmarkFixture
    quick : bool
        A fifth of the rounds: to see that a row runs, not to quote it.
    """

    def __init__(self, benchmark: BenchmarkFixture, quick: bool) -> None:
        self.benchmark = benchmark
        self.quick = quick

    def times(
        self,
        row: str,
        reference_name: str,
        measured: Callable[[], object],
        reference: Callable[[], object],
        *,
        n: int = 1,
        n_reference: int | None = None,
        goal: float | None = None,
        goal_of: GoalOf = "ratio",
        rounds: int = 30,
        warmup_rounds: int = 2,
        unit: str = "ns",
        prepare: Callable[[], object] | None = None,
        loop: Callable[[], object] | None = None,
        note: Callable[[float], str] | None = None,
    ) -> None:
        """Time both, turn by turn.

        Parameters
        ----------
        row, reference_name : str
            What is measured, and beside what.
        measured, reference : callable
        n, n_reference : int
            How many operations a call of each makes; times are per operation.
        goal : float, optional
        goal_of : "ratio", "value" or "excess"
            What must not exceed the goal: measured / reference, the measured time itself, or
            measured - reference.
        prepare : callable, optional
            Called before each round, untimed.
        loop : callable, optional
            The loop that both run in, empty; its time is taken off both.
        note : callable, optional
            Given the median of the measured times in seconds per operation, a word beside it.
        """
        rounds = self._rounds(rounds)
        scale = SCALES[unit]
        loops: list[float] = []
        references: list[float] = []

        def before_round() -> None:
            if prepare is not None:
                prepare()
            if loop is not None:
                loops.append(timed(loop))
            references.append(timed(reference))

        with quiet():
            self.benchmark.pedantic(
                measured, setup=before_round, rounds=rounds, warmup_rounds=warmup_rounds
            )
        empty = loops[-rounds:] or [0.0] * rounds
        taken = list(self.benchmark.stats.stats.data)
        taken_reference = references[-rounds:]
        n_reference = n_reference or n
        per_op = [(t - e) / n for t, e in zip(taken, empty, strict=True)]
        beside = [(t - e) / n_reference for t, e in zip(taken_reference, empty, strict=True)]
        best = (min(taken) - min(empty)) / n
        best_reference = (min(taken_reference) - min(empty)) / n_reference
        self._note(
            row,
            reference_name,
            [scale * t for t in per_op],
            [scale * t for t in beside],
            best / best_reference,
            unit,
            goal,
            goal_of,
            note and note(statistics.median(per_op)),
        )

    def values(
        self,
        row: str,
        reference_name: str,
        measured: Callable[[], float],
        reference: Callable[[], float],
        *,
        unit: str,
        goal: float | None = None,
        goal_of: GoalOf = "ratio",
        rounds: int = 7,
        warmup_rounds: int = 1,
        note: str | None = None,
    ) -> None:
        """Collect numbers that both give of themselves, turn by turn, already in `unit`."""
        rounds = self._rounds(rounds)
        found: list[tuple[float, float]] = []

        def both() -> None:
            beside = reference()
            found.append((measured(), beside))

        with quiet():
            self.benchmark.pedantic(both, rounds=rounds, warmup_rounds=warmup_rounds)
        kept = found[-rounds:]
        measured_values, reference_values = [v for v, _ in kept], [r for _, r in kept]
        self._note(
            row,
            reference_name,
            measured_values,
            reference_values,
            min(measured_values) / min(reference_values),
            unit,
            goal,
            goal_of,
            note,
        )

    def _rounds(self, wanted: int) -> int:
        return max(3, wanted // 5) if self.quick and wanted > 1 else wanted

    def _note(
        self,
        row: str,
        reference_name: str,
        measured: list[float],
        reference: list[float],
        best_ratio: float,
        unit: str,
        goal: float | None,
        goal_of: GoalOf,
        note: str | None,
    ) -> None:
        self.benchmark.extra_info.update(
            row=row,
            reference_name=reference_name,
            measured=measured,
            reference=reference,
            best_ratio=best_ratio,
            unit=unit,
            goal=goal,
            goal_of=goal_of,
            note=note or "",
        )


def timed(call: Callable[[], Any]) -> float:
    """Processor seconds that one call takes."""
    start = process_time()
    call()
    return process_time() - start


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of the rounds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
