"""Trailing days: loaded together, folded where the source lacks the interval, judged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.errors import DataSourceError, IntervalError
from openbell.lifecycle.history import History, check_adjustments, load_days, load_history
from openbell.sources import DatasetWriter, ParquetSource, SyntheticSource, dataset_path
from tests.engine import assert_rows
from tests.lifecycle_days import (
    WEDNESDAY,
    bars_at,
    config_of,
    damage_pages,
    model_of,
    truncate,
    warnings_of,
    window_of,
    write_days,
)

# Sessions before Monday, 7 July: a half day, the fourth closed, and a weekend.
PAST = [date(2025, 6, 30), date(2025, 7, 1), date(2025, 7, 2), date(2025, 7, 3)]
DAY = date(2025, 7, 7)
STREAMS = ["1m", "5m"]
SLOTS = {day: range(n, 200 + n, n + 1) for n, day in enumerate([*PAST, DAY])}
CLOCK = ob.TimeManager("XNYS")


def minutes(day: date, symbol: str = "AA") -> np.ndarray:
    return bars_at(window_of(day), "1m", SLOTS[day], {"AA": 30.0, "BB": 60.0}[symbol])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    days = {day: {"1m": {s: minutes(day, s) for s in ("AA", "BB")}} for day in SLOTS}
    return write_days(tmp_path, days)


def config_for(
    folder: Path, *historical: dict[str, Any], symbols: Sequence[str] = ("AA",), **others: Any
) -> ob.SessionConfig:
    raw = config_of(folder, [DAY], symbols, STREAMS, historical=list(historical))
    return ob.SessionConfig.from_dict(raw | others)


def trailing(n: int, *intervals: str, **others: Any) -> dict[str, Any]:
    return {"trailing_days": n, "intervals": list(intervals), **others}


def loaded(
    folder: Path, *historical: dict[str, Any], symbols: Sequence[str] = ("AA",), day: date = DAY
) -> dict[str, History | Exception]:
    config = config_for(folder, *historical, symbols=symbols)
    return load_history(symbols, day, config, ob.DataManager.from_config(config))


def history_of(folder: Path, *historical: dict[str, Any], symbol: str = "AA") -> History:
    found = loaded(folder, *historical, symbols=(symbol,))[symbol]
    assert isinstance(found, History)
    return found


def test_history_holds_the_trailing_trading_days_by_date(folder: Path) -> None:
    history = history_of(folder, trailing(3, "1m"))
    assert list(history.bars) == ["1m"]
    assert list(history.bars["1m"]) == PAST[1:]
    for day, bars in history.bars["1m"].items():
        assert bars.dtype == ob.BAR_DTYPE
        assert bars.tobytes() == minutes(day).tobytes()
        assert not bars.flags.writeable
    # 390, 390 and 210 minutes were expected.
    n_held = sum(len(SLOTS[day]) for day in PAST[1:])
    assert history.quality == {"1m": pytest.approx(100 * n_held / 990)}
    assert history.dates_read == {"1m": tuple(PAST[1:])}


def test_history_of_each_day_is_that_before_it(folder: Path) -> None:
    for before, day in zip(PAST, [*PAST[1:], DAY], strict=True):
        found = loaded(folder, trailing(1, "1m"), day=day)["AA"]
        assert isinstance(found, History)
        assert list(found.bars["1m"]) == [before]


def test_history_of_an_interval_the_source_lacks_is_folded(folder: Path) -> None:
    history = history_of(folder, trailing(4, "1h", "1d", "5m"))
    assert list(history.bars) == ["1h", "1d", "5m"]
    for day in PAST:
        window = window_of(day)
        model = model_of(window, "1m", ["5m", "1h", "1d"])
        model.append_block(minutes(day).tolist())
        model.advance(window.close_ns)
        for name in ("5m", "1h", "1d"):
            assert_rows(history.bars[name][day], model.held(name))
    assert [int(b["timestamp"][0]) for b in history.bars["1d"].values()] == [
        window_of(day).open_ns for day in PAST
    ]
    assert history.quality["1d"] == 100.0
    assert history.dates_read == {"1m": tuple(PAST)}


def test_history_of_an_interval_held_is_read_and_not_folded(folder: Path) -> None:
    days = {day: bars_at(window_of(day), "1d", [0], 7.0) for day in PAST}
    write_days(folder, {day: {"1d": {"AA": bars}} for day, bars in days.items()})
    history = history_of(folder, trailing(2, "1d"), trailing(1, "5m"))
    assert {d: b.tobytes() for d, b in history.bars["1d"].items()} == {
        day: days[day].tobytes() for day in PAST[2:]
    }
    assert history.dates_read == {"1d": tuple(PAST[2:]), "1m": (PAST[3],)}


def test_history_is_loaded_for_the_symbols_named(folder: Path) -> None:
    found = loaded(
        folder,
        trailing(1, "1m", symbols=["BB"]),
        trailing(2, "5m"),
        symbols=("BB", "AA"),
    )
    assert list(found) == ["BB", "AA"]
    first, second = found["AA"], found["BB"]
    assert isinstance(first, History)
    assert isinstance(second, History)
    assert list(first.bars) == ["5m"]
    assert list(second.bars) == ["1m", "5m"]
    assert list(second.bars["1m"]) == PAST[-1:]


def test_history_asked_for_twice_has_the_days_of_both(folder: Path) -> None:
    history = history_of(folder, trailing(1, "1m"), trailing(3, "1m", symbols=["AA"]))
    assert list(history.bars["1m"]) == PAST[1:]
    assert history.quality["1m"] == pytest.approx(100 * (100 + 67 + 50) / 990)


def test_history_nobody_asks_for_is_empty(folder: Path) -> None:
    assert history_of(folder) == History("AA")


def test_history_of_which_some_days_are_missing_warns(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset_path(folder, "bars", PAST[2], "1m").unlink()
    history = history_of(folder, trailing(3, "1m"))
    assert list(history.bars["1m"]) == [PAST[1], PAST[3]]
    n_held = len(SLOTS[PAST[1]]) + len(SLOTS[PAST[3]])
    assert history.quality["1m"] == pytest.approx(100 * n_held / 990)
    assert warnings_of(caplog) == [
        "AA: 1 of 3 days of 1m history are missing: 2025-07-02: no 1m bars"
    ]


def test_history_with_a_damaged_day_keeps_the_others_and_warns(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_pages(dataset_path(folder, "bars", PAST[2], "1m"), "AA")
    found = loaded(folder, trailing(2, "1m"), symbols=("AA", "BB"))
    damaged, whole = found["AA"], found["BB"]
    assert isinstance(damaged, History)
    assert isinstance(whole, History)
    assert list(damaged.bars["1m"]) == [PAST[3]]
    assert list(whole.bars["1m"]) == [PAST[2], PAST[3]]
    assert whole.bars["1m"][PAST[2]].tobytes() == minutes(PAST[2], "BB").tobytes()
    (message,) = warnings_of(caplog)
    assert message.startswith("AA: 1 of 2 days of 1m history are missing: 2025-07-02: ")
    assert "date=2025-07-02.parquet" in message


def test_history_none_of_which_can_be_read_is_that_symbols_error(folder: Path) -> None:
    damage_pages(dataset_path(folder, "bars", PAST[3], "1m"), "AA")
    found = loaded(folder, trailing(1, "5m"), symbols=("AA", "BB"))
    error = found["AA"]
    assert isinstance(error, DataSourceError)
    assert error.source == "parquet"
    assert "no 5m history of AA: 2025-07-03: " in error.reason
    assert "date=2025-07-03.parquet" in error.reason
    assert isinstance(found["BB"], History)


def test_history_without_any_day_is_that_symbols_error(folder: Path) -> None:
    found = loaded(folder, trailing(2, "1m"), day=PAST[0])["AA"]
    assert str(found) == (
        "source 'parquet': no 1m history of AA: 2025-06-26: no 1m bars; 2025-06-27: no 1m bars"
    )


def test_history_finer_than_what_is_held_is_that_symbols_error(folder: Path) -> None:
    write_days(folder, {PAST[3]: {"1s": {"BB": bars_at(window_of(PAST[3]), "1s", range(90))}}})
    found = loaded(folder, trailing(1, "1s"), symbols=("AA", "BB"))
    assert isinstance(found["AA"], IntervalError)
    assert "the source holds 1m" in str(found["AA"])
    assert isinstance(found["BB"], History)


def test_truncated_file_of_the_past_costs_that_day_only(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(dataset_path(folder, "bars", WEDNESDAY, "1m"))
    found = loaded(folder, trailing(3, "1m"), symbols=("AA", "BB"))
    for history in found.values():
        assert isinstance(history, History)
        assert list(history.bars["1m"]) == [PAST[1], PAST[3]]
    assert [message[:45] for message in warnings_of(caplog)] == [
        "AA: 1 of 3 days of 1m history are missing: 20",
        "BB: 1 of 3 days of 1m history are missing: 20",
    ]


def afternoons(folder: Path, n_days: int) -> History | Exception:
    raw = config_of(folder, [DAY], ["AA"], STREAMS, hours=[["14:00", "16:00"]])
    config = ob.SessionConfig.from_dict(raw | {"historical": [trailing(n_days, "1m")]})
    return load_history(["AA"], DAY, config, ob.DataManager.from_config(config))["AA"]


def test_day_of_which_the_hours_leave_nothing_is_not_asked_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = {day: {"1m": {"AA": bars_at(window_of(day), "1m", [270, 389])}} for day in PAST[1:3]}
    write_days(folder, days)
    history = afternoons(folder, 3)
    assert isinstance(history, History)
    assert {day: len(bars) for day, bars in history.bars["1m"].items()} == dict.fromkeys(days, 2)
    assert history.quality == {"1m": pytest.approx(100 * 4 / 240)}
    assert warnings_of(caplog) == []
    assert str(afternoons(folder, 1)) == (
        "source 'parquet': no 1m history of AA: no day asked for has a session in these hours"
    )


# Gaps


def test_gaps_of_history_are_those_of_all_the_days(folder: Path) -> None:
    slots = {
        PAST[0]: range(390),
        PAST[1]: [0, 1, *range(5, 389)],
        PAST[3]: range(1, 210),
    }
    days = {day: {"1m": {"GG": bars_at(window_of(day), "1m", slots[day])}} for day in slots}
    history = history_of(write_days(folder, days), trailing(4, "1m"), symbol="GG")
    gaps = history.gaps["1m"]
    shown = [(g.start_time.isoformat(), g.end_time.isoformat(), g.bar_count) for g in gaps]
    assert shown == [
        ("2025-07-01T13:32:00+00:00", "2025-07-01T13:34:00+00:00", 3),
        ("2025-07-01T19:59:00+00:00", "2025-07-01T19:59:00+00:00", 1),
        ("2025-07-02T13:30:00+00:00", "2025-07-02T19:59:00+00:00", 390),
        ("2025-07-03T13:30:00+00:00", "2025-07-03T13:30:00+00:00", 1),
    ]
    assert {(g.symbol, g.interval) for g in gaps} == {("GG", "1m")}
    # By the trading of each day alone: three minutes in a row are too many for a day that lacks
    # one other. Of a day without any bar nothing is known, and of the only gap of one, too little.
    assert [g.reason for g in gaps] == ["outage", "no_trade", "unknown", "unknown"]
    assert [g.end_ns for g in gaps][2] == window_of(PAST[2]).close_ns
    assert len(gaps) == 4
    assert [gaps[k] for k in range(4)] == list(gaps) == gaps
    assert gaps[-1] == gaps[3]
    assert gaps[1:3] == list(gaps)[1:3]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            gaps[outside]
    assert history.quality["1m"] == pytest.approx(100 * (390 + 386 + 209) / 1380)


def test_gaps_of_a_missing_day_are_one_for_each_segment(tmp_path: Path) -> None:
    # Hong Kong rests from 12:00 to 13:00, and is 8 hours ahead of UTC.
    day, past = date(2025, 7, 4), [date(2025, 7, 2), date(2025, 7, 3)]
    bars = {d: {"5m": {"HK": bars_at(window_of(d, "XHKG"), "5m", range(66))}} for d in past[:1]}
    raw = config_of(write_days(tmp_path, bars, "XHKG"), [day], ["HK"], ["5m"], exchange="XHKG")
    config = ob.SessionConfig.from_dict(raw | {"historical": [trailing(2, "5m", "1d")]})
    found = load_history(["HK"], day, config, ob.DataManager.from_config(config))["HK"]
    assert isinstance(found, History)
    assert [(g.start_time.isoformat(), g.bar_count) for g in found.gaps["5m"]] == [
        ("2025-07-03T01:30:00+00:00", 30),
        ("2025-07-03T05:00:00+00:00", 36),
    ]
    assert [(g.start_time.isoformat(), g.bar_count) for g in found.gaps["1d"]] == [
        ("2025-07-03T01:30:00+00:00", 1)
    ]
    assert found.quality == {"5m": 50.0, "1d": 50.0}


def test_numba_is_imported_only_for_folding_or_for_looking_at_gaps(folder: Path) -> None:
    script = f"""
