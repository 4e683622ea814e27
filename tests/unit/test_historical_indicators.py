"""Historical indicators: averages and extremes over past days, worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.config import SessionConfig
from openbell.config.tables import HistoricalIndicatorConfig
from openbell.errors import ConfigError
from openbell.lifecycle.historical_indicators import period_days
from openbell.lifecycle.history import History, load_history
from openbell.sources import dataset_path
from tests.lifecycle_days import (
    bars_at,
    config_of,
    damage_pages,
    truncate,
    warnings_of,
    window_of,
    write_days,
)

# Monday to Wednesday, a half day, the fourth closed, a weekend, and the session's Monday.
MONDAY, TUESDAY, WEDNESDAY, HALF_DAY = (date(2025, 6, 30), *(date(2025, 7, n) for n in (1, 2, 3)))
DAY = date(2025, 7, 7)
CLOCK = ob.TimeManager("XNYS")
N_DAY, N_HALF = 390, 210

Volumes = Mapping[date, Mapping[int, float]]


def bars_of(day: date, volumes: Mapping[int, float], interval: str = "1m") -> np.ndarray:
    """Bars in these slots: of volume v they open at v, close at v + 1, between v - 1 and v + 2."""
    bars = bars_at(window_of(day), interval, volumes)
    values = [volumes[slot] for slot in sorted(volumes)]
    for name, offset in {"open": 0, "high": 2, "low": -1, "close": 1, "volume": 0}.items():
        bars[name] = np.array(values) + offset
    return bars


def written(folder: Path, days: Volumes, interval: str = "1m", symbol: str = "AA") -> Path:
    bars = {day: {interval: {symbol: bars_of(day, v, interval)}} for day, v in days.items()}
    return write_days(folder, bars)


def histories(
    folder: Path, *symbols: str, day: date = DAY, **indicators: dict[str, Any]
) -> dict[str, History]:
    raw = config_of(folder, [day], symbols, ["1d"])
    config = SessionConfig.from_dict(raw | {"historical_indicators": indicators})
    found = load_history(symbols, day, config, ob.DataManager.from_config(config))
    assert all(isinstance(history, History) for history in found.values())
    return found  # type: ignore[return-value]


def value_over(
    folder: Path, type: str, field: str, period: str, *, day: date = DAY, **others: str
) -> Any:
    item = {"type": f"trailing_{type}", "field": field, "period": period, **others}
    return histories(folder, "AA", day=day, x=item)["AA"].indicators["x"]


THREE_DAYS: Volumes = {
    TUESDAY: {0: 100, 1: 60, 389: 40},
    WEDNESDAY: {5: 30, 200: 7},
    HALF_DAY: {3: 9, 209: 2},
}


@pytest.mark.parametrize(
    ("type", "field", "period", "expected"),
    [
        # Days of 200, 37 and 11; highs of 102, 32 and 11; closes of 41, 8 and 3.
        ("average", "volume", "2d", 24.0),
        ("average", "volume", "3d", 248 / 3),
        ("max", "volume", "3d", 200.0),
        ("min", "volume", "2d", 11.0),
        ("max", "high", "3d", 102.0),
        ("max", "high", "1d", 11.0),
        ("min", "low", "3d", 1.0),
        ("average", "close", "3d", 52 / 3),
        ("average", "open", "2d", 19.5),
    ],
)
def test_indicator_is_over_the_daily_bars(
    tmp_path: Path, type: str, field: str, period: str, expected: float,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    value = value_over(written(tmp_path, THREE_DAYS), type, field, period)
    assert value == pytest.approx(expected, rel=1e-15)
    assert value.__class__ is float
    assert warnings_of(caplog) == []


def test_indicator_reads_daily_bars_where_the_source_has_them(tmp_path: Path) -> None:
    written(tmp_path, THREE_DAYS)
    written(tmp_path, {WEDNESDAY: {0: 1000}, HALF_DAY: {0: 500}}, "1d")
    assert value_over(tmp_path, "average", "volume", "2d") == 750.0


def test_indicators_days_are_not_put_into_the_bars(tmp_path: Path) -> None:
    item = {"type": "trailing_max", "field": "high", "period": "2d"}
    history = histories(written(tmp_path, THREE_DAYS), "AA", most=item)["AA"]
    assert (history.bars, history.quality, history.gaps) == ({}, {}, {})
    assert history.indicators == {"most": 32.0}
    assert history.dates_read == {"1m": (WEDNESDAY, HALF_DAY)}


def test_period_of_days_skips_the_holiday_and_that_of_weeks_has_fewer() -> None:
    def days(period: str, day: date) -> list[date]:
        item = HistoricalIndicatorConfig(type="trailing_max", field="high", period=period)
        return period_days(item, day, CLOCK)

    week = [MONDAY, TUESDAY, WEDNESDAY, HALF_DAY]
    before = [date(2025, 6, n) for n in (23, 24, 25, 26, 27)]
    assert days("1d", DAY) == [HALF_DAY]
    assert days("5d", DAY) == [before[-1], *week]
    assert days("1w", DAY) == week
    assert days("2w", DAY) == [*before, *week]
    # The week before a Thursday begins with the Thursday before it.
    assert days("1w", HALF_DAY) == [*before[3:], MONDAY, TUESDAY, WEDNESDAY]
    # The exchange in Shanghai rests from the first to the eighth of October.
    item = HistoricalIndicatorConfig(type="trailing_max", field="high", period="1w")
    assert period_days(item, date(2025, 10, 9), ob.TimeManager("XSHG")) == []


def test_indicator_over_a_week_has_one_day_fewer_in_a_week_with_a_holiday(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = {date(2025, 6, 27): {0: 9999.0}, MONDAY: {0: 2.0}}
    written(tmp_path, {**earlier, **THREE_DAYS})
    assert value_over(tmp_path, "average", "volume", "1w") == (2 + 200 + 37 + 11) / 4
    assert warnings_of(caplog) == []


def test_indicator_over_a_period_without_a_trading_day_has_no_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day = date(2025, 10, 9)
    bars = bars_at(window_of(day, "XSHG"), "1m", [0])
    raw = config_of(
        write_days(tmp_path, {day: {"1m": {"AA": bars}}}, "XSHG"),
        [day], ["AA"], ["1m"], exchange="XSHG",
    )  # fmt: skip
    item = {"type": "trailing_max", "field": "high", "period": "1w"}
    config = SessionConfig.from_dict(raw | {"historical_indicators": {"x": item}})
    found = load_history(["AA"], day, config, ob.DataManager.from_config(config))["AA"]
    assert isinstance(found, History)
    assert found.indicators == {"x": None}
    assert warnings_of(caplog) == [
        "AA: historical indicator x has no value: its period has no trading day"
    ]


def test_indicator_with_fewer_days_than_asked_is_over_those_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, {day: THREE_DAYS[day] for day in (TUESDAY, HALF_DAY)})
    assert value_over(tmp_path, "average", "volume", "3d") == (200 + 11) / 2
    assert warnings_of(caplog) == [
        "AA: historical indicator x is over 2 of 3 days: 2025-07-02: no 1m bars"
    ]


def test_indicator_without_any_day_is_none_and_its_symbol_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, THREE_DAYS)
    written(tmp_path, {DAY: {0: 1}}, symbol="BB")
    item = {"type": "trailing_min", "field": "low", "period": "1d"}
    found = histories(tmp_path, "AA", "BB", least=item)
    assert found["AA"].indicators == {"least": 1.0}
    assert found["BB"].indicators == {"least": None}
    assert warnings_of(caplog) == [
        "BB: historical indicator least has no value: 2025-07-03: no 1m bars"
    ]


def test_indicator_of_a_symbol_whose_pages_are_damaged_leaves_the_others_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for symbol in ("AA", "BB"):
        written(tmp_path, THREE_DAYS, symbol=symbol)
    damage_pages(dataset_path(tmp_path, "bars", HALF_DAY, "1m"), "AA")
    truncate(dataset_path(tmp_path, "bars", TUESDAY, "1m"))
    item = {"type": "trailing_average", "field": "volume", "period": "3d"}
    found = histories(tmp_path, "AA", "BB", avg=item)
    assert found["AA"].indicators == {"avg": 37.0}
    assert found["BB"].indicators == {"avg": 24.0}
    first, second = warnings_of(caplog)
    assert first.startswith("AA: historical indicator avg is over 1 of 3 days: 2025-07-01: ")
    assert "2025-07-03: " in first
    assert second.startswith("BB: historical indicator avg is over 2 of 3 days: 2025-07-01: ")


# The profile


def expected(n_slots: int, rest: float, values: Mapping[int, float]) -> np.ndarray:
    profile = np.full(n_slots, rest)
    for slot, value in values.items():
        profile[slot] = value
    return profile


PROFILE_DAYS: Volumes = {
    WEDNESDAY: {0: 10, 1: 20, 209: 4, 300: 7},
    HALF_DAY: {0: 30, 2: 6, 209: 5},
}


@pytest.mark.parametrize(
    ("type", "values"),
    [
        # A minute without a bar is one of volume 0; behind the early close there is none.
        ("average", {0: 20, 1: 10, 2: 3, 209: 4.5, 300: 7}),
        ("max", {0: 30, 1: 20, 2: 6, 209: 5, 300: 7}),
        ("min", {0: 10, 209: 4, 300: 7}),
    ],
)
def test_profile_of_volume_counts_a_minute_without_a_bar_as_none_traded(
    tmp_path: Path, type: str, values: dict[int, float]
) -> None:
    written(tmp_path, PROFILE_DAYS)
    profile = value_over(tmp_path, type, "volume", "2d", granularity="minute")
    assert profile.dtype == np.float64
    np.testing.assert_array_equal(profile, expected(N_DAY, 0.0, values))


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("average", {0: 21, 1: 21, 2: 7, 209: 5.5, 300: 8}),
        ("max", {0: 31, 1: 21, 2: 7, 209: 6, 300: 8}),
        ("min", {0: 11, 1: 21, 2: 7, 209: 5, 300: 8}),
    ],
)
def test_profile_of_prices_leaves_out_minutes_without_a_bar(
    tmp_path: Path, type: str, values: dict[int, float]
) -> None:
    written(tmp_path, PROFILE_DAYS)
    profile = value_over(tmp_path, type, "close", "2d", granularity="minute")
    np.testing.assert_array_equal(profile, expected(N_DAY, np.nan, values))


def test_profile_over_a_half_day_has_no_volume_behind_its_close(tmp_path: Path) -> None:
    written(tmp_path, PROFILE_DAYS)
    profile = value_over(tmp_path, "average", "volume", "1d", granularity="minute")
    np.testing.assert_array_equal(profile[:N_HALF], expected(N_HALF, 0.0, {0: 30, 2: 6, 209: 5}))
    assert np.isnan(profile[N_HALF:]).all()
    assert len(profile) == N_DAY


def test_profile_for_a_half_day_is_as_long_as_it(tmp_path: Path) -> None:
    written(tmp_path, {TUESDAY: {0: 4, 210: 50}, WEDNESDAY: {0: 8, 209: 2}})
    profile = value_over(tmp_path, "average", "volume", "2d", granularity="minute", day=HALF_DAY)
    np.testing.assert_array_equal(profile, expected(N_HALF, 0.0, {0: 6, 209: 1}))


def test_profile_from_seconds_is_over_the_minutes_folded_from_them(tmp_path: Path) -> None:
    written(tmp_path, {HALF_DAY: {0: 1, 59: 2, 60: 4, 12599: 8}}, "1s")
    profile = value_over(tmp_path, "max", "volume", "1d", granularity="minute")
    np.testing.assert_array_equal(profile[:N_HALF], expected(N_HALF, 0.0, {0: 3, 1: 4, 209: 8}))


def test_profile_counts_minutes_from_the_open_through_a_break(tmp_path: Path) -> None:
    # Hong Kong: 150 minutes, an hour's rest, 180 minutes.
    day, past = date(2025, 7, 4), date(2025, 7, 3)
    bars = bars_at(window_of(past, "XHKG"), "1m", [149, 150, 329])
    bars["volume"] = [1, 2, 3]
    raw = config_of(
        write_days(tmp_path, {past: {"1m": {"HK": bars}}}, "XHKG"),
        [day], ["HK"], ["1m"], exchange="XHKG",
    )  # fmt: skip
    item = {"type": "trailing_max", "field": "volume", "period": "1d", "granularity": "minute"}
    config = SessionConfig.from_dict(raw | {"historical_indicators": {"x": item}})
    found = load_history(["HK"], day, config, ob.DataManager.from_config(config))["HK"]
    assert isinstance(found, History)
    np.testing.assert_array_equal(
        found.indicators["x"], expected(330, 0.0, {149: 1, 150: 2, 329: 3})
    )


def test_profile_from_daily_bars_cannot_be_had(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, {HALF_DAY: {0: 500}}, "1d")
    common = {"type": "trailing_max", "field": "volume", "period": "1d"}
    found = histories(tmp_path, "AA", day_=common, profile={**common, "granularity": "minute"})
    assert found["AA"].indicators == {"day_": 500.0, "profile": None}
    (message,) = warnings_of(caplog)
    assert message.startswith("AA: historical indicator profile has no value: interval '1m': ")
    assert "the source holds 1d" in message


# The configuration


@pytest.mark.parametrize("period", ["1d", "2d", "20d", "1w", "52w"])
@pytest.mark.parametrize("granularity", ["day", "minute"])
def test_config_takes_days_and_weeks(tmp_path: Path, period: str, granularity: str) -> None:
    item = {"type": "trailing_max", "field": "high", "period": period, "granularity": granularity}
    raw = config_of(tmp_path, [DAY], ["AA"], ["1m"]) | {"historical_indicators": {"x": item}}
    held = SessionConfig.from_dict(raw).historical_indicators["x"]
    assert (held.period, held.granularity) == (period, granularity)


@pytest.mark.parametrize(
    ("name", "change", "key", "said"),
    [
        *(
            ("x", {"period": period}, "historical_indicators.x.period", "'2d', or of weeks")
            for period in ("0d", "02d", "2h", "2", "d", "-1d", "2 d", "1m", "99999d", "2d\n", "٣d")
        ),
        ("x", {"granularity": "hour"}, "historical_indicators.x.granularity", "'day', 'minute'"),
        ("loaded", {}, "historical_indicators.loaded", "another name"),
        ("data", {}, "historical_indicators.data", "another name"),
    ],
)
def test_config_refuses_what_it_cannot_honour(
    tmp_path: Path, name: str, change: dict[str, str], key: str, said: str
) -> None:
    item = {"type": "trailing_max", "field": "high", "period": "2d"} | change
    raw = config_of(tmp_path, [DAY], ["AA"], ["1m"]) | {"historical_indicators": {name: item}}
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_dict(raw)
    assert caught.value.key == key
    assert said in caught.value.expected
