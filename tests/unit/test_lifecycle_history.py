"""Trailing days: loaded by date, folded where the source lacks the interval, judged."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import openbell as ob
from openbell.sources import dataset_path
from tests.engine import assert_rows
from tests.lifecycle_days import (
    WEDNESDAY,
    bars_at,
    damage_pages,
    model_of,
    session_over,
    truncate,
    warnings_of,
    window_of,
    write_days,
)

# Sessions before Monday, 7 July: a half day, the fourth closed, and a weekend.
PAST = [date(2025, 6, 30), date(2025, 7, 1), date(2025, 7, 2), date(2025, 7, 3)]
DAY = date(2025, 7, 7)
STREAMS = ["1m", "5m"]
Days = dict[date, dict[str, dict[str, object]]]
SLOTS = {day: range(n, 200 + n, n + 1) for n, day in enumerate([*PAST, DAY])}


def minutes(day: date, symbol: str = "AA") -> object:
    return bars_at(window_of(day), "1m", SLOTS[day], {"AA": 30.0, "BB": 60.0}[symbol])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    days = {day: {"1m": {s: minutes(day, s) for s in ("AA", "BB")}} for day in SLOTS}
    return write_days(tmp_path, days)  # type: ignore[arg-type]


def loaded(folder: Path, *historical: dict[str, object], symbols: tuple[str, ...] = ("AA",)):  # type: ignore[no-untyped-def]
    session = session_over(folder, [DAY], symbols, STREAMS, historical=list(historical))
    next(session.days())
    return session


def test_history_holds_the_trailing_trading_days_by_date(folder: Path) -> None:
    session = loaded(folder, {"trailing_days": 3, "intervals": ["1m"]})
    rec = session.root["AA"]
    assert list(rec.historical_bars) == ["1m"]
    held = rec.historical_bars["1m"]
    assert list(held) == PAST[1:]
    for day, bars in held.items():
        assert bars.dtype == ob.BAR_DTYPE
        assert bars.tobytes() == minutes(day).tobytes()  # type: ignore[attr-defined]
    # 390, 390 and 210 minutes were expected.
    n_held = sum(len(SLOTS[day]) for day in PAST[1:])
    assert rec.historical_quality == {"1m": pytest.approx(100 * n_held / 990)}
    assert len(rec.bars["1m"]) == 0


def test_history_is_not_part_of_the_session(folder: Path) -> None:
    session = loaded(folder, {"trailing_days": 2, "intervals": ["1m"]})
    plain = loaded(folder)
    for one in (session, plain):
        one.run()
    for name in STREAMS:
        with_history, without = (s.root["AA"].bars[name].data for s in (session, plain))
        assert with_history.tobytes() == without.tobytes()


def test_history_of_an_interval_the_source_lacks_is_folded(folder: Path) -> None:
    session = loaded(folder, {"trailing_days": 4, "intervals": ["1h", "1d", "5m"]})
    rec = session.root["AA"]
    assert sorted(rec.historical_bars) == ["1d", "1h", "5m"]
    for day in PAST:
        window = window_of(day)
        model = model_of(window, "1m", ["5m", "1h", "1d"])
        model.append_block(minutes(day).tolist())  # type: ignore[attr-defined]
        model.advance(window.close_ns)
        for name in ("5m", "1h", "1d"):
            assert_rows(rec.historical_bars[name][day], model.held(name))
    assert [int(b["timestamp"][0]) for b in rec.historical_bars["1d"].values()] == [
        window_of(day).open_ns for day in PAST
    ]
    assert rec.historical_quality["1d"] == 100.0


def test_history_is_loaded_for_the_symbols_named(folder: Path) -> None:
    session = loaded(
        folder,
        {"trailing_days": 1, "intervals": ["1m"], "symbols": ["BB"]},
        {"trailing_days": 2, "intervals": ["5m"]},
        symbols=("AA", "BB"),
    )
    assert list(session.root["AA"].historical_bars) == ["5m"]
    assert list(session.root["BB"].historical_bars) == ["1m", "5m"]
    assert list(session.root["BB"].historical_bars["1m"]) == PAST[-1:]


def test_history_of_each_day_moves_on_with_it(folder: Path) -> None:
    history = [{"trailing_days": 1, "intervals": ["1m"]}]
    session = session_over(folder, [PAST[1], PAST[2]], ["AA"], STREAMS, historical=history)
    held = [list(session.root["AA"].historical_bars["1m"]) for _ in session.days()]
    assert held == [[PAST[0]], [PAST[1]]]


def test_history_of_which_some_days_are_missing_warns(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset_path(folder, "bars", PAST[2], "1m").unlink()
    session = loaded(folder, {"trailing_days": 3, "intervals": ["1m"]})
    rec = session.root["AA"]
    assert list(rec.historical_bars["1m"]) == [PAST[1], PAST[3]]
    n_held = len(SLOTS[PAST[1]]) + len(SLOTS[PAST[3]])
    assert rec.historical_quality["1m"] == pytest.approx(100 * n_held / 990)
    assert warnings_of(caplog) == [
        "AA: 1 of 3 days of 1m history are missing: 2025-07-02: no 1m bars"
    ]


def test_history_with_a_damaged_day_keeps_the_others_and_warns(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_pages(dataset_path(folder, "bars", PAST[2], "1m"), "AA")
    session = loaded(folder, {"trailing_days": 2, "intervals": ["1m"]}, symbols=("AA", "BB"))
    assert list(session.root["AA"].historical_bars["1m"]) == [PAST[3]]
    assert list(session.root["BB"].historical_bars["1m"]) == [PAST[2], PAST[3]]
    (message,) = warnings_of(caplog)
    assert message.startswith("AA: 1 of 2 days of 1m history are missing: 2025-07-02: ")
    assert "date=2025-07-02.parquet" in message


def test_history_none_of_which_can_be_read_leaves_the_symbol_out(folder: Path) -> None:
    damage_pages(dataset_path(folder, "bars", PAST[3], "1m"), "AA")
    session = loaded(folder, {"trailing_days": 1, "intervals": ["5m"]}, symbols=("AA", "BB"))
    assert session.root.get_active_symbols() == {"BB"}
    assert "no 5m history of AA: 2025-07-03: " in session.results["AA"].reason
    assert not session.results["AA"].can_proceed


def test_history_that_is_asked_for_and_not_there_fails_validation(folder: Path) -> None:
    session = session_over(
        folder, PAST[:1], ["AA"], STREAMS, historical=[{"trailing_days": 2, "intervals": ["1m"]}]
    )
    with pytest.raises(
        ob.SessionValidationError,
        match="no 1m bars of the 2 trading days before 2025-06-30, and the config asks for 1m",
    ):
        session.run()
    unasked = session_over(folder, PAST[:1], ["AA"], STREAMS)
    unasked.run()
    assert len(unasked.root["AA"].bars["1m"]) == len(SLOTS[PAST[0]])


def test_history_finer_than_the_source_fails_validation(folder: Path) -> None:
    with pytest.raises(ob.SessionValidationError, match=r"its history: interval '1s'.*holds 1m"):
        loaded(folder, {"trailing_days": 1, "intervals": ["1s"]})


def test_history_of_another_interval_than_the_streamed_one_is_enough(folder: Path) -> None:
    write_days(folder, {DAY: {"1s": {"AA": bars_at(window_of(DAY), "1s", range(90))}}})
    session = session_over(
        folder, [DAY], ["AA"], ["1s"], historical=[{"trailing_days": 2, "intervals": ["1m"]}]
    )
    next(session.days())
    assert list(session.root["AA"].historical_bars["1m"]) == PAST[2:]
    assert not session.results["AA"].has_historical_data


def test_truncated_file_of_the_past_costs_that_day_only(folder: Path) -> None:
    truncate(dataset_path(folder, "bars", WEDNESDAY, "1m"))
    session = loaded(folder, {"trailing_days": 3, "intervals": ["1m"]})
    assert list(session.root["AA"].historical_bars["1m"]) == [PAST[1], PAST[3]]