import sys
from datetime import date
import openbell as ob
from openbell.lifecycle.history import load_history
config = ob.SessionConfig.from_dict({{
    "session": {{"start_date": date(2025, 7, 7), "symbols": ["AA"], "streams": ["1m"]}},
    "data": {{"parquet": {str(folder)!r}}},
    "historical": [{{"trailing_days": 3, "intervals": ["1m"]}}],
}})
data = ob.DataManager.from_config(config)
history = load_history(["AA"], date(2025, 7, 7), config, data)["AA"]
gaps = history.gaps["1m"]
print("numba" in sys.modules, gaps, len(gaps) > 0, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (
        "False <gaps of AA 1m over 3 past days, 773 bars> True True\n",
        "",
    )


# Bars that no record would take


def test_bars_of_the_past_that_no_record_takes_are_left_out_and_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (bars_at(window_of(day), "1m", range(100)) for day in PAST[2:])
    first["close"][3] = np.nan
    first["volume"][4] = np.inf
    first["low"][9] = first["high"][9] + 1
    second["high"][0] = second["open"][0] - 0.0625
    second["volume"][1] = -1
    second["timestamp"][2] += 1
    write_days(folder, {PAST[2]: {"1m": {"NN": first}}, PAST[3]: {"1m": {"NN": second}}})
    history = history_of(folder, trailing(2, "1m", "5m"), symbol="NN")
    held = history.bars["1m"]
    assert held[PAST[2]].tobytes() == np.delete(first, [3, 4, 9]).tobytes()
    assert held[PAST[3]].tobytes() == second[3:].tobytes()
    assert history.quality["1m"] == pytest.approx(100 * (97 + 97) / 600)
    # The first bucket of the half day is folded from its slots 3 and 4.
    assert history.bars["5m"][PAST[3]]["open"][0] == second["open"][3]
    assert warnings_of(caplog) == [
        "NN: 6 bars of 1m history are left out: 2 not_finite, 1 high_below_low, 1 outside_range, "
        "1 negative_volume, 1 off_grid (2025-07-02, 2025-07-03)"
    ]


def test_day_of_the_past_whose_bars_are_all_refused_is_missing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = bars_at(window_of(PAST[3]), "1m", range(5))
    bad["open"] = np.nan
    days = {PAST[2]: {"1m": {"NN": bars_at(window_of(PAST[2]), "1m", [0])}}}
    write_days(folder, days | {PAST[3]: {"1m": {"NN": bad}}})
    assert list(history_of(folder, trailing(2, "1m"), symbol="NN").bars["1m"]) == [PAST[2]]
    assert warnings_of(caplog) == [
        "NN: 5 bars of 1m history are left out: 5 not_finite (2025-07-03)",
        "NN: 1 of 2 days of 1m history are missing: 2025-07-03: all 5 1m bars are refused",
    ]


# Reading


class CountingSource(ParquetSource):
    """Notes which symbols are read together, of which interval and day."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, date, list[str]]] = []

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> np.ndarray:
        self.reads.append((interval, window.date, [symbol]))
        return super().load(symbol, interval, window)

    def load_many(
        self, symbols: Sequence[str], interval: str, window: ob.SessionWindow
    ) -> Iterator[tuple[str, np.ndarray]]:
        self.reads.append((interval, window.date, list(symbols)))
        return super().load_many(symbols, interval, window)


def test_history_is_read_once_a_day_whatever_it_is_for(folder: Path) -> None:
    average = {"type": "trailing_average", "field": "volume"}
    config = config_for(
        folder,
        trailing(2, "1m", "5m", "1d"),
        symbols=("AA", "BB"),
        historical_indicators={
            "avg_volume_3d": {**average, "period": "3d"},
            "profile": {**average, "period": "1w", "granularity": "minute"},
        },
    )
    source = CountingSource(folder)
    told: list[tuple[int, int]] = []
    load_history(
        ["AA", "BB"], DAY, config, ob.DataManager([source], CLOCK),
        on_progress=lambda *n: told.append(n),
    )  # fmt: skip
    assert source.reads == [("1m", day, ["AA", "BB"]) for day in PAST]
    assert told == [(n, 8) for n in range(1, 9)]


def test_symbol_whose_pages_are_damaged_does_not_split_the_batch(folder: Path) -> None:
    names = [f"S{n}" for n in range(6)]
    bars = {name: bars_at(window_of(PAST[3]), "1m", range(n + 1)) for n, name in enumerate(names)}
    write_days(folder, {PAST[3]: {"1m": bars}})
    damage_pages(dataset_path(folder, "bars", PAST[3], "1m"), "S2")
    source = CountingSource(folder)
    config = config_for(folder, trailing(1, "1m"), symbols=names)
    found = load_history(names, DAY, config, ob.DataManager([source], CLOCK))
    assert isinstance(found.pop("S2"), DataSourceError)
    for name, history in found.items():
        assert isinstance(history, History)
        assert history.bars["1m"][PAST[3]].tobytes() == bars[name].tobytes()
    assert [symbols for _, _, symbols in source.reads] == [names, ["S2"], names[3:]]


class OwnSource(SyntheticSource):
    """A source of somebody's own, in which one symbol breaks what it is part of."""

    name = "own"

    def __init__(self, failing: str = "load") -> None:
        super().__init__(seed=3, symbols=["AA", "BAD", "CC"])
        self.failing = failing

    def intervals(self, symbol: str) -> list[str]:
        if self.failing == "intervals" and symbol == "BAD":
            raise KeyError(symbol)
        return super().intervals(symbol)

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> np.ndarray:
        if self.failing == "load" and symbol == "BAD":
            raise KeyError(symbol)
        bars = super().load(symbol, interval, window)
        return np.zeros((2, 2)) if self.failing == "type" and symbol == "BAD" else bars

    def load_many(
        self, symbols: Sequence[str], interval: str, window: ob.SessionWindow
    ) -> Iterator[tuple[str, np.ndarray]]:
        for symbol in symbols:
            if self.failing != "silence" or symbol != "BAD":
                yield symbol, self.load(symbol, interval, window)


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("load", "source 'own': no 1m history of BAD: 2025-07-03: KeyError: 'BAD'"),
        ("type", "received dtype float64"),
        ("silence", "the source gave no answer for BAD"),
        ("intervals", "source 'own': history of BAD: KeyError: 'BAD'"),
    ],
)
def test_symbol_that_a_source_of_ones_own_fails_on_costs_no_other(
    folder: Path, failing: str, said: str
) -> None:
    symbols = ("AA", "BAD", "CC")
    config = config_for(folder, trailing(1, "1m"), symbols=symbols)
    found = load_history(symbols, DAY, config, ob.DataManager([OwnSource(failing)], CLOCK))
    assert list(found) == list(symbols)
    assert isinstance(found["BAD"], Exception)
    assert said in str(found["BAD"])
    plain = SyntheticSource(seed=3)
    for symbol in ("AA", "CC"):
        history = found[symbol]
        assert isinstance(history, History)
        expected = plain.load(symbol, "1m", window_of(PAST[3]))
        assert history.bars["1m"][PAST[3]].tobytes() == expected.tobytes()


