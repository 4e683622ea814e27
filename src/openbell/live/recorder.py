"""Writing down what a live session receives, while it runs, and as a dataset when it ends."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openbell.clock.live import LiveClock
from openbell.clock.window import SessionWindow
from openbell.errors import DatasetError
from openbell.live.journal import (
    JournalPart,
    Row,
    bar_batch,
    block_batch,
    heartbeat_row,
    journal_folder,
    outage_row,
    to_rows,
)
from openbell.live.recording import compact, is_recorded
from openbell.schema import BarArray
from openbell.sources.outages import Outage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Recorder"]

_log = logging.getLogger("openbell.live")

_WRITE_S: Final = 0.5
_DISK_TIMEOUT_S: Final = 10.0
#: In rounds of writing: how often a quiet feed is said to be one, a failing disk is tried again,
#: and the disk is made to keep what was written.
_HEARTBEAT_ROUNDS: Final = 10
_RETRY_ROUNDS: Final = 4
_SYNC_ROUNDS: Final = 6
#: What waits for a disk that does not answer; beyond, the oldest is lost.
_MOST_WAITING: Final = 1_000_000
#: Rows turned into a batch at once: others want the interpreter, too.
_BATCH_ROWS: Final = 512


class _Block(NamedTuple):
    symbol: str
    interval: str
    rank: int
    rows: npt.NDArray[np.void]


class Recorder:
    """Records the bars that a session accepts, and when its feeds were down.

    The calls cost the session's thread an append to a queue each; a thread of the recorder's own
    writes a journal, twice a second. :meth:`close` makes a dataset of it.

    Parameters
    ----------
    folder : str or Path
        The dataset's; made when absent.
    window : SessionWindow
        The day that is recorded.
    resume : bool
        Whether a recording of that date that is there is gone on with.
    clock : LiveClock, optional
        The session's; the system's when absent.

    Attributes
    ----------
    error : str or None
        Why what is recorded is not all on the disk; logged, too, when it changes.
    n_lost : int
        Entries lost at least, as too many of them waited for the disk.

    Raises
    ------
    DatasetError
        When the folder holds a recording of the date and `resume` is false, when another recorder
        has the folder, or when it cannot be written to.
    """

    def __init__(
        self,
        folder: str | Path,
        window: SessionWindow,
        *,
        resume: bool = False,
        clock: LiveClock | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.window = window
        self.error: str | None = None
        self.n_lost = 0
        self._clock = clock or LiveClock()
        self._waiting: deque[Row | _Block] = deque(maxlen=_MOST_WAITING)
        self._unwritten: deque[bytes] = deque()
        self._lock = _take_folder(self.folder)
        try:
            if not resume and is_recorded(self.folder, window):
                raise DatasetError(
                    self.folder,
                    f"holds a recording of {window.date} already; resume (--resume) goes on with "
                    "one that was broken off, another folder takes a whole one",
                )
            self._part = JournalPart(self.folder, window.date)
        except OSError as error:
            os.close(self._lock)
            raise _cannot_write(self.folder, error) from None
        except BaseException:
            os.close(self._lock)
            raise
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openbell-recorder", daemon=True)
        self._thread.start()

    def record_bar(
        self,
        symbol: str,
        interval: str,
        rank: int,
        ts_ns: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        trade_count: float,
        vwap: float,
    ) -> None:
        """Record a bar that was accepted. Returns at once, whatever the disk does."""
        self._waiting.append(
            (symbol, interval, rank, ts_ns, open, high, low, close, volume, trade_count, vwap)
        )

    def record_block(
        self,
        symbol: str,
        interval: str,
        rank: int,
        bars: BarArray,
        extras: Mapping[str, npt.NDArray[np.float64]] | None = None,
    ) -> None:
        """Record several bars of one series and rank: ``BAR_DTYPE``, copied; and what is beside."""
        if len(bars):
            self._waiting.append(_Block(symbol, interval, rank, to_rows(bars, extras or {})))

    def record_outage(
        self,
        start_ns: int,
        end_ns: int,
        symbols: Collection[str] | None = None,
        *,
        is_answered: bool = False,
    ) -> None:
        """Record that nothing could arrive, or that history was asked for it, and had answered.

        Of some symbols or of all; the end is exclusive.
        """
        if end_ns > start_ns:
            whose = None if symbols is None else tuple(sorted(symbols))
            self._waiting.append(outage_row(Outage(start_ns, end_ns, whose, is_answered)))

    def close(self) -> bool:
        """Write what waits, and make the journal into the dataset.

        Returns
        -------
        bool
            Whether all of it is in the dataset. If not, ``error`` says why, the journal stays,
            and the recording can be resumed, or made into the dataset later (``compact``).
        """
        if self._stopping.is_set():
            return self.error is None
        self._stopping.set()
        self._thread.join(_DISK_TIMEOUT_S)
        if self._thread.is_alive():
            # Whoever waits for this disk waits in vain; the lock is let go with the process.
            self._fail("stays a journal: the disk does not answer")
            return False
        self._part.close()
        try:
            if not self._unwritten:
                compact(self.folder, self.window)
        except Exception as error:
            self._fail(f"stays a journal, which cannot be made into the dataset: {error}")
        finally:
            os.close(self._lock)
        return self.error is None

    def _run(self) -> None:
        n_rounds = 0
        while not self._stopping.wait(_WRITE_S):
            if self._unwritten and n_rounds % _RETRY_ROUNDS:
                n_rounds += 1
                continue
            self._round(n_rounds)
            n_rounds += 1
        self._round(0)

    def _round(self, number: int) -> None:
        try:
            # Before the rows are taken: of what comes meanwhile it promises nothing.
            now_ns = self._clock.now_ns()
            if not self._unwritten:
                is_full = len(self._waiting) == _MOST_WAITING
                if self._waiting or number % _HEARTBEAT_ROUNDS == 0:
                    self._unwritten.extend(map(self._part.encode, self._take_batches(now_ns)))
                if is_full:
                    self.n_lost += 1
                    self._fail("the disk does not keep up; bars are lost")
            while self._unwritten:
                self._part.write(self._unwritten[0])
                self._unwritten.popleft()
            if number % _SYNC_ROUNDS == 0:
                self._part.sync()
            if self.error is not None and not self.n_lost:
                _log.info("recording to %s goes on", self.folder)
                self.error = None
        except OSError as error:
            self._fail(f"cannot be written: {error.strerror or error}")
        except Exception as error:  # what cannot be encoded must not end the recording
            self.n_lost += 1
            self._fail(f"lost what cannot be written: {type(error).__name__}: {error}")

    def _take_batches(self, now_ns: int) -> Iterator[pa.RecordBatch]:
        rows: list[Row] = []
        for _ in range(len(self._waiting)):
            entry = self._waiting.popleft()
            if not isinstance(entry, _Block):
                rows.append(entry)
                if len(rows) < _BATCH_ROWS:
                    continue
            if rows:
                yield bar_batch(rows)
                rows = []
            if isinstance(entry, _Block):
                yield block_batch(*entry)
        yield bar_batch([*rows, heartbeat_row(now_ns)])

    def _fail(self, reason: str) -> None:
        reason = f"recording to {self.folder} {reason}"
        if self.error == reason:
            return
        self.error = reason
        _log.error("%s", reason)

    def __repr__(self) -> str:
        return f"<Recorder of {self.window.date} to {self.folder}>"


def _take_folder(folder: Path) -> int:
    # The lock is the open file's: a process that dies lets go of it.
    try:
        journal_folder(folder).mkdir(parents=True, exist_ok=True)
        path = journal_folder(folder) / ".lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DatasetError(folder, "another session records to it; choose another") from None
    return lock


def _cannot_write(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(folder, f"cannot be written to: {error.strerror or error}")
