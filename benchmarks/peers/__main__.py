"""``python -m benchmarks.peers``: run every job, print the table, or quote it in the README."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.jobs import NAMES, find_job
from benchmarks.peers.running import ROOT, Result, run_job
from benchmarks.peers.table import describe_machine, to_markdown

README = ROOT / "README.md"
MARKS = ("<!-- peers -->", "<!-- /peers -->")


def main() -> int:
    options = parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="openbell-peers-") as folder:
        for name in options.only or NAMES:
            began = time.monotonic()
            results += run_job(find_job(name), options.quick, Path(folder))
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    text = f"{to_markdown(results)}\n\n{describe_machine(results)}"
    print(text)
    for result in results:
        for line in result.disagreements:
            print(f"{result.job.name}, {result.system.name}: {line}", file=sys.stderr)
    if options.readme:
        quote(README, text)
    return int(any(result.failure or result.disagreements for result in results))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--only", metavar="JOB", action="append", choices=NAMES, help="a job; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds: to try, not to quote")
    parser.add_argument("--readme", action="store_true", help="quote the table in the README")
    return parser.parse_args()


def quote(path: Path, table: str) -> None:
    """Put the table between its marks in a file."""
    text = path.read_text(encoding="utf-8")
    if not all(mark in text for mark in MARKS):
        raise SystemExit(f"{path.name} lacks the marks {' and '.join(MARKS)}")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
