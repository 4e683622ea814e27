"""Metrics, scraped over HTTP and read by prometheus_client's own parser."""

from __future__ import annotations

import math
import re
import socket
import sys
import threading
import urllib.request
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import openbell as ob
from openbell.errors import ArgumentError, BarRefused, MissingLibraryError
from openbell.live.health import FeedHealth, FeedMonitor, SymbolHealth
from openbell.live.latency import LATENCY_BOUNDS_NS, LatencyHistogram
from openbell.metrics import MetricsError, MetricsServer, serve_metrics
from openbell.metrics import collector as collector_module
from openbell.metrics import server as server_module
from tests.facade_bars import NEXT_WINDOW, OPEN, WINDOW, at, minutes
from tests.waiting import wait_until

SECOND = 1_000_000_000


def make_root(*symbols: str) -> ob.SessionData:
    root = ob.SessionData()
    for symbol in symbols:
        root.register_symbol_data(ob.SymbolSessionData(symbol, derived_intervals=["5m"]))
    root.begin(WINDOW)
    return root


@dataclass
class Session:
    """A root, and what a coordinator has beside it."""

    root: ob.SessionData
    phase: str = "running"
    config: object = field(
        default_factory=lambda: SimpleNamespace(session=SimpleNamespace(name="a session"))
    )


class LiveSession(Session):
    def __init__(self, root: ob.SessionData) -> None:
        super().__init__(root)
        self.monitors = [FeedMonitor("alpaca", 2.0), FeedMonitor("schwab", 2.0)]
        self.latency = LatencyHistogram()
        self.queue_depth = 3
        self.queue_capacity = 64
        for monitor in self.monitors:
            monitor.begin(WINDOW)

    @property
    def feed_health(self) -> list[FeedHealth]:
        return [monitor.health for monitor in self.monitors]

    @property
    def symbol_health(self) -> dict[str, SymbolHealth]:
        return {k: v for monitor in self.monitors for k, v in monitor.symbols.items()}


