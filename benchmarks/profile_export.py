"""Where the time of handing a session over goes: ``python -m benchmarks.profile_export``.

A replayed day is exported in each form, one stage after the other; beside each the bytes that
were written, and what writing as many bytes takes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import openbell as ob
from benchmarks.harness import quiet, timed
from benchmarks.profile_replay import INDICATORS
from benchmarks.profiled import (
    MemorySource,
    config_of,
    names_of,
    options_of,
    print_table,
    show,
)
from openbell.export import write_bars_csv, write_bars_parquet
from openbell.profiling import Profile, profile


def read_indicators(root: ob.SessionData) -> None:
    for record in root:
        for indicator in record.indicators.values():
            indicator.settle()


def count_gaps(root: ob.SessionData) -> None:
    for record in root:
        for series in record.bars.values():
            series.n_gaps, series.quality  # noqa: B018


def as_arrow(root: ob.SessionData) -> None:
    for record in root:
        for name in record.bars:
            root.to_arrow(record.symbol, name)


def parts_of(session: ob.SessionCoordinator, folder: Path) -> dict[str, Callable[[], object]]:
    """What is done with the day, in this order: what a later part needs, an earlier one has."""
    root = session.root
    seconds = [record.bars["1s"] for record in root]
    return {
        "gaps and quality": lambda: count_gaps(root),
        "reasons of gaps": session.quality.update,
        "five indicators": lambda: read_indicators(root),
        "JSON without bars": lambda: root.write_json(folder / "state.json", bars=False),
        "JSON": lambda: root.write_json(folder / "dump.json"),
        "CSV log": lambda: root.to_csv(folder / "log.csv"),
        "Arrow tables": lambda: as_arrow(root),
        "1s bars as Parquet": lambda: write_bars_parquet(seconds, folder / "bars.parquet"),
        "1s bars as CSV": lambda: write_bars_csv(seconds, folder / "bars.csv"),
    }


FILES = {
    "JSON without bars": "state.json",
    "JSON": "dump.json",
    "CSV log": "log.csv",
    "1s bars as Parquet": "bars.parquet",
    "1s bars as CSV": "bars.csv",
}


def main() -> None:
    options = options_of(__doc__, symbols=100, bars=5850, rounds=3)
    names = names_of(options.symbols)
    data = ob.DataManager([MemorySource(names, options.bars)], ob.TimeManager("XNYS"))
    session = ob.open_session(config_of(names, indicators=INDICATORS), data=data)
    ob.warmup()
    found: list[Profile] = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        for _ in range(options.rounds):
            session.run()
            with quiet(), profile() as one:
                for name, call in parts_of(session, folder).items():
                    with one.stage(name):
                        call()
            found.append(one)
        best = min(found, key=lambda one: one.whole.cpu_s)
        n_bars = options.symbols * options.bars
        title = f"a day of {options.symbols} symbols"
        show(title, {"processor": (best, best.whole.cpu_s)}, n_bars)
        lines = [("written", "MB", "MB/s", "writing as many bytes, MB/s")]
        for name, file in FILES.items():
            bytes_ = (folder / file).read_bytes()
            megabytes = len(bytes_) / 1e6
            beside_s = timed(lambda bytes_=bytes_: (folder / "beside").write_bytes(bytes_))
            rates = (megabytes / s for s in (best[name].cpu_s, beside_s))
            lines.append((name, f"{megabytes:,.1f}", *(f"{rate:,.0f}" for rate in rates)))
        print_table(lines)


if __name__ == "__main__":
    main()
