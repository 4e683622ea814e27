"""The session's side: a thread that takes commands from any number of clients."""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec

from openbell.control.commands import COMMANDS, Commands, ControlledSession, described
from openbell.control.messages import LONGEST_REQUEST, VERSION, Answer, ControlError, Request
from openbell.control.sockets import SUFFIX, listen, peer_uid
from openbell.watch.places import WatchError, make_folder, make_stem

if TYPE_CHECKING:
    from openbell.watch import Board

__all__ = ["ControlServer", "serve_control"]

_log = logging.getLogger("openbell.control")

_MOST_CLIENTS: Final = 64
_MOST_JOBS: Final = 8
#: A client may do nothing for so long: neither end its request, nor read its answer.
_LONGEST_SILENCE_S: Final = 30.0
_SWEEP_S: Final = 1.0
_BETWEEN_TRIES_S: Final = 0.1
# More than the longest grace of a command.
_LONGEST_JOIN_S: Final = 65.0
#: When the server closes, answers that are ready wait so long for their readers.
_FAREWELL_S: Final = 0.5
# Little at once: one client that floods does not make the others wait.
_CHUNK: Final = 4096


def serve_control(
    session: ControlledSession,
    name: str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    board: Board | None = None,
) -> ControlServer:
    """Let a session be commanded from other processes of the same user, until ``close()``.

    Parameters
    ----------
    session : SessionCoordinator
    name : str, optional
        What clients may call it; the board's name, or else the configured one, when None.
    config : path, optional
        The configuration's file, which ``status`` then tells.
    board : Board, optional
        Where the session is published: the socket stands beside it, under the same name.

    Returns
    -------
    ControlServer
        Also a context manager. Closed at the latest when the process ends.

    Raises
    ------
    ControlError
        When the user's runtime folder cannot be had, or is not the user's own.
    ArgumentError
        When `session` is something else, or the name is empty or cannot be printed on a line.
    """
    return ControlServer(session, name, config=config, board=board)


