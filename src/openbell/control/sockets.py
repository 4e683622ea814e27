"""Sockets that only the user can open: where they are, how one listens and connects."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from openbell.control.messages import ControlError
from openbell.watch.places import is_running

__all__ = ["SUFFIX", "connect", "is_served", "listen", "peer_uid"]

SUFFIX: Final = ".sock"

_PRIVATE: Final = 0o600
_BACKLOG: Final = 64
#: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("=iII")
#: What Linux takes of a path, its end included, is 108 bytes; others take less.
_LONGEST_ADDRESS: Final = 107 if sys.platform == "linux" else 103
#: A session that runs takes a connection at once, unless very many come.
_LONGEST_CONNECT_S: Final = 2.0


def listen(path: Path) -> socket.socket:
    """Return a listening socket at a path in the user's own folder; it appears ready.

    Raises
    ------
    ControlError
        When it cannot be made, or another one listens there.
    """
    unfinished = path.with_suffix(".listen")
    if is_served(path):
        raise ControlError(path, "another server listens there")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unfinished.unlink(missing_ok=True)
        with _address(unfinished) as address:
            listener.bind(address)
        try:
            # Before it can be found, so that nobody is let in by an older mask.
            unfinished.chmod(_PRIVATE)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        listener.close()
        raise ControlError(path, f"cannot be made: {error.strerror or error}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """Return a connection to the session that listens at a path.

    Raises
    ------
    OSError
        ``ConnectionRefusedError`` when nobody does, ``FileNotFoundError`` when nothing is there.
    ControlError
        When it is not a socket of the user's own.
    """
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise ControlError(path, "is not a socket of your own")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_LONGEST_CONNECT_S)
        with _address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def is_served(path: Path) -> bool:
    """Whether the process that made a socket still listens there."""
    # A fork that outlived the session has its socket, too.
    pid = path.stem.partition("-")[0]
    if not pid.isdecimal() or not is_running(int(pid)):
        return False
    try:
        connect(path).close()
    except (ConnectionRefusedError, FileNotFoundError, ControlError):
        return False
    except OSError:
        # It is there, and busy.
        return True
    return True


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(told)[1]
    return uid


@contextmanager
def _address(path: Path) -> Iterator[str]:
    # Addresses are short; Linux has a short name for every folder that is open.
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS or sys.platform != "linux":
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        with suppress(OSError):
            os.close(folder)
