"""Runs a job: a process for each system and setting, rounds of which alternate with openbell's."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers.disk import FOLDER
from benchmarks.peers.work import ALL, Digest, Job, System, differences

ROOT = Path(__file__).resolve().parents[2]
N_ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Each library looks at its own; they must be set before it is imported.
THREAD_VARIABLES = (
    "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
#: Seconds within which a worker must answer.
PATIENCE = 600


class PeerError(Exception):
    """A system could not do the job; the message is shown in the table."""


@dataclass
class Result:
    """What a system in one setting made of a job.

    Attributes
    ----------
    job : Job
    system : System
    threads : 1 or "all"
    figures : dict
        Median over the rounds, seconds or bytes for an operation.
    ratios : dict
        Median over the rounds of its figure / openbell's just before, on as many threads if
        openbell has that setting.
    threads_busy : float
        Processor time / time: how many threads it really used.
    failure : str
        Why there are no figures.
    disagreements : list of str
        Where its digest is not openbell's.
    digest : dict
    """

    job: Job
    system: System
    threads: int | str
    figures: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    threads_busy: float = 0.0
    failure: str = ""
    disagreements: list[str] = field(default_factory=list)
    digest: Digest = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.system.name.startswith("openbell")


class Worker:
    """The process of one system in one setting."""

    def __init__(self, job: Job, system: System, n_threads: int, folder: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        environment = {**os.environ, FOLDER: str(folder)}
        environment.update({name: str(n_threads) for name in THREAD_VARIABLES})
        command = [sys.executable, "-m", "benchmarks.peers.worker", job.name, system.name]
        self._process = subprocess.Popen(
            [*command, str(n_threads)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            self.first = self._answer()
        except PeerError:
            self.close()
            raise

    def round(self) -> dict[str, Any]:
        """Do the work once more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        if self._errors.closed:
            return
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        alarm = threading.Timer(PATIENCE, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            raise PeerError(self._last_words())
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        raised = [line for line in words if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        last = (raised or words or [f"ended with code {self._process.returncode}"])[-1]
        return last[:160].replace("|", "/")


def run_job(job: Job, quick: bool, folder: Path) -> list[Result]:
    """Measure a job in all its systems; a system that fails is in the list, with its failure."""
    results = [Result(job, s, threads) for s in job.systems for threads in s.threads]
    n_rounds = 2 if quick else job.rounds
    with ExitStack() as stack:
        workers = {}
        for at, result in enumerate(results):
            with _failures_noted(result):
                worker = start(result, folder)
                stack.callback(worker.close)
                workers[at] = worker
                if job.fresh:
                    worker.close()
                result.digest = worker.first["digest"]
        if 0 not in workers:
            for result in results[1:]:
                result.failure = result.failure or "not measured: openbell failed"
            return results
        measure = _fresh if job.fresh else _turns
        found = measure(results, workers, n_rounds, folder)
    for result, rounds in zip(results, found, strict=True):
        if result.failure:
            continue
        _summarize(result, rounds)
        result.disagreements = differences(results[0].digest, result.digest, result.system)
    return results


def start(result: Result, folder: Path) -> Worker:
    missing = [name for name in result.system.packages if _version(name) is None]
    if missing:
        raise PeerError(f"{', '.join(missing)} could not be installed")
    n_threads = N_ALL if result.threads == ALL else 1
    return Worker(result.job, result.system, n_threads, folder)


Rounds = list[tuple[dict[str, Any], dict[str, Any]]]


def _turns(
    results: list[Result], workers: dict[int, Worker], n_rounds: int, _folder: Path
) -> list[Rounds]:
    found: list[Rounds] = [[] for _ in results]
    for _ in range(n_rounds):
        for at, result in enumerate(results):
            if at in workers and not result.failure:
                beside = _beside(results, workers, result)
                with _failures_noted(result):
                    ours = workers[beside].round()
                    found[at].append((ours if at == beside else workers[at].round(), ours))
    return found


def _beside(results: list[Result], workers: dict[int, Worker], result: Result) -> int:
    # openbell's first system: on as many threads when it has that setting.
    return next(
        (
            at
            for at, one in enumerate(results)
            if one.system is one.job.systems[0] and one.threads == result.threads and at in workers
        ),
        0,
    )


def _fresh(
    results: list[Result], workers: dict[int, Worker], n_rounds: int, folder: Path
) -> list[Rounds]:
    # What the first processes answered is a round already.
    found: list[Rounds] = [[] for _ in results]
    for n in range(n_rounds):
        for at, result in enumerate(results):
            if at in workers and not result.failure:
                with _failures_noted(result):
                    if n:
                        workers[at] = start(result, folder)
                        workers[at].close()
                    found[at].append((workers[at].first, workers[0].first))
    return found


@contextmanager
def _failures_noted(result: Result) -> Iterator[None]:
    try:
        yield
    except PeerError as error:
        result.failure = str(error)


def _summarize(result: Result, rounds: Rounds) -> None:
    for name in rounds[0][0]["figures"]:
        theirs = [one["figures"][name] for one, _ in rounds]
        result.figures[name] = statistics.median(theirs)
        if name in rounds[0][1]["figures"]:
            ratios = [one["figures"][name] / ours["figures"][name] for one, ours in rounds]
            result.ratios[name] = statistics.median(ratios)
    result.threads_busy = statistics.median(one["threads_busy"] for one, _ in rounds)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
