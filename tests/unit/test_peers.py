"""What openbell is measured beside does the same work: here without the peers themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import talib

from benchmarks.peers import derive, gaps, indicators, latency, load, replay
from benchmarks.peers.disk import FOLDER
from benchmarks.peers.jobs import NAMES, find_job
from benchmarks.peers.running import Result
from benchmarks.peers.table import to_markdown
from benchmarks.peers.work import Digest, Job, System, Work, differences

Make = Callable[[int, int], Work]


def digest(make: Make) -> Digest:
    work = make(2, 1)
    if work.prepare is not None:
        work.prepare()
    return work.digest({name: run() for name, run in work.runs.items()})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (derive.openbell_records, derive.numpy_reduceat),
        (replay.openbell_callbacks, replay.plain_python),
        (replay.openbell_slices, replay.plain_python),
        (latency.openbell_append, latency.plain_python),
        (gaps.openbell_records, gaps.numpy),
        (load.openbell_session, load.openbell_arrays),
    ],
    ids=lambda make: f"{make.__module__.rpartition('.')[2]}-{make.__name__}",
)
def test_job_of_openbell_and_of_reference_find_the_same(ours: Make, reference: Make) -> None:
    found = digest(ours)
    assert found
    assert differences(found, digest(reference), System("", reference, n_symbols=2)) == []


def test_indicator_sums_are_those_of_talib_over_the_whole_array() -> None:
    bars = indicators.day()
    close = bars["close"].copy()
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    expected = {
        "sma": talib.SMA(close, 20),
        "ema": talib.EMA(close, 20),
        "rsi": talib.RSI(close, 14),
        "atr": talib.ATR(bars["high"].copy(), bars["low"].copy(), close, 14),
        "upper": upper,
        "middle": middle,
        "lower": lower,
    }
    sums: Digest = {name: float(np.sum(v[2000:])) for name, v in expected.items()}
    found = digest(indicators.openbell_indicators)
    assert differences(sums, found, System("", indicators.openbell_indicators)) == []


def test_differences_tell_what_disagrees_and_what_is_missing_without_reason() -> None:
    ours: Digest = {"S00000 1m": 2.0, "S00000 1h": 7, "S00001 1m": 3.0, "runs": "ab"}
    system = System("peer", derive.numpy_reduceat, n_symbols=1, without=(".* 1h",))
    assert differences(ours, {"S00000 1m": 2.0 + 1e-10, "runs": "ab"}, system) == []
    assert differences(ours, {"S00000 1m": 2.1, "other": 1}, system) == [
        "S00000 1m: 2.1 instead of 2.0",
        "runs: missing",
        "other: unexpected",
    ]


def test_jobs_put_openbell_first_and_set_goals_on_figures_that_they_have() -> None:
    for name in NAMES:
        job = find_job(name)
        assert job.name == name
        assert job.systems[0].name.startswith("openbell")
        assert len({system.name for system in job.systems}) == len(job.systems)


def test_table_names_a_peer_that_failed_and_one_that_differs() -> None:
    ours = System("openbell kernel", derive.openbell_kernel)
    peer = System("peer", derive.numpy_reduceat, goals={"": 20})
    job = Job("job", "some work", (ours, peer))
    table = to_markdown(
        [
            Result(job, ours, 1, {"": 2e-9}, {"": 1.0}, digest={"a": 1}),
            Result(job, peer, 1, failure="peer could not be installed"),
            Result(job, peer, 1, {"": 3e-8}, {"": 15.0}, disagreements=["a: 2 instead of 1"]),
        ]
    )
    assert table.splitlines()[2:] == [
        "| some work | **openbell kernel** | 1 | 2.00 ns a bar | 1.00 |  |  |",
        "|  | peer | 1 |  |  |  | **failed**: peer could not be installed |",
        "|  | peer | 1 | 30.0 ns a bar | 15.0 | >= 20 x: **not reached** | "
        "**1 differ**, the first: a: 2 instead of 1 |",
    ]
