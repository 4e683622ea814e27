"""Where boards are, and what is on one.

A board's file begins with its magic and the watchers' heartbeat; the newest snapshot follows,
with its number, its length and its checksum before it. A snapshot is written with one call, and
a reader that was too early or too late sees it by the checksum: nothing is ever locked, and a
full disk is an error, where a mapping of the file would be a crash.
"""

from __future__ import annotations

import itertools
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from openbell.errors import OpenbellError

__all__ = ["RunningSessionError", "WatchError"]

SUFFIX: Final = ".watch"
#: Changes with the layout of the file or of a snapshot.
MAGIC: Final = b"OBWATCH1"
HEARTBEAT: Final = struct.Struct("=Q")
#: Number of the snapshot, its length in bytes, its checksum.
MESSAGE: Final = struct.Struct("=QII")
HEARTBEAT_AT: Final = len(MAGIC)
MESSAGE_AT: Final = HEARTBEAT_AT + HEARTBEAT.size

#: A watcher shows itself, and a watched session writes a snapshot, this often.
REFRESH_S: Final = 0.25
#: A session looks for watchers this often.
LOOK_S: Final = 0.5
#: A session that has seen nobody for so long writes nothing.
UNWATCHED_AFTER_S: Final = 2.0

_PRIVATE: Final = 0o700

_numbers = itertools.count(1)


class RunningSessionError(OpenbellError):
    """A running session cannot be reached from another process.

    Attributes
    ----------
    what : str
        The file, the folder, the session or the command meant.
    reason : str
    """

    def __init__(self, what: object, reason: str) -> None:
        self.what = str(what)
        self.reason = reason
        super().__init__(f"{self.what}: {reason}")


class WatchError(RunningSessionError):
    """A session cannot be published, or cannot be watched."""


def require_posix() -> None:
    """Refuse a system whose files have neither owners nor locks.

    Raises
    ------
    WatchError
    """
    if not hasattr(os, "getuid"):
        raise WatchError("watching a session", "needs a POSIX system, such as Linux or macOS")


def folders() -> list[Path]:
    """Where boards may be, the preferred place first; none needs to exist.

    Raises
    ------
    WatchError
        When the system has no such places.
    """
    require_posix()
    places = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        places.append(Path(runtime) / "openbell")
    places.append(Path(tempfile.gettempdir()) / f"openbell-{os.getuid()}")
    return places


def own_files(suffix: str) -> Iterator[Path]:
    """Yield what sessions of this user, also dead ones, put into the folders for boards.

    Raises
    ------
    WatchError
        When a folder is not the user's own.
    """
    for folder in folders():
        try:
            require_own(folder)
        except FileNotFoundError:
            continue
        yield from sorted(folder.glob(f"*{suffix}"))


def make_folder() -> Path:
    """Return the folder for boards, made when it is absent.

    Raises
    ------
    WatchError
        When it cannot be made, or is not the user's own.
    """
    folder = folders()[0]
    try:
        folder.mkdir(_PRIVATE, exist_ok=True)
        require_own(folder)
    except OSError as error:
        raise WatchError(folder, f"cannot be made: {error.strerror}") from error
    return folder


def make_stem() -> str:
    """Return a name for what a session puts into the folder: the process, and a number in it."""
    return f"{os.getpid()}-{next(_numbers)}"


def is_running(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def require_own(folder: Path) -> None:
    """Refuse a folder that somebody else could have put there, or could write to.

    Raises
    ------
    WatchError
    FileNotFoundError
        When it does not exist.
    """
    found = os.lstat(folder)
    expected = "expected a folder of your own that nobody else may use; remove it"
    if stat.S_ISLNK(found.st_mode):
        raise WatchError(folder, f"is a symbolic link, {expected}")
    if not stat.S_ISDIR(found.st_mode):
        raise WatchError(folder, f"is not a folder, {expected}")
    if found.st_uid != os.getuid():
        raise WatchError(folder, f"belongs to user {found.st_uid}, {expected}")
    if (mode := stat.S_IMODE(found.st_mode)) & ~_PRIVATE:
        raise WatchError(folder, f"has mode {mode:04o}, expected 0700; chmod 700 it")


def checksum(number: int, body: bytes | memoryview) -> int:
    """CRC-32 of a snapshot under its number."""
    return zlib.crc32(body, number & 0xFFFF_FFFF)


def hold(file: int) -> None:
    """Lock an open board for its process, which lets go of it however it ends."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(file: int) -> bool:
    """Whether a board is locked by somebody else."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