class ControlServer:
    """A running session's socket, and the thread that answers there.

    What takes long (``add``, ``remove``, ``export``) has a thread of its own, so that others are
    answered meanwhile; the session's thread does none of it. Made by :func:`serve_control`.

    Attributes
    ----------
    path : pathlib.Path
        The socket; gone after :meth:`close`.
    """

    def __init__(
        self,
        session: ControlledSession,
        name: str | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        board: Board | None = None,
    ) -> None:
        if name is None and board is not None:
            name = board.name
        self._commands = Commands(session, name, config)
        self._pid = os.getpid()
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Request).decode
        self._over = threading.Event()
        self._closing = threading.Lock()
        self._clients: set[_Client] = set()
        self._jobs: dict[threading.Thread, float] = {}
        self._done: deque[tuple[threading.Thread, _Client, bytes]] = deque()
        try:
            folder = make_folder() if board is None else board.path.parent
        except WatchError as error:
            raise ControlError(error.what, error.reason) from None
        self.path = folder / f"{make_stem() if board is None else board.path.stem}{SUFFIX}"
        self._listener = listen(self.path)
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        for one in (self._waker, self._wake):
            one.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="openbell control", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Take no more commands, finish an export that is under way, and take the socket down."""
        with self._closing:
            is_first = not self._over.is_set()
            self._over.set()
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            # A fork has neither the thread nor the file.
            return
        if is_first:
            with suppress(OSError):
                self._wake.send(b".")
        if self._thread is not threading.current_thread():
            self._thread.join(_LONGEST_JOIN_S)

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The loop

    def _serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        try:
            while not self._over.is_set():
                self._turn(_SWEEP_S if self._clients else None)
                self._sweep()
            self._say_farewell()
        except Exception as error:
            _log.warning("%s: takes no more commands: %s", self.path, described(error))
        finally:
            self._over.set()
            self._take_down()

    def _turn(self, timeout: float | None) -> None:
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._waker:
                with suppress(BlockingIOError):
                    self._waker.recv(_CHUNK)
            elif key.data in self._clients:
                if events & selectors.EVENT_WRITE:
                    self._send(key.data)
                else:
                    self._receive(key.data)
                self._take_requests(key.data)
        while self._done:
            job, client, answer = self._done.popleft()
            # It has said all it had to say.
            job.join()
            del self._jobs[job]
            client.is_busy = False
            self._answer(client, answer)
            self._take_requests(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:
            # Too many files are open, perhaps not for long; it would be asked again at once.
            self._over.wait(_BETWEEN_TRIES_S)
            return
        connection.setblocking(False)
        if len(self._clients) >= _MOST_CLIENTS:
            idle = [client for client in self._clients if not client.is_busy]
            self._drop(min(idle, key=lambda client: client.active_at))
        client = _Client(connection)
        self._clients.add(client)
        uid = peer_uid(connection)
        if uid not in (None, os.getuid()):
            self._refuse(client, f"this session is not one of user {uid}")
        self._watch(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.received += data
        client.is_ending = not data

    def _take_requests(self, client: _Client) -> None:
        # One at a time, and none before the answer to the last one has gone.
        while self._is_at_rest(client) and not self._over.is_set():
            line, newline, rest = client.received.partition(b"\n")
            if len(line) >= LONGEST_REQUEST:
                self._refuse(client, f"a request has at most {LONGEST_REQUEST:,} bytes")
            elif not newline:
                break
            else:
                client.received = rest
                client.active_at = monotonic()
                self._carry_out(client, bytes(line))
        self._watch(client)

    def _is_at_rest(self, client: _Client) -> bool:
        return client in self._clients and not client.is_busy and not client.unsent

    def _carry_out(self, client: _Client, line: bytes) -> None:
        try:
            request = self._decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            self._refuse(client, f"not a request: {described(error)}")
            return
        command, name = COMMANDS.get(request.command), request.command
        if request.version != VERSION:
            answer = self._error(f"version: received {request.version}, expected {VERSION}")
        elif command is None:
            known = ", ".join(COMMANDS)
            answer = self._error(f"command: received {name!r}, expected one of {known}")
        elif not command.grace_s:
            answer = self._answer_to(request)
        elif len(self._jobs) >= _MOST_JOBS:
            answer = self._error(f"{name}: {_MOST_JOBS} commands are under way; ask again")
        else:
            self._begin_job(client, request, command.grace_s)
            return
        self._answer(client, answer)

    def _answer_to(self, request: Request) -> bytes:
        try:
            result = COMMANDS[request.command](self._commands, request)
            return self._encode(Answer(True, result)) + b"\n"
        except Exception as error:
            return self._error(described(error))

    def _error(self, text: str) -> bytes:
        return self._encode(Answer(False, error=text)) + b"\n"

    def _begin_job(self, client: _Client, request: Request, grace_s: float) -> None:
        def work() -> None:
            self._done.append((job, client, self._answer_to(request)))
            with suppress(OSError):
                self._wake.send(b".")

        client.is_busy = True
        name = f"openbell control {request.command}"
        job = threading.Thread(target=work, name=name, daemon=True)
        self._jobs[job] = grace_s
        job.start()

    def _refuse(self, client: _Client, error: str) -> None:
        # What follows cannot be told apart from it.
        client.is_ending = True
        client.received.clear()
        self._answer(client, self._error(error))

    def _answer(self, client: _Client, answer: bytes) -> None:
        if client in self._clients:
            client.unsent += answer
            client.active_at = monotonic()
            self._send(client)

    def _send(self, client: _Client) -> None:
        try:
            n = client.connection.send(client.unsent)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.active_at = monotonic()
        del client.unsent[:n]

    def _watch(self, client: _Client) -> None:
        # For what is awaited of a client; one that is busy is left alone.
        if client not in self._clients:
            return
        if client.unsent:
            events = selectors.EVENT_WRITE
        elif client.is_busy:
            events = 0
        elif client.is_ending or self._over.is_set():
            self._drop(client)
            return
        else:
            events = selectors.EVENT_READ
        if events == client.events:
            return
        if not events:
            self._selector.unregister(client.connection)
        elif client.events:
            self._selector.modify(client.connection, events, client)
        else:
            self._selector.register(client.connection, events, client)
        client.events = events

    def _sweep(self) -> None:
        too_old = monotonic() - _LONGEST_SILENCE_S
        for client in list(self._clients):
            if not client.is_busy and client.active_at < too_old:
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.discard(client)
        if client.events:
            self._selector.unregister(client.connection)
            client.events = 0
        client.connection.close()

    # The end

    def _say_farewell(self) -> None:
        # Nothing is begun any more; what is under way is finished, and answered.
        self._selector.unregister(self._listener)
        for client in list(self._clients):
            self._watch(client)
        began = monotonic()
        while self._jobs and (left := began + max(self._jobs.values()) - monotonic()) > 0:
            self._turn(left)
        until = monotonic() + _FAREWELL_S
        while any(client.unsent for client in self._clients) and (left := until - monotonic()) > 0:
            self._turn(left)
        for job in self._jobs:
            _log.warning("%s: %s was not waited for", self.path, job.name)

    def _take_down(self) -> None:
        with suppress(OSError):
            self.path.unlink()
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        for one in (self._listener, self._waker, self._wake):
            one.close()

    def __repr__(self) -> str:
        state = "closed" if self._over.is_set() else f"{len(self._clients)} clients"
        return f"<ControlServer {self.path}: {state}>"


class _Client:
    """One connection, and what is under way on it."""

    __slots__ = ("active_at", "connection", "events", "is_busy", "is_ending", "received", "unsent")

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.unsent = bytearray()
        #: What the selector looks for; 0 when it does not.
        self.events = 0
        #: Whether a job of its own is under way.
        self.is_busy = False
        #: Whether nothing is read from it any more.
        self.is_ending = False
        self.active_at = monotonic()
