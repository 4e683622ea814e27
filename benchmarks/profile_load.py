"""Where the time from Parquet to the rings goes, by stage: ``python -m benchmarks.profile_load``.

A written dataset is opened, validated and loaded, on one thread and on all; beside it what
pyarrow needs to decode the same file, and a copy of the bars.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import pyarrow.parquet as pq

import openbell as ob
from benchmarks.bench_load import decode, write_day
from benchmarks.data import N_DAY, RAW_BAR, make_window
from benchmarks.harness import timed
from benchmarks.profiled import best_of, config_of, names_of, options_of, show
from openbell.profiling import profile
from openbell.sources import ParquetSource


def load(session: ob.SessionCoordinator) -> None:
    next(session.days())
    assert all(record.n_waiting == N_DAY for record in session.root)


def decode_alone(path: Path, n_threads: int) -> float:
    footer = pq.read_metadata(path)
    groups = list(range(footer.num_row_groups))
    start = process_time()
    with ThreadPoolExecutor(n_threads) as pool:
        for job in [pool.submit(decode, path, footer, groups[k::8]) for k in range(8)]:
            job.result()
    return process_time() - start


def main() -> None:
    options = options_of(__doc__, symbols=100, rounds=3)
    names, window = names_of(options.symbols), make_window()
    columns = {}
    decoding, copying = [], []
    bars = np.zeros(len(names) * N_DAY, RAW_BAR)
    copy = np.zeros_like(bars)
    with TemporaryDirectory() as folder:
        path = write_day(Path(folder), window, names, "1s")
        for n_threads in dict.fromkeys((1, os.cpu_count() or 1)):

            def prepare(n_threads: int = n_threads) -> ob.SessionCoordinator:
                source = ParquetSource(folder, n_threads=n_threads)
                data = ob.DataManager([source], ob.TimeManager("XNYS"))
                return ob.open_session(config_of(names), data=data)

            title = "1 thread" if n_threads == 1 else f"{n_threads} threads"
            columns[title] = best_of(options.rounds, prepare, load, profile)
            decoding.append(min(decode_alone(path, n_threads) for _ in range(options.rounds)))
            copying.append(min(timed(lambda: np.copyto(copy, bars)) for _ in range(3)))
        beside = {"decoding alone": decoding, "a copy of the bars": copying}
        show(f"Parquet day of {len(names)} symbols", columns, len(bars), beside)


if __name__ == "__main__":
    main()
