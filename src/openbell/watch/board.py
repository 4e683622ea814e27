"""The session's side: a thread that writes snapshots while somebody watches."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from contextlib import suppress
from time import monotonic, thread_time
from typing import Final

import msgspec

from openbell.session import SessionData
from openbell.watch.places import (
    HEARTBEAT,
    HEARTBEAT_AT,
    LOOK_S,
    MAGIC,
    MESSAGE,
    MESSAGE_AT,
    REFRESH_S,
    SUFFIX,
    UNWATCHED_AFTER_S,
    WatchError,
    checksum,
    hold,
    make_folder,
    make_stem,
)
from openbell.watch.snapshot import PublishedSession, SnapshotTaker

__all__ = ["Board", "publish"]

_log = logging.getLogger("openbell.watch")

#: Of the process's time, what snapshots may take: with more symbols they come less often.
_MOST_OF_THE_TIME: Final = 0.008

# The thread may wait for a lock that whoever closes the board holds.
_LONGEST_JOIN_S: Final = 5.0


def publish(source: SessionData | PublishedSession, name: str | None = None) -> Board:
    """Let a session be watched from other processes of the same user, until ``close()``.

    Parameters
    ----------
    source : SessionCoordinator or SessionData
        A coordinator tells its phase and what is pending, too.
    name : str, optional
        What watchers may call it; the configured name when None.

    Returns
    -------
    Board
        Also a context manager. Closed at the latest when the process ends.

    Raises
    ------
    WatchError
        When the user's runtime folder cannot be had, or is not the user's own.
    ArgumentError
        When `source` is something else, or the name is empty or cannot be printed on a line.
    """
    return Board(source, name)


class Board:
    """A running session's file, and the thread that keeps it up to date.

    While nobody watches, the thread looks for a heartbeat twice a second and does nothing else.
    While somebody does, it writes a snapshot four times a second, and less often where that
    would take more than 0.8 % of the time. Made by :func:`publish`.

    Attributes
    ----------
    path : pathlib.Path
        The file; gone after :meth:`close`.
    name : str
        What watchers may call it.
    n_posted : int
        Snapshots written.
    """

    def __init__(self, source: SessionData | PublishedSession, name: str | None = None) -> None:
        self._taker = SnapshotTaker(source, name)
        self.name = self._taker.name
        self._encoder = msgspec.msgpack.Encoder()
        self._pid = os.getpid()
        self._over = threading.Event()
        self._closing = threading.Lock()
        self._has_failed = False
        self.n_posted = 0
        self.path = make_folder() / f"{make_stem()}{SUFFIX}"
        self._file = -1
        self._create()
        self._thread = threading.Thread(target=self._serve, name="openbell board", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Write the last state, which watchers still see, and take the board down."""
        with self._closing:
            if self._over.is_set():
                return
            self._over.set()
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            # A fork has neither the thread nor the file.
            return
        is_own = self._thread is threading.current_thread()
        if not is_own:
            self._thread.join(_LONGEST_JOIN_S)
        is_free = is_own or not self._thread.is_alive()
        if is_free:
            try:
                self._post(is_final=True)
            except Exception as error:
                self._complain(error)
        with suppress(OSError):
            self.path.unlink()
        if is_free:
            # Another file could get the number, and what the thread writes.
            os.close(self._file)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self) -> None:
        # The file appears locked and whole: one that is not locked is nobody's any more.
        unfinished = self.path.with_suffix(".part")
        try:
            with suppress(FileNotFoundError):
                unfinished.unlink()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(unfinished, flags, 0o600)
            try:
                hold(self._file)
                os.pwrite(self._file, MAGIC + HEARTBEAT.pack(0), 0)
                self._post()
                unfinished.rename(self.path)
            except BaseException:
                os.close(self._file)
                unfinished.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise WatchError(self.path, f"cannot be written: {error.strerror}") from error

    def _serve(self) -> None:
        try:
            self._post_while_watched()
        except Exception as error:
            self._complain(error)
            self.close()

    def _post_while_watched(self) -> None:
        heartbeat, seen_at, due_at, wait_s = HEARTBEAT.pack(0), -UNWATCHED_AFTER_S, 0.0, LOOK_S
        while not self._over.wait(wait_s):
            found, now, wait_s = self._heartbeat(), monotonic(), LOOK_S
            if found != heartbeat:
                if now - seen_at > UNWATCHED_AFTER_S:
                    self._taker.forget_pace()
                heartbeat, seen_at = found, now
            if now - seen_at > UNWATCHED_AFTER_S:
                continue
            if now >= due_at:
                # Waiting for the interpreter costs the session nothing, and is not counted.
                began = thread_time()
                self._post()
                due_at = now + max(REFRESH_S, (thread_time() - began) / _MOST_OF_THE_TIME)
            wait_s = min(max(due_at - monotonic(), 0.0), LOOK_S)

    def _post(self, *, is_final: bool = False) -> None:
        body = self._encoder.encode(self._taker.take(is_final=is_final))
        number = self.n_posted + 1
        head = MESSAGE.pack(number, len(body), checksum(number, body))
        _write(self._file, head + body, MESSAGE_AT)
        self.n_posted = number

    def _heartbeat(self) -> bytes:
        return os.pread(self._file, HEARTBEAT.size, HEARTBEAT_AT)

    def _complain(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            text = f"{type(error).__name__}: {error}"
            _log.warning("%s: the session can no longer be watched: %s", self.path, text)

    def __repr__(self) -> str:
        state = "closed" if self._over.is_set() else f"{self.n_posted} snapshots"
        return f"<Board {self.path}: {state}>"


def _write(file: int, data: bytes, at: int) -> None:
    # One call, unless the system takes only part of it.
    left = memoryview(data)
    while left:
        n = os.pwrite(file, left, at)
        left, at = left[n:], at + n
