"""Recording a live day: what a crash, a full disk or a second recorder may do to it."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock.live import AcceleratedClock
from openbell.clock.window import SessionWindow
from openbell.errors import DatasetError
from openbell.live.journal import (
    JournalPart,
    Row,
    bar_batch,
    heartbeat_row,
    outage_row,
    parts_of,
    read_part,
)
from openbell.live.recorder import Recorder
from openbell.live.recording import RecordedRows, Recording, compact
from openbell.schema import BAR_DTYPE
from openbell.sources import ParquetSource, dataset_path
from openbell.sources.outages import Outage
from tests.waiting import wait_until

DAY = date(2025, 7, 2)
OPEN = 1_751_463_000 * 10**9
MINUTE = 60 * 10**9
WINDOW = SessionWindow(
    DAY, [(OPEN, OPEN + 390 * MINUTE)], calendar="XNYS", timezone="America/New_York"
)


def row(minute: int, value: float = 10.0, rank: int = 0, symbol: str = "AAA") -> Row:
    ts_ns = OPEN + minute * MINUTE
    return (symbol, "1m", rank, ts_ns, value, value + 1, value - 1, value, 5.0, value * 2, nan)


def rows_of(folder: Path, symbol: str = "AAA", interval: str = "1m") -> RecordedRows:
    found = Recording.load(folder, WINDOW).rows(symbol, interval)
    assert found is not None
    return found


def as_list(found: RecordedRows) -> list[tuple[Any, ...]]:
    minutes = ((found.bars["timestamp"] - OPEN) // MINUTE).tolist()
    return list(zip(minutes, found.bars["open"].tolist(), found.ranks.tolist(), strict=True))


@pytest.fixture(autouse=True)
def _writes_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbell.live.recorder._WRITE_S", 0.02)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, WINDOW)
    yield recorder
    recorder.close()


# There and back


def test_recording_becomes_a_dataset_that_replays(recorder: Recorder, tmp_path: Path) -> None:
    recorder.record_bar(*row(0, 10.0))
    recorder.record_bar(*row(0, 11.0, symbol="BBB"))
    block = np.array([row(2, 12.0)[3:9], row(1, 13.0)[3:9]], BAR_DTYPE)
    recorder.record_block("AAA", "1m", 1, block, {"vwap": np.array([1.5, 2.5])})
    block["open"] = 99.0
    recorder.record_outage(OPEN + MINUTE, OPEN + 2 * MINUTE, ["BBB", "AAA"])
    recorder.record_outage(OPEN, OPEN + 5, None)
    recorder.record_outage(OPEN, OPEN, None)
    assert recorder.close()
    assert recorder.error is None
    source = ParquetSource(tmp_path)
    bars = source.load("AAA", "1m", WINDOW)
    assert bars["open"].tolist() == [10.0, 13.0, 12.0]
    extras = source.load_extras("AAA", "1m", WINDOW)
    assert np.array_equal(extras["trade_count"], [20.0, nan, nan], equal_nan=True)
    assert np.array_equal(extras["vwap"], [nan, 2.5, 1.5], equal_nan=True)
    assert source.load("BBB", "1m", WINDOW)["open"].tolist() == [11.0]
    whose = ("AAA", "BBB")
    outages = [Outage(OPEN, OPEN + 5, None), Outage(OPEN + MINUTE, OPEN + 2 * MINUTE, whose)]
    assert source.outages(DAY) == outages
    assert source.outages(date(2025, 7, 3)) == []
    assert parts_of(tmp_path, DAY) == []
    # What it became is a recording, too.
    again = Recording.load(tmp_path, WINDOW)
    assert again.series == [("AAA", "1m"), ("BBB", "1m")]
    assert again.outages == outages
    assert as_list(rows_of(tmp_path)) == [(0, 10.0, 1), (1, 13.0, 1), (2, 12.0, 1)]
    assert again.rows("AAA", "1s") is None


def test_recording_of_nothing_leaves_nothing(recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.close()
    assert recorder.close()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
    empty = Recording.load(tmp_path, WINDOW)
    assert (empty.series, empty.outages, empty.last_ns) == ([], [], OPEN)
    assert Recorder(tmp_path, WINDOW).close()


def test_what_comes_after_the_end_is_passed_over(recorder: Recorder, tmp_path: Path) -> None:
    recorder.record_bar(*row(0))
    recorder.close()
    recorder.record_bar(*row(1))
    assert as_list(rows_of(tmp_path)) == [(0, 10.0, 1)]


BARS = st.tuples(st.integers(0, 5), st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 2))


@given(st.lists(st.lists(BARS, min_size=1, max_size=6), max_size=6))
def test_of_each_slot_the_highest_rank_stands_and_of_equals_the_newest(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, float, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("recording")
    best: dict[int, tuple[float, int]] = {}
    part = new_part(folder)
    for batch in batches:
        part.write(part.encode(bar_batch([row(*bar) for bar in batch])))
        for minute, value, rank in batch:
            if minute not in best or rank >= best[minute][1]:
                best[minute] = value, rank
    part.close()
    expected = [(minute, *best[minute]) for minute in sorted(best)]
    if not expected:
        assert Recording.load(folder, WINDOW).series == []
        return
    assert as_list(rows_of(folder)) == expected
    compact(folder, WINDOW)
    assert [bar[:2] for bar in as_list(rows_of(folder))] == [bar[:2] for bar in expected]


def new_part(folder: Path) -> JournalPart:
    (folder / "live").mkdir(exist_ok=True)
    return JournalPart(folder, DAY)


# What a crash leaves


def test_journal_tells_that_a_quiet_session_lives(tmp_path: Path) -> None:
    clock = AcceleratedClock(OPEN + 100 * MINUTE, 60.0)
    recorder = Recorder(tmp_path, WINDOW, clock=clock)
    try:
        recorder.record_bar(*row(0))
        wait_until(lambda: Recording.load(tmp_path, WINDOW).last_ns > OPEN + 100 * MINUTE)
        assert Recording.load(tmp_path, WINDOW).last_ns <= clock.now_ns()
        # While it records, what is on the disk can be read.
        assert as_list(rows_of(tmp_path)) == [(0, 10.0, 0)]
    finally:
        recorder.close()
    assert Recording.load(tmp_path, WINDOW).last_ns > OPEN + 100 * MINUTE


#: What a process of its own begins with; it imports nothing of the tests.
PRELUDE = f"""
import sys
from datetime import date
from pathlib import Path
from time import sleep
import openbell.live.recorder
from openbell.clock.window import SessionWindow
from openbell.live.recorder import Recorder
openbell.live.recorder._WRITE_S = 0.02
WINDOW = SessionWindow(
    date(2025, 7, 2), [({OPEN}, {WINDOW.close_ns})], calendar="XNYS", timezone="America/New_York"
)
def record(minute, value=10.0, rank=0):
    prices = value, value + 1, value - 1, value
    recorder.record_bar("AAA", "1m", rank, {OPEN} + minute * {MINUTE}, *prices, 5.0, 1.0, 1.0)
