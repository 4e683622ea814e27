"""Days in a row: holidays, half days, what ends them, and what is left of each."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import SessionStateError, SessionValidationError
from openbell.sources import DatasetWriter, SyntheticSource, dataset_path, synthetic_symbols
from tests.lifecycle_days import (
    HALF_DAY,
    WEDNESDAY,
    adhoc_bar,
    bars_at,
    check_all,
    instant,
    ns_at,
    play,
    session_over,
    tree,
    truncate,
    warnings_of,
    window_of,
    write_days,
)

STREAMS = ["1s", "1m", "5m", "1h"]
FRIDAY = date(2025, 6, 27)
MONDAY = date(2025, 6, 30)
TUESDAY = date(2025, 7, 1)
NEXT_MONDAY = date(2025, 7, 7)
WEEK = [MONDAY, TUESDAY, WEDNESDAY, HALF_DAY, NEXT_MONDAY]


def test_holiday_week_runs_its_trading_days_only(market: Path) -> None:
    # From a Saturday to the Monday after the fourth of July.
    around = [date(2025, 6, 28), NEXT_MONDAY]
    session = session_over(market, around, ["AAPL", "RIVN"], STREAMS)
    assert session.trading_days() == WEEK
    seen = []
    for day in session.days():
        assert session.time_manager.get_current_time() == instant(day.date, "09:30")
        assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
        check_all(session.root)
        day.run()
        for rec in session.root:
            labels = rec.bars["1m"].data["timestamp"]
            assert day.window.open_ns <= labels[0]
            assert labels[-1] < day.window.close_ns
            alone = session_over(market, [day.date], [rec.symbol], STREAMS)
            alone.run()
            assert tree(session.root)[rec.symbol] == tree(alone.root)[rec.symbol]
        seen.append((day.date, session.root.now_ns))
    closes = ["16:00", "16:00", "16:00", "13:00", "16:00"]
    assert seen == [(day, ns_at(day, clock)) for day, clock in zip(WEEK, closes, strict=True)]


def test_history_skips_the_holiday_and_knows_the_half_day(market: Path) -> None:
    session = session_over(
        market, [NEXT_MONDAY], ["AAPL"], STREAMS,
        historical=[{"trailing_days": 3, "intervals": ["1m", "1h"]}],
    )  # fmt: skip
    session.run()
    past = session.root["AAPL"].historical_bars
    for name in ("1m", "1h"):
        assert list(past[name]) == [TUESDAY, WEDNESDAY, HALF_DAY]
    assert [len(bars) for bars in past["1h"].values()] == [7, 7, 4]
    n_bars = sum(len(bars) for bars in past["1m"].values())
    n_slots = 390 + 390 + 210
    quality = session.root["AAPL"].historical_quality["1m"]
    assert quality == pytest.approx(100.0 * n_bars / n_slots)
    gaps = session.root["AAPL"].historical_gaps["1m"]
    assert sum(gap.bar_count for gap in gaps) == n_slots - n_bars


def test_half_day_ends_at_one_for_all_that_joins_it(market: Path) -> None:
    session = session_over(market, [HALF_DAY], ["AAPL"], STREAMS)
    closed: list[tuple[int, str]] = []
    session.on_close("1h", lambda rec, bar: closed.append((session.root.now_ns, rec.symbol)))

    def scan() -> None:
        bar = adhoc_bar("TSLA", "1m", instant(HALF_DAY, "13:00"))
        assert not session.add_adhoc_bar("TSLA", "1m", bar)
        bar = adhoc_bar("TSLA", "1m", instant(HALF_DAY, "12:59"))
        assert session.add_adhoc_bar("TSLA", "1m", bar)
        assert session.add_symbol("NVDA")

    days = play(session, {"12:45": scan})
    assert session.root.now_ns == ns_at(HALF_DAY, "13:00")
    for symbol in ("AAPL", "NVDA"):
        hours = session.root[symbol].bars["1h"]
        assert hours.data["timestamp"].tolist() == [
            ns_at(HALF_DAY, clock) for clock in ("09:30", "10:30", "11:30", "12:30")
        ]
        # The last one is a stub.
        assert hours.quality == 100.0
    assert [at for at, symbol in closed if symbol == "AAPL"] == [
        ns_at(HALF_DAY, clock) for clock in ("10:30", "11:30", "12:30", "13:00")
    ]
    assert [at for at, symbol in closed if symbol == "NVDA"] == [ns_at(HALF_DAY, "13:00")]
    whole = session_over(market, [HALF_DAY], ["AAPL", "NVDA"], STREAMS)
    whole.run()
    for symbol in ("AAPL", "NVDA"):
        assert tree(session.root)[symbol] == tree(whole.root)[symbol]
    assert list(days) == []


@pytest.mark.parametrize(
    ("day", "following"),
    [
        (FRIDAY, MONDAY),
        (TUESDAY, WEDNESDAY),
        (WEDNESDAY, HALF_DAY),
        # Independence Day, and a weekend.
        (HALF_DAY, NEXT_MONDAY),
    ],
)
def test_clock_after_a_session_is_at_the_next_open(
    market: Path, day: date, following: date
) -> None:
    session = session_over(market, [day], ["AAPL"], STREAMS)
    session.run()
    assert session.time_manager.now_ns == window_of(day).close_ns
    session.close()
    assert session.time_manager.get_current_time() == instant(following, "09:30")
    assert session.root.window is None
    assert len(session.root) == 0
    assert session.root.active_streams == {}


def test_nothing_of_a_day_is_there_tomorrow(market: Path) -> None:
    session = session_over(
        market, WEEK, ["AAPL", "RIVN"], STREAMS,
        historical=[{"trailing_days": 1, "intervals": ["1m"]}],
        indicators=[
            {"name": "ema", "type": "EMA", "interval": "1m", "parameters": {"timeperiod": 9}}
        ],
    )  # fmt: skip
    wanted = {"name": "quick", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3}}
    values = []
    for day in session.days():
        rec = session.root["AAPL"]
        assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
        assert set(rec.indicators) == {"ema"}
        assert (rec.session_volume, rec.rejected, rec.errors) == (0.0, {}, [])
        assert session.pending == {}
        assert set(session.results) == {"AAPL", "RIVN"}
        assert {key[0] for key in session.root.active_streams} == {"AAPL", "RIVN"}
        (past,) = rec.historical_bars["1m"]
        assert past == session.time_manager.previous_trading_day(day.date)
        for n, _ in enumerate(day.slices()):
            if n == 10:
                session.add_symbol("NVDA")
                session.add_adhoc_indicator("TSLA", wanted)
                session.add_adhoc_indicator("AAPL", wanted)
                session.add_symbol("GHOST")
                with pytest.raises(ob.errors.BarRefused):
                    rec.append(0, 1.0, 1.0, 1.0, 1.0, 1.0)
                rec.note_error("test", ValueError("of today"))
                session.remove_symbol("RIVN")
        assert session.root.get_active_symbols() == {"AAPL", "NVDA", "TSLA"}
        values.append(session.root["AAPL"].indicators["ema"].value)
        # What is asked for too late is forgotten with the day.
        session.add_symbol("RIVN")
    assert len(set(values)) == len(WEEK)


def test_day_on_which_every_symbol_fails_ends_the_session(own_market: Path) -> None:
    truncate(dataset_path(own_market, "bars", WEDNESDAY, "1s"))
    truncate(dataset_path(own_market, "bars", WEDNESDAY, "1m"))
    session = session_over(own_market, WEEK, ["AAPL", "RIVN"], STREAMS)
    days = session.days()
    assert [next(days).date, next(days).date] == [MONDAY, TUESDAY]
    with pytest.raises(SessionValidationError) as caught:
        next(days)
    assert set(caught.value.reasons) == {"AAPL", "RIVN"}
    assert len(session.root) == 0
    assert session.root.window is None
    assert session.phase == "idle"
    assert session.time_manager.get_current_time() == instant(WEDNESDAY, "09:30")
    assert list(days) == []
    # The session may be run again, and fails again at the same day.
    with pytest.raises(SessionValidationError):
        session.run()


def test_day_on_which_some_symbols_fail_goes_on_and_they_are_back_tomorrow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = {}
    for day in WEEK[:3]:
        bars = {"AAA": bars_at(window_of(day), "1s", range(0, 3000, 7))}
        if day != TUESDAY:
            bars["BBB"] = bars_at(window_of(day), "1s", range(0, 3000, 5), 20.0)
        days[day] = {"1s": bars}
    write_days(tmp_path, days)
    session = session_over(tmp_path, WEEK[:3], ["AAA", "BBB"], STREAMS)
    seen = []
    for day in session.days():
        day.run()
        seen.append([rec.symbol for rec in session.root])
    assert seen == [["AAA", "BBB"], ["AAA"], ["AAA", "BBB"]]
    (warning,) = warnings_of(caplog)
    assert "2025-07-01 BBB" in warning


def test_days_may_be_gone_through_twice(market: Path) -> None:
    session = session_over(market, WEEK[:2], ["AAPL"], STREAMS)
    trees = []
    for _ in range(2):
        for day in session.days():
            day.run()
            trees.append(tree(session.root))
    assert trees[:2] == trees[2:]
    assert trees[0] != trees[1]
    # A second go ends the first.
    first, second = session.days(), session.days()
    old, fresh = next(first), next(second)
    assert list(first) == []
    with pytest.raises(SessionStateError, match="past this day"):
        old.run()
    fresh.run()
    assert tree(session.root) == trees[0]


def test_loading_tells_its_progress(market: Path) -> None:
    session = session_over(
        market, WEEK[2:4], ["AAPL", "GHOST", "RIVN"], STREAMS,
        historical=[{"trailing_days": 2, "intervals": ["1m"]}],
    )  # fmt: skip
    told: list[tuple[str, int, int]] = []
    phases: list[str] = []
    loaded: list[str] = []
    session.on_progress(lambda *step: (told.append(step), phases.append(session.phase)))
    session.on_loaded(lambda rec: loaded.append(rec.symbol))
    for day in session.days():
        assert set(phases) == {"loading"}
        assert session.phase == "running"
        whats = [what for what, _, _ in told]
        assert whats == sorted(whats, reverse=True)
        assert [step for step in told if step[0] == "bars"] == [("bars", 1, 2), ("bars", 2, 2)]
        past = [step for step in told if step[0] == "history"]
        assert past[-1] == ("history", 4, 4)
        assert [done for _, done, _ in past] == sorted(done for _, done, _ in past)
        assert loaded == ["AAPL", "RIVN"]
        told.clear()
        phases.clear()
        loaded.clear()
        n_before = len(told)
        for n, _ in enumerate(day.slices()):
            if n == 10:
                session.add_symbol("NVDA")
        assert len(told) == n_before
        assert loaded == ["NVDA"]
        loaded.clear()


def test_quotes_of_the_day_are_there_for_symbols_that_join(own_market: Path) -> None:
    window = window_of(WEDNESDAY)
    quotes = np.zeros(3, ob.schema.QUOTE_DTYPE)
    quotes["timestamp"] = [ns_at(WEDNESDAY, c) for c in ("10:00", "12:00", "14:00")]
    quotes["bid"], quotes["ask"] = 10.0, 10.5
    quotes["bid_size"] = quotes["ask_size"] = 1.0
    writer = DatasetWriter(own_market, calendar="XNYS", timezone=window.timezone)
    writer.write(WEDNESDAY, {"NVDA": quotes})
    session = session_over(own_market, [WEDNESDAY], ["AAPL"], STREAMS)
    shown: list[tuple[int, str, float]] = []

    def look() -> None:
        rec = session.root["NVDA"]
        latest = rec.get_latest_quote()
        assert latest is not None
        shown.append((len(rec.quotes), latest.source, latest.bid))

    play(
        session,
        {
            "11:00": lambda: session.add_symbol("NVDA"),
            "11:30": look,
            "13:00": look,
            "15:00": look,
        },
    )
    assert [n for n, _, _ in shown] == [1, 2, 3]
    made_up = session.root["AAPL"].get_latest_quote()
    assert made_up is not None
    assert (made_up.source, made_up.bid) == ("bar", made_up.ask)


# Memory

_THREE_DAYS = """
import sys
from datetime import date
import openbell as ob
from openbell.sources import synthetic_symbols

