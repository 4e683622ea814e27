"""Step 0: the five checks one by one, the reasons made of them, and checks that break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.errors import DataSourceError
from openbell.lifecycle.validation import SymbolValidator
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, BarArray
from openbell.sources import DataSource
from tests.lifecycle_days import warnings_of

# Trading days around the fourth of July, a Friday.
DAYS = [date(2025, 6, 30), *(date(2025, 7, n) for n in (1, 2, 3, 7, 8))]
JUN30, JUL1, JUL2, JUL3, JUL7, JUL8 = DAYS
CLOCK = ob.TimeManager("XNYS")
Held = Mapping[str, Mapping[str, Sequence[date]]]


class Shelf:
    """A user's own source: what it holds is told, and which calls break for which symbols."""

    def __init__(
        self, held: Held, breaks: Mapping[tuple[str, str], BaseException] = {}, name: str = "shelf"
    ) -> None:
        self.name = name
        self.held = held
        self.breaks = dict(breaks)

    def _days(self, call: str, symbol: str, interval: str) -> Sequence[date]:
        if (call, symbol) in self.breaks:
            raise self.breaks[call, symbol]
        return self.held.get(symbol, {}).get(interval, ())

    def intervals(self, symbol: str) -> list[str]:
        self._days("intervals", symbol, "")
        return list(self.held.get(symbol, {}))

    def has_symbol(self, symbol: str) -> bool:
        self._days("has_symbol", symbol, "")
        return symbol in self.held

    def dates(self, symbol: str, interval: str) -> tuple[date, date] | None:
        days = self._days("dates", symbol, interval)
        return (min(days), max(days)) if days else None

    def has_data(self, symbol: str, interval: str, date: date) -> bool:
        return date in self._days("has_data", symbol, interval)

    def count(self, symbol: str, interval: str, window: ob.SessionWindow) -> int:
        return 0

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> BarArray:
        return np.empty(0, BAR_DTYPE)

    def load_many(
        self, symbols: Sequence[str], interval: str, window: ob.SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        for symbol in symbols:
            yield symbol, self.load(symbol, interval, window)

    def load_quotes(self, symbol: str, window: ob.SessionWindow) -> BarArray:
        return np.empty(0, QUOTE_DTYPE)

    def load_ticks(self, symbol: str, window: ob.SessionWindow) -> BarArray:
        return np.empty(0, TICK_DTYPE)


def validator(
    *sources: DataSource,
    streams: Sequence[str] = ("1m", "5m"),
    historical: Sequence[Mapping[str, Any]] = (),
    **session: Any,
) -> SymbolValidator:
    config = ob.SessionConfig.from_dict(
        {
            "session": {
                "start_date": JUL7,
                "symbols": ["AA", "BB"],
                "streams": list(streams),
                **session,
            },
            "data": {"sources": ["synthetic"]},
            "historical": [dict(entry) for entry in historical],
        }
    )
    return SymbolValidator(config, ob.DataManager(sources, CLOCK))


FINE: Held = {"AA": {"1m": DAYS}, "BB": {"1m": DAYS}}
TWO_DAYS = {"trailing_days": 2, "intervals": ["1m"]}


def test_shelf_is_a_data_source() -> None:
    assert isinstance(Shelf({}), DataSource)


def test_check_data_source_names_the_first_by_priority_that_has_the_symbol() -> None:
    checks = validator(Shelf({"AA": {}}, name="one"), Shelf(FINE, name="two"))
    assert checks.check_data_source("AA") == "one"
    assert checks.check_data_source("BB") == "two"
    assert checks.check_data_source("CC") is None


def test_check_intervals_asks_the_source_named() -> None:
    one = Shelf({"AA": {"1m": DAYS, "60m": DAYS}}, name="one")
    checks = validator(one, Shelf({"AA": {"1s": DAYS}}, name="two"))
    assert checks.check_intervals("AA", "one") == ["1m", "1h"]
    assert checks.check_intervals("AA", "two") == ["1s"]
    assert checks.check_intervals("BB", "one") == []
    with pytest.raises(DataSourceError, match="'three': is not one of the sources: one, two"):
        checks.check_intervals("AA", "three")


@pytest.mark.parametrize(
    ("required", "available", "expected"),
    [
        (["1m", "5m", "15m", "30m", "1h"], ["1m"], True),
        (["1s", "5s", "10s", "30s", "1m", "5m"], ["1s"], True),
        (["1d"], ["1m"], True),
        (["5s"], ["1m", "1d"], False),
        (["1m"], ["1d"], False),
        (["1m"], [], False),
        (["2m", "3m"], ["2m", "3m"], False),
        (["7x"], ["1s"], False),
    ],
)
def test_check_compatibility_follows_what_can_be_derived(
    required: list[str], available: list[str], expected: bool
) -> None:
    checks = validator(Shelf({}), streams=["5m"], base="5m")
    assert checks.check_compatibility(required, available) is expected


@pytest.mark.parametrize(
    ("held", "historical", "day", "expected"),
    [
        ({"1m": [JUL1, JUL7]}, [], JUL7, (True, (JUL1, JUL7))),
        ({"1m": [JUL7]}, [], JUL7, (False, (JUL7, JUL7))),
        ({"1m": [JUL8]}, [], JUL7, (False, (JUL8, JUL8))),
        ({"1m": []}, [], JUL7, (False, None)),
        ({}, [], JUL7, (False, None)),
        ({"1s": [JUL7], "1d": [JUN30, JUL3]}, [], JUL7, (True, (JUN30, JUL7))),
        # What history is read from counts, and nothing else.
        ({"1s": [JUL7], "1m": [JUL2]}, ["1m"], JUL7, (True, (JUL2, JUL2))),
        ({"1s": [JUL1], "1m": [JUL7]}, ["5m"], JUL7, (False, (JUL7, JUL7))),
        ({"1s": [JUL1], "1m": [JUL7], "1d": [JUN30]}, ["1s", "5m"], JUL7, (True, (JUL1, JUL7))),
        ({"1m": [JUL1]}, ["1s"], JUL7, (True, (JUL1, JUL1))),
    ],
)
def test_check_history_tells_the_dates_there_are(
    held: Mapping[str, Sequence[date]],
    historical: list[str],
    day: date,
    expected: tuple[bool, tuple[date, date] | None],
) -> None:
    entries = [{"trailing_days": 2, "intervals": historical}] if historical else []
    checks = validator(Shelf({"AA": held}), historical=entries)
    assert checks.check_history("AA", day) == expected
    assert checks.check_history("ZZ", day) == (False, None)


def test_check_data_tells_of_one_interval_and_day() -> None:
    checks = validator(Shelf({"AA": {"1m": [JUL2], "1d": [JUL3]}}))
    assert checks.check_data("AA", "1m", JUL2)
    assert not checks.check_data("AA", "1m", JUL3)
    assert not checks.check_data("AA", "1s", JUL2)
    assert not checks.check_data("ZZ", "1m", JUL2)


def test_validate_fills_every_field() -> None:
    held = {"AA": {"1s": [JUL3, JUL7], "1m": DAYS, "1d": DAYS}}
    checks = validator(Shelf(held), streams=["1m", "5m", "1d"], historical=[TWO_DAYS])
    assert checks.validate("AA", JUL7) == ob.SymbolValidationResult(
        symbol="AA",
        can_proceed=True,
        reason="",
        data_source_available=True,
        data_source="shelf",
        intervals_supported=["1s", "1m", "1d"],
        base_interval="1s",
        derived_intervals=["1m", "5m", "1d"],
        has_historical_data=True,
        historical_date_range=(JUN30, JUL8),
        meets_config_requirements=True,
    )


@pytest.mark.parametrize(
    ("symbol", "hint"),
    [
        ("BRK-B", "; did you mean 'BRK.B'?"),
        ("brk.b", "; did you mean 'BRK.B'?"),
        ("bf.a", "; did you mean 'BF-A'?"),
        ("NOPE", ""),
    ],
)
def test_unknown_symbol_names_who_was_asked_and_what_was_perhaps_meant(
    symbol: str, hint: str
) -> None:
    one, two = Shelf({"BRK.B": {"1m": DAYS}}, name="one"), Shelf({"BF-A": {}}, name="two")
    result = validator(one, two).validate(symbol, JUL7)
    assert result == ob.SymbolValidationResult(
        symbol, reason=f"unknown symbol: no source has it (asked: one, two){hint}"
    )


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"1m": [JUL8]}, "no 1m bars of 2025-07-07; those it has begin on 2025-07-08"),
        ({"1m": [JUL1, JUL3]}, "no 1m bars of 2025-07-07; those it has end on 2025-07-03"),
        (
            {"1m": [JUL1, JUL8]},
            "no 1m bars of 2025-07-07; it has others, from 2025-07-01 to 2025-07-08",
        ),
        ({"1m": []}, "no 1m bars of 2025-07-07"),
        ({"1s": [JUL1], "1m": [JUL3]}, "no 1s or 1m bars of 2025-07-07; those it has end on "
         "2025-07-01"),
        ({"5m": DAYS, "1d": DAYS}, "interval '1m': cannot be had: the source holds 5m, 1d, and "
         "bars of it need that or a divisor"),
        ({}, "interval '1m': cannot be had: the source holds no interval, and bars of it need "
         "that or a divisor"),
    ],
)  # fmt: skip
def test_known_symbol_without_bars_of_the_day_says_where_there_are_some(
    held: Mapping[str, Sequence[date]], reason: str
) -> None:
    result = validator(Shelf({"AA": held})).validate("AA", JUL7)
    assert result.data_source_available
    assert not result.can_proceed
    assert not result.meets_config_requirements
    assert result.reason.removeprefix("shelf has this symbol, but ") == reason