def test_load_days_gives_what_is_there_folded(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truncate(dataset_path(folder, "bars", PAST[2], "1m"))
    data = ob.DataManager([ParquetSource(folder)], CLOCK)
    days = [date(2025, 6, 27), *PAST]
    assert list(load_days("AA", "1m", days, data)) == [PAST[0], PAST[1], PAST[3]]
    (message,) = warnings_of(caplog)
    assert message.startswith("AA: 1 of 5 days of 1m history are missing: 2025-07-02: ")
    (hours,) = load_days("AA", "1h", PAST[:1], data).values()
    # 200 minutes: three whole hours and twenty minutes.
    assert len(hours) == 4
    assert hours["close"][0] == minutes(PAST[0])["close"][59]
    assert load_days("AA", "1m", [date(2025, 6, 27)], data) == {}
    assert load_days("AA", "60m", PAST[:1], data)[PAST[0]].tobytes() == hours.tobytes()
    with pytest.raises(IntervalError, match="the source holds 1m"):
        load_days("AA", "30s", PAST, data)
    with pytest.raises(ob.CalendarError):
        load_days("AA", "1m", [date(2025, 7, 4)], data)


# On the record


def test_history_applied_keeps_what_the_record_has_besides(folder: Path) -> None:
    rec = ob.SymbolSessionData("AA")
    own = {day: minutes(day) for day in (PAST[0], PAST[3])}
    rec.historical_bars = {"1m": own, "1h": {}}
    rec.historical_quality = {"1m": 1.0, "1h": 2.0}
    rec.historical_indicators = {"mine": 5.0}
    before = rec.historical_bars
    history = history_of(folder, trailing(2, "1m", "5m"))
    history.indicators["avg"] = 3.0
    history.apply(rec)
    assert before == {"1m": own, "1h": {}}
    assert list(rec.historical_bars) == ["1m", "1h", "5m"]
    assert list(rec.historical_bars["1m"]) == [PAST[0], PAST[2], PAST[3]]
    assert rec.historical_bars["1m"][PAST[0]] is own[PAST[0]]
    assert rec.historical_bars["1m"][PAST[3]] is history.bars["1m"][PAST[3]]
    assert rec.historical_quality == {"1h": 2.0, **history.quality}
    assert rec.historical_gaps == history.gaps
    assert rec.historical_indicators == {"mine": 5.0, "avg": 3.0}


# Adjustment


def write_adjusted(folder: Path, adjusted: dict[date, str], symbols: Sequence[str]) -> None:
    for day, adjustment in adjusted.items():
        writer = DatasetWriter(folder, calendar="XNYS", adjustment=adjustment)
        bars = bars_at(window_of(day), "1m", range(30))
        writer.write(day, dict.fromkeys(symbols, bars), interval="1m")


@pytest.mark.parametrize(
    ("n_symbols", "named"),
    [(2, "S0, S1"), (5, "S0, S1, S2, S3, S4"), (7, "S0, S1, S2, S3, S4 and 2 more")],
)
def test_history_adjusted_otherwise_than_today_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, n_symbols: int, named: str
) -> None:
    symbols = [f"S{n}" for n in range(n_symbols)]
    adjusted = dict(zip(PAST, ["split", "split", "dividend", "raw"], strict=True))
    write_adjusted(tmp_path, adjusted | {DAY: "raw"}, symbols)
    config = config_for(tmp_path, trailing(4, "5m"), symbols=symbols)
    data = ob.DataManager.from_config(config)
    found = load_history(symbols, DAY, config, data)
    assert data.adjustment("S0", "1m", PAST[2]) == "dividend"
    assert warnings_of(caplog) == []
    check_adjustments(found, symbols, "1m", window_of(DAY), data)
    assert warnings_of(caplog) == [
        "1m history of 2025-06-30, 2025-07-01 is adjusted 'split', but the 1m bars of 2025-07-07 "
        f"are 'raw': {named}",
        "1m history of 2025-07-02 is adjusted 'dividend', but the 1m bars of 2025-07-07 are "
        f"'raw': {named}",
    ]


