"""The faults that a live feed is made to have, and who plays them over a day of the market.

A script of faults is drawn over a :class:`tests.live_market.Market` and tells which bars nobody
has in the end. A player sends the day through the Alpaca test server, with the faults.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

import openbell as ob
from openbell.live.health import FeedHealth
from openbell.sources.live_manager import LiveDataManager
from tests.lifecycle_days import window_of
from tests.live_market import (
    EVE,
    LONGEST_STEP_NS,
    MINUTE,
    SECOND,
    HeldClock,
    Market,
    QuickSource,
    Row,
    Spot,
    live_config,
)
from tests.servers.alpaca import AlpacaServer, bar_message
from tests.waiting import wait_until

#: A bar comes so long after its end; a correction of it so long.
SENT_NS, CORRECTED_NS = 50_000_000, 30 * SECOND


KINDS = (
    "drop", "drops", "refuse", "mute", "repeat", "reorder", "swap", "correct", "early_update",
    "delay", "lose", "hole", "rest_429", "rest_500", "rest_503", "rest_slow", "rest_garbage",
    "rest_drop", "garbage", "bad_bars", "refused_symbol", "overload",
)  # fmt: skip


@dataclass
class Script:
    """What is sent when, and what is done to server and session in between.

    Attributes
    ----------
    faults : list of (str, int)
        What is done from which minute on.
    holes : set of (str, int)
        Bars that are sent to nobody, and that REST does not have either.
    outages : set of (str, int)
        Those of them that a drop or a mute feed has cost.
    """

    market: Market
    faults: list[tuple[str, int]] = field(default_factory=list)
    holes: set[Spot] = field(default_factory=set)
    outages: set[Spot] = field(default_factory=set)
    sendings: dict[int, list[list[dict[str, Any]]]] = field(default_factory=dict)
    actions: list[tuple[int, Callable[[Player], None]]] = field(default_factory=list)

    def do(self, at_ns: int, action: Callable[[Player], None]) -> None:
        self.actions.append((at_ns, action))

    def send(self, at_ns: int, messages: list[dict[str, Any]]) -> None:
        self.do(at_ns, lambda player: player.send(messages))


def plain_script(market: Market) -> Script:
    """A day on which nothing goes wrong."""
    return script_of(market, [])


def faulty_script(market: Market, seed: int, n_faults: int = 50) -> Script:
    """The same day with faults of every kind, spread over it."""
    rng = np.random.default_rng(seed)
    kinds = [*KINDS * (n_faults // len(KINDS)), *rng.permutation(KINDS)[: n_faults % len(KINDS)]]
    rng.shuffle(kinds)
    space = (market.n_minutes - 12) / n_faults
    at = [int(3 + space * n + rng.integers(0, 2)) for n in range(n_faults)]
    return script_of(market, list(zip(map(str, kinds), at, strict=True)), seed)


def script_of(market: Market, faults: Sequence[tuple[str, int]], seed: int = 0) -> Script:
    """The same day with these faults, each from a minute on."""
    rng = np.random.default_rng(seed)
    script = Script(market, list(faults))
    moved: dict[Spot, int | None] = {}
    for kind, minute in faults:
        _FAULTS[kind](script, minute, rng, moved)
    return _written(script, moved)


def _written(script: Script, moved: Mapping[Spot, int | None]) -> Script:
    # `moved`: bars that are sent in another minute, or never.
    market = script.market
    frames: dict[int, list[dict[str, Any]]] = {}
    for spot, row in market.first.items():
        minute = moved.get(spot, spot[1])
        if spot not in script.holes and minute is not None:
            frames.setdefault(minute, []).append(bar_message(spot[0], *row))
        if market.last[spot] != row and spot not in script.holes:
            at_ns = market.end(spot[1]) + CORRECTED_NS
            script.do(at_ns, _correction(spot[0], market.last[spot]))
    for minute, messages in frames.items():
        script.sendings[minute] = [messages[::2], messages[1::2]]
    for minute in range(market.n_minutes):
        script.do(market.end(minute) + SENT_NS, lambda player, m=minute: player.send_minute(m))
    script.actions.sort(key=lambda one: one[0])
    return script


def _correction(symbol: str, row: Row) -> Callable[[Player], None]:
    def tell(player: Player) -> None:
        player.server.put(symbol, np.array([row], ob.BAR_DTYPE))
        player.send([bar_message(symbol, *row, kind="u")])

    return tell


def _some(script: Script, rng: np.random.Generator, minutes: Sequence[int], n: int) -> list[Spot]:
    there = [s for s in script.market.first if s[1] in minutes and s not in script.holes]
    return [there[k] for k in rng.choice(len(there), min(n, len(there)), replace=False)]


def _hole(script: Script, rng: np.random.Generator, minutes: Sequence[int]) -> set[Spot]:
    # Of symbols that trade in every other minute: no silence of theirs is the market's.
    whole = sorted(set(script.market.full) - {symbol for symbol, _ in script.holes})
    symbols = rng.choice(whole, 3, replace=False).tolist()
    made = {(symbol, minute) for symbol in symbols for minute in minutes}
    script.holes |= made
    return made


def _drop(script: Script, minute: int, *_: Any) -> None:
    script.do(script.market.end(minute) + 10 * SECOND, Player.drop)


def _drops(script: Script, minute: int, *_: Any) -> None:
    for n in range(3):
        script.do(script.market.end(minute) + (10 + 70 * n) * SECOND, Player.drop)


def _refuse(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    script.do(script.market.end(minute) + 10 * SECOND, Player.refuse)
    script.do(script.market.end(minute + 4) - 10 * SECOND, Player.let_in)
    script.outages |= _hole(script, rng, [minute + 2, minute + 3])


def _mute(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    script.do(script.market.end(minute) + 10 * SECOND, Player.mute)
    script.outages |= _hole(script, rng, [minute + 1])


def _repeat(script: Script, minute: int, *_: Any) -> None:
    for n in range(3):
        late_ns = script.market.end(minute + n) + 5 * SECOND
        script.do(late_ns, lambda player, m=minute: player.send_minute(m))


def _reorder(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    seed = int(rng.integers(1 << 30))
    script.do(script.market.end(minute), lambda player: player.shuffle(minute, seed))


def _swap(script: Script, minute: int, rng: np.random.Generator, moved: Any) -> None:
    for symbol, at in _some(script, rng, [minute, minute + 1], 60):
        moved[symbol, at] = minute + (minute + 1 - at)


def _correct(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    market = script.market
    for spot in _some(script, rng, range(minute, minute + 3), 40):
        was = market.correct(rng, spot)
        script.do(market.end(spot[1]) + 8 * SECOND, _correction(spot[0], was))
        market.correct(rng, spot)


def _early_update(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    market = script.market
    for spot in _some(script, rng, [minute], 20):
        row = market.correct(rng, spot)
        script.do(market.end(minute) + SENT_NS // 2, _correction(spot[0], row))
    script.do(market.end(minute) + SECOND, lambda player: player.note("superseded"))


def _delay(script: Script, minute: int, rng: np.random.Generator, moved: Any) -> None:
    for spot in _some(script, rng, [minute, minute + 1], 15):
        moved[spot] = spot[1] + int(rng.integers(1, 5))


def _lose(script: Script, minute: int, rng: np.random.Generator, moved: Any) -> None:
    moved.update(dict.fromkeys(_some(script, rng, [minute, minute + 2], 15)))


def _plain_hole(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
    _hole(script, rng, [minute, minute + 1])


def _rest(status: int) -> Callable[..., None]:
    def plan(script: Script, minute: int, rng: np.random.Generator, *_: Any) -> None:
        n = int(rng.integers(3, 9))
        ask = {
            429: lambda player: player.server.fail_rest(n, 429, 0.02),
            1: lambda player: player.server.rest_garbage(n),
            2: lambda player: player.server.drop_rest(n),
        }
        at_ns = script.market.end(minute) + 9 * SECOND
        script.do(at_ns, ask.get(status, lambda player: player.server.fail_rest(n, status)))
        _drop(script, minute)

    return plan


def _rest_slow(script: Script, minute: int, *_: Any) -> None:
    script.do(script.market.end(minute) + 9 * SECOND, lambda player: player.slow(0.1))
    script.do(script.market.end(minute + 4), lambda player: player.slow(0.0))
    _drop(script, minute)


def _garbage(script: Script, minute: int, *_: Any) -> None:
    market = script.market
    whole = bar_message("SYM00", market.label(minute), 1.0, 2.0, 0.5, 1.5, 10.0)
    bad: list[Any] = [
        *({k: v for k, v in whole.items() if k != lacking} for lacking in "TSotv"),
        {**whole, "o": "1.0"}, {**whole, "v": None}, {**whole, "t": "2025-07-02T13:30:00Z"},
        {**whole, "S": 5}, {**whole, "c": [1.0]}, {**whole, "T": "?"}, 7, None, "b", [],
    ]  # fmt: skip
    at_ns = market.end(minute) + 5 * SECOND
    script.do(at_ns, lambda player: player.garble(msgpack.packb(bad), len(bad)))
    script.do(at_ns, lambda player: player.garble(b"\xc1\xff not msgpack", 1))
    script.do(at_ns, lambda player: player.garble(msgpack.packb(whole)[:-9], 1))


def _bad_bars(script: Script, minute: int, *_: Any) -> None:
    market = script.market
    label, nan, inf = market.label(minute), float("nan"), float("inf")
    refused = [
        bar_message("SYM00", label, nan, 2.0, 0.5, 1.5, 10.0),
        bar_message("SYM01", label, 1.0, inf, 0.5, 1.5, 10.0),
        bar_message("SYM02", label, 1.0, 0.5, 2.0, 1.5, 10.0),
        bar_message("SYM03", label, 1.0, 2.0, 0.5, 1.5, -10.0),
        bar_message("SYM04", label + 17 * SECOND, 1.0, 2.0, 0.5, 1.5, 10.0, kind="u"),
        bar_message("SYM05", label, 1.0, 2.0, 0.5, nan, 10.0, kind="u"),
    ]
    outside = [
        bar_message(f"SYM{n:02d}", at_ns, 1.0, 2.0, 0.5, 1.5, 10.0)
        for n, at_ns in enumerate(
            (market.window.open_ns - MINUTE, market.window.close_ns, market.window.open_ns - 1)
        )
    ]
    unknown = [bar_message("NOBODY", label, 1.0, 2.0, 0.5, 1.5, 10.0)]
    at_ns = market.end(minute) + 5 * SECOND
    script.do(at_ns, lambda player: player.send(refused, "refused"))
    script.do(at_ns, lambda player: player.send(outside, "outside"))
    script.do(at_ns, lambda player: player.send_raw(msgpack.packb(unknown), "unknown", 1))


def _refused_symbol(script: Script, minute: int, *_: Any) -> None:
    script.do(script.market.end(minute), lambda player: player.add_refused(f"NO{minute}"))


def _overload(script: Script, minute: int, *_: Any) -> None:
    script.do(script.market.end(minute) - SECOND, lambda player: player.overload(16))
    script.do(script.market.end(minute + 1) + SECOND, lambda player: player.overload(None))


_FAULTS: dict[str, Callable[..., None]] = {
    "drop": _drop, "drops": _drops, "refuse": _refuse, "mute": _mute, "repeat": _repeat,
    "reorder": _reorder, "swap": _swap, "correct": _correct, "early_update": _early_update,
    "delay": _delay, "lose": _lose, "hole": _plain_hole, "rest_429": _rest(429),
    "rest_500": _rest(500), "rest_503": _rest(503), "rest_slow": _rest_slow,
    "rest_garbage": _rest(1), "rest_drop": _rest(2), "garbage": _garbage,
    "bad_bars": _bad_bars, "refused_symbol": _refused_symbol, "overload": _overload,
}  # fmt: skip


# Playing it


class Player:
    """Sends a script by a clock, from a thread of its own. What it raises is kept.

    The clock is looked at all the time, and stands while what was due is not done.

    Attributes
    ----------
    session : SessionCoordinator or None
        That which symbols are added to, and whose queue is made small.
    holds_up : threading.Event
        Set while the session's callbacks are to be slow.
    """

    def __init__(self, server: AlpacaServer, clock: HeldClock, script: Script) -> None:
        self.server, self.clock, self.script = server, clock, script
        self.session: ob.SessionCoordinator | None = None
        self.holds_up = threading.Event()
        self.counts: dict[str, int] = {}
        self.asked: dict[str, bool] = {}
        self.error: BaseException | None = None
        self._n_drops = 0
        self._unmuted_at: int | None = None
        self._order: dict[int, int] = {}
        self._over = threading.Event()
        self._to_do = deque(script.actions)
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)

    def __enter__(self) -> Player:
        self.catch_up()
        self._hold_clock()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def catch_up(self) -> None:
        """Do what was due before the clock began: nobody hears it, but REST has it."""
        while self._to_do and self._to_do[0][0] < self.clock.now_ns():
            self._to_do.popleft()[1](self)

    def _play(self) -> None:
        try:
            while self._wait():
                self._perhaps_unmute()
                self._to_do.popleft()[1](self)
                self._hold_clock()
        except BaseException as error:
            self.error = error
            self.clock.stands_at_ns = None

    def _wait(self) -> bool:
        # Until something is to be done; False when nothing will be.
        longest_s = LONGEST_STEP_NS / 4e9
        while not self._over.is_set():
            now_ns = self.clock.now_ns()
            left_s = longest_s
            if self._to_do:
                left_s = self.clock.wall_seconds((self._to_do[0][0] - now_ns) / SECOND)
                if left_s <= 0:
                    return True
            self._over.wait(min(left_s, longest_s))
        return False

    def _hold_clock(self) -> None:
        # The clock waits for who is late, not for who is at work.
        late_ns = int(LONGEST_STEP_NS * self.clock.speed)
        self.clock.stands_at_ns = self._to_do[0][0] + late_ns if self._to_do else None

    def note(self, what: str, n: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + n

    def send(self, messages: list[dict[str, Any]], what: str = "messages") -> None:
        if self.server.send(messages):
            self.note(what, len(messages))

    def send_raw(self, frame: bytes, what: str, n: int) -> None:
        if self.server.send_raw(frame):
            self.note(what, n)

    def garble(self, frame: bytes, n: int) -> None:
        if not self.server.is_mute:
            self.send_raw(frame, "garbage", n)

    def send_minute(self, minute: int) -> None:
        for frame in self.script.sendings.get(minute, []):
            if minute in self._order:
                np.random.default_rng(self._order[minute]).shuffle(frame)
            self.send(frame, "bars")

    def shuffle(self, minute: int, seed: int) -> None:
        self._order[minute] = seed

    def drop(self) -> None:
        self._wait_connected()
        self._break()

    def refuse(self) -> None:
        self._wait_connected()
        self.server.refuse_connections = True
        self._break()

    def _break(self) -> None:
        self._n_drops = self._feed.n_drops + 1
        self.note("drops")
        self.server.drop()

    def let_in(self) -> None:
        self.server.refuse_connections = False

    @property
    def _feed(self) -> FeedHealth:
        assert self.session is not None
        return self.session.feed_health[0]

    def _wait_connected(self) -> None:
        # The clock stands: a loss that the session did not hear of, or is not back from, is over.
        wait_until(lambda: self._feed.connected and self._feed.n_drops >= self._n_drops)

    def mute(self) -> None:
        # As a connection that hangs: another one is not.
        self._wait_connected()
        self.note("mutes")
        self._unmuted_at = self.server.n_connections + 1
        self.server.is_mute = True

    def _perhaps_unmute(self) -> None:
        if self._unmuted_at is not None and self.server.n_connections >= self._unmuted_at:
            self._unmuted_at = None
            self.server.is_mute = False

    def slow(self, seconds: float) -> None:
        self.server.rest_delay_s = seconds

    def add_refused(self, symbol: str) -> None:
        self.server.refused_symbols[symbol] = (405, "symbol limit exceeded")
        self.server.put(symbol, np.array([(window_of(EVE).open_ns, 1, 1, 1, 1, 1)], ob.BAR_DTYPE))
        assert self.session is not None
        self.asked[symbol] = self.session.add_symbol(symbol)

    def overload(self, size: int | None) -> None:
        assert self.session is not None
        inbox = self.session.live.feed.inbox
        inbox.capacity = self.session.queue_capacity if size is None else size
        (self.holds_up.clear if size is None else self.holds_up.set)()
        self.note("overloads", size is not None)


@contextmanager
def playing(
    script: Script,
    environment: Callable[[str, str], None],
    *,
    speed: float,
    starts_ns: int | None = None,
    config: Mapping[str, Any] | None = None,
    symbols: Sequence[str] | None = None,
    past: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[Player, ob.SessionCoordinator]]:
    """A live session over a script that is being played; `environment` sets a variable."""
    market = script.market
    with AlpacaServer() as server:
        for name, value in server.environment.items():
            environment(name, value)
        rest = {
            symbol: [row for spot, row in market.first.items() if spot[0] == symbol
                     and spot not in script.holes]
            for symbol in market.symbols
        }  # fmt: skip
        for symbol, rows in rest.items():
            server.put(symbol, np.array([market.eve[symbol], *rows], ob.BAR_DTYPE))
        for symbol, bars in (past or {}).items():
            server.put(symbol, bars)
        source = QuickSource(
            url=server.rest_url, stream_url=server.stream_url, retry_wait_s=0.004, timeout_s=5
        )
        starts_ns = market.window.open_ns - MINUTE if starts_ns is None else starts_ns
        clock = HeldClock(starts_ns, speed, market.window.close_ns + 40 * MINUTE)
        source.clock = server.clock = clock
        data = LiveDataManager([source], ob.TimeManager("XNYS"), clock)
        tables = live_config(symbols or market.symbols, **(config or {}))
        player = Player(server, clock, script)
        with ob.open_session(tables, data=data) as session, player:
            player.session = session
            clock.is_busy = lambda: (
                session.live.feed is not None and bool(session.live.feed.worker.n_owed)
            )
            ob.warmup()
            clock.go()
            yield player, session
        source.close()