def resident():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

symbols = synthetic_symbols(104)
session = ob.open_session({
    "session": {
        "start_date": date(2025, 6, 30), "end_date": date(2025, 7, 2),
        "symbols": symbols[:100], "streams": ["1s", "5s", "1m", "5m", "1h"],
    },
    "indicators": [
        {"name": "ema", "type": "EMA", "interval": "1m", "parameters": {"timeperiod": 9}},
        {"name": "vwap", "type": "VWAP", "interval": "1s"},
    ],
    "data": {"parquet": sys.argv[1]},
})
session.on_close("1m", lambda rec, bar: rec.indicators["ema"].value)
for day in session.days():
    n = 0
    for ts_ns, records in day.slices():
        n += 1
        if n % 2000 == 0:
            session.remove_symbol(symbols[n // 2000 % 50])
            session.add_symbol(symbols[n // 2000 % 50])
            session.add_symbol(symbols[100 + n // 2000 % 4])
    session.root.latest("close", "1m")
    print(day.date, day.n_bars, resident(), flush=True)
"""


def test_three_days_in_a_row_leave_memory_flat(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.importorskip("resource", reason="nothing here tells the memory in use")
    three = [MONDAY, TUESDAY, WEDNESDAY]
    window = window_of(MONDAY)
    writer = DatasetWriter(tmp_path, calendar="XNYS", timezone=window.timezone)
    source = SyntheticSource(fill_rate=1.0)
    bars = dict(source.load_many(synthetic_symbols(104), "1s", window))
    for day in three:
        # The same bars on each day, so that each day wants the same memory.
        shift_ns = window_of(day).open_ns - window.open_ns
        shifted = {name: rows.copy() for name, rows in bars.items()}
        for rows in shifted.values():
            rows["timestamp"] += shift_ns
        writer.write(day, shifted, interval="1s")
    done = subprocess.run(
        [sys.executable, "-c", _THREE_DAYS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in told] == [str(day) for day in three]
    n_bars = {int(line[1]) for line in told}
    assert len(n_bars) == 1
    assert n_bars.pop() > 2_000_000
    used = [int(line[2]) for line in told]
    assert used[-1] <= 1.05 * used[0], used
