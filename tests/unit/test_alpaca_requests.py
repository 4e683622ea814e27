"""Alpaca over REST when it fails: errors that pass, refusals, garbage, and what is told of them."""

from __future__ import annotations

import logging
import pickle
import threading
import time
import traceback

import numpy as np
import pytest

from openbell.errors import SourceUnavailableError
from openbell.schema import (
    NS_PER_MINUTE,
)
from openbell.sources.alpaca import AlpacaSource
from tests.alpaca_feed import OPEN_NS, WINDOW, Make, failure, minutes
from tests.servers.alpaca import AlpacaServer
from tests.waiting import wait_until


@pytest.fixture
def source(make_alpaca: Make) -> AlpacaSource:
    return make_alpaca()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_error_is_asked_again(
    alpaca: AlpacaServer, source: AlpacaSource, status: int
) -> None:
    alpaca.put("A", minutes(3))
    alpaca.fail_rest(4, status)
    assert len(source.load("A", "1m", WINDOW)) == 3
    assert alpaca.n_requests == 5
    alpaca.fail_rest(5, status)
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert isinstance(error, SourceUnavailableError)
    assert str(status) in str(error)
    assert alpaca.n_requests == 10


class Waits(threading.Event):
    """Notes how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return False


def test_waits_grow_and_heed_what_the_server_says(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    source = make_alpaca(retry_wait_s=2.0)
    waits = source._rest._closing = Waits()
    alpaca.fail_rest(5, 500)
    failure(lambda: source.load("A", "1m", WINDOW))
    assert waits.seconds == [2, 4, 8, 16]
    waits.seconds.clear()
    alpaca.fail_rest(1, 429, retry_after=7)
    alpaca.fail_rest(1, 429, retry_after=86_400)
    alpaca.fail_rest(1, 429, retry_after=0.5)
    source.load("A", "1m", WINDOW)
    assert waits.seconds == [7, 60, 8]
    waits.seconds.clear()
    alpaca.rest.answer_next(1, 429, b"", {"X-RateLimit-Reset": f"{time.time() + 50:.0f}"})
    source.load("A", "1m", WINDOW)
    assert 40 < waits.seconds[0] <= 51


def test_broken_connections_are_made_anew(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put("A", minutes(3))
    alpaca.drop_rest(2)
    assert len(source.load("A", "1m", WINDOW)) == 3
    alpaca.drop_rest(5)
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert isinstance(error, SourceUnavailableError)
    assert "127.0.0.1 cannot be reached" in str(error)


def test_nobody_there_is_unavailable(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    # Nothing listens there: it speaks TCP's discard, if anything.
    source = make_alpaca(url="http://127.0.0.1:9")
    assert isinstance(failure(lambda: source.load("A", "1m", WINDOW)), SourceUnavailableError)


def test_no_answer_in_time_is_unavailable(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    source = make_alpaca(timeout_s=0.05)
    alpaca.rest_delay_s = 0.5
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert isinstance(error, SourceUnavailableError)
    assert "no answer within 0.05 s" in str(error)


def test_an_outage_is_not_asked_about_for_each_symbol(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    symbols = [f"S{k}" for k in range(450)]
    alpaca.fail_rest(1000, 503)
    found = list(source.load_between(symbols, "1m", OPEN_NS, WINDOW.close_ns))
    assert [symbol for symbol, _, _ in found] == symbols
    assert all(isinstance(bars, SourceUnavailableError) for _, bars, _ in found)
    assert alpaca.n_requests == 5


def test_a_wrong_key_is_no_outage(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.refuse_key = True
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert not isinstance(error, SourceUnavailableError)
    assert "refused the credentials" in str(error)
    assert alpaca.n_requests == 1


def test_a_feed_without_subscription_is_refused_with_alpacas_words(
    alpaca: AlpacaServer, make_alpaca: Make
) -> None:
    words = "subscription does not permit querying recent SIP data"
    alpaca.rest.answer_next(1, 403, b'{"message": "%s"}' % words.encode(), {})
    error = failure(lambda: make_alpaca(feed="sip").load("A", "1m", WINDOW))
    assert not isinstance(error, SourceUnavailableError)
    assert words in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>not what was asked</html>",
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"bars": 3, "next_page_token": null}',
        b'{"bars": {}, "trades": {}, "next_page_token": null}',
        b'{"bars": {}, "next_page_token": 7}',
    ],
)
def test_an_answer_that_is_none_is_unavailable(
    alpaca: AlpacaServer, source: AlpacaSource, body: bytes
) -> None:
    alpaca.put("A", minutes(3))
    alpaca.rest_garbage(1, body)
    assert len(source.load("A", "1m", WINDOW)) == 3
    alpaca.rest_garbage(5, body)
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert isinstance(error, SourceUnavailableError)
    assert "answered" in str(error)


def test_a_page_that_names_itself_as_the_next_ends(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    alpaca.rest_garbage(6, b'{"bars": {"A": []}, "next_page_token": "round"}')
    error = failure(lambda: source.load("A", "1m", WINDOW))
    assert "no sound successor" in str(error)


def test_null_for_none_is_none(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.rest_garbage(1, b'{"bars": null, "next_page_token": null}')
    assert len(source.load("A", "1m", WINDOW)) == 0
    assert source.n_garbage == 0


GOOD = b'{"t":"2025-07-02T13:30:00Z","o":1,"h":2,"l":1,"c":2,"v":3,"n":4,"vw":1.5}'
LATER = GOOD.replace(b"13:30", b"13:31")


@pytest.mark.parametrize(
    "row",
    [
        GOOD.replace(b'"c":2,', b""),
        GOOD.replace(b'"c":2', b'"c":null'),
        GOOD.replace(b'"c":2', b'"c":"two"'),
        GOOD.replace(b'"c":2', b'"c":[2]'),
        GOOD.replace(b'"2025-07-02T13:30:00Z"', b'"yesterday"'),
        GOOD.replace(b'"2025-07-02T13:30:00Z"', b'"NaTZ"'),
        GOOD.replace(b'"2025-07-02T13:30:00Z"', b'"2025-07-02T13:30:00"'),
        GOOD.replace(b'"2025-07-02T13:30:00Z"', b"1751463000"),
        b"null",
        b"17",
        b'"bar"',
        b"[]",
    ],
)
def test_a_bad_row_is_left_out_and_counted(
    alpaca: AlpacaServer, source: AlpacaSource, row: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    page = b'{"bars": {"A": [%s, %s, %s]}, "next_page_token": null}' % (LATER, row, row)
    for n in (2, 4):
        alpaca.rest_garbage(1, page)
        bars = source.load("A", "1m", WINDOW)
        assert bars.tolist() == [(OPEN_NS + NS_PER_MINUTE, 1, 2, 1, 2, 3)]
        assert source.n_garbage == n
    warned = [r.message for r in caplog.records if r.name.startswith("openbell")]
    assert warned == ["alpaca: 2 bars of A make no sense and are left out, as others will be"]


@pytest.mark.parametrize("rows", [b"null", b"3", b'"A"'])
def test_a_symbol_whose_rows_are_none_has_no_bars(
    alpaca: AlpacaServer, source: AlpacaSource, rows: bytes
) -> None:
    alpaca.rest_garbage(
        1, b'{"bars": {"A": %s, "B": [%s]}, "next_page_token": null}' % (rows, GOOD)
    )
    found = dict(source.load_many(["A", "B"], "1m", WINDOW))
    assert (len(found["A"]), len(found["B"])) == (0, 1)
    assert source.n_garbage == 1


def test_rows_out_of_order_or_twice_are_put_in_order_the_last_counts(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    rows = b", ".join([LATER, GOOD, LATER.replace(b'"v":3', b'"v":9')])
    alpaca.rest_garbage(1, b'{"bars": {"A": [%s]}, "next_page_token": null}' % rows)
    bars = source.load("A", "1m", WINDOW)
    assert bars["timestamp"].tolist() == [OPEN_NS, OPEN_NS + NS_PER_MINUTE]
    assert bars["volume"].tolist() == [3, 9]


def test_rows_with_another_offset_and_without_extras_are_read(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    row = GOOD.replace(b"13:30:00Z", b"09:30:00-04:00").replace(b',"n":4,"vw":1.5', b"")
    alpaca.rest_garbage(1, b'{"bars": {"A": [%s]}, "next_page_token": null}' % row)
    [(_, bars, extras)] = source.load_between(["A"], "1m", OPEN_NS, WINDOW.close_ns)
    assert bars["timestamp"].tolist() == [OPEN_NS]  # type: ignore[call-overload]
    assert np.isnan(extras["trade_count"]).all()
    assert np.isnan(extras["vwap"]).all()


def test_close_ends_waiting_to_ask_again(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    source = make_alpaca(retry_wait_s=60.0)
    alpaca.fail_rest(100, 503)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            source.load("A", "1m", WINDOW)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: alpaca.n_requests == 1)
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], SourceUnavailableError)
    assert "is closed" in str(failure(lambda: source.load("A", "1m", WINDOW)))


def test_secrets_are_in_no_log_record_error_or_traceback(
    alpaca: AlpacaServer, make_alpaca: Make, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = list(alpaca.environment.values())
    source, hasty = make_alpaca(), make_alpaca(timeout_s=0.2)
    echo = b'{"message": "no %s, no %s"}' % tuple(s.encode() for s in secrets)
    told = [repr(source), repr(source._keys), str(vars(source)), str(vars(source._rest._client))]
    with caplog.at_level(logging.DEBUG):
        source.has_symbol("A")
        for status, n in ((401, 1), (403, 1), (400, 1), (404, 1), (503, 5), (0, 5)):
            alpaca.rest.answer_next(n, status, echo, {})
            error: BaseException | None = failure(lambda: source.load("A", "1m", WINDOW))
            while error is not None:
                told.append(f"{error!r} {vars(error)}")
                shown = traceback.TracebackException.from_exception(error, capture_locals=True)
                told.extend(shown.format())
                error = error.__cause__ or error.__context__
        alpaca.rest_delay_s = 0.5
        failure(lambda: hasty.load("A", "1m", WINDOW))
    told += [f"{r.getMessage()} {r.__dict__}" for r in caplog.records]
    for secret in secrets:
        assert not [text for text in told if secret in text]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(source._keys)
