"""Which configurations of indicators are refused, and how much history the others want."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from openbell.errors import IndicatorError, IntervalError, SchemaError, SessionStateError
from openbell.processing import check_indicator, history_days, make_indicator, n_history
from openbell.schema import BAR_DTYPE
from openbell.symbol import SymbolSessionData
from tests.engine import begin
from tests.facade_bars import WINDOW, minutes
from tests.indicator_bars import CASES, FIRST, Case, config_of

OWN = "tests.indicator_bars"


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_check_accepts_a_talib_function(case: Case) -> None:
    check_indicator(config_of(case[0], **case[2]))
    assert n_history(config_of(case[0], **case[2])) == case[3]


@pytest.mark.parametrize(
    ("type", "parameters"),
    [
        ("VWAP", {}),
        ("OPENING_RANGE", {}),
        ("OPENING_RANGE", {"minutes": 7.5}),
        ("RELATIVE_VOLUME", {"days": 20}),
        (f"{OWN}:Streak", {"least": 3}),
        ("SMA", {"price": "volume"}),
        ("BBANDS", {"nbdevup": 2}),
    ],
)
def test_check_accepts(type: str, parameters: dict[str, Any]) -> None:
    check_indicator(config_of(type, **parameters))


@pytest.mark.parametrize(
    ("type", "parameters", "key", "says"),
    [
        ("RSJ", {}, "type", "did you mean 'RSI'"),
        ("rsi", {}, "type", "did you mean 'RSI'"),
        ("vwap", {}, "type", "did you mean 'VWAP'"),
        ("OPENING RANGE", {}, "type", "did you mean 'OPENING_RANGE'"),
        ("zzzzzz", {}, "type", "a TA-Lib function, VWAP, OPENING_RANGE, RELATIVE_VOLUME"),
        ("MAVP", {}, "type", "periods"),
        ("RSI", {"timeperoid": 14}, "parameters.timeperoid", "did you mean 'timeperiod'"),
        ("RSI", {"timeperiod": 14.5}, "parameters.timeperiod", "an integer"),
        ("RSI", {"timeperiod": "14"}, "parameters.timeperiod", "an integer"),
        ("RSI", {"timeperiod": True}, "parameters.timeperiod", "an integer"),
        ("RSI", {"timeperiod": 1}, "parameters.timeperiod", "in the range"),
        ("RSI", {"timeperiod": 2**40}, "parameters.timeperiod", "in the range"),
        ("BBANDS", {"nbdevup": "2"}, "parameters.nbdevup", "a finite number"),
        ("BBANDS", {"nbdevup": float("nan")}, "parameters.nbdevup", "a finite number"),
        ("MACD", {"fastperiod": 5, "signalperiod": 0}, "parameters.signalperiod", "in the range"),
        ("SMA", {"price": "typical"}, "parameters.price", "open, high, low, close, volume"),
        ("SMA", {"price": "timestamp"}, "parameters.price", "open, high, low, close, volume"),
        ("ATR", {"price": "open"}, "parameters.price", "one of timeperiod"),
        ("VWAP", {"days": 2}, "parameters.days", "no parameters"),
        ("OPENING_RANGE", {"minute": 2}, "parameters.minute", "did you mean 'minutes'"),
        ("OPENING_RANGE", {"minutes": 0}, "parameters.minutes", "above 0"),
        ("OPENING_RANGE", {"minutes": float("inf")}, "parameters.minutes", "above 0"),
        ("OPENING_RANGE", {"minutes": True}, "parameters.minutes", "above 0"),
        ("RELATIVE_VOLUME", {"days": 1.5}, "parameters.days", "a whole number"),
        ("RELATIVE_VOLUME", {"days": 0}, "parameters.days", "at least 1"),
        ("no_such_module_here:Name", {}, "type", "ModuleNotFoundError"),
        (f"{OWN}:Nobody", {}, "type", "no Nobody there"),
        (f"{OWN}:", {}, "type", "'package.module:Name'"),
        (":Streak", {}, "type", "'package.module:Name'"),
        (f"{OWN}:NOT_CALLABLE", {}, "type", "a class"),
        (f"{OWN}:Unfinished", {}, "type", "no update here"),
        (f"{OWN}:Greedy", {}, "type", "at least 0"),
        (f"{OWN}:Streak", {"most": 1}, "parameters", "unexpected keyword argument 'most'"),
    ],
)
def test_check_refuses(type: str, parameters: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(IndicatorError) as caught:
        check_indicator(config_of(type, **parameters))
    error = caught.value
    assert (error.type, error.key) == (type, key)
    assert says in error.expected
    assert str(error).startswith(f"indicator {type}: {key}: received {error.received!r}, expected")


def test_check_tells_each_type_of_number_apart() -> None:
    check_indicator(config_of("STDDEV", timeperiod=5, nbdev=1))
    check_indicator(config_of("STDDEV", timeperiod=5, nbdev=1.0))
    with pytest.raises(IndicatorError):
        check_indicator(config_of("STDDEV", timeperiod=5.0, nbdev=1.0))


@pytest.mark.parametrize(
    ("type", "parameters", "n_slots", "expected"),
    [
        ("RSI", {}, 390, 1),
        ("SMA", {"timeperiod": 391}, 390, 1),
        ("SMA", {"timeperiod": 392}, 390, 2),
        ("SMA", {"timeperiod": 20}, 7, 3),
        ("SMA", {"timeperiod": 20}, 1, 19),
        ("OBV", {}, 390, 0),
        ("VWAP", {}, 390, 0),
        ("OPENING_RANGE", {}, 390, 0),
        ("RELATIVE_VOLUME", {}, 390, 5),
        ("RELATIVE_VOLUME", {"days": 20}, 7, 20),
        (f"{OWN}:Streak", {}, 2, 2),
    ],
)
def test_history_days_are_those_that_hold_enough_bars(
    type: str, parameters: dict[str, Any], n_slots: int, expected: int
) -> None:
    assert history_days(config_of(type, **parameters), n_slots) == expected


@pytest.mark.parametrize("call", [n_history, lambda config: history_days(config, 390)])
@pytest.mark.parametrize("type", ["RSJ", f"{OWN}:Unfinished"])
def test_history_of_what_cannot_be_made_is_refused(call: Any, type: str) -> None:
    with pytest.raises(IndicatorError):
        call(config_of(type))


def test_make_on_an_interval_the_record_lacks_is_refused() -> None:
    _, record = begin(WINDOW, "1m", ["5m"])
    with pytest.raises(IntervalError, match="it has 1m, 5m"):
        make_indicator(record, config_of("RSI", "15m"))


def test_make_before_the_day_has_begun_is_refused() -> None:
    with pytest.raises(SessionStateError, match="not begun"):
        make_indicator(SymbolSessionData("AAPL"), config_of("RSI"))


def test_make_with_history_of_another_type_is_refused() -> None:
    _, record = begin(WINDOW, "1m")
    swapped = minutes(0).view(
        BAR_DTYPE.newbyteorder("=").descr[:1]
        + [(name, "<f8") for name in ("close", "high", "low", "open", "volume")]
    )
    with pytest.raises(SchemaError, match="history"):
        make_indicator(record, config_of("RSI"), [(FIRST, swapped)])


def test_make_with_wrong_parameters_is_refused() -> None:
    _, record = begin(WINDOW, "1m")
    with pytest.raises(IndicatorError, match="timeperiod"):
        make_indicator(record, config_of("RSI", timeperiod=0))
    assert record.indicators == {}


def test_talib_is_imported_by_its_first_use() -> None:
    code = (
        "import sys, openbell.processing as p, openbell.config as c\n"
        "p.check_indicator(c.IndicatorConfig(name='x', type='VWAP', interval='1m'))\n"
        "assert not {'talib', 'pandas', 'numba'} & set(sys.modules)\n"
        "p.check_indicator(c.IndicatorConfig(name='x', type='RSI', interval='1m'))\n"
        "assert 'talib' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
