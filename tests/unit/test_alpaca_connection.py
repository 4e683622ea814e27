"""Alpaca's stream when its connection fails: losses, refusals, silence, and its end."""

from __future__ import annotations

import gc
import logging
import sys
import time
import traceback
from typing import Any

import msgpack
import pytest

from openbell.clock.live import LiveClock
from openbell.errors import MissingLibraryError
from openbell.sources.alpaca import AlpacaStream
from openbell.sources.alpaca.keys import Keys
from tests.alpaca_feed import Open, Receiver, bar, told
from tests.servers.alpaca import AlpacaServer
from tests.waiting import wait_until


def test_drop_is_told_once_and_everything_is_subscribed_again(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    stream, receiver = live_alpaca
    alpaca.refuse_connections = True
    alpaca.drop()
    wait_until(lambda: receiver.n("disconnected") >= 3)
    stream.subscribe(["NVDA"])
    stream.unsubscribe(["MSFT"])
    alpaca.refuse_connections = False
    wait_until(lambda: receiver.n("connected") == 2)
    assert alpaca.subscribed["bars"] == {"AAPL", "NVDA"}
    reasons = [reason for (reason,) in receiver.of("disconnected")]
    assert reasons[0] == "the connection was closed"
    assert set(reasons[1:]) == {"connecting was answered with HTTP 503"}
    # One more for each attempt that failed, none for the one that did not.
    assert len(reasons) == alpaca.n_attempts - 1
    alpaca.send([bar("NVDA")])
    wait_until(lambda: receiver.n("bar"))


def test_losses_write_no_log_lines_of_the_library(
    alpaca: AlpacaServer,
    live_alpaca: tuple[AlpacaStream, Receiver],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, receiver = live_alpaca
    alpaca.drop()
    wait_until(lambda: receiver.n("connected") == 2)
    assert not [r.getMessage() for r in caplog.records if r.name.startswith("alpaca.")]
    # Those of a stream of the user's own are theirs.
    logging.getLogger("alpaca.data.live.websocket").warning("another's")
    assert [r.getMessage() for r in caplog.records if r.name.startswith("alpaca.")] == ["another's"]


def test_nobody_there_is_tried_again(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    _, receiver = open_alpaca("AAPL", url="ws://127.0.0.1:9/v2/iex")
    wait_until(lambda: receiver.n("disconnected") >= 2)
    assert receiver.of("disconnected")[0][0].startswith("cannot connect: ")
    assert receiver.n("failed") == 0


def test_refused_key_is_not_tried_again(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    alpaca.refuse_key = True
    stream, receiver = open_alpaca("AAPL")
    wait_until(lambda: receiver.n("failed"))
    assert receiver.of("failed") == [("the credentials are refused: auth failed (402)",)]
    wait_until(lambda: not stream._thread.is_alive())  # type: ignore[union-attr]
    stream.subscribe(["MSFT"])
    stream.reconnect()
    assert alpaca.n_connections == 1
    assert receiver.n("disconnected") == 0
    assert stream.stop()


def test_feed_that_is_not_subscribed_to_is_not_tried_again(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    alpaca.refuse_key = True
    alpaca.auth_error = (409, "insufficient subscription")
    _, receiver = open_alpaca("AAPL")
    wait_until(lambda: receiver.n("failed"))
    assert "insufficient subscription (409)" in receiver.of("failed")[0][0]


@pytest.mark.parametrize("error", [(404, "auth timeout"), (500, "internal error")])
def test_login_that_fails_for_now_is_tried_again(
    alpaca: AlpacaServer, open_alpaca: Open, error: tuple[int, str]
) -> None:
    alpaca.refuse_key = True
    alpaca.auth_error = error
    _, receiver = open_alpaca("AAPL")
    wait_until(lambda: receiver.n("disconnected") >= 2)
    assert receiver.of("disconnected")[0] == (f"not let in: {error[1]} ({error[0]})",)
    alpaca.refuse_key = False
    wait_until(lambda: receiver.n("connected"))
    assert receiver.n("failed") == 0


def test_another_connection_in_the_way_is_waited_for(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    alpaca.connection_limit = 1
    first, one = open_alpaca("AAPL")
    wait_until(lambda: one.n("connected"))
    _, two = open_alpaca("MSFT")
    wait_until(lambda: two.n("disconnected") >= 2)
    assert two.of("disconnected")[0] == ("not let in: connection limit exceeded (406)",)
    assert first.stop()
    wait_until(lambda: two.n("connected"))


def test_waits_between_attempts_grow_up_to_the_most(
    alpaca: AlpacaServer, open_alpaca: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    stream, receiver = open_alpaca(min_backoff_s=1.0, max_backoff_s=8.0)
    connection: Any = stream._connection
    ask = connection._reconnect_delay

    def noted(retries: int) -> float:
        delays.append(ask(retries))
        return 0.001

    monkeypatch.setattr(connection, "_reconnect_delay", noted)
    alpaca.refuse_connections = True
    stream.subscribe(["AAPL"])
    wait_until(lambda: len(delays) >= 6)
    for delay, longest in zip(delays, [1, 2, 4, 8, 8, 8], strict=False):
        assert longest / 2 <= delay <= longest


def test_wait_is_short_again_after_a_connection_that_lasted(
    alpaca: AlpacaServer, open_alpaca: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, receiver = open_alpaca(min_backoff_s=0.001, max_backoff_s=0.05)
    connection: Any = stream._connection
    tried: list[int] = []
    monkeypatch.setattr(connection, "_reconnect_delay", lambda n: tried.append(n) or 0.001)
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("connected") == 1)
    alpaca.drop()
    wait_until(lambda: receiver.n("connected") == 2)
    time.sleep(0.06)
    alpaca.drop()
    wait_until(lambda: receiver.n("connected") == 3)
    assert tried[-1] == 1


def test_error_of_the_connection_drops_it(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    _, receiver = live_alpaca
    alpaca.send_raw(msgpack.packb([{"T": "error", "code": 407, "msg": "slow client"}]))
    wait_until(lambda: receiver.n("connected") == 2)
    assert receiver.of("disconnected") == [("it said: slow client (407)",)]


def test_mute_connection_lives_and_a_reconnect_is_at_once(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    # A wait that the test would not outlive, were it waited for.
    stream, receiver = open_alpaca(
        "AAPL", ping_interval_s=0.02, min_backoff_s=600.0, max_backoff_s=600.0
    )
    wait_until(lambda: receiver.n("connected"))
    alpaca.is_mute = True
    alpaca.send([bar("AAPL")])
    n = receiver.n("heartbeat")
    wait_until(lambda: receiver.n("heartbeat") > n + 2)
    assert receiver.n("bar", "disconnected") == 0
    for k in range(3):
        stream.reconnect()
        wait_until(lambda k=k: receiver.n("connected") == k + 2)  # type: ignore[misc]
    assert receiver.of("disconnected") == [("it was told to reconnect",)] * 3
    alpaca.is_mute = False
    alpaca.send([bar("AAPL")])
    wait_until(lambda: receiver.n("bar"))
    assert receiver.of("bar") == [told("AAPL")]


def test_reconnect_ends_a_wait_between_attempts(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    alpaca.refuse_connections = True
    stream, receiver = open_alpaca("AAPL", min_backoff_s=600.0, max_backoff_s=600.0)
    wait_until(lambda: receiver.n("disconnected"))
    alpaca.refuse_connections = False
    stream.reconnect()
    wait_until(lambda: receiver.n("connected"))


def test_no_answer_to_a_ping_drops_the_connection(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    _, receiver = open_alpaca("AAPL", ping_interval_s=0.02, ping_timeout_s=0.1)
    wait_until(lambda: receiver.n("connected"))
    alpaca.freeze(0.6)
    wait_until(lambda: receiver.n("disconnected"))
    assert receiver.of("disconnected")[0] == ("no sign of life for 0.1 s",)
    wait_until(lambda: receiver.n("connected") >= 2)


@pytest.mark.parametrize("where", ["http", "greeting", "auth", "subscribe"])
def test_no_answer_while_connecting_is_tried_again(
    alpaca: AlpacaServer, open_alpaca: Open, where: str
) -> None:
    alpaca.hang = where
    _, receiver = open_alpaca("AAPL", answer_timeout_s=0.1)
    wait_until(lambda: receiver.n("disconnected"))
    assert receiver.of("disconnected")[0] == ("no answer within 0.1 s",)
    assert receiver.n("connected") == 0
    alpaca.hang = ""
    wait_until(lambda: receiver.n("connected"))


@pytest.mark.parametrize(
    "state", ["idle", "http", "greeting", "auth", "subscribe", "backing off", "receiving", "nobody"]
)
def test_stop_ends_the_thread_in_every_state(
    alpaca: AlpacaServer, open_alpaca: Open, state: str
) -> None:
    alpaca.refuse_connections = state == "backing off"
    alpaca.hang = state if state in ("http", "greeting", "auth", "subscribe") else ""
    url = "ws://127.0.0.1:9/" if state == "nobody" else alpaca.stream_url
    names = () if state == "idle" else ("AAPL",)
    stream, receiver = open_alpaca(*names, url=url, min_backoff_s=60.0, max_backoff_s=60.0)
    if state == "receiving":
        wait_until(lambda: receiver.n("connected"))
    elif state in ("backing off", "nobody"):
        wait_until(lambda: receiver.n("disconnected"))
    elif state != "idle":
        wait_until(lambda: alpaca.n_attempts)
        time.sleep(0.03)
    n = len(receiver.calls)
    assert stream.stop()
    assert receiver.calls[n:] == []
    # A task or a socket that was left behind says so, and `no_stray_tasks` hears of it.
    gc.collect()
    wait_until(lambda: not any(alpaca.subscribed.values()))


def test_stop_from_its_own_thread_does_not_wait_for_itself(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    stream, receiver = open_alpaca()
    ended: list[bool] = []
    receiver.on_connected = lambda: ended.append(stream.stop())  # type: ignore[attr-defined]
    stream.subscribe(["AAPL"])
    wait_until(lambda: ended == [False])
    assert stream.stop()


def test_secrets_are_in_no_log_record_text_or_dump(
    alpaca: AlpacaServer, open_alpaca: Open, caplog: pytest.LogCaptureFixture
) -> None:
    key, secret = alpaca.environment.values()
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        stream, receiver = open_alpaca("AAPL")
        wait_until(lambda: receiver.n("connected"))
        said += [repr(stream), str(vars(stream)), str(vars(stream._connection))]
        alpaca.refuse_connections = True
        alpaca.drop()
        wait_until(lambda: receiver.n("disconnected") > 2)
        alpaca.refuse_connections = False
        wait_until(lambda: receiver.n("connected") == 2)
        alpaca.refused_symbols["MSFT"] = (400, f"no {secret} for {key}")
        stream.subscribe(["MSFT"])
        wait_until(lambda: receiver.n("refused"))
        alpaca.send_raw(msgpack.packb([{"T": "error", "code": 500, "msg": f"{key} {secret}"}]))
        wait_until(lambda: receiver.n("connected") == 3)
        alpaca.auth_error = (402, f"{key}:{secret}")
        alpaca.refuse_key = True
        alpaca.drop()
        wait_until(lambda: receiver.n("failed"))
        assert stream.stop()
    said += [str(call) for call in receiver.calls]
    for record in caplog.records:
        said.append(f"{record.getMessage()} {record.__dict__}")
        if record.exc_info and record.exc_info[1] is not None:
            error = traceback.TracebackException.from_exception(
                record.exc_info[1], capture_locals=True
            )
            said.extend(error.format())
    assert caplog.records
    for value in (key, secret, secret.encode().hex(), secret.encode().hex(" ")):
        assert not [text for text in said if value in text]


def test_missing_library_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "alpaca"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alpaca", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'openbell\[alpaca\]'"):
        AlpacaStream(Keys("K", "S"), LiveClock())