def test_failed_symbol_still_tells_its_dates() -> None:
    checks = validator(Shelf({"AA": {"5m": [JUL1, JUL8]}}))
    result = checks.validate("AA", JUL7)
    assert (result.base_interval, result.intervals_supported) == (None, ["5m"])
    assert (result.has_historical_data, result.historical_date_range) == (True, (JUL1, JUL8))


def test_coarser_interval_serves_a_day_that_the_smallest_lacks() -> None:
    source = Shelf({"AA": {"1s": [JUL8], "1m": DAYS}})
    plain = validator(source)
    assert plain.validate("AA", JUL8).base_interval == "1s"
    result = plain.validate("AA", JUL7)
    assert result.can_proceed
    assert (result.base_interval, result.derived_intervals) == ("1m", ["5m"])
    seconds = validator(source, streams=["5s", "1m"]).validate("AA", JUL7)
    assert "no 1s bars of 2025-07-07; those it has begin on 2025-07-08" in seconds.reason


def test_configured_base_is_streamed_or_the_symbol_fails() -> None:
    source = Shelf({"AA": {"1s": DAYS, "1m": [JUL7]}})
    checks = validator(source, base="1m")
    result = checks.validate("AA", JUL7)
    assert (result.base_interval, result.derived_intervals) == ("1m", ["5m"])
    assert "no 1m bars of 2025-07-08" in checks.validate("AA", JUL8).reason
    lacking = validator(Shelf({"AA": {"1s": DAYS}}), base="1m").validate("AA", JUL7)
    assert "interval '1m': cannot be streamed: the source holds 1s" in lacking.reason