class Scrape(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def __init__(self, url: str) -> None:
        super().__init__()
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
            text = answer.read().decode()
        self.families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(text):
            self.families[family.name] = family
            for sample in family.samples:
                self[sample.name, frozenset(sample.labels.items())] = sample.value

    def of(self, name: str, /, **labels: str) -> float | None:
        return self.get((f"openbell_{name}", frozenset(labels.items())))

    def names(self) -> set[str]:
        return {name.removeprefix("openbell_") for name, _ in self}


def scrape(session: Session, **options: bool) -> Scrape:
    with serve_metrics(session, port=0, **options) as server:
        return Scrape(server.url)


# What is served


def test_metrics_of_records_are_their_counters() -> None:
    root = make_root("A", "B")
    root["A"].append_block(minutes(0, 1, 2, 6, 7))
    root["B"].append_block(minutes(*range(10)))
    root.advance(at(10))
    with pytest.raises(BarRefused):
        root["A"].append(at(3), 10.0, 9.0, 11.0, 10.0, 1.0)
    with pytest.raises(BarRefused):
        root["B"].append(at(3), 10.0, 9.0, 11.0, 10.0, 1.0)
    found = scrape(Session(root))
    assert found.of("bars_total", interval="1m") == 15
    assert found.of("bars_held", interval="1m") == 15
    assert found.of("gaps", interval="1m") == 2
    assert found.of("missing_bars", interval="1m") == 5
    assert found.of("quality_min", interval="1m") == 50.0
    assert found.of("quality_mean", interval="1m") == 75.0
    assert found.of("rejects_total", reason="high_below_low") == 2
    assert found.of("symbols") == 2
    assert found.of("session_clock_seconds") == at(10) / SECOND
    info = {"name": "a session", "calendar": "XNYS", "date": "2025-07-02", "phase": "running"}
    assert found.of("session_info", **info) == 1
    assert found.families["openbell_bars"].type == "counter"


def test_metrics_of_each_symbol_are_given_when_asked_for() -> None:
    session = LiveSession(make_root("A", "B"))
    session.root["A"].append_block(minutes(0))
    session.root.advance(at(2))
    session.monitors[0].add("A", "1m")
    session.monitors[0].note_connected(OPEN)
    session.monitors[0].note_bar("A", at(1), at(1) + SECOND // 4)
    found = scrape(session, per_symbol=True)
    assert found.of("symbol_quality", symbol="A", interval="1m") == 50.0
    assert found.of("symbol_quality", symbol="B", interval="1m") == 0.0
    assert found.of("symbol_lag_seconds", symbol="A", source="alpaca") == 0.25
    assert found.of("symbol_state", symbol="A", source="alpaca", state="live") == 1
    assert not {name for name in scrape(session).names() if name.startswith("symbol_")}


def test_metrics_of_feeds_are_those_of_their_health() -> None:
    session = LiveSession(make_root("A"))
    alpaca, _ = session.monitors
    for symbol in "ABC":
        alpaca.add(symbol, "1m")
    alpaca.note_connected(OPEN)
    alpaca.note_refused("C", "not entitled")
    alpaca.note_bar("A", at(1), at(1) + SECOND // 2)
    alpaca.note_bar("A", at(1), at(1) + 30 * SECOND, True)
    alpaca.note_message(at(2))
    alpaca.note_disconnected(at(2), "lost")
    alpaca.note_connected(at(3))
    alpaca.note_backfilled("A", 7)
    alpaca.note_overflow(5)
    alpaca.note_outside(2)
    alpaca.note_superseded()
    alpaca.note_garbage("no JSON")
    found = scrape(session)
    expected = {
        "bars": 1, "updates": 1, "messages": 3, "drops": 1, "backfilled": 7, "overflow": 5,
        "outside": 2, "superseded": 1, "garbage": 1,
    }  # fmt: skip
    for name, value in expected.items():
        assert found.of(f"feed_{name}_total", source="alpaca") == value, name
        assert found.of(f"feed_{name}_total", source="schwab") == 0, name
    assert found.of("feed_lag_seconds", source="alpaca") == 0.5
    assert found.of("feed_lag_seconds", source="schwab") is None
    assert found.of("feed_last_message_seconds", source="alpaca") == at(2) / SECOND
    assert found.of("feed_state", source="alpaca", state="live") == 1
    assert found.of("feed_state", source="schwab", state="idle") == 1
    states = [v for (name, _), v in found.items() if name == "openbell_feed_state"]
    assert (len(states), sum(states)) == (14, 2)
    assert found.of("feed_symbols", source="alpaca", state="waiting") == 2
    assert found.of("feed_symbols", source="alpaca", state="refused") == 1
    assert found.of("feed_symbols", source="alpaca", state="live") == 0
    assert found.of("queue_depth") == 3
    assert found.of("queue_capacity") == 64


def test_metrics_of_latency_are_a_histogram_of_cumulative_buckets() -> None:
    session = LiveSession(make_root("A"))
    for ns in (500, 1000, 1001, 150_000, 150_000, 3 * SECOND):
        session.latency.add(ns)
    found = scrape(session)
    assert found.families["openbell_latency_seconds"].type == "histogram"
    buckets = sorted(
        (float(dict(labels)["le"]), value)
        for (name, labels), value in found.items()
        if name == "openbell_latency_seconds_bucket"
    )
    assert [bound for bound, _ in buckets] == [ns / 1e9 for ns in LATENCY_BOUNDS_NS] + [math.inf]
    by_bound = dict(buckets)
    assert (by_bound[1e-6], by_bound[2e-6], by_bound[1e-4]) == (2, 3, 3)
    assert (by_bound[2e-4], by_bound[1.0], by_bound[math.inf]) == (5, 5, 6)
    assert found.of("latency_seconds_count") == 6
    assert found.of("latency_seconds_sum") == pytest.approx(3.000302501)


def test_metrics_without_a_feed_lack_its_series() -> None:
    names = scrape(Session(make_root("A"))).names()
    assert not {name for name in names if name.startswith(("feed_", "queue_", "latency_"))}
    assert "symbols" in names


def test_metrics_before_the_day_tell_of_no_day() -> None:
    found = scrape(Session(ob.SessionData(), phase="idle"))
    info = {"name": "a session", "calendar": "", "date": "", "phase": "idle"}
    assert found.of("session_info", **info) == 1
    assert found.of("session_clock_seconds") is None
    assert found.of("symbols") == 0


@pytest.mark.parametrize("symbol", ['SAY "HI"', "BACK\\SLASH", "Zürich", "a}b,c="])
def test_metrics_label_values_come_back_as_they_were(symbol: str) -> None:
    root = make_root(symbol)
    root.advance(at(1))
    found = scrape(Session(root), per_symbol=True)
    assert found.of("symbol_quality", symbol=symbol, interval="1m") == 0.0


def test_metrics_totals_never_fall_when_symbols_go_or_the_day_ends() -> None:
    root = make_root("A", "B")
    root["A"].append_block(minutes(*range(5)))
    root["B"].append_block(minutes(*range(7)))
    with pytest.raises(BarRefused):
        root["A"].append(at(9), 10.0, 9.0, 11.0, 10.0, 1.0)
    with serve_metrics(Session(root), port=0) as server:
        assert Scrape(server.url).of("bars_total", interval="1m") == 12
        root.remove_symbol("A")
        root["B"].append_block(minutes(8, 9))
        found = Scrape(server.url)
        assert found.of("bars_total", interval="1m") == 14
        assert found.of("bars_held", interval="1m") == 9
        assert found.of("rejects_total", reason="high_below_low") == 1
        root.end()
        root.clear()
        root.register_symbol_data(ob.SymbolSessionData("B"))
        root.begin(NEXT_WINDOW)
        root["B"].append(NEXT_WINDOW.open_ns, 10.0, 11.0, 9.0, 10.0, 1.0)
        assert Scrape(server.url).of("bars_total", interval="1m") == 15


def test_metrics_rate_is_over_the_time_between_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(collector_module, "monotonic", lambda: now[0])
    root = make_root("A")
    with serve_metrics(Session(root), port=0) as server:

        def rate_after(seconds: float, *slots: int) -> float | None:
            now[0] += seconds
            root["A"].append_block(minutes(*slots))
            return Scrape(server.url).of("bars_per_second")

        assert rate_after(0) is None
        assert rate_after(0.5, 0, 1) is None  # another who scrapes disturbs nobody
        assert rate_after(1.5, 2, 3) == 2.0
        assert rate_after(10, *range(4, 24)) == 2.0
        assert rate_after(300) == 0.0
        assert rate_after(100, *range(24, 74)) == 0.5


# While the session runs


def test_metrics_of_a_replay_that_runs_beside() -> None:
    session = ob.open_session(
        {
            "session": {
                "start_date": date(2025, 7, 2),
                "symbols": ["AAA", "BBB", "CCC"],
                "streams": ["1m", "5m"],
                "base": "1m",
                "name": "replayed",
            },
            "data": {"sources": ["synthetic"], "synthetic": {"fill_rate": 0.5}},
        }
    )
    seen: list[Scrape] = []
    with serve_metrics(session, port=0) as server:
        for day in session.days():
            for n, (ts_ns, _) in enumerate(day.slices()):
                if n % 100 == 50:
                    found = Scrape(server.url)
                    seen.append(found)
                    assert found.of("session_clock_seconds") == ts_ns / SECOND
                    held = sum(len(record.bars["1m"]) for record in session.root)
                    assert found.of("bars_held", interval="1m") == held
    assert len(seen) >= 3
    totals = [found.of("bars_total", interval="1m") for found in seen]
    assert totals == sorted(totals)
    assert all("feed_state" not in found.names() for found in seen)
    assert seen[0].of("quality_min", interval="1m") < 100
    session.close()


def test_metrics_can_be_scraped_while_symbols_come_and_go() -> None:
    session = LiveSession(make_root(*"ABCDE"))
    root = session.root
    over = threading.Event()

    def meddle() -> None:
        k = 0
        while not over.is_set():
            for symbol in "CDE":
                root.remove_symbol(symbol)
                session.monitors[0].remove(symbol)
            for symbol in "CDE":
                root.register_symbol_data(ob.SymbolSessionData(symbol, derived_intervals=["5m"]))
                session.monitors[0].add(symbol, "1m")
                root[symbol].append_block(minutes(*range(k % 50)))
            root["A"].append_block(minutes(k % 390))
            k += 1

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        with serve_metrics(session, port=0, per_symbol=True) as server:
            for _ in range(15):
                assert 2 <= Scrape(server.url).of("symbols") <= 5
    finally:
        over.set()
        thread.join()


# The server


def test_server_listens_at_loopback_unless_told_otherwise() -> None:
    with serve_metrics(Session(make_root()), port=0) as server:
        (address, port) = server._http.socket.getsockname()
        assert address == server.host == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{port}/metrics"
        assert server.port == port != 0
    with serve_metrics(Session(make_root()), port=0, host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}/metrics"
        assert Scrape(server.url).of("symbols") == 0


def test_server_closed_leaves_no_thread_and_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    # Clients are hung up on, not waited for.
    monkeypatch.setattr(server_module._Handler, "timeout", 600.0)
    before = set(threading.enumerate())
    server = serve_metrics(Session(make_root()), port=0)
    Scrape(server.url)
    # Clients that connect and say nothing, or half of something.
    silent = socket.create_connection(("127.0.0.1", server.port))
    halting = socket.create_connection(("127.0.0.1", server.port))
    halting.sendall(b"GET /metr")
    wait_until(lambda: len(server._http._clients) == 2, what="both clients are being served")
    server.close()
    server.close()
    assert set(threading.enumerate()) == before
    assert server._http.socket.fileno() == -1
    for client in (silent, halting):
        client.settimeout(10)
        assert b"200 OK" not in client.recv(1000)
        client.close()
    again = serve_metrics(Session(make_root()), port=server.port)
    again.close()
    assert "closed" in repr(again)


def test_server_that_is_scraped_by_several_at_once_answers_each() -> None:
    root = make_root(*(f"S{k}" for k in range(50)))
    values: list[float | None] = []
    with serve_metrics(Session(root), port=0) as server:
        threads = [
            threading.Thread(target=lambda: values.append(Scrape(server.url).of("symbols")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert values == [50] * 8


def test_server_says_that_its_port_is_taken() -> None:
    with serve_metrics(Session(make_root()), port=0) as server:
        with pytest.raises(MetricsError, match="choose another port, or 0") as caught:
            serve_metrics(Session(make_root()), port=server.port)
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", server.port)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host.invalid", "a" * 300])
def test_server_says_that_its_host_cannot_be_had(host: str) -> None:
    with pytest.raises(MetricsError, match=re.escape(host)):
        serve_metrics(Session(make_root()), port=0, host=host)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("port", "9464"),
        ("port", True),
        ("host", ""),
        ("host", None),
    ],
)
def test_server_refuses_what_is_no_address(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=name):
        serve_metrics(Session(make_root()), **{"port": 0, name: value})  # type: ignore[arg-type]


def test_server_refuses_what_is_no_session() -> None:
    with pytest.raises(ArgumentError, match="SessionCoordinator"):
        serve_metrics("session.toml", port=0)  # type: ignore[arg-type]


def test_server_without_its_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingLibraryError, match=re.escape("pip install 'openbell[metrics]'")):
        serve_metrics(Session(make_root()), port=0)


def test_server_is_imported_without_its_library() -> None:
    import subprocess

    script = "import sys, openbell.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# The histogram


def test_latency_quantiles_lie_within_their_buckets() -> None:
    histogram = LatencyHistogram()
    assert histogram.quantile(0.5) is None
    for ns in range(0, 1_000_000, 1000):
        histogram.add(ns)
    assert histogram.quantile(0.5) == pytest.approx(500e-6, rel=0.01)
    assert histogram.quantile(0.99) == pytest.approx(990e-6, rel=0.01)
    assert histogram.quantile(0.0) == 0.0
    assert histogram.quantile(1.0) == 1e-3
    assert repr(histogram) == "<LatencyHistogram of 1000>"


def test_latency_edges_belong_to_the_bucket_below() -> None:
    histogram = LatencyHistogram()
    for bound in LATENCY_BOUNDS_NS:
        histogram.add(bound)
    histogram.add(LATENCY_BOUNDS_NS[-1] + 1)
    held = histogram.snapshot()
    assert held.counts == (1,) * (len(LATENCY_BOUNDS_NS) + 1)
    assert held.n == len(LATENCY_BOUNDS_NS) + 1
    assert held.quantile(1.0) == 1.0
    assert held.bounds_s[0] == 1e-6
    assert held.sum_s == pytest.approx((sum(LATENCY_BOUNDS_NS) + 10**9 + 1) / 1e9)


def test_latency_bounds_are_one_two_five() -> None:
    assert LATENCY_BOUNDS_NS[:4] == (1000, 2000, 5000, 10_000)
    assert LATENCY_BOUNDS_NS[-2:] == (500_000_000, 1_000_000_000)
    assert list(LATENCY_BOUNDS_NS) == sorted(set(LATENCY_BOUNDS_NS))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_latency_quantile_refuses_what_is_no_share(q: float) -> None:
    with pytest.raises(ArgumentError, match="q"):
        LatencyHistogram().quantile(q)


def test_server_repr_tells_its_url() -> None:
    with serve_metrics(Session(make_root()), port=0) as server:
        assert isinstance(server, MetricsServer)
        assert repr(server) == f"<MetricsServer {server.url}>"
