"""The commanding side: which sessions take commands, and one connection to one of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from openbell.control.messages import LONGEST_REQUEST, Answer, ControlError, Request, SessionGone
from openbell.control.sockets import SUFFIX, connect, is_served
from openbell.watch.places import WatchError, own_files

__all__ = ["ControlClient", "find_controls"]

_CHUNK: Final = 1 << 16


def find_controls() -> list[Path]:
    """The sockets of all sessions of this user that run; what dead ones left is removed.

    Raises
    ------
    ControlError
        When a folder for sockets is not the user's own.
    """
    found = []
    try:
        for path in own_files(SUFFIX):
            if is_served(path):
                found.append(path)
            else:
                path.unlink(missing_ok=True)
    except WatchError as error:
        raise ControlError(error.what, error.reason) from None
    return found


class ControlClient:
    """A connection to a running session. Also a context manager.

    Parameters
    ----------
    path : path-like
        One of :func:`find_controls`, or ``ControlServer.path``.
    name : str, optional
        The session's, for errors.

    Raises
    ------
    SessionGone
        When no session listens there any more.
    ControlError
        When it is not a socket of the user's own, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        self.path = Path(path)
        process = f"process {self.path.stem.partition('-')[0]}"
        self._label = process if name is None else f"{name} ({process})"
        self._decode = msgspec.json.Decoder(Answer).decode
        try:
            self._connection = connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise SessionGone(self.path, "no session runs there any more") from None
        except OSError as error:
            reason = f"cannot be reached: {error.strerror or error}"
            raise ControlError(self.path, reason) from None

    def ask(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = 10.0,
    ) -> Any:
        """Have a command carried out, and return its result as plain values.

        Parameters
        ----------
        command : str
            ``status``, ``look``, ``add``, ``remove``, ``export``, ``pause``, ``resume``, ``stop``.
        arguments : mapping, optional
            See ``openbell.control.messages``.
        timeout : float or None
            Seconds to wait for the answer; without end when None.

        Raises
        ------
        SessionGone
            When it ends before it has answered.
        ControlError
            When it refuses, or does not answer in time; this connection is closed then.
        """
        try:
            line = msgspec.json.encode(Request(command, dict(arguments or {}))) + b"\n"
        except UnicodeEncodeError as error:
            raise ControlError(command, f"its arguments are no text: {error.reason}") from None
        if len(line) > LONGEST_REQUEST:
            reason = f"its arguments take {len(line):,} bytes, at most {LONGEST_REQUEST:,} may be"
            raise ControlError(command, f"{reason}; ask in parts")
        try:
            self._connection.settimeout(timeout)
            with suppress(BrokenPipeError):
                # Whoever is turned away is told why before anything is asked.
                self._connection.sendall(line)
            text = self._receive()
        except TimeoutError:
            self.close()
            reason = f"{command}: no answer within {timeout:g} s"
            raise ControlError(self._label, reason) from None
        except OSError:
            text = b""
        if not text:
            self.close()
            raise SessionGone(self._label, f"{command}: the session ended meanwhile")
        try:
            answer = self._decode(text)
        except msgspec.MsgspecError as error:
            self.close()
            reason = f"{command}: its answer cannot be read: {error}"
            raise ControlError(self._label, reason) from None
        if not answer.ok:
            raise ControlError(self._label, answer.error)
        return answer.result

    def _receive(self) -> bytes:
        parts: list[bytes] = []
        while not parts or not parts[-1].endswith(b"\n"):
            part = self._connection.recv(_CHUNK)
            if not part:
                return b""
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection. What was asked for goes on."""
        self._connection.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
