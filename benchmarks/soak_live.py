"""``python -m benchmarks.soak_live``: live days, one after the other, while symbols come and go.

The synthetic feed on an accelerated clock, recorded, dropped now and then, read by another thread
all the time. Prints the memory every minute; fails where it, the threads or the open files grow,
or where anything breaks.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import openbell as ob
from openbell.clock.live import AcceleratedClock, LiveClock
from openbell.errors import OpenbellError
from openbell.schema import to_datetime
from openbell.sources import SyntheticSource
from openbell.sources.live_manager import LiveDataManager
from openbell.sources.streaming import BarStream, StreamReceiver

FIRST_DAY = date(2025, 1, 2)
#: Names that come and go, beside those of the configuration.
N_NAMES = 10_000
N_GUESTS = 20
FILL_RATE = 0.25
FIVE_MINUTES_NS = 300 * 10**9
#: Memory may differ so much from its median once the first tenth is over.
TOLERANCE = 0.05
PAGE_MB = os.sysconf("SC_PAGESIZE") / 1e6

RSI = {"name": "rsi", "type": "RSI", "interval": "1m", "parameters": {"timeperiod": 14}}


class Lossy:
    """Passes on what a stream tells, but for the bars that come while it is broken."""

    def __init__(self, receiver: StreamReceiver) -> None:
        self._receiver = receiver
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def on_bar(self, *bar: Any) -> None:
        if not self.is_broken:
            self._receiver.on_bar(*bar)

    def break_for(self, seconds: float) -> None:
        self.is_broken = True
        self._receiver.on_disconnected("broken on purpose")
        time.sleep(seconds)
        self.is_broken = False
        self._receiver.on_connected()


class LossySource(SyntheticSource):
    """A synthetic feed whose connection can be broken."""

    lossy: Lossy | None = None

    def stream(self, interval: str, clock: LiveClock, **options: bool) -> BarStream:
        stream = super().stream(interval, clock, **options)
        start = stream.start

        def start_lossy(receiver: StreamReceiver) -> None:
            self.lossy = Lossy(receiver)
            start(self.lossy)

        stream.start = start_lossy  # type: ignore[method-assign]
        return stream


class Soak:
    """Runs day after day, each a session of its own, and counts what happens meanwhile."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.broken: list[str] = []
        self.session: ob.SessionCoordinator | None = None
        self.over = threading.Event()
        self.time_manager = ob.TimeManager("XNYS")
        self.names = [f"S{k}" for k in range(options.symbols)]
        #: Of the process between two days: threads, open files.
        #: Threads, open files and resident memory after each day.
        self.between: list[tuple[int, int, float]] = []
        self._random = random.Random(1)
        self._guests: list[str] = []

    def run(self) -> None:
        """Run until the time is over."""
        helpers = [
            threading.Thread(target=self._repeat, args=(work, every_s), name=name)
            for name, work, every_s in (
                ("meddler", self._meddle, 0.5),
                ("breaker", self._break_connection, 20.0),
                ("reader", self._read, 2.0),
                ("exporter", self._export, 15.0),
            )
        ]
        for helper in helpers:
            helper.start()
        try:
            for day in self._days():
                self._run_day(day)
                if self.over.is_set():
                    return
        except Exception:
            self.broken.append(traceback.format_exc())
        finally:
            self.over.set()
            for helper in helpers:
                helper.join()

    def stop(self) -> None:
        self.over.set()
        if self.session is not None:
            self.session.stop()

    def _days(self) -> Iterator[date]:
        day = FIRST_DAY
        while True:
            yield day
            day = self.time_manager.next_trading_day(day + timedelta(days=1))

    def _run_day(self, day: date) -> None:
        base = self.options.base
        # It remembers the days it was asked for: each has its own.
        time_manager = ob.TimeManager("XNYS")
        window = time_manager.session_window(day)
        clock = AcceleratedClock(window.open_ns - 60 * 10**9, self.options.speed)
        source = LossySource(fill_rate=FILL_RATE, time_manager=time_manager)
        config = {
            "session": {
                "mode": "live",
                "symbols": self.names,
                "base": base,
                "streams": [base, "1m", "5m", "1h"] if base != "1m" else ["1m", "5m", "1h"],
            },
            "indicators": [RSI],
            "live": {"grace_seconds": 5},
            # Of this feed, most seconds are without a trade: each is asked for once more.
            "gap_fill": {"max_retries": 1, "retry_interval_seconds": 900},
            "data": {"sources": ["synthetic"]},
        }
        record = self.folder / "recorded" if self.options.record else None
        data = LiveDataManager([source], time_manager, clock)
        with ob.open_session(config, data=data, record=record) as session:
            session.on_close("1m", lambda _record, _bar: self._count("1m bars told"))
            session.on_close("5m", lambda _record, _bar: self._count("5m bars told"))
            self.session = session
            if not self.over.is_set():
                session.run()
            self.session = None
            self._note_day(session)
        self._guests.clear()
        del session, data, source
        shutil.rmtree(self.folder / "recorded", ignore_errors=True)
        gc.collect()
        n_threads = len(os.listdir("/proc/self/task"))
        self.between.append((n_threads, n_open_files(), resident_mb()))

    def _note_day(self, session: ob.SessionCoordinator) -> None:
        assert session.live is not None
        self.counts["days"] += 1
        for health in session.feed_health:
            self.counts["bars"] += health.n_bars
            self.counts["drops"] += health.n_drops
            self.counts["bars of history"] += health.n_backfilled
            self.counts["overflow"] += health.n_overflow
        for record in session.root:
            if record.errors:
                self.broken.append(f"{record.symbol}: {record.errors}")

    # The threads beside

    def _repeat(self, work: Callable[[ob.SessionCoordinator], object], every_s: float) -> None:
        while not self.over.wait(every_s):
            session = self.session
            if session is None or session.phase != "running":
                continue
            try:
                work(session)
            except OpenbellError as error:
                # A day may end, or a symbol leave, at any moment.
                self.told[f"{type(error).__name__} in {work.__name__}"] += 1
            except Exception:
                self.broken.append(traceback.format_exc())

    def _meddle(self, session: ob.SessionCoordinator) -> None:
        pick = self._random
        symbol = f"X{pick.randrange(N_NAMES)}"
        if pick.random() < 0.5:
            self.counts["added"] += session.add_symbol(symbol)
        else:
            start = to_datetime(session.root.now_ns // FIVE_MINUTES_NS * FIVE_MINUTES_NS)
            bar = ob.BarData(start, 1.0, 2.0, 0.5, 1.5, 10.0)
            self.counts["adhoc bars"] += session.add_adhoc_bar(symbol, "5m", bar)
            self.counts["adhoc indicators"] += session.add_adhoc_indicator(symbol, RSI)
            if pick.random() < 0.3:
                self.counts["upgraded"] += session.add_symbol(symbol)
        self._guests.append(symbol)
        while len(self._guests) > N_GUESTS:
            gone = self._guests.pop(pick.randrange(N_GUESTS))
            self.counts["removed"] += session.remove_symbol(gone)
        if pick.random() < 0.1:
            native = pick.choice(self.names)
            self.counts["removed"] += session.remove_symbol(native)
            self.counts["added"] += session.add_symbol(native)

    def _break_connection(self, session: ob.SessionCoordinator) -> None:
        source = session.data_manager.sources[0]
        if source.lossy is not None:
            source.lossy.break_for(0.3)
            self.counts["broken on purpose"] += 1

    def _read(self, session: ob.SessionCoordinator) -> None:
        assert session.live is not None
        root = session.root
        self.counts["symbols' health read"] += len(session.symbol_health)
        root.latest("close", "1m")
        for record in root:
            series = record.bars.get("1m")
            if series is not None:
                series.quality, series.explained_quality, len(series.gaps)
                series.window(20)
                self.counts["series read"] += 1

    def _export(self, session: ob.SessionCoordinator) -> None:
        session.root.to_json(complete=False, reader="soak")
        session.root.write_json(self.folder / "session.json", intervals=["5m"])
        self.counts["exports"] += 1

    def _count(self, what: str) -> None:
        self.counts[what] += 1


class Warnings(logging.Handler):
    """Counts what is logged, by its text without its values."""

    def __init__(self, told: Counter[str]) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told[f"{record.levelname} {record.msg}"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_live", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--base", choices=["1s", "1m"], default="1m")
    parser.add_argument("--speed", type=float, default=300.0, help="session seconds in a second")
    parser.add_argument("--no-record", dest="record", action="store_false")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openbell-soak-") as folder:
        soak = Soak(options, Path(folder))
        logger = logging.getLogger("openbell")
        logger.addHandler(Warnings(soak.told))
        logger.propagate = False
        runner = threading.Thread(target=soak.run, name="session")
        began = time.monotonic()
        runner.start()
        found: list[float] = []
        while runner.is_alive():
            until = began + 60.0 * min(len(found) + 1, options.minutes)
            rss_mb = 0.0
            while runner.is_alive() and time.monotonic() < until:
                rss_mb = max(rss_mb, resident_mb())
                runner.join(0.5)
            found.append(rss_mb)
            print(f"{(time.monotonic() - began) / 60:6.1f} min {tell(soak, rss_mb)}", flush=True)
            if until >= began + 60.0 * options.minutes:
                soak.stop()
                runner.join()
        return judge(soak, found)


def tell(soak: Soak, rss_mb: float) -> str:
    n_threads, n_files = len(os.listdir("/proc/self/task")), n_open_files()
    cpu = time.process_time()
    told: dict[str, Any] = {"RSS MB": f"{rss_mb:.1f}", "threads": n_threads, "files": n_files}
    told |= {"cpu s": f"{cpu:.0f}"}
    told |= {name: soak.counts[name] for name in ("days", "added", "removed", "adhoc bars")}
    told |= {"1m bars told": soak.counts["1m bars told"], "broken": len(soak.broken)}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def judge(soak: Soak, found: list[float]) -> int:
    """Say how it went; 0 when nothing grew and nothing broke."""
    for name, n in sorted(soak.counts.items()):
        print(f"{n:12,d} {name}")
    for text, n in soak.told.most_common():
        print(f"{n:12,d} x {text}")
    for text in soak.broken[:5]:
        print(text, file=sys.stderr)
    failures = [f"{len(soak.broken)} things broke"] if soak.broken else []
    print(f"the most in each minute: {min(found):.1f} to {max(found):.1f} MB")
    # What a day builds up is the day's; what it leaves behind is what could grow.
    resting = [rss for _, _, rss in soak.between]
    kept = resting[len(resting) // 10 + 1 :]
    if len(kept) >= 3:
        median = statistics.median(kept)
        slope = statistics.linear_regression(range(len(kept)), kept).slope
        most = max(abs(rss - median) for rss in kept) / median
        grown = slope * (len(kept) - 1) / median
        print(
            f"RSS between days, after the first tenth: median {median:.1f} MB, at most {most:.1%} "
            f"from it, slope {slope:+.3f} MB a day ({grown:+.1%} in all)"
        )
        if max(most, grown) > TOLERANCE:
            failures.append(f"the memory is not flat within {TOLERANCE:.0%}")
    else:
        print("too short to judge the memory")
    if len(soak.between) > 1:
        (n_threads, n_files, _), (last_threads, last_files, _) = soak.between[0], soak.between[-1]
        print(f"threads between days: {n_threads}, in the end {last_threads}")
        if last_threads > n_threads:
            failures.append(f"{last_threads - n_threads} threads are left")
        if last_files > n_files:
            failures.append(f"{last_files - n_files} files are left open")
    print("flat" if not failures else "; ".join(failures))
    return int(bool(failures))


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


def n_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    raise SystemExit(main())
