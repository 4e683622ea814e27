"""A day of fifty faults ends as a replay of what history has, wherever history has the bars."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest

import openbell as ob
from openbell.live.health import FeedHealth, SymbolHealth
from openbell.live.worker import QualityWorker, Range
from tests.live_faults import KINDS, faulty_script, playing
from tests.live_market import MINUTE, Market, dump_of, replayed

pytestmark = pytest.mark.usefixtures("warm_kernels")

pytest.importorskip("alpaca")

#: Ten seconds for a day. More seeds with `make fuzz`.
SPEED = 2500.0
SEEDS = range(1, 21) if os.environ.get("OPENBELL_HYPOTHESIS") == "ci" else (1,)

Gap = tuple[str, int, int]


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        return [d for k in keys for d in differences(found.get(k), wanted.get(k), f"{path}/{k}")]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = zip(found, wanted, strict=True)
        return [d for n, pair in enumerate(pairs) for d in differences(*pair, f"{path}/{n}")]
    return [] if found == wanted else [f"{path}: {found!r:.300}, not {wanted!r:.300}"]


def gaps_of(session: ob.SessionCoordinator) -> dict[Gap, str]:
    return {
        (gap.symbol, gap.start_ns, gap.end_ns): gap.reason
        for record in session.root
        for gap in record.bars["1m"].gaps
    }


def losses_of(changes: list[tuple[int, str]]) -> list[tuple[int, int]]:
    # From when a feed ceased to be live to when it was again, with what may have been on its way.
    return [
        (at_ns - 3 * MINUTE, until_ns)
        for (at_ns, state), (until_ns, _) in pairwise(changes)
        if state != "live"
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_day_of_faults_ends_as_a_replay_of_what_history_has(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    market = Market(seed)
    script = faulty_script(market, seed)
    assert len(script.faults) == 50
    assert {kind for kind, _ in script.faults} == set(KINDS)
    threads = set(threading.enumerate())
    changes: list[tuple[int, str]] = []
    alive: list[bool] = []
    backfilled: Counter[str] = Counter()
    asked: set[str] = set()
    ask = QualityWorker.ask

    def ask_and_note(worker: QualityWorker, wanted: Range) -> None:
        asked.add(wanted.why)
        ask(worker, wanted)

    monkeypatch.setattr(QualityWorker, "ask", ask_and_note)

    with playing(script, monkeypatch.setenv, speed=SPEED) as (player, session):

        def note(health: FeedHealth | SymbolHealth) -> None:
            if isinstance(health, FeedHealth):
                changes.append((player.clock.now_ns(), health.state))

        def on_slice(ts_ns: int, records: object) -> None:
            alive.append(session.live.feed.worker.is_alive)
            if player.holds_up.is_set():
                sleep(0.005)

        session.on_feed_change(note)
        session.on_backfilled(lambda record, bars, why: backfilled.update({why: len(bars)}))
        session.run(on_slice)
        (health,) = session.feed_health
        n_connections = player.server.n_connections
        found, gaps = dump_of(session), gaps_of(session)
        n_rejected = sum(sum(record.rejected.values()) for record in session.root)
        explained = {r.symbol: r.bars["1m"].explained_quality for r in session.root}
        refused = {symbol: session.results[symbol] for symbol in player.asked}

    assert player.error is None
    assert all(alive)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert set(threading.enumerate()) <= threads

    reference = replayed(tmp_path, market.bars(script.holes))
    assert differences(found, dump_of(reference))[:5] == []

    # Reasons: those of the replay, but that it knows of no losses.
    wanted = gaps_of(reference)
    losses = losses_of(changes)
    for (symbol, start_ns, end_ns), reason in gaps.items():
        gap = symbol, start_ns, end_ns
        minutes = [market.window.grid("1m").starts_ns.searchsorted(n) for n in (start_ns, end_ns)]
        if any((symbol, minute) in script.outages for minute in range(*minutes)):
            assert reason == "outage", gap
        elif reason != wanted[gap]:
            assert (reason, wanted[gap]) == ("outage", "unknown"), gap
            assert any(start < end_ns and start_ns < end for start, end in losses), gap
    for symbol, score in explained.items():
        n_lost = sum(
            (end_ns - start_ns) // MINUTE
            for (name, start_ns, end_ns), reason in gaps.items()
            if name == symbol and reason != "no_trade"
        )
        assert score == pytest.approx(100.0 * (1.0 - n_lost / market.n_minutes)), symbol

    # What was done is counted; of what was on its way when a connection broke, nobody knows.
    counts = player.counts
    assert 0.8 * (counts["drops"] + counts["mutes"]) <= health.n_drops < n_connections
    assert 0.5 * counts["garbage"] <= health.n_garbage <= counts["garbage"]
    # Four of six are bars that history may have brought first; of updates none comes first.
    assert 0.5 * counts["refused"] / 3 <= n_rejected <= counts["refused"]
    assert 0.5 * (counts["garbage"] + counts["refused"]) <= health.n_garbage + n_rejected
    n_outside = counts["outside"] + counts["unknown"]
    assert 0.3 * n_outside <= health.n_outside <= n_outside
    assert counts["overloads"] <= health.n_overflow
    assert health.n_superseded > 0
    # Losses are made good when they happen: what the end of the day adds is little.
    assert any("connected anew" in why for why in backfilled)
    # What overflowed may be had already with what was asked for before it.
    assert {"connected anew", "queue overflow"} <= asked
    # What was owed already when the day ended may be asked for with all of it.
    n_at_the_end = sum(n for why, n in backfilled.items() if why.startswith("the day is over"))
    assert n_at_the_end < 0.5 * backfilled.total()
    assert len(script.outages) < health.n_backfilled < len(market.last)
    assert 0.9 * counts["bars"] < health.n_bars + health.n_superseded + health.n_overflow
    # Those that REST had, when it was asked for them, were refused by the stream.
    assert len(refused) == sum(kind == "refused_symbol" for kind, _ in script.faults)
    for symbol, result in refused.items():
        assert not result.can_proceed
        assert player.asked[symbol] == ("symbol limit exceeded" in str(result.reason)), result
