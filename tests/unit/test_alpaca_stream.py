"""Alpaca's stream: the library's own client against a server on the loopback."""

from __future__ import annotations

import threading
import time
from math import isnan
from typing import Any

import msgpack
import pytest

from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError, SessionStateError
from openbell.schema import NS_PER_SECOND
from openbell.sources.alpaca import AlpacaSource, AlpacaStream
from openbell.sources.alpaca.keys import Keys
from openbell.sources.streaming import BarStream
from tests.alpaca_feed import OPEN_NS, Open, Receiver, SetClock, bar, told
from tests.servers.alpaca import AlpacaServer, bar_message, quote_message, trade_message
from tests.waiting import wait_until


def test_stream_is_a_bar_stream_of_the_source(
    alpaca: AlpacaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in alpaca.environment.items():
        monkeypatch.setenv(name, value)
    source = AlpacaSource(stream_url=alpaca.stream_url)
    clock = SetClock(OPEN_NS)
    stream: BarStream = source.stream("1m", clock)
    assert stream.name == "alpaca"
    assert source.clock is clock
    for interval in ("5m", "1s", "1d"):
        with pytest.raises(DataSourceError, match=f"does not stream {interval}; it streams 1m"):
            source.stream(interval, clock)
    assert stream.stop()
    receiver = Receiver()
    stream.start(receiver)
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("connected"))
    assert stream.stop()
    source.close()


