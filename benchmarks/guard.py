"""Counts the instructions of the native paths, here and at the merge base; fails on 3 % more.

`make guard` runs it. Instructions, unlike times, are the same on a busy machine: callgrind
counts them, in two builds by the same compiler. `OPENBELL_GUARD_BASE` names another commit to
compare with.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

TREE = Path(__file__).resolve().parents[1]
BASE_VARIABLE = "OPENBELL_GUARD_BASE"
MAINS = ("origin/HEAD", "origin/main", "main")
#: By how much a path may grow.
LIMIT = 1.03
#: What the native modules are made of.
COMPILED = ("setup.py", "src/_native", "src/openbell/_native/*.pxd", "src/openbell/_native/*.h")
#: Switches of setup.py that make another build than the one that is shipped.
SWITCHES = ("OPENBELL_DEBUG", "OPENBELL_PROFILE", "OPENBELL_SANITIZE")


class Skipped(Exception):
    """Nothing can be compared here."""


class Verdict(NamedTuple):
    path: str
    base: int | None
    head: int | None
    is_fine: bool

    def __str__(self) -> str:
        base = "-" if self.base is None else f"{self.base:,}"
        head = "-" if self.head is None else f"{self.head:,}"
        if self.base and self.head:
            says = f"{self.head / self.base:.4f} x" + ("" if self.is_fine else "  MORE")
        else:
            says = "not in the base" if self.is_fine else "NOT COUNTED HERE"
        return f"{self.path:36}{base:>16}{head:>16}  {says}"


def judge(base: Mapping[str, int], head: Mapping[str, int], paths: Sequence[str]) -> list[Verdict]:
    """Whether each path takes at most `LIMIT` times the instructions of the base.

    One that the base lacks is fine; one that the head lacks is not.
    """
    verdicts = []
    for path in paths:
        before, now = base.get(path), head.get(path)
        is_fine = now is not None and (before is None or now <= before * LIMIT)
        verdicts.append(Verdict(path, before, now, is_fine))
    return verdicts


def read_counts(dumps: str) -> dict[str, int]:
    """What callgrind counted up to each mark, by the mark's name."""
    parts = re.findall(
        r"^desc: Trigger: Client Request: (.+?)$.*?^totals: (\d+)$", dumps, re.MULTILINE | re.DOTALL
    )
    return {name: int(total) for name, total in parts}


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: int = 600,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd or TREE,
        env=env,
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
    )


def git(*arguments: str) -> str | None:
    """What git prints; None where it fails."""
    done = run("git", *arguments)
    return done.stdout.strip() if done.returncode == 0 else None


def commit_of(name: str) -> str | None:
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def fetch(*arguments: str) -> None:
    """Get what a clone of CI left out; where that fails, the search for a base says so."""
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        run("git", "fetch", "--quiet", *arguments, env=env, seconds=120)
    except subprocess.TimeoutExpired:
        print("git fetch took too long", flush=True)


def find_base() -> str:
    """The commit to compare with: where this branch left main; on main, what came before."""
    if name := os.environ.get(BASE_VARIABLE):
        if base := commit_of(name):
            return base
        raise SystemExit(f"{BASE_VARIABLE} is {name!r}, which git does not know as a commit")
    if commit_of("HEAD") is None:
        raise Skipped("no base to compare with: this is no git checkout")
    if git("rev-parse", "--is-shallow-repository") == "true":
        fetch("--unshallow", "origin")
    if not any(map(commit_of, MAINS)):
        fetch("origin", "+refs/heads/main:refs/remotes/origin/main")
    for name in filter(commit_of, MAINS):
        base = git("merge-base", "HEAD", name)
        if base is None:
            continue
        if base != commit_of("HEAD"):
            return base
        # What is not committed yet comes after the newest commit.
        before = "HEAD" if changed_since("HEAD") else "HEAD^"
        if base := commit_of(before):
            return base
        raise Skipped("no base to compare with: the history begins here")
    raise Skipped(f"no base to compare with: none of {', '.join(MAINS)} has a commit in common")


def changed_since(commit: str) -> list[str]:
    """The sources of the native modules that differ."""
    differing = git("diff", "--name-only", commit, "--", *COMPILED)
    return (differing or "").splitlines()


