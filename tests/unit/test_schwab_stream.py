"""Schwab's stream: the real library against a server on the loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError, SessionStateError
from openbell.sources.schwab import SchwabSource, SchwabStream, connection
from openbell.sources.schwab.connection import Connection
from openbell.sources.schwab.frames import Frames
from openbell.sources.streaming import BarStream, StreamReceiver
from tests.servers.schwab import SchwabServer, bar_message, quote_message
from tests.waiting import wait_until

MINUTE = 60_000_000_000
T0 = 1_751_463_000_000_000_000  # 2025-07-02 13:30 UTC


class Receiver:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: deque[tuple[Any, ...]] = deque()

    def __getattr__(self, name: str) -> Any:
        assert hasattr(StreamReceiver, name), name
        return lambda *args: self.told.append((name.removeprefix("on_"), *args))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [told[1:] for told in list(self.told) if told[0] == kind]

    def n(self, kind: str) -> int:
        return len(self.of(kind))

    @property
    def closes(self) -> list[tuple[str, float]]:
        return [(bar[0], bar[5]) for bar in self.of("bar")]


@pytest.fixture
def server() -> Iterator[SchwabServer]:
    with SchwabServer() as made:
        yield made


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def stream(server: SchwabServer, receiver: Receiver) -> Iterator[SchwabStream]:
    made = stream_of(server)
    made.start(receiver)
    yield made
    assert made.stop()
    wait_until(lambda: not ours())


def stream_of(server: SchwabServer, **options: Any) -> SchwabStream:
    source = SchwabSource(client_factory=server.client, timeout_s=5.0)
    options = {"min_backoff_s": 0.02, "max_backoff_s": 0.1} | options
    return source.stream("1m", LiveClock(), **options)


def ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("openbell-schwab")]


def charts(server: SchwabServer) -> set[str]:
    return server.subscribed["CHART_EQUITY"]


def bar(symbol: str = "AAPL", k: int = 0, close: float = 1.5, volume: float = 10) -> dict[str, Any]:
    return bar_message(symbol, T0 + k * MINUTE, 1.0, 2.0, 0.5, close, volume, sequence=k)


def test_source_streams_minutes_only(server: SchwabServer) -> None:
    source = SchwabSource(client_factory=server.client)
    clock = LiveClock()
    made: BarStream = source.stream("1m", clock)
    assert (made.name, made.stop(), source.clock) == ("schwab", True, clock)
    for interval in ("1s", "5m"):
        with pytest.raises(DataSourceError, match=f"streams 1m bars only, not {interval}"):
            source.stream(interval, clock)
    with pytest.raises(DataSourceError, match="streams no trades"):
        source.stream("1m", clock, trades=True)


def test_bar_is_told_by_its_numbered_fields(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    server.send([bar_message("AAPL", T0, 10, 12, 9, 11, 500)])
    wait_until(lambda: receiver.n("bar"))
    symbol, ts_ns, *values, trade_count, vwap, is_update = receiver.of("bar")[0]
    assert (symbol, ts_ns, values, is_update) == ("AAPL", T0, [10.0, 12.0, 9.0, 11.0, 500.0], False)
    assert math.isnan(trade_count)
    assert math.isnan(vwap)
    assert [told[0] for told in receiver.told] == ["connected", "bar"]


def test_stream_connects_when_symbols_are_asked_for(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    with pytest.raises(SessionStateError):
        stream.start(receiver)
    assert server.n_requests == server.n_attempts == 0
    stream.subscribe([])
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("connected"))
    assert (server.n_requests, server.n_logins) == (1, 1)


def test_change_of_symbols_does_not_wait_for_a_message(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL", "MSFT"])
    wait_until(lambda: charts(server) == {"AAPL", "MSFT"})
    stream.subscribe(["NVDA"])
    wait_until(lambda: charts(server) == {"AAPL", "MSFT", "NVDA"})
    stream.unsubscribe(["MSFT", "NONE"])
    wait_until(lambda: charts(server) == {"AAPL", "NVDA"})
    assert list(server.asked) == [
        ("CHART_EQUITY", "SUBS", ["AAPL", "MSFT"]),
        ("CHART_EQUITY", "ADD", ["NVDA"]),
        ("CHART_EQUITY", "UNSUBS", ["MSFT"]),
    ]
    server.send_raw(json.dumps({"data": [{"service": "CHART_EQUITY", "content": [bar("MSFT")]}]}))
    server.send([bar("NVDA"), bar("AAPL")])
    wait_until(lambda: receiver.n("bar") == 2)
    assert receiver.closes == [("NVDA", 1.5), ("AAPL", 1.5)]
    assert receiver.n("disconnected") == receiver.n("garbage") == 0


def test_no_bar_is_lost_or_reordered_while_symbols_change(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    for k in range(300):
        server.send([bar("AAPL", k, close=1 + k / 1000)])
        stream.subscribe([f"S{k % 7}"])
        stream.unsubscribe([f"S{(k + 3) % 7}"])
    wait_until(lambda: receiver.n("bar") == 300)
    assert [close for _, close in receiver.closes] == [1 + k / 1000 for k in range(300)]
    assert server.n_logins == 1


def test_drop_is_told_once_and_all_symbols_are_asked_for_again(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL", "MSFT"])
    wait_until(lambda: charts(server) == {"AAPL", "MSFT"})
    server.refuse_connections = True
    server.drop()
    wait_until(lambda: server.n_attempts >= 4)
    assert receiver.of("disconnected") == [("the connection was closed",)]
    stream.unsubscribe(["MSFT"])
    stream.subscribe(["NVDA"])
    server.refuse_connections = False
    wait_until(lambda: charts(server) == {"AAPL", "NVDA"})
    assert [told[0] for told in receiver.told] == ["connected", "disconnected", "connected"]


def test_failed_first_attempt_is_told(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    server.fail_rest(1, 503)
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    assert receiver.of("disconnected") == [("the place of its stream: it answered 503",)]
    assert receiver.n("connected") == 1


def test_waits_between_attempts_grow(server: SchwabServer, receiver: Receiver) -> None:
    stream = stream_of(server, min_backoff_s=0.04, max_backoff_s=0.08)
    pauses: list[float] = []
    pause = stream._pause

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await pause(seconds)

    stream._pause = noted  # type: ignore[method-assign]
    server.refuse_connections = True
    stream.start(receiver)
    stream.subscribe(["AAPL"])
    wait_until(lambda: len(pauses) >= 4)
    server.refuse_connections = False
    wait_until(lambda: charts(server))
    server.heartbeat()
    wait_until(lambda: receiver.n("heartbeat"))
    n = len(pauses)
    server.drop()
    wait_until(lambda: len(pauses) > n)
    assert pauses[:4] == [0.04, 0.08, 0.08, 0.08]
    assert pauses[n] == 0.04
    assert stream.stop()


def test_reconnect_drops_a_mute_connection_and_ends_a_wait(
    server: SchwabServer, receiver: Receiver
) -> None:
    stream = stream_of(server, min_backoff_s=60.0, max_backoff_s=60.0)
    stream.start(receiver)
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    server.is_mute = True
    server.send([bar()])
    server.heartbeat()
    server.is_mute = False
    stream.reconnect()
    wait_until(lambda: receiver.n("connected") == 2 and charts(server))
    server.heartbeat()
    server.send([bar(k=1)])
    wait_until(lambda: receiver.n("bar"))
    assert receiver.of("bar")[0][1] == T0 + MINUTE
    assert receiver.n("heartbeat") == receiver.n("disconnected") == 1
    server.drop()
    wait_until(lambda: receiver.n("disconnected") == 2)
    stream.reconnect()
    wait_until(lambda: receiver.n("connected") == 3)
    assert stream.stop()


def test_repeated_and_reordered_bars_are_told_as_they_come(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    for one in (bar(k=2), bar(k=1), bar(k=2), bar(k=2, close=1.75)):
        server.send([one])
    wait_until(lambda: receiver.n("bar") == 4)
    told = [(one[1], one[5], one[9]) for one in receiver.of("bar")]
    later, earlier = T0 + 2 * MINUTE, T0 + MINUTE
    assert told == [
        (later, 1.5, False),
        (earlier, 1.5, False),
        (later, 1.5, False),
        (later, 1.75, False),
    ]


def test_refused_symbols_are_found_among_many_and_the_others_stay(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    symbols = [f"S{n:03d}" for n in range(60)]
    server.refused_symbols = {"S007": 22, "S041": 21}
    stream.subscribe(symbols)
    wait_until(lambda: len(charts(server)) == 58 and receiver.n("refused") == 2)
    assert charts(server) == set(symbols) - {"S007", "S041"}
    assert receiver.of("refused") == [
        ("S007", "the subscription failed (code 22)"),
        ("S041", "the command is malformed (code 21)"),
    ]
    n_asked = len(server.asked)
    server.drop()
    wait_until(lambda: len(charts(server)) == 58)
    assert len(server.asked) == n_asked + 1  # the refused ones are not asked for again
    server.refused_symbols = {}
    stream.subscribe(["S007"])
    wait_until(lambda: "S007" in charts(server))
    assert receiver.n("connected") == 2


def test_symbols_beyond_the_limit_are_refused_by_themselves(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    server.symbol_limit = 5
    stream.subscribe([f"S{n}" for n in range(8)])
    wait_until(lambda: receiver.n("refused") == 3)
    assert len(charts(server)) == 5
    assert {reason for _, reason in receiver.of("refused")} == {
        "the limit of symbols is reached (code 19)"
    }


def test_symbol_without_quotes_keeps_its_bars(server: SchwabServer, receiver: Receiver) -> None:
    server.quotes_refused = {"MSFT"}
    stream = stream_of(server, quotes=True)
    stream.start(receiver)
    stream.subscribe(["AAPL", "MSFT", "NVDA"])
    wait_until(lambda: receiver.n("garbage") and len(server.subscribed["LEVELONE_EQUITIES"]) == 2)
    assert receiver.of("garbage") == [("no quotes of MSFT: the subscription failed (code 22)",)]
    assert charts(server) == {"AAPL", "MSFT", "NVDA"}
    assert receiver.n("refused") == 0
    assert stream.stop()


def test_quotes_are_made_of_what_changed(server: SchwabServer, receiver: Receiver) -> None:
    stream = stream_of(server, quotes=True)
    stream.start(receiver)
    stream.subscribe(["AAPL"])
    wait_until(lambda: server.subscribed["LEVELONE_EQUITIES"])
    server.send([quote_message("AAPL", T0, bid=10.0, bid_size=3)])
    server.send([quote_message("AAPL", T0 + 1_000_000, ask=11.0, ask_size=4)])
    server.send([quote_message("AAPL", T0 + 2_000_000, bid=10.5)])
    server.send([quote_message("AAPL", T0 + 3_000_000)])
    server.send([bar()])
    wait_until(lambda: receiver.n("bar"))
    assert receiver.of("quote") == [
        ("AAPL", T0 + 1_000_000, 10.0, 11.0, 3.0, 4.0),
        ("AAPL", T0 + 2_000_000, 10.5, 11.0, 3.0, 4.0),
    ]
    stream.unsubscribe(["AAPL"])
    wait_until(lambda: not server.subscribed["LEVELONE_EQUITIES"])
    assert stream.stop()


GARBAGE = [
    "no json",
    "[",
    "5",
    "[]",
    "null",
    "{}",
    '{"data": 5}',
    '{"data": [5]}',
    '{"data": [{"service": "CHART_EQUITY", "content": [7]}]}',
    '{"data": [{"service": "CHART_EQUITY", "content": [{"key": "AAPL"}]}]}',
    '{"data": [{"service": "CHART_EQUITY", "content": [{"seq": 1}]}]}',
    '{"notify": [5]}',
    '{"response": [5]}',
    '{"response": [{"requestid": "x", "content": {"code": 0}}]}',
    '{"response": [{"requestid": "0", "content": {"code": 0}}]}',
    "[" * 5000,
    b"\xff\xfe\x00",
]


def test_garbage_is_told_and_the_connection_stays(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    for n, frame in enumerate(GARBAGE, 1):
        server.send_raw(frame)
        wait_until(lambda n=n: receiver.n("garbage") == n, what=repr(frame))  # type: ignore[misc]
    wrong = bar() | {"5": "much"}
    late = bar() | {"7": 2**63}
    huge = bar() | {"3": 10**400}
    unknown = bar() | {"6": math.nan}
    shifted = {"key": "AAPL", "1": 10.0, "2": 12.0, "3": 9.0, "4": 11.0, "5": 500.0, "6": 1}
    shifted |= {"service": "CHART_EQUITY", "7": T0 // 1_000_000}
    server.send([wrong, late, shifted, huge, unknown, bar()])
    wait_until(lambda: receiver.n("bar") == 2)
    assert math.isnan(receiver.of("bar")[0][6])
    assert receiver.of("garbage")[-4:] == [
        ("a bar of AAPL that lacks a value",),
        ("a bar of AAPL that lacks a value",),
        ("a bar of AAPL whose fields are in another order",),
        ("a bar of AAPL beyond all numbers",),
    ]
    assert receiver.n("disconnected") == 0
    assert server.n_logins == 1


def test_garbage_before_an_answer_does_not_hide_it(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    server.hang = "subscribe"
    stream.subscribe(["MSFT"])
    for frame in GARBAGE:
        server.send_raw(frame)
    server.send([bar()])
    wait_until(lambda: receiver.n("bar"))
    server.hang = ""
    wait_until(lambda: charts(server) == {"AAPL", "MSFT"})
    stream.unsubscribe(["AAPL"])
    wait_until(lambda: charts(server) == {"MSFT"})
    assert receiver.n("disconnected") == 0


def test_answer_that_does_not_come_is_a_lost_connection(
    server: SchwabServer,
    receiver: Receiver,
    stream: SchwabStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_ANSWER_S", 0.2)
    server.hang = "subscribe"
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("disconnected"))
    assert receiver.of("disconnected") == [("no answer to a request within 0.2 s",)]
    server.hang = ""
    wait_until(lambda: charts(server))


def test_goodbye_of_the_server_is_the_reason(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    goodbye = {"service": "ADMIN", "timestamp": 1, "content": {"code": 12, "msg": "bye"}}
    server.send_raw(json.dumps({"notify": [goodbye]}))
    wait_until(lambda: receiver.n("connected") == 2)
    ((reason,),) = receiver.of("disconnected")
    assert reason == "another connection of this user is open: Schwab allows one (code 12)"


def test_refused_login_is_not_tried_again(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    server.refuse_login = True
    stream.subscribe(["AAPL"])
    wait_until(lambda: not ours())
    assert [told[0] for told in receiver.told] == ["failed"]
    assert receiver.of("failed")[0][0].startswith("the login is denied (code 3); log in again")
    assert server.n_attempts == 1
    stream.subscribe(["MSFT"])


def test_refused_token_is_not_tried_again(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    server.fail_rest(1, 401)
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("failed"))
    assert "log in again" in receiver.of("failed")[0][0]
    assert server.n_attempts == 0


def test_stream_elsewhere_than_over_tls_is_refused(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream
) -> None:
    answer = server._preferences()
    answer["streamerInfo"][0]["streamerSocketUrl"] = "ws://example.com/ws"
    server.rest_garbage(1, json.dumps(answer).encode())
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("failed"))
    assert receiver.of("failed")[0][0].endswith("expected a wss:// address")


@pytest.mark.parametrize("answer", [b"{}", b'{"streamerInfo": [{}]}', b"nothing"])
def test_preferences_that_say_nothing_are_asked_for_again(
    server: SchwabServer, receiver: Receiver, stream: SchwabStream, answer: bytes
) -> None:
    server.rest_garbage(1, answer)
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    assert receiver.n("disconnected") == 1


@pytest.mark.parametrize("where", ["idle", "rest", "http", "login", "subscribe", "live", "waiting"])
def test_stop_ends_in_time_wherever_it_is(
    server: SchwabServer, receiver: Receiver, where: str
) -> None:
    stream = stream_of(server, min_backoff_s=60.0, max_backoff_s=60.0)
    stream.start(receiver)
    server.hang = where
    server.rest_delay_s = 1.0 if where == "rest" else 0.0
    server.refuse_connections = where == "waiting"
    if where != "idle":
        stream.subscribe(["AAPL"])
        wait_until(
            {
                "rest": lambda: server.n_requests,
                "http": lambda: server.n_attempts,
                "login": lambda: server.n_connections,
                "subscribe": lambda: server.n_logins,
                "live": lambda: charts(server),
                "waiting": lambda: receiver.n("disconnected"),
            }[where]
        )
    assert stream.stop()
    assert stream.stop()
    wait_until(lambda: not ours())
    wait_until(lambda: all(one.transport.is_closing() for one in list(server._all)))
    told = len(receiver.told)
    stream.subscribe(["MSFT"])
    stream.unsubscribe(["AAPL"])
    stream.reconnect()
    assert len(receiver.told) == told


def test_stream_stopped_before_its_start_ends_at_once(
    server: SchwabServer, receiver: Receiver
) -> None:
    stream = stream_of(server)
    assert stream.stop()
    stream.subscribe(["AAPL"])
    stream.start(receiver)
    wait_until(lambda: not ours())
    assert not receiver.told
    assert repr(stream) == "<SchwabStream of 1 symbols>"


def test_secrets_are_in_no_log_and_no_text(
    server: SchwabServer, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stream = stream_of(server)
    stream.start(receiver)
    stream.subscribe(["AAPL"])
    wait_until(lambda: charts(server))
    server.send([bar()])
    wait_until(lambda: receiver.n("bar"))
    server.drop()
    wait_until(lambda: receiver.n("connected") == 2)
    server.refuse_login = True
    server.drop()
    wait_until(lambda: receiver.n("failed"))
    # Its frames are cut in the middle, where the token is, but not always.
    assert not [one for one in caplog.records if one.name.startswith("websockets")]
    seen = caplog.text + repr(list(receiver.told)) + repr(stream)
    assert not [name for name, value in server.credentials.items() if value in seen]


def test_message_that_came_with_the_end_of_reading_is_told(
    server: SchwabServer, receiver: Receiver
) -> None:
    # What the reader is ended for, and a message, in one turn of the event loop.
    async def run() -> int:
        source = SchwabSource(client_factory=server.client)
        changed = asyncio.Event()
        wanted = {"AAPL": None}
        made = Connection(source._rest, receiver, lambda: wanted, lambda *a: None, changed, False)
        running = asyncio.create_task(made.run())
        while not charts(server):
            await asyncio.sleep(0.01)
        for k in range(50):
            await asyncio.to_thread(server.send, [bar(k=k)])
            changed.set()
            await asyncio.sleep(0)
        await asyncio.to_thread(wait_until, lambda: receiver.n("bar") == 50)
        running.cancel()
        await asyncio.wait([running])
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1
    assert [one[1] for one in receiver.of("bar")] == [T0 + k * MINUTE for k in range(50)]


def test_frames_give_the_library_answers_only(receiver: Receiver) -> None:
    frames = Frames(receiver, {"AAPL"})
    answer = {"service": "ADMIN", "command": "LOGIN", "requestid": "0"}
    both = {
        "response": [{**answer, "content": {"code": 26, "msg": "fine"}}],
        "data": [{"service": "CHART_EQUITY", "content": [bar(), bar("MSFT")]}],
        "notify": [{"heartbeat": "1"}],
    }
    assert frames.decode_json_string(json.dumps(both)) == {
        "response": [
            {
                "requestid": 0,
                "content": {"code": 0, "msg": ""},
                "service": "ADMIN",
                "command": "LOGIN",
            }
        ]
    }
    assert [told[0] for told in receiver.told] == ["bar", "heartbeat"]
