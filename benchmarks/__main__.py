"""``python -m benchmarks``: measure, print each goal beside its ratio, keep or compare."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

import openbell
from benchmarks.report import (
    MACHINE_ROW,
    TOLERANCE,
    Row,
    keep,
    read_kept,
    read_run,
    show,
    to_markdown,
    tolerance_between,
)

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".benchmarks" / "kept.json"
README = ROOT / "README.md"
MARKS = ("<!-- bench -->", "<!-- /bench -->")


def main() -> int:
    options = parse_args()
    console = Console(width=None if sys.stdout.isatty() else 170)
    failed, machine_info, rows = measure(options.only, options.quick)
    machine = describe_machine(machine_info)
    show(console, machine, rows)
    if failed:
        console.print("[red]some rows could not be measured; see above[/red]")
    if options.save and rows:
        keep(KEPT, machine, rows)
        console.print(f"kept in {KEPT.relative_to(ROOT)}")
    if options.readme:
        quote(to_markdown(machine, rows))
        console.print("quoted in README.md")
    if options.check:
        failed |= check(console, machine, rows, options.quick)
    return int(failed)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        default="",
        help="rows to measure: a pytest -k expression, such as 'append or gaps'",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a fifth of the rounds: to try, not to quote"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--save", action="store_true", help="keep the result to compare with")
    action.add_argument(
        "--check",
        action="store_true",
        help="compare the ratios with the kept ones; exit 1 when one is worse",
    )
    parser.add_argument("--readme", action="store_true", help="quote the table in the README")
    return parser.parse_args()


def quote(table: str) -> None:
    """Put the table between its marks in the README."""
    before, rest = README.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"
    README.write_text(text, encoding="utf-8")


def measure(only: str, quick: bool) -> tuple[bool, dict[str, Any], list[Row]]:
    """Run the benchmarks in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            str(ROOT / "benchmarks"),
            "-q",
            "--no-header",
            "-c",
            str(ROOT / "pyproject.toml"),
            "-o",
            "python_files=bench_*.py",
            "-o",
            "python_functions=bench_*",
            "-p",
            "no:cacheprovider",
            "--benchmark-timer=time.process_time",
            "--benchmark-only",
            "--benchmark-quiet",
            f"--benchmark-json={path}",
        ]
        if only:
            command += ["-k", f"({only}) or bench_machine"]
        environment = {**os.environ, "OPENBELL_BENCH_QUICK": str(int(quick))}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if not path.exists() or not path.stat().st_size:
            raise SystemExit("nothing was measured")
        return code != 0, *read_run(path)


def describe_machine(info: dict[str, Any]) -> dict[str, str]:
    cpu = info.get("cpu", {})
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "machine": f"{cpu.get('brand_raw', platform.machine())}, {os.cpu_count()} threads",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, load {load}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(
            [f"openbell {openbell.__version__}"]
            + [f"{name} {version(name)}" for name in ("numpy", "numba", "Cython", "pyarrow")]
        ),
        "times": "processor time of one thread; live rows and the 99.9th percentile by the clock",
    }


def check(console: Console, machine: dict[str, str], rows: list[Row], quick: bool) -> bool:
    """Whether a ratio is worse than the kept one, and stays so when measured twice more."""
    if not KEPT.exists():
        console.print("[red]there is no kept run to compare with; make one with --save[/red]")
        return True
    before, kept = read_kept(KEPT)
    for key in ("machine", "python"):
        if before[key] != machine[key]:
            console.print(f"[yellow]the kept run was on {before[key]}[/yellow]")
    n_compared = sum(row.name in kept for row in rows)
    worse = find_worse(rows, kept)
    for _ in range(2):
        if worse:
            console.print(f"{len(worse)} rows seem worse; measuring their benchmarks again")
            names = " or ".join(sorted({f"bench_{row.name.split('[')[0]}" for row in worse}))
            suspects = {row.name for row in worse}
            again = find_worse(measure(names, quick)[2], kept)
            worse = [row for row in again if row.name in suspects]
    for row in worse:
        console.print(
            f"[red]worse[/red] {row.title}: {kept[row.name].ratio:.2f} x was kept, "
            f"now {row.ratio:.2f} x {row.reference_name}"
        )
    if not worse:
        console.print(f"{n_compared} rows compared; none is worse by {TOLERANCE - 1:.0%} or more")
    return bool(worse)


def find_worse(rows: list[Row], kept: dict[str, Row]) -> list[Row]:
    tolerance = tolerance_between({row.name: row for row in rows}, kept)
    return [
        row
        for row in rows
        if row.name in kept
        and row.name != MACHINE_ROW
        and row.is_worse_than(kept[row.name], tolerance)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