"""

CHILD = f"""{PRELUDE}
recorder = Recorder(sys.argv[1], WINDOW)
minute = 0
for line in sys.stdin:
    for _ in range(int(line)):
        record(minute, 10.0 + minute, minute % 3)
        minute += 1
    print(minute, flush=True)
"""


def test_killed_session_loses_at_most_what_was_not_written_and_is_gone_on_with(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        print(100, file=child.stdin, flush=True)
        assert child.stdout.readline() == "100\n"
        wait_until(lambda: ("AAA", "1m") in Recording.load(tmp_path, WINDOW).series)
        wait_until(lambda: len(rows_of(tmp_path).bars) == 100)
        with pytest.raises(DatasetError, match="another session records to it"):
            Recorder(tmp_path, WINDOW, resume=True)
        print(100, file=child.stdin, flush=True)
        assert child.stdout.readline() == "200\n"
        child.send_signal(signal.SIGKILL)
    held = rows_of(tmp_path)
    n = len(held.bars)
    assert 100 <= n <= 200
    assert as_list(held) == [(k, 10.0 + k, k % 3) for k in range(n)]
    with pytest.raises(DatasetError, match="a recording of 2025-07-02 already; resume"):
        Recorder(tmp_path, WINDOW)
    recorder = Recorder(tmp_path, WINDOW, resume=True)
    recorder.record_bar(*row(300))
    assert recorder.close()
    assert len(rows_of(tmp_path).bars) == n + 1
    assert parts_of(tmp_path, DAY) == []


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int], list[list[Row]]]:
    """A journal's bytes, where its batches end, and their rows."""
    folder = tmp_path_factory.mktemp("journal")
    part = new_part(folder)
    batches = [
        [row(0, 1.0), row(1, 2.0, 2)],
        [outage_row(Outage(OPEN, OPEN + 5, ("AAA",)))],
        [row(2, 3.0, 1), row(0, 4.0), heartbeat_row(OPEN + 9)],
    ]
    ends = []
    for batch in batches:
        part.write(part.encode(bar_batch(batch)))
        ends.append(part.path.stat().st_size)
    part.close()
    return part.path.read_bytes(), ends, batches


