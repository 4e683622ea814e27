"""The names that the specification gives the tree, and where each stands.

Private names of the specification are public here, without the underscore.
"""

from __future__ import annotations

import inspect

import pytest

import openbell as ob
from openbell.gaps import GapInfo

RECORD = """
    symbol base_interval derived_intervals is_loaded meets_session_config_requirements added_by
    auto_provisioned added_at upgraded_from_adhoc bars bars_base bars_derived get_latest_bar quality
    bar_quality bar_gaps session_volume session_high session_low last_update session_metrics
    bars_updated quotes_updated ticks_updated historical_bars historical_indicators
    historical_quality historical_gaps indicators quotes ticks rejected set_quality set_gaps
    get_last_n_bars get_bars_since get_bar_count append append_block to_json
""".split()
ROOT = """
    session_active current_session_date active_streams data_arrival_event window now_ns begin
    advance register_symbol register_symbol_data add_bar add_quote add_tick get_symbol_data
    get_active_symbols get_loaded_symbols get_symbols_with_derived remove_symbol set_quality
    set_gaps latest clear to_json write_json to_csv to_arrow
""".split()
SERIES = """
    data derived base quality coverage gaps updated revision open_bar window open high low close
    volume timestamp last mean sum min max std asof complete_only n_base
""".split()
EXPORTS = """
    SessionData get_session_data SymbolSessionData BarIntervalData BarData QuoteData TickData
    GapInfo SessionMetrics SymbolValidationResult SessionConfig SessionCoordinator DataManager
    TimeManager SessionWindow Interval BAR_DTYPE warmup validate_session_dump open_session
    OpenbellError
""".split()
GAP = [
    "symbol",
    "interval",
    "start_time",
    "end_time",
    "end_ns",
    "bar_count",
    "reason",
    "retry_count",
    "evidence",
]


def make_root() -> ob.SessionData:
    root = ob.SessionData()
    root.register_symbol("AAPL")
    return root


@pytest.mark.parametrize("name", RECORD)
def test_specification_record_has_each_name(name: str) -> None:
    assert hasattr(make_root()["AAPL"], name)


@pytest.mark.parametrize("name", ROOT)
def test_specification_root_has_each_name(name: str) -> None:
    assert hasattr(make_root(), name)


@pytest.mark.parametrize("name", SERIES)
def test_specification_series_has_each_name(name: str) -> None:
    assert hasattr(make_root()["AAPL"].bars["1m"], name)


def test_specification_exports_are_public() -> None:
    assert set(EXPORTS) <= set(ob.__all__)


def test_specification_gap_has_its_fields_in_order() -> None:
    assert list(inspect.signature(GapInfo).parameters) == GAP


def test_specification_metadata_of_a_record_is_that_of_document_000() -> None:
    assert ob.SymbolSessionData("AAPL").to_json()["metadata"] == {
        "meets_session_config_requirements": False,
        "added_by": "config",
        "auto_provisioned": False,
        "added_at": None,
        "upgraded_from_adhoc": False,
    }