def test_history_adjusted_as_today_warns_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adjusted(tmp_path, dict.fromkeys([*PAST, DAY], "split"), ["AA"])
    config = config_for(tmp_path, trailing(4, "1m"), symbols=["AA", "ZZ"])
    data = ob.DataManager.from_config(config)
    found = load_history(["AA", "ZZ"], DAY, config, data)
    assert isinstance(found["ZZ"], IntervalError)
    check_adjustments(found, ["AA", "ZZ"], "1m", window_of(DAY), data)
    assert warnings_of(caplog) == []


def test_source_that_tells_no_adjustment_warns_of_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_for(folder, trailing(2, "1m"))
    data = ob.DataManager([SyntheticSource()], CLOCK)
    assert data.adjustment("AA", "1m", DAY) is None
    found = load_history(["AA"], DAY, config, data)
    check_adjustments(found, ["AA"], "1s", window_of(DAY), data)
    assert warnings_of(caplog) == []


class ForgetfulSource(SyntheticSource):
    """Knows how today's bars are adjusted, not how those of the past were."""

    def adjustment(self, symbol: str, interval: str, day: date) -> str | None:
        if day == PAST[2]:
            raise KeyError(day)
        return "raw" if day == DAY else None


def test_source_that_tells_the_adjustment_of_today_only_warns_of_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_for(folder, trailing(2, "1m"))
    data = ob.DataManager([ForgetfulSource()], CLOCK)
    found = load_history(["AA"], DAY, config, data)
    check_adjustments(found, ["AA"], "1m", window_of(DAY), data)
    assert warnings_of(caplog) == []


def test_adjustment_is_what_the_file_of_the_day_says(folder: Path) -> None:
    other = ob.DataManager([ParquetSource(folder)], CLOCK)
    assert other.adjustment("AA", "1m", DAY) == "raw"
    assert other.adjustment("NOPE", "1m", DAY) is None
    assert other.adjustment("AA", "1m", date(2024, 7, 1)) is None
