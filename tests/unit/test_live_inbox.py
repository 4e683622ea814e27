"""The queue between feeds and the engine: in order, bounded, and nothing lost unseen."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from openbell.live.inbox import (
    BAR,
    CALL,
    CONNECTED,
    DAILY,
    DISCONNECTED,
    QUOTE,
    TRADE,
    Inbox,
    InboxReceiver,
)


def bar(receiver: InboxReceiver, symbol: str, ts_ns: int) -> None:
    receiver.on_bar(symbol, ts_ns, 1.0, 2.0, 0.5, 1.5, 10.0, 3.0, 1.2, False)


def test_inbox_gives_what_came_in_its_order() -> None:
    inbox = Inbox(100)
    receiver = InboxReceiver(inbox, "one")
    receiver.on_connected()
    bar(receiver, "A", 60)
    receiver.on_quote("A", 61, 1.0, 1.1, 5, 6)
    receiver.on_trade("A", 62, 1.05, 7)
    receiver.on_daily_bar("A", 1, 2, 0.5, 1.5, 100)
    receiver.on_disconnected("gone")
    inbox.call(lambda: None)
    taken = inbox.take(0.0)
    assert [m[0] for m in taken] == [CONNECTED, BAR, QUOTE, TRADE, DAILY, DISCONNECTED, CALL]
    assert taken[1][3:] == ("A", 60, 1.0, 2.0, 0.5, 1.5, 10.0, 3.0, 1.2, False)
    assert {m[1] for m in taken[:-1]} == {"one"}
    came = [m[2] for m in taken]
    assert came == sorted(came)
    assert inbox.take(0.0) == []


def test_inbox_that_is_full_counts_what_it_leaves_out_and_says_what_to_ask_for() -> None:
    inbox = Inbox(3)
    first, second = InboxReceiver(inbox, "one"), InboxReceiver(inbox, "two")
    for at in range(3):
        bar(first, "A", 600 + at)
    bar(first, "B", 900)
    bar(first, "B", 800)
    bar(second, "A", 700)
    second.on_quote("A", 1, 1.0, 1.1, 5, 6)
    assert inbox.n_overflow == 4
    assert inbox.take_lost() == ({"one": 2, "two": 2}, {("one", "B"): 800, ("two", "A"): 700})
    assert inbox.take_lost() == ({}, {})
    assert inbox.depth == 3
    assert [m[4] for m in inbox.take(0.0)] == [600, 601, 602]


def test_inbox_that_is_full_takes_what_happened_to_connections_and_calls() -> None:
    inbox = Inbox(1)
    receiver = InboxReceiver(inbox, "one")
    bar(receiver, "A", 1)
    bar(receiver, "A", 2)
    receiver.on_disconnected("gone")
    inbox.call(lambda: None)
    assert [m[0] for m in inbox.take(0.0)] == [BAR, DISCONNECTED, CALL]
    assert inbox.n_overflow == 1


@pytest.mark.parametrize("capacity", [64, 1_000_000])
def test_inbox_of_racing_threads_loses_only_what_it_counts(capacity: int) -> None:
    inbox = Inbox(capacity)
    n_threads, n_each = 4, 3000
    taken: Counter[str] = Counter()
    order: dict[str, list[int]] = {}
    done = threading.Event()

    def send(source: str) -> None:
        receiver = InboxReceiver(inbox, source)
        for at in range(n_each):
            bar(receiver, "A", at)

    def take() -> None:
        while not (done.is_set() and not inbox.depth):
            for message in inbox.take(0.01):
                taken[message[1]] += 1
                order.setdefault(message[1], []).append(message[4])

    taker = threading.Thread(target=take)
    senders = [threading.Thread(target=send, args=(f"s{n}",)) for n in range(n_threads)]
    for thread in (taker, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    done.set()
    taker.join()
    lost, _ = inbox.take_lost()
    for source in (f"s{n}" for n in range(n_threads)):
        assert taken[source] + lost.get(source, 0) == n_each
        assert order.get(source, []) == sorted(order.get(source, []))
    assert sum(lost.values()) == inbox.n_overflow
    if capacity > n_threads * n_each:
        assert not lost