def test_nothing_connects_before_a_symbol_is_asked_for(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    stream, receiver = open_alpaca()
    time.sleep(0.05)
    assert (alpaca.n_attempts, receiver.calls) == (0, [])
    stream.subscribe(["AAPL"])
    wait_until(lambda: receiver.n("connected"))
    assert alpaca.n_attempts == 1


def test_symbols_asked_for_before_the_start_are_subscribed(alpaca: AlpacaServer) -> None:
    stream = AlpacaStream(
        Keys(*alpaca.environment.values()), LiveClock(), url=alpaca.stream_url, interval="1m"
    )
    stream.subscribe(["AAPL", "MSFT"])
    stream.unsubscribe(["MSFT"])
    receiver = Receiver()
    stream.start(receiver)
    wait_until(lambda: alpaca.subscribed["bars"] == {"AAPL"})
    with pytest.raises(SessionStateError, match="make another"):
        stream.start(receiver)
    assert stream.stop()
    assert stream.stop()


def test_bars_updates_and_days_are_told_in_the_order_they_came(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    _, receiver = live_alpaca
    assert alpaca.subscribed["updatedBars"] == alpaca.subscribed["dailyBars"] == {"AAPL", "MSFT"}
    alpaca.send([bar("AAPL"), bar("MSFT"), bar("AAPL", 0, "u"), bar("OTHER")])
    alpaca.send([bar("AAPL", 3), bar("AAPL", 2), bar("AAPL", 2), bar("AAPL", 0, "d")])
    wait_until(lambda: receiver.n("daily_bar"))
    assert receiver.of("bar") == [
        told("AAPL"), told("MSFT"), told("AAPL", is_update=True),
        told("AAPL", 3), told("AAPL", 2), told("AAPL", 2),
    ]  # fmt: skip
    assert receiver.of("daily_bar") == [("AAPL", 10.5, 11.5, 9.5, 10.75, 1200.0)]
    assert all(type(v) is float for v in receiver.of("bar")[0][2:9])


def test_integers_become_floats_and_what_is_absent_is_nan(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    _, receiver = live_alpaca
    message = bar_message("AAPL", OPEN_NS, 10, 11, 9, 10, 7)
    del message["n"]
    message["vw"] = None
    alpaca.send([message])
    wait_until(lambda: receiver.n("bar"))
    [(_, ts_ns, *values, is_update)] = receiver.of("bar")
    assert values[:5] == [10.0, 11.0, 9.0, 10.0, 7.0]
    assert all(type(value) is float for value in values)
    assert isnan(values[5])
    assert isnan(values[6])
    assert type(ts_ns) is int


def test_quotes_and_trades_keep_their_nanoseconds(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    stream, receiver = open_alpaca("AAPL", quotes=True, trades=True)
    wait_until(lambda: alpaca.subscribed["quotes"] and alpaca.subscribed["trades"])
    alpaca.send([quote_message("AAPL", OPEN_NS + 123_456_789, 10.0, 10.5, 3, 4)])
    alpaca.send([trade_message("AAPL", OPEN_NS + 987_654_321, 10.25, 100)])
    wait_until(lambda: receiver.n("trade"))
    assert receiver.of("quote") == [("AAPL", OPEN_NS + 123_456_789, 10.0, 10.5, 3.0, 4.0)]
    assert receiver.of("trade") == [("AAPL", OPEN_NS + 987_654_321, 10.25, 100.0)]
    assert receiver.n("bar") == 0
    stream.unsubscribe(["AAPL"])
    wait_until(lambda: not any(alpaca.subscribed.values()))


def test_five_hundred_symbols_are_one_subscription_and_one_frame(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    symbols = [f"SYMBOL{k:03d}" for k in range(500)]
    stream, receiver = open_alpaca(*symbols)
    wait_until(lambda: receiver.n("connected"))
    assert len(alpaca.asked) == 1
    assert alpaca.subscribed["bars"] == set(symbols)
    # More than the library's default of a frame, a mebibyte.
    frame = [bar(symbol, k) for k in range(30) for symbol in symbols]
    assert len(msgpack.packb(frame)) > 1 << 20
    alpaca.send(frame)
    wait_until(lambda: receiver.n("bar") == len(frame))
    assert receiver.n("disconnected") == 0


def test_symbols_come_and_go_while_it_runs(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    stream, receiver = live_alpaca
    stream.subscribe(["NVDA", "AAPL"])
    stream.unsubscribe(["MSFT", "NEVER"])
    wait_until(lambda: alpaca.subscribed["bars"] == {"AAPL", "NVDA"})
    assert alpaca.subscribed["updatedBars"] == alpaca.subscribed["dailyBars"] == {"AAPL", "NVDA"}
    alpaca.send([bar("NVDA"), bar("MSFT")])
    wait_until(lambda: receiver.n("bar"))
    assert receiver.of("bar") == [told("NVDA")]
    assert receiver.n("connected") == 1
    stream.unsubscribe(["AAPL", "NVDA"])
    wait_until(lambda: not alpaca.subscribed["bars"])
    stream.subscribe(["AMD"])
    wait_until(lambda: alpaca.subscribed["bars"] == {"AMD"})
    assert alpaca.n_connections == 1


def test_many_threads_may_ask_at_once(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    stream, _ = live_alpaca

    def ask(k: int) -> None:
        names = [f"T{k}N{n}" for n in range(10)]
        for name in names:
            stream.subscribe([name])
        stream.unsubscribe(names[5:])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {"AAPL", "MSFT"} | {f"T{k}N{n}" for k in range(4) for n in range(5)}
    wait_until(lambda: alpaca.subscribed["bars"] == expected)


def test_refused_symbol_leaves_the_others_subscribed(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    alpaca.refused_symbols = {
        "S07": (400, "invalid syntax"), "S33": (409, "insufficient subscription")
    }  # fmt: skip
    symbols = [f"S{k:02d}" for k in range(50)]
    stream, receiver = open_alpaca(*symbols)
    wait_until(lambda: receiver.n("connected"))
    assert receiver.of("refused") == [
        ("S07", "invalid syntax (400)"), ("S33", "insufficient subscription (409)")
    ]  # fmt: skip
    assert alpaca.subscribed["bars"] == set(symbols) - {"S07", "S33"}
    assert receiver.n("disconnected", "failed", "garbage") == 0
    n_asked = len(alpaca.asked)
    # Not asked for again after a loss, but when it is asked for anew.
    alpaca.drop()
    wait_until(lambda: receiver.n("connected") == 2)
    assert len(alpaca.asked) == n_asked + 1
    assert receiver.n("refused") == 2
    alpaca.refused_symbols.clear()
    stream.subscribe(["S07"])
    wait_until(lambda: "S07" in alpaca.subscribed["bars"])
    assert "S33" not in alpaca.subscribed["bars"]


def test_symbols_beyond_the_limit_are_refused_by_name(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    alpaca.symbol_limit = 30
    symbols = [f"S{k:02d}" for k in range(40)]
    _, receiver = open_alpaca(*symbols)
    wait_until(lambda: receiver.n("connected"))
    assert len(alpaca.subscribed["bars"]) == 30
    assert receiver.n("refused") == 10
    refused = {symbol for symbol, _ in receiver.of("refused")}
    assert refused == set(symbols) - alpaca.subscribed["bars"]
    assert {reason for _, reason in receiver.of("refused")} == {"symbol limit exceeded (405)"}


def test_symbol_that_is_left_out_without_an_error_is_refused(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    alpaca.ignored_symbols = {"B"}
    _, receiver = open_alpaca("A", "B", "C")
    wait_until(lambda: receiver.n("connected"))
    assert receiver.of("refused") == [("B", "it is left out of what is subscribed")]
    assert alpaca.subscribed["bars"] == {"A", "C"}


def test_quotes_that_are_refused_cost_no_bars(
    alpaca: AlpacaServer, open_alpaca: Open, caplog: pytest.LogCaptureFixture
) -> None:
    alpaca.channel_limits["quotes"] = 2
    _, receiver = open_alpaca("A", "B", "C", quotes=True)
    wait_until(lambda: receiver.n("connected") and len(alpaca.subscribed["quotes"]) == 2)
    wait_until(lambda: [r for r in caplog.records if "no quotes of" in r.getMessage()])
    assert alpaca.subscribed["bars"] == {"A", "B", "C"}
    assert receiver.n("refused") == 0


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"not msgpack", b"\x93\x01", "text", msgpack.packb("b"), msgpack.packb([3]),
     msgpack.packb({1: 2}), msgpack.packb([{"S": "AAPL"}]), msgpack.packb([{"T": ["b"]}]),
     msgpack.packb([{"T": "subscription?"}]), msgpack.packb([{"T": "error"}]),
     msgpack.packb([{"T": "error", "code": 405, "msg": "nobody asked"}])],
)  # fmt: skip
def test_frame_that_makes_no_sense_is_told_and_survived(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver], frame: bytes | str
) -> None:
    _, receiver = live_alpaca
    alpaca.send_raw(frame)
    alpaca.send([bar("AAPL")])
    wait_until(lambda: receiver.n("bar"))
    assert receiver.n("garbage") == 1
    assert receiver.n("disconnected", "refused") == 0


BROKEN: dict[str, Any] = {
    "S": 7, "t": 3.5, "o": None, "h": "high", "l": [1], "c": {}, "v": b"9", "n": "many",
}  # fmt: skip


def test_bad_messages_do_not_cost_the_good_ones_of_their_frame(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    _, receiver = live_alpaca
    bad: list[Any] = [{**bar("AAPL"), key: value} for key, value in BROKEN.items()]
    bad += [{k: v for k, v in bar("AAPL").items() if k != key} for key in ("S", "t", "c")]
    bad += [{**bar("AAPL"), "t": 17}, {**bar("AAPL"), "T": "?"}, None, 3, []]
    frame = [bar("AAPL"), *(m for k, one in enumerate(bad) for m in (one, bar("MSFT", k)))]
    alpaca.send_raw(msgpack.packb(frame))
    wait_until(lambda: receiver.n("bar") == 1 + len(bad))
    assert receiver.n("garbage") == len(bad)
    assert receiver.of("bar")[1:] == [told("MSFT", k) for k in range(len(bad))]
    assert all("AAPL" not in what for (what,) in receiver.of("garbage"))


def test_messages_of_no_use_are_neither_data_nor_garbage(
    alpaca: AlpacaServer, live_alpaca: tuple[AlpacaStream, Receiver]
) -> None:
    _, receiver = live_alpaca
    n = receiver.n("heartbeat")
    alpaca.send_raw(msgpack.packb([{"T": "s", "S": "AAPL", "sc": "H"}, {"T": "l", "S": "AAPL"}]))
    wait_until(lambda: receiver.n("heartbeat") == n + 1)
    assert receiver.n("garbage", "bar") == 0


def test_seconds_are_built_from_trades_and_told_by_the_clock(
    alpaca: AlpacaServer, open_alpaca: Open
) -> None:
    clock = SetClock(OPEN_NS)
    stream, receiver = open_alpaca("AAPL", interval="1s", clock=clock)
    wait_until(lambda: receiver.n("connected"))
    assert alpaca.subscribed["trades"] == {"AAPL"}
    assert not alpaca.subscribed["bars"]
    alpaca.send([trade_message("AAPL", OPEN_NS + 1000, 10.0, 5)])
    alpaca.send([trade_message("AAPL", OPEN_NS + 2000, 12.0, 15), bar("AAPL")])
    alpaca.send([trade_message("AAPL", OPEN_NS + NS_PER_SECOND, 99.0, 5, ["I"])])
    n = receiver.n("heartbeat")
    alpaca.send_raw(msgpack.packb([{"T": "x", "S": "AAPL"}, {"T": "c", "S": "AAPL"}]))
    wait_until(lambda: receiver.n("heartbeat") > n or receiver.n("garbage"))
    clock.ts_ns = OPEN_NS + 4 * NS_PER_SECOND
    wait_until(lambda: receiver.n("bar"))
    assert receiver.of("bar") == [("AAPL", OPEN_NS, 10.0, 12.0, 10.0, 12.0, 20.0, 2.0, 11.5, False)]
    alpaca.send([trade_message("AAPL", OPEN_NS + 3000, 13.0, 20)])
    wait_until(lambda: receiver.n("bar") == 2)
    assert receiver.of("bar")[1] == (
        "AAPL", OPEN_NS, 10.0, 13.0, 10.0, 13.0, 40.0, 3.0, 12.25, True
    )  # fmt: skip
    assert receiver.n("trade", "garbage") == 0


def test_seconds_that_a_loss_cut_are_not_told(alpaca: AlpacaServer, open_alpaca: Open) -> None:
    clock = SetClock(OPEN_NS)
    _, receiver = open_alpaca("AAPL", interval="1s", clock=clock, trades=True)
    wait_until(lambda: receiver.n("connected"))
    clock.ts_ns = OPEN_NS + NS_PER_SECOND // 2
    alpaca.drop()
    wait_until(lambda: receiver.n("connected") == 2)
    alpaca.send([trade_message("AAPL", OPEN_NS + 700_000_000, 10.0, 5)])
    alpaca.send([trade_message("AAPL", OPEN_NS + NS_PER_SECOND, 11.0, 5)])
    wait_until(lambda: receiver.n("trade") == 2)
    clock.ts_ns = OPEN_NS + 4 * NS_PER_SECOND
    wait_until(lambda: receiver.n("bar"))
    assert [call[1] for call in receiver.of("bar")] == [OPEN_NS + NS_PER_SECOND]