def test_history_asked_for_needs_one_of_its_days() -> None:
    source = Shelf({"AA": {"1m": [JUL3, JUL7]}, "BB": {"1m": [JUN30, JUL7]}})
    checks = validator(source, historical=[TWO_DAYS])
    assert checks.validate("AA", JUL7).can_proceed
    result = checks.validate("BB", JUL7)
    assert not result.can_proceed
    assert result.reason == (
        "shelf has no 1m bars of the 2 trading days before 2025-07-07, "
        "and the config asks for 1m history"
    )
    # There is some, only not of these days.
    assert (result.has_historical_data, result.historical_date_range) == (True, (JUN30, JUL7))
    others = validator(source, historical=[{**TWO_DAYS, "symbols": ["AA"]}])
    assert others.validate("BB", JUL7).can_proceed


def test_history_that_cannot_be_derived_fails_the_symbol() -> None:
    history = [{"trailing_days": 2, "intervals": ["1m", "30s"]}]
    reason = validator(Shelf(FINE), historical=history).validate("AA", JUL7).reason
    assert reason.startswith("its history: interval '30s': cannot be had: the source holds 1m")


BROKEN = [
    ("has_symbol", "data source"),
    ("intervals", "intervals"),
    ("has_data", "data of the day"),
    ("dates", "history"),
]
ERRORS = [
    (KeyError("AA"), "KeyError: 'AA'"),
    (OSError(5, "Input/output error"), r"OSError: \[Errno 5\] Input/output error"),
    (TimeoutError("no answer in 30 s"), "TimeoutError: no answer in 30 s"),
    (TimeoutError(), "TimeoutError$"),
    (DataSourceError("shelf", "is on fire"), "DataSourceError: source 'shelf': is on fire"),
    (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS)
@pytest.mark.parametrize(("call", "check"), BROKEN)
@pytest.mark.parametrize("historical", [[], [TWO_DAYS]])
def test_check_that_breaks_fails_its_symbol_only(
    call: str,
    check: str,
    error: Exception,
    text: str,
    historical: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = Shelf(FINE, {(call, "AA"): error}, name="first")
    checks = validator(first, Shelf(FINE, name="second"), historical=historical)
    results = checks.validate_many(["AA", "BB"], JUL7)
    assert results["BB"].can_proceed
    broken = results["AA"]
    assert not broken.can_proceed
    assert not broken.meets_config_requirements
    # A source that breaks is not passed over for the next one.
    assert broken.data_source == (None if call == "has_symbol" else "first")
    assert warnings_of(caplog) == [f"2025-07-07 AA: left out: {broken.reason}"]
    with pytest.raises(AssertionError, match=f"^the check of its {check} broke: {text}"):
        raise AssertionError(broken.reason)
    # The next day the source may be well again.
    first.breaks.clear()
    assert checks.validate("AA", JUL8).can_proceed


def test_check_made_by_itself_raises_what_the_source_raises() -> None:
    errors: dict[tuple[str, str], BaseException] = {
        (call, "AA"): LookupError(call) for call, _ in BROKEN[1:]
    }
    checks = validator(Shelf(FINE, errors))
    with pytest.raises(LookupError, match="intervals"):
        checks.check_intervals("AA", "shelf")
    with pytest.raises(LookupError, match="has_data"):
        checks.check_data("AA", "1m", JUL7)


def test_why_a_symbol_fails_is_not_hidden_by_a_check_that_breaks_later() -> None:
    checks = validator(Shelf({"AA": {"1m": [JUL1]}}, {("dates", "AA"): OSError("gone")}))
    result = checks.validate("AA", JUL7)
    assert result.reason == "shelf has this symbol, but no 1m bars of 2025-07-07"
    assert (result.has_historical_data, result.historical_date_range) == (False, None)


def test_interrupt_during_a_check_is_not_a_reason() -> None:
    checks = validator(Shelf(FINE, {("has_data", "AA"): KeyboardInterrupt()}))
    with pytest.raises(KeyboardInterrupt):
        checks.validate_many(["AA", "BB"], JUL7)


def test_source_that_names_no_interval_fails_the_symbol() -> None:
    result = validator(Shelf({"AA": {"1Min": DAYS}})).validate("AA", JUL7)
    assert result.reason.startswith("the check of its intervals broke: IntervalError: ")


def test_symbol_belongs_to_the_first_source_even_if_only_the_second_has_the_day() -> None:
    checks = validator(Shelf({"AA": {"1m": [JUL3]}}, name="one"), Shelf(FINE, name="two"))
    result = checks.validate("AA", JUL7)
    assert result.data_source == "one"
    assert result.reason == (
        "one has this symbol, but no 1m bars of 2025-07-07; those it has end on 2025-07-03"
    )


class DamagedPast(Shelf):
    """Some of its days cannot be read."""

    def __init__(self, held: Held, damaged: Sequence[date]) -> None:
        super().__init__(held)
        self.damaged = damaged

    def has_data(self, symbol: str, interval: str, date: date) -> bool:
        if date in self.damaged:
            raise OSError(f"{date} is damaged")
        return super().has_data(symbol, interval, date)


def test_past_day_that_cannot_be_read_is_as_good_as_missing() -> None:
    some = validator(DamagedPast(FINE, [JUL3]), historical=[TWO_DAYS])
    assert some.validate("AA", JUL7).can_proceed
    none = validator(DamagedPast(FINE, [JUL2, JUL3]), historical=[TWO_DAYS])
    reason = none.validate("AA", JUL7).reason
    assert "no 1m bars of the 2 trading days before 2025-07-07" in reason
    assert reason.endswith("(OSError: 2025-07-03 is damaged)")


def test_validate_many_warns_once_of_each_failure_and_keeps_the_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    checks = validator(Shelf(FINE))
    results = checks.validate_many(["Y", "BB", "Z", "AA", "BB", "Y"], JUL7)
    assert [(symbol, r.can_proceed) for symbol, r in results.items()] == [
        ("Y", False), ("BB", True), ("Z", False), ("AA", True),
    ]  # fmt: skip
    reason = "left out: unknown symbol: no source has it (asked: shelf)"
    assert warnings_of(caplog) == [f"2025-07-07 Y: {reason}", f"2025-07-07 Z: {reason}"]
    assert checks.validate_many([], JUL7) == {}


def test_validate_many_raises_every_reason_when_all_fail(caplog: pytest.LogCaptureFixture) -> None:
    checks = validator(Shelf({"AA": {"1m": [JUL1]}}))
    results = {"BB": ob.SymbolValidationResult("BB")}
    with pytest.raises(ob.SessionValidationError) as caught:
        checks.validate_many(["AA", "ZZ"], JUL7, results)
    assert caught.value.reasons == {
        symbol: checks.validate(symbol, JUL7).reason for symbol in ("AA", "ZZ")
    }
    assert list(results) == ["BB", "AA", "ZZ"]
    assert results["AA"].reason == caught.value.reasons["AA"]
    assert warnings_of(caplog) == []
