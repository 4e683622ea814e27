"""What was found, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import openbell
from benchmarks.peers.running import N_ALL, Result
from benchmarks.peers.work import ALL

HEAD = ("what", "system", "threads", "measured", "times openbell's", "goal", "results")


def to_markdown(results: Iterable[Result]) -> str:
    """A row for each system and setting, those of a job together."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---|---|---|---|"]
    last = None
    for result in results:
        what = result.job.title if result.job is not last else ""
        last = result.job
        lines.append(f"| {' | '.join((what, *_cells(result)))} |")
    return "\n".join(lines)


def describe_machine(results: Iterable[Result]) -> str:
    """What it ran on, and with which versions."""
    packages = sorted({name for r in results for name in r.system.packages} | {"openbell", "numpy"})
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    parts = [
        f"{processor()}, {N_ALL} threads",
        f"{platform.system()} {platform.release()} {platform.machine()}, load {load}",
        f"{platform.python_implementation()} {platform.python_version()}",
        ", ".join(f"{name} {_version(name)}" for name in packages),
        "times by the clock, medians of the rounds",
    ]
    return "; ".join(parts) + "."


def is_reached(result: Result) -> bool | None:
    """Whether the goal is reached; None where there is none."""
    goals, settings = result.system.goals, result.job.systems[0].threads
    is_judged = result.threads == result.system.threads[-1] or len(settings) > 1
    if not goals or result.failure or not is_judged:
        return None
    if result.is_ours:
        return all(result.figures[name] <= most for name, most in goals.items())
    return all(result.ratios[name] >= least for name, least in goals.items())


def _cells(result: Result) -> tuple[str, ...]:
    system = result.system
    name = f"**{system.name}**" if result.is_ours else system.name
    threads = f"all ({N_ALL})" if result.threads == ALL else "1"
    if result.threads == 1 and result.threads_busy > 1.25:
        threads += f" (took {result.threads_busy:.1f})"
    if result.failure:
        return name, threads, "", "", "", f"**failed**: {result.failure}"
    measured = " / ".join(
        f"{label} {in_unit(value, result.job.unit)}".strip()
        for label, value in result.figures.items()
    )
    ratios = " / ".join(short(ratio) for ratio in result.ratios.values())
    return name, threads, f"{measured} a {result.job.per}", ratios, _goal(result), _outcome(result)


def _goal(result: Result) -> str:
    reached = is_reached(result)
    if reached is None:
        return ""
    parts = []
    for label, goal in result.system.goals.items():
        text = f"<= {in_unit(goal, result.job.unit)}" if result.is_ours else f">= {goal:g} x"
        parts.append(f"{label} {text}".strip())
    return f"{', '.join(parts)}: {'reached' if reached else '**not reached**'}"


def _outcome(result: Result) -> str:
    if result.disagreements:
        n = len(result.disagreements)
        word = f"**{n} differ**, the first: {result.disagreements[0]}"
    elif result.system is result.job.systems[0]:
        word = ""
    else:
        word = "equal"
    return "; ".join(part for part in (word, result.system.note) if part)


def in_unit(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value:,.1f} B"
    for scale, name in ((1e-6, "ns"), (1e-3, "us"), (1.0, "ms")):
        if value < scale:
            return f"{short(value / scale * 1e3)} {name}"
    return f"{short(value)} s"


def short(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    if package == "openbell":
        return openbell.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
