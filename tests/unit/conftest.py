"""Alpaca on the loopback: the server, and sources and streams that are closed after the test."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openbell.sources.alpaca import AlpacaStream
    from tests.alpaca_feed import Make, Open, Receiver
    from tests.servers.alpaca import AlpacaServer


@pytest.fixture
def alpaca(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaServer]:
    from tests.servers.alpaca import AlpacaServer

    with AlpacaServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def make_alpaca(alpaca: AlpacaServer) -> Iterator[Make]:
    from openbell.sources.alpaca import AlpacaSource

    sources: list[AlpacaSource] = []

    def make(**settings: Any) -> AlpacaSource:
        given = {"url": alpaca.rest_url, "retry_wait_s": 0.001, "timeout_s": 10, **settings}
        sources.append(AlpacaSource(**given))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


@pytest.fixture
def open_alpaca(alpaca: AlpacaServer, caplog: pytest.LogCaptureFixture) -> Iterator[Open]:
    from openbell.clock.live import LiveClock
    from openbell.sources.alpaca import AlpacaStream
    from openbell.sources.alpaca.keys import Keys
    from openbell.sources.alpaca.stream import THREAD_NAME
    from tests.alpaca_feed import Receiver

    streams: list[AlpacaStream] = []

    def build(*symbols: str, clock: LiveClock | None = None, **settings: Any) -> Any:
        given = {"url": alpaca.stream_url, "min_backoff_s": 0.02, "max_backoff_s": 0.1, **settings}
        keys = Keys(*alpaca.environment.values())
        stream, receiver = AlpacaStream(keys, clock or LiveClock(), **given), Receiver()
        streams.append(stream)
        stream.start(receiver)
        if symbols:
            stream.subscribe(symbols)
        return stream, receiver

    yield build
    for stream in streams:
        assert stream.stop(10)
    # asyncio tells there of tasks destroyed while pending, and of exceptions nobody took.
    records = [r for r in caplog.records if r.name == "asyncio" and r.levelno >= logging.ERROR]
    assert not [record.getMessage() for record in records]
    assert not [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


@pytest.fixture
def live_alpaca(open_alpaca: Open) -> tuple[AlpacaStream, Receiver]:
    from tests.waiting import wait_until

    stream, receiver = open_alpaca("AAPL", "MSFT")
    wait_until(lambda: receiver.n("connected"))
    return stream, receiver