def read_back(folder: Path, data: bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    path = folder / "date=2025-07-02.part-1.arrows"
    path.write_bytes(data)
    lost: list[str] = []
    rows: list[tuple[Any, ...]] = []
    for batch in read_part(path, lost.append):
        pairs = zip(batch.ranks.tolist(), batch.rows.tolist(), strict=True)
        rows += [(rank, *values) for rank, values in pairs]
    return rows, lost


def values_of(batches: list[list[Row]]) -> list[tuple[Any, ...]]:
    return [entry[2:] for batch in batches for entry in batch]


def test_journal_torn_at_any_byte_keeps_its_whole_batches(
    journal: tuple[bytes, list[int], list[list[Row]]], tmp_path: Path
) -> None:
    data, ends, batches = journal
    # All of the tail; before it, what differs is only how much is lost.
    for at in [*range(0, ends[1], 13), *range(ends[1], len(data) + 1)]:
        n_whole = sum(end <= at for end in ends)
        rows, lost = read_back(tmp_path, data[:at])
        assert repr(rows) == repr(values_of(batches[:n_whole]))
        if at > ends[0]:
            assert len(lost) == (at not in ends)
        # As a power cut may leave it: the length is known to the disk, the bytes are not.
        torn = data[:at] + bytes(len(data) - at)
        n_whole = sum(torn[:end] == data[:end] for end in ends)
        rows, lost = read_back(tmp_path, torn)
        assert repr(rows) == repr(values_of(batches[:n_whole]))
        assert bool(lost) == (torn != data)


@given(at=st.integers(0, 10**6), bits=st.integers(1, 255))
def test_journal_with_a_changed_byte_tells_nothing_wrong(
    journal: tuple[bytes, list[int], list[list[Row]]],
    tmp_path_factory: pytest.TempPathFactory,
    at: int,
    bits: int,
) -> None:
    data, _, batches = journal
    damaged = bytearray(data)
    damaged[at % len(data)] ^= bits
    rows, lost = read_back(tmp_path_factory.mktemp("damaged"), bytes(damaged))
    known = [repr(values_of([batch])) for batch in batches]
    # What is read are whole batches in order; padding, which nobody reads, may be any.
    rest = repr(rows)
    if rest != repr(values_of(batches)):
        assert lost
        assert all(repr(r) in "".join(known) for r in rows)


def test_damaged_part_is_warned_of_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in (0, 1, 2):
        part = new_part(tmp_path)
        part.write(part.encode(bar_batch([row(minute)])))
        part.close()
    first, second, _ = parts_of(tmp_path, DAY)
    first.write_bytes(b"garbage of a disk" * 50)
    second.write_bytes(b"")
    with caplog.at_level(logging.WARNING, "openbell.live"):
        assert as_list(rows_of(tmp_path)) == [(2, 10.0, 0)]
    assert str(first) in caplog.text
    assert "nothing of it can be read" in caplog.text


def test_parts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for value in range(11):
        part = new_part(tmp_path)
        part.write(part.encode(bar_batch([row(0, float(value))])))
        part.close()
    assert as_list(rows_of(tmp_path)) == [(0, 10.0, 0)]
    assert [path.name[-9:] for path in parts_of(tmp_path, DAY)][-2:] == ["10.arrows", "11.arrows"]


@pytest.mark.parametrize("lost", ["nothing", "feed", "one interval", "all"])
def test_making_the_dataset_can_be_broken_off_anywhere_and_done_again(
    recorder: Recorder, tmp_path: Path, lost: str
) -> None:
    recorder.record_bar(*row(0, 1.0, 2))
    recorder.record_bar(*row(0, 2.0, 0))
    recorder.record_bar("AAA", "1s", *row(1, 3.0)[2:])
    recorder.record_outage(OPEN, OPEN + 5, None)
    wait_until(lambda: len(Recording.load(tmp_path, WINDOW).series) == 2)
    journal = tmp_path.with_name(f"{tmp_path.name}-journal")
    shutil.copytree(tmp_path / "live", journal)
    assert recorder.close()
    made = {path: path.read_bytes() for path in (tmp_path / "bars").rglob("*.parquet")}
    assert len(made) == 2
    # As if it had died before the journal was gone.
    shutil.copytree(journal, tmp_path / "live", dirs_exist_ok=True)
    gone = {"feed": ["feed"], "one interval": ["feed", "bars/interval=1s"], "all": ["feed", "bars"]}
    for name in gone.get(lost, []):
        shutil.rmtree(tmp_path / name)
    assert [bar[:2] for bar in as_list(rows_of(tmp_path))] == [(0, 1.0)]
    compact(tmp_path, WINDOW)
    assert {p: p.read_bytes() for p in (tmp_path / "bars").rglob("*.parquet")} == made
    assert ParquetSource(tmp_path).outages(DAY) == [Outage(OPEN, OPEN + 5, None)]
    assert parts_of(tmp_path, DAY) == []
    assert compact(tmp_path, WINDOW) == []


def test_resumed_recording_adds_to_the_dataset(recorder: Recorder, tmp_path: Path) -> None:
    recorder.record_bar(*row(0, 1.0))
    recorder.record_bar(*row(1, 2.0))
    recorder.record_outage(OPEN, OPEN + 5, None)
    recorder.close()
    again = Recorder(tmp_path, WINDOW, resume=True)
    again.record_bar(*row(1, 3.0, 2))
    again.record_bar(*row(2, 4.0))
    again.record_outage(OPEN + 7, OPEN + 9, ["AAA"])
    wait_until(lambda: len(rows_of(tmp_path).bars) == 3)
    assert as_list(rows_of(tmp_path)) == [(0, 1.0, 1), (1, 3.0, 2), (2, 4.0, 0)]
    assert again.close()
    assert [bar[:2] for bar in as_list(rows_of(tmp_path))] == [(0, 1.0), (1, 3.0), (2, 4.0)]
    outages = [Outage(OPEN, OPEN + 5, None), Outage(OPEN + 7, OPEN + 9, ("AAA",))]
    assert Recording.load(tmp_path, WINDOW).outages == outages


# Folders and disks


def test_second_recorder_of_a_folder_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="another session records to it"):
        Recorder(tmp_path, WINDOW, resume=True)
    recorder.record_bar(*row(0))
    recorder.close()
    assert Recorder(tmp_path, WINDOW, resume=True).close()


