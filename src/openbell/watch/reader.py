"""The watcher's side: which sessions run, and their newest snapshots."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Final

import msgspec

from openbell.watch.places import (
    HEARTBEAT,
    HEARTBEAT_AT,
    MAGIC,
    MESSAGE,
    MESSAGE_AT,
    SUFFIX,
    WatchError,
    checksum,
    is_held,
    is_running,
    own_files,
    require_posix,
)
from openbell.watch.snapshot import Snapshot

__all__ = ["BoardReader", "find_boards", "read_board"]

# A snapshot is written in microseconds; one that is never whole is no snapshot.
_LONGEST_TORN_S: Final = 2.0
_BETWEEN_TRIES_S: Final = 0.0005
_BETWEEN_LOOKS_S: Final = 0.02


def find_boards() -> list[Path]:
    """The boards of all sessions of this user that run; what dead ones left is removed.

    Raises
    ------
    WatchError
        When a folder for boards is not the user's own.
    """
    found = []
    for path in own_files(SUFFIX):
        # It may be taken down at any moment.
        with suppress(WatchError), BoardReader(path) as reader:
            if reader.is_alive:
                found.append(path)
            else:
                path.unlink(missing_ok=True)
    return found


def read_board(path: str | os.PathLike[str], *, timeout: float = 2.0) -> Snapshot:
    """Ask a running session for a snapshot, and read it.

    Parameters
    ----------
    path : path-like
        One of :func:`find_boards`, or ``Board.path``.
    timeout : float
        Seconds to wait for a fresh one. When none comes, the newest there is is returned:
        its ``age_s`` tells.

    Raises
    ------
    WatchError
        When it is no board, or its process is gone without having ended the session.
    """
    with BoardReader(path) as reader:
        before, until = reader.read(), monotonic() + timeout
        while True:
            reader.announce()
            alive, found = reader.is_alive, reader.read()
            if found.is_final:
                return found
            if not alive:
                raise WatchError(path, f"process {found.pid} is gone")
            if found is not before or monotonic() >= until:
                return found
            sleep(_BETWEEN_LOOKS_S)


class BoardReader:
    """One board, open for reading. Also a context manager.

    Raises
    ------
    WatchError
        When it cannot be opened, is not the user's own file, or is no board.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require_posix()
        self.path = Path(path)
        self._decoder = msgspec.msgpack.Decoder(Snapshot)
        self._number = 0
        self._newest: Snapshot | None = None
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise WatchError(path, f"cannot be watched: {error.strerror}") from error
        try:
            self._require_board()
        except BaseException:
            self.close()
            raise

    def _require_board(self) -> None:
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise WatchError(self.path, "is not a file of your own")
        magic = os.pread(self._file, len(MAGIC), 0)
        if magic != MAGIC:
            hint = " of this version of openbell" if magic[:-1] == MAGIC[:-1] else ""
            raise WatchError(self.path, f"is not the board of a session{hint}")

    def announce(self) -> None:
        """Tell the session that somebody watches; to be repeated within two seconds."""
        with suppress(OSError):
            os.pwrite(self._file, HEARTBEAT.pack(monotonic_ns()), HEARTBEAT_AT)

    def read(self) -> Snapshot:
        """The newest snapshot; the same object while there is no newer one.

        Raises
        ------
        WatchError
            When what is there cannot be read.
        """
        until = monotonic() + _LONGEST_TORN_S
        while True:
            data = os.pread(self._file, os.fstat(self._file).st_size, 0)
            if len(data) >= MESSAGE_AT + MESSAGE.size:
                number, length, expected = MESSAGE.unpack_from(data, MESSAGE_AT)
                if number == self._number and self._newest is not None:
                    return self._newest
                body = memoryview(data)[MESSAGE_AT + MESSAGE.size :][:length]
                if len(body) == length and checksum(number, body) == expected:
                    break
            if monotonic() > until:
                raise WatchError(self.path, "holds no whole snapshot")
            sleep(_BETWEEN_TRIES_S)
        try:
            self._newest = self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise WatchError(self.path, f"holds no snapshot: {error}") from error
        self._number = number
        return self._newest

    @property
    def is_alive(self) -> bool:
        """Whether the session's process still holds the board."""
        # A fork that outlived the session holds its lock, too.
        return is_held(self._file) and is_running(self.read().pid)

    def close(self) -> None:
        """Close the file; the session sees nobody after two seconds."""
        os.close(self._file)

    def __enter__(self) -> BoardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
