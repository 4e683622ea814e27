"""The process of one system in one setting: does a job when it is told to.

It prepares the work, runs it once, and writes a line of JSON with the digest; then a line with
the figures for each line that it reads. What the system itself prints goes nowhere.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import IO, Any

from benchmarks.peers.jobs import find_job
from benchmarks.peers.work import Work


def main(job_name: str, system_name: str, n_threads: int) -> None:
    answers = _own_stdout()
    job = find_job(job_name)
    system = next(s for s in job.systems if s.name == system_name)
    work = system.make(system.n_symbols, n_threads)
    found, results = _round(work)
    _say(answers, {"digest": work.digest(results), **(found if job.fresh else {})})
    del results
    for _ in sys.stdin:
        _say(answers, _round(work)[0])


def _round(work: Work) -> tuple[dict[str, Any], dict[str, Any]]:
    if work.prepare is not None:
        work.prepare()
    gc.collect()
    figures, results = {}, {}
    busy, began = time.process_time(), time.perf_counter()
    for name, run in work.runs.items():
        start = time.perf_counter()
        results[name] = run()
        figures[name] = (time.perf_counter() - start) / work.n
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    if work.figures is not None:
        figures = work.figures(results)
    return {"figures": figures, "threads_busy": busy / taken}, results


def _own_stdout() -> IO[str]:
    own = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return own


def _say(answers: IO[str], what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