def test_folder_with_bars_of_the_date_is_refused_without_resume(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.record_bar(*row(0))
    recorder.close()
    with pytest.raises(DatasetError, match="already"):
        Recorder(tmp_path, WINDOW)
    shutil.rmtree(tmp_path / "feed")
    with pytest.raises(DatasetError, match="already"):
        Recorder(tmp_path, WINDOW)
    other = SessionWindow(date(2025, 7, 3), [(OPEN + 10**15, OPEN + 10**15 + MINUTE)])
    assert Recorder(tmp_path, other).close()


def test_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written to: "):
        Recorder(tmp_path / "file" / "inside", WINDOW)


FULL_DISK = f"""{PRELUDE}
import logging
import resource
told = []
logging.getLogger("openbell.live").addFilter(lambda one: told.append(one.levelname) or True)
recorder = Recorder(sys.argv[1], WINDOW)
record(0)
(part,) = Path(sys.argv[1]).rglob("*.arrows")
while not part.stat().st_size:
    sleep(0.01)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
for minute in range(1, 100):
    record(minute)
while recorder.error is None:
    sleep(0.01)
assert "cannot be written: File too large" in recorder.error, recorder.error
if sys.argv[2] == "again":
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    record(100)
    while recorder.error is not None:
        sleep(0.01)
assert recorder.close() == (sys.argv[2] == "again")
assert told.count("ERROR") == 1, told
"""


@pytest.mark.parametrize("then", ["again", "never"])
def test_full_disk_is_told_once_and_recording_goes_on_when_it_can(
    tmp_path: Path, then: str
) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), then]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    minutes = [bar[0] for bar in as_list(rows_of(tmp_path))]
    if then == "again":
        assert minutes == list(range(101))
        assert parts_of(tmp_path, DAY) == []
    else:
        # The journal stays, whole as far as it goes.
        assert minutes == list(range(len(minutes)))
        assert 1 <= len(minutes) < 100
        assert len(parts_of(tmp_path, DAY)) == 1


