"""Frames of Schwab's stream: what is in them is told to a receiver as they arrive."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

from openbell.sources.schwab.candles import MS_NS
from openbell.sources.schwab.text import read_object
from openbell.sources.streaming import StreamReceiver

__all__ = ["CODES", "Frames"]

#: What Schwab's answer codes mean; those that are not here are told by their number.
CODES = {
    3: "the login is denied",
    9: "an unknown failure",
    11: "the service is not available",
    12: "another connection of this user is open: Schwab allows one",
    19: "the limit of symbols is reached",
    20: "the connection is not known",
    21: "the command is malformed",
    22: "the subscription failed",
    23: "the unsubscription failed",
    24: "the subscription failed",
    30: "streaming was stopped: nothing is subscribed, or too little is read",
}

# Of CHART_EQUITY: open, high, low, close, volume.
_BAR_FIELDS = ("2", "3", "4", "5", "6")
# Of LEVELONE_EQUITIES: bid, ask, and their sizes.
_QUOTE_FIELDS = ("1", "2", "4", "5")
_NUMBERS = {float, int}
_DONE = (0, 26, 27, 28, 29)
_GOODBYES = (12, 20, 30)
_LAST_MS = (2**63 - 1) // MS_NS


class Frames:
    """Reads each frame of one connection, once and in order; the library's JSON decoder.

    The library puts aside what comes while it waits for an answer, and does not tell of
    heartbeats. So data are told from here, as soon as they are decoded, by their numbered fields;
    the library gets the answers to its requests, and nothing that it could stumble over.

    Parameters
    ----------
    receiver : StreamReceiver
    wanted : collection of str
        Symbols of which data are told; what comes of others was under way when they were given up.

    Attributes
    ----------
    n_news : int
        How many frames held data or a notice.
    goodbye : str
        Why the server ends the connection; empty while it does not.
    """

    def __init__(self, receiver: StreamReceiver, wanted: Collection[str]) -> None:
        self.n_news = 0
        self.goodbye = ""
        self._receiver = receiver
        self._wanted = wanted
        self._last_answered = -1
        self._quotes: dict[str, list[float]] = {}

    def decode_json_string(self, raw: str | bytes) -> dict[str, Any]:
        """Tell what a frame holds; return what of it is for the library."""
        frame = read_object(raw)
        if frame is None:
            self._receiver.on_garbage("a frame that is no JSON object")
            return {}
        parts = [frame.get(key) for key in ("data", "notify", "response")]
        if not any(isinstance(part, list) for part in parts):
            self._receiver.on_garbage("a frame without data, notice or answer")
            return {}
        data, notices, answers = (part if isinstance(part, list) else [] for part in parts)
        self.n_news += bool(data or notices)
        for block in data:
            self._read_block(block)
        for notice in notices:
            self._read_notice(notice)
        return self._read_answers(answers)

    def _read_block(self, block: Any) -> None:
        content = block.get("content") if _is_object(block) else None
        if not isinstance(content, list):
            self._receiver.on_garbage("data without content")
            return
        service = block.get("service")
        for item in content:
            symbol = item.get("key") if _is_object(item) else None
            if not isinstance(symbol, str):
                self._receiver.on_garbage("data without a symbol")
            elif symbol in self._wanted:
                if service == "CHART_EQUITY":
                    self._read_bar(symbol, item)
                elif service == "LEVELONE_EQUITIES":
                    self._read_quote(symbol, item, block.get("timestamp"))

    def _read_bar(self, symbol: str, item: dict[str, Any]) -> None:
        there: Callable[[str], Any] = item.get
        open, high, low, close, volume = (there(field) for field in _BAR_FIELDS)
        ms = there("7")
        if not (_are_numbers(open, high, low, close, volume) and _is_time(ms)):
            self._receiver.on_garbage(f"a bar of {symbol} that lacks a value")
            return
        if not _makes_sense(open, high, low, close) and _are_shifted(there("1"), open, high, low):
            self._receiver.on_garbage(f"a bar of {symbol} whose fields are in another order")
            return
        try:
            values = (float(open), float(high), float(low), float(close), float(volume))
        except OverflowError:
            self._receiver.on_garbage(f"a bar of {symbol} beyond all numbers")
            return
        self._receiver.on_bar(symbol, ms * MS_NS, *values, math.nan, math.nan, False)

    def _read_quote(self, symbol: str, item: dict[str, Any], sent_ms: Any) -> None:
        # What did not change is not sent.
        known = self._quotes.setdefault(symbol, [math.nan] * 4)
        changed = {n: item[field] for n, field in enumerate(_QUOTE_FIELDS) if field in item}
        ms = item.get("34", sent_ms)
        if not (_are_numbers(*changed.values()) and _is_time(ms)):
            self._receiver.on_garbage(f"a quote of {symbol} that lacks a value")
            return
        try:
            for n, value in changed.items():
                known[n] = float(value)
        except OverflowError:
            self._receiver.on_garbage(f"a quote of {symbol} beyond all numbers")
            return
        if not changed or math.isnan(known[0]) or math.isnan(known[1]):
            return
        self._receiver.on_quote(symbol, ms * MS_NS, *known)

    def _read_notice(self, notice: Any) -> None:
        if not _is_object(notice):
            self._receiver.on_garbage("a notice that is no object")
        elif "heartbeat" in notice:
            self._receiver.on_heartbeat()
        else:
            self._note_goodbye(_code(notice))

    def _read_answers(self, answers: list[Any]) -> dict[str, Any]:
        for answer in answers:
            code = _code(answer)
            number = _whole(answer.get("requestid")) if code is not None else None
            self._note_goodbye(code)
            if number is None or number <= self._last_answered:
                self._receiver.on_garbage("an answer to nothing that was asked")
                continue
            self._last_answered = number
            told = {key: answer.get(key) for key in ("service", "command")}
            content = {"code": 0 if code in _DONE else code, "msg": ""}
            return {"response": [{"requestid": number, "content": content, **told}]}
        return {}

    def _note_goodbye(self, code: int | None) -> None:
        if code is not None and code in _GOODBYES:
            self.goodbye = f"{CODES[code]} (code {code})"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_numbers(*values: Any) -> bool:
    return _NUMBERS.issuperset(map(type, values))


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 < value <= _LAST_MS


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if type(value) is int else None


def _code(answer: Any) -> int | None:
    content: Any = answer.get("content") if _is_object(answer) else None
    return _whole(content.get("code")) if _is_object(content) else None


def _makes_sense(open: float, high: float, low: float, close: float) -> bool:
    return low <= open <= high and low <= close <= high


def _are_shifted(first: Any, second: float, third: float, fourth: float) -> bool:
    # Its documents have had the prices one field earlier, with the sequence behind them. No bar
    # makes sense both ways, unless all of its prices are the same.
    return _are_numbers(first) and _makes_sense(first, second, third, fourth)