def build(commit: str, into: Path, changed: Sequence[str]) -> None:
    """A tree of that commit with its native modules, built as setup.py builds them."""
    archive = into.with_suffix(".tar")
    if git("archive", "--output", str(archive), commit) is None:
        raise Skipped(f"no base to compare with: git archive has no {commit}")
    with tarfile.open(archive) as files:
        # Not every 3.11 knows of filters yet; the archive is git's own.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        files.extractall(into, **safely)
    # Where no declaration changed, a module whose source is the same is the same.
    if all(name.endswith(".pyx") for name in changed):
        for source in into.glob("src/_native/*.pyx"):
            if f"src/_native/{source.name}" not in changed:
                adopt(source.stem, into)
    env = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    command = ("setup.py", "--quiet", "build_ext", "--inplace", "--build-lib", "build/lib")
    done = run(sys.executable, *command, cwd=into, env=env)
    if done.returncode:
        raise Skipped(f"no base to compare with: it does not build here\n{done.stderr[-2000:]}")


def adopt(module: str, into: Path) -> None:
    # What the build finds newer than the sources it leaves alone.
    for pattern, folder in (
        (f"build/cython/src/_native/{module}.c", "build/cython/src/_native"),
        (f"src/openbell/_native/{module}.*.so", "build/lib/openbell/_native"),
    ):
        for built in TREE.glob(pattern):
            (into / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy2(built, into / folder)


def compile_marks(scratch: Path) -> Path:
    library = scratch / "marks.so"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    source = TREE / "benchmarks" / "guard_marks.c"
    done = run(*compiler, "-O1", "-shared", "-fPIC", "-o", library, source)
    if done.returncode:
        raise Skipped(f"callgrind's marks do not compile\n{done.stderr[-2000:]}")
    return library


class Counted(NamedTuple):
    """What ran with the package of a tree: the paths, the instructions of each, the errors."""

    paths: list[str]
    counts: dict[str, int]
    errors: str


def count(tree: Path, marks: Path, scratch: Path) -> Counted:
    out = scratch / f"callgrind.{tree.name}"
    env = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(tree / "src"),
        "PYTHONHASHSEED": "0",
        # Python's own allocator takes longer at the edges of its pools, wherever these lie.
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "LD_BIND_NOW": "1",
    }
    callgrind = ("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no")
    dump = f"--callgrind-out-file={out}"
    driver = ("-m", "benchmarks.guard_paths", marks, tree / "src")
    done = run(*callgrind, "--combine-dumps=yes", dump, sys.executable, *driver, env=env)
    dumps = out.read_text() if out.exists() else ""
    return Counted(done.stdout.splitlines(), read_counts(dumps), done.stderr[-2000:])


def compare(scratch: Path) -> list[Verdict]:
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        raise Skipped(f"the baseline is x86-64 Linux, this is {platform.machine()}")
    if shutil.which("valgrind") is None:
        raise Skipped("there is no valgrind")
    if run("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "true").returncode:
        raise Skipped("valgrind does not run here")
    if on := [name for name in SWITCHES if os.environ.get(name) == "1"]:
        raise Skipped(f"{on[0]} is set: such a build is not compared")
    base = find_base()
    title = git("show", "--no-patch", "--format=%h %s", base)
    changed = changed_since(base)
    if not changed:
        raise Skipped(f"nothing that is compiled differs from {title}")
    marks = compile_marks(scratch)
    print(f"against {title}\ndiffering: {', '.join(map(os.path.basename, changed))}", flush=True)
    build(base, scratch / "base", changed)
    before = count(scratch / "base", marks, scratch)
    if not before.counts:
        raise Skipped(f"no base to compare with: its paths do not run\n{before.errors}")
    now = count(TREE, marks, scratch)
    print(before.errors, now.errors, sep="", end="")
    return judge(before.counts, now.counts, now.paths)


def main() -> int:
    try:
        with TemporaryDirectory(prefix="openbell-guard-") as scratch:
            verdicts = compare(Path(scratch))
    except Skipped as skipped:
        print(f"instruction counts SKIPPED: {skipped}")
        return 0
    print(f"{'path':36}{'base':>16}{'head':>16}  ratio", *verdicts, sep="\n")
    worse = [verdict.path for verdict in verdicts if not verdict.is_fine]
    if worse or not verdicts:
        print(f"not within {LIMIT} x the instructions of the base: {'; '.join(worse) or 'all'}")
    return 1 if worse or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
