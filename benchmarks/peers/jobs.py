"""The jobs, in the order of the table."""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.work import Job

#: A module each.
NAMES = ("derive", "replay", "latency", "gaps", "indicators", "export", "load", "memory")


def find_job(name: str) -> Job:
    """The job of a name, its systems not yet imported."""
    job = import_module(f"benchmarks.peers.{name}").JOB
    assert isinstance(job, Job)
    return job