def test_row_that_cannot_be_written_is_told_and_does_not_end_the_recording(
    tmp_path: Path,
) -> None:
    recorder = Recorder(tmp_path, WINDOW)
    recorder.record_bar("AAA", "1m", 0, "no instant", *row(0)[4:])  # type: ignore[arg-type]
    wait_until(lambda: recorder.error)
    recorder.record_bar(*row(1))
    assert not recorder.close()
    assert recorder.n_lost == 1
    assert "lost what cannot be written: ValueError" in str(recorder.error)
    assert as_list(rows_of(tmp_path)) == [(1, 10.0, 1)]


def test_dataset_that_is_damaged_keeps_the_journal(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, WINDOW)
    recorder.record_bar(*row(0))
    path = dataset_path(tmp_path, "bars", DAY, "1m")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no Parquet")
    assert not recorder.close()
    assert "stays a journal" in str(recorder.error)
    assert len(parts_of(tmp_path, DAY)) == 1
    path.unlink()
    assert compact(tmp_path, WINDOW)
    assert len(rows_of(tmp_path).bars) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"version": 2, "date": "2025-07-02", "recorded_until_ns": 1, "outages": []}',
        b'{"version": 1, "date": "2025-07-02", "recorded_until_ns": 1, "outages": '
        b'[{"start_ns": 5, "end_ns": 5, "symbols": null}]}',
    ],
)
def test_outages_of_a_damaged_file_are_none_and_a_warning(
    recorder: Recorder, tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.record_bar(*row(0))
    recorder.close()
    path = tmp_path / "feed" / "date=2025-07-02.json"
    path.write_bytes(text)
    source = ParquetSource(tmp_path)
    assert source.outages(DAY) == []
    assert source.outages(DAY) == []
    assert [record.getMessage().count(path.name) for record in caplog.records] == [1]
    assert Recording.load(tmp_path, WINDOW).outages == []


def test_queue_of_a_recorder_is_bounded(recorder: Recorder) -> None:
    assert recorder._waiting.maxlen is not None
