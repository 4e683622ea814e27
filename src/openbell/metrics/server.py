"""Answering the scrapes of a session's metrics over HTTP."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from openbell.errors import ArgumentError, OpenbellError
from openbell.metrics.collector import Collector, MeteredSession, import_library

__all__ = ["MetricsError", "MetricsServer", "serve_metrics"]

_log = logging.getLogger("openbell.metrics")

# A client that sends nothing holds its thread no longer.
_CLIENT_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.2


class MetricsError(OpenbellError):
    """Metrics cannot be served at an address.

    Attributes
    ----------
    host : str
    port : int
    reason : str
    """

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        self.reason = reason
        super().__init__(
            f"metrics cannot be served at {host} port {port}: {reason}; "
            "choose another port, or 0 for any that is free"
        )


def serve_metrics(
    session: MeteredSession,
    *,
    port: int = 9464,
    host: str = "127.0.0.1",
    per_symbol: bool = False,
) -> MetricsServer:
    """Serve a session's counters over HTTP, until ``close()``.

    Parameters
    ----------
    session : SessionCoordinator
        Live or replayed.
    port : int
        0 takes any that is free.
    host : str
        The address to listen at. The default is seen by this machine alone; another has to be
        named, ``0.0.0.0`` for all: whoever reaches it can read the metrics, nothing else.
    per_symbol : bool
        Whether to give series for each symbol, too: four, and more for Prometheus to keep.

    Returns
    -------
    MetricsServer
        Also a context manager.

    Raises
    ------
    MissingLibraryError
        When prometheus_client is not installed.
    MetricsError
        When the address cannot be had, as when the port is taken.
    ArgumentError
        When an argument is no port, no host, or no session.
    """
    return MetricsServer(session, port=port, host=host, per_symbol=per_symbol)


class MetricsServer:
    """Answers scrapes in threads of its own. Made by :func:`serve_metrics`.

    Attributes
    ----------
    host : str
    port : int
        The one that was taken.
    url : str
        Where the metrics are.
    """

    def __init__(self, session: MeteredSession, *, port: int, host: str, per_symbol: bool) -> None:
        if not hasattr(session, "root") or not hasattr(session, "phase"):
            raise ArgumentError("session", session, "a SessionCoordinator")
        if not isinstance(host, str) or not host.strip():
            raise ArgumentError("host", host, "an address, such as 127.0.0.1")
        if type(port) is not int or not 0 <= port <= 65_535:
            raise ArgumentError("port", port, "a number from 0 to 65535")
        library = import_library("prometheus_client")
        registry = library.CollectorRegistry()
        registry.register(Collector(session, per_symbol=per_symbol))
        self.host = host
        try:
            self._http = _Server((host, port), _Handler)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise MetricsError(host, port, reason or str(error)) from None
        self._http.set_app(library.make_wsgi_app(registry))
        self.port = int(self._http.server_address[1])
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/metrics"
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_S,), name="openbell metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; its threads have ended and its socket is free then."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._http.shutdown()
            self._thread.join()
            self._http.hang_up()
            self._http.server_close()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MetricsServer {'closed' if self._is_closed else self.url}>"


class _Server(ThreadingMixIn, WSGIServer):
    # Those that are not daemons are joined when the server is closed.
    daemon_threads = False

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._clients: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # The inherited one asks a name server who this machine is, and may wait for it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._clients.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.discard(request)

    def hang_up(self) -> None:
        for client in tuple(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a scrape failed", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:
        pass
