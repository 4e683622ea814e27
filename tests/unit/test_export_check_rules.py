"""Each rule of the checker catches the faults planted for it, and says where they are."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from openbell.export import validate_session_dump
from openbell.export.check_rules import Findings
from openbell.provenance import RULES
from tests.export_session import at, make_session, ns
from tests.golden_dump import (
    NO_DAY,
    M,
    Plant,
    aapl,
    days,
    deep,
    drop_column,
    drop_indicator_key,
    drop_row,
    drop_rows,
    evict_and_lose,
    evict_too_many,
    evidence,
    gap,
    gap_ahead,
    golden,
    leave_open_bar_in,
    leave_out,
    line_of,
    put,
    put_cell,
    put_day,
    put_error,
    put_event,
    put_evidence,
    put_flags,
    put_historical,
    put_indicator,
    repeat_first_row,
    series,
    session,
    split_gap,
    swap_first_rows,
    swap_gaps,
    widen_gap,
)
from tests.golden_log import LOG_FAULTS, NO_LOGS, golden_log, write_log

#: Name of the fault, what it does to the golden dump, and the lines that must be given for it
#: (rule, symbol, interval, time of the day), those of the fault's own rule first.
FAULTS: list[tuple[str, Plant, list[str]]] = [
    ("no_quality", lambda d: series(d).pop("quality"), ["schema AAPL 1m -"]),
    ("count_true", lambda d: put(series(d), count=True), ["schema AAPL 1m -"]),
    ("negative_count", lambda d: put(series(d), count=-1), ["schema AAPL 1m -"]),
    ("swapped_columns", lambda d: series(d)["columns"].reverse(), ["schema AAPL 1m -"]),
    ("lost_column", drop_column, ["schema AAPL 1m -"]),
    ("short_row", lambda d: series(d)["data"][3].pop(), ["schema AAPL 1m 13:34:00"]),
    ("text_price", put_cell(2, 1, "100.5"), ["schema AAPL 1m 13:32:00"]),
    ("naive_time", put_cell(2, 0, M + "13:32:00"), ["schema AAPL 1m -"]),
    ("numpy_word_as_time", put_cell(2, 0, "now"), ["schema AAPL 1m -"]),
    ("number_as_time", put_cell(2, 0, 1751463120), ["schema AAPL 1m -"]),
    ("unknown_interval", lambda d: session(d)["data"].update({"7x": session(d)["data"].pop("5m")}),
     ["schema AAPL 7x -"]),
    ("naive_added_at", put_flags("TSLA", added_at="2025-07-02T14:01:00"), ["schema TSLA - -"]),
    ("flag_as_text", put_flags("AAPL", auto_provisioned="False"), ["schema AAPL - -"]),
    ("gap_without_reason", lambda d: series(d)["gaps"]["ranges"][0].pop("reason"),
     ["schema AAPL 1m 13:33:00"]),
    ("symbol_is_a_list", lambda d: put(d["symbols"], AAPL=[]), ["schema AAPL - -"]),
    ("negative_rejected", lambda d: put(aapl(d)["rejected"], high_below_low=-2),
     ["schema AAPL - -"]),
    ("revised_as_text", lambda d: put(aapl(d)["revised"], late="none"), ["schema AAPL - -"]),
    ("quote_without_bid", lambda d: session(d)["quotes"]["columns"].remove("bid"),
     ["schema AAPL - -"]),
    ("tick_without_price", lambda d: session(d)["ticks"]["data"][0].pop(),
     ["schema AAPL - 14:05:10"]),
    ("day_that_is_no_date", lambda d: days(d).update(days={"2025-06-31": 1, "2025-07-01": 1}),
     ["schema AAPL 1d -"]),
    ("error_without_place", lambda d: aapl(d)["errors"][0].pop("where"), ["schema AAPL - -"]),
    ("error_as_number", put_error(error=7), ["schema AAPL - -"]),
    ("error_at_naive_time", put_error(first=M + "14:01:00"), ["schema AAPL - -"]),
    ("errors_by_place", lambda d: put(aapl(d), errors={"indicator rsi": 2}), ["schema AAPL - -"]),
    ("error_as_text", lambda d: put(aapl(d), errors=["division by zero"]), ["schema AAPL - -"]),
    ("indicator_of_text", put_indicator(value="99.7"), ["schema AAPL 1m -"]),
    ("indicator_of_texts", put_indicator(value=[1.0, "99.7"]), ["schema AAPL 1m -"]),
    ("indicator_without_ready", drop_indicator_key, ["schema AAPL 1m -"]),
    ("indicator_ready_as_number", put_indicator(ready=1), ["schema AAPL 1m -"]),
    ("indicator_at_naive_time", put_indicator(timestamp=M + "14:06:00"), ["schema AAPL 1m -"]),
    ("indicator_that_is_text", lambda d: aapl(d)["indicators"].update(sma="99.7"),
     ["schema AAPL - -"]),
    ("range_that_is_a_list", lambda d: series(d)["gaps"]["ranges"].__setitem__(1, []),
     ["schema AAPL 1m -"]),
    ("gap_count_as_text", lambda d: put(series(d)["gaps"], gap_count="3"), ["schema AAPL 1m -"]),
    ("gap_at_naive_time", lambda d: put(gap()(d), end_time=M + "13:35:00"), ["schema AAPL 1m -"]),
    ("gap_of_negative_bars", lambda d: put(gap()(d), bar_count=-1), ["schema AAPL 1m 13:35:00"]),
    ("explained_as_text", lambda d: put(series(d), explained_quality="93.75"),
     ["schema AAPL 1m -"]),
    ("evicted_as_text", lambda d: series(d).update(evicted="4"), ["schema AAPL 1m -"]),
    ("score_beyond_floats", lambda d: put(series(d), coverage=10**400), ["schema AAPL 1m -"]),
    ("score_nan", lambda d: put(series(d), coverage=float("nan")), ["schema AAPL 1m -"]),
    ("price_beyond_floats", put_cell(2, 1, 10**400), ["schema AAPL 1m 13:32:00"]),
    ("year_beyond_int64", put_cell(2, 0, "2609-07-02T13:32:00+00:00"), ["schema AAPL 1m -"]),
    ("two_offsets", put_cell(2, 0, M + "13:32+02:00+00:00"), ["schema AAPL 1m -"]),
    ("n_base_beyond_int32", put_cell(1, 6, 2 + 2**32, "5m"), ["schema AAPL 5m 13:35:00"]),
    ("n_base_negative", put_cell(1, 6, -2, "5m"), ["schema AAPL 5m 13:35:00"]),
    ("row_that_is_an_object", lambda d: series(d)["data"].__setitem__(3, {}), ["schema AAPL 1m -"]),
    ("rows_by_number", lambda d: put(series(d), data={"0": []}), ["schema AAPL 1m -"]),
    ("other_spelling", lambda d: session(d)["data"].update({"300s": session(d)["data"].pop("5m")}),
     ["schema AAPL 300s -"]),
    ("days", lambda d: session(d)["data"].update({"2d": session(d)["data"].pop("5m")}),
     ["schema AAPL 2d -"]),
    ("evidence_without_peers", lambda d: gap()(d)["evidence"].pop("n_peers"),
     ["schema AAPL 1m 13:35:00"]),
    ("evidence_as_text", lambda d: put(gap()(d), evidence="all silent"),
     ["schema AAPL 1m 13:35:00"]),
    ("evidence_nan", put_evidence(fill_rate=float("nan")), ["schema AAPL 1m 13:35:00"]),
    ("as_of_naive", lambda d: session(d).update(as_of=M + "14:06:00"), ["schema AAPL - -"]),
    ("quality_map_of_text", lambda d: aapl(d)["quality"].update({"15m": "good"}),
     ["schema AAPL - -"]),
    ("no_session_key", lambda d: d["session"].pop("segments"), ["schema - - -"]),
    ("no_symbol_session_key", lambda d: session(d).pop("ticks"), ["schema AAPL - -"]),
    ("quotes_without_count", lambda d: session(d)["quotes"].pop("count"), ["schema AAPL - -"]),
    ("historical_without_loaded", lambda d: aapl(d)["historical"].pop("loaded"),
     ["schema AAPL - -"]),
    ("historical_without_count", lambda d: days(d).pop("count"), ["schema AAPL 1d -"]),
    ("historical_text_price", lambda d: days(d)["data"][1].__setitem__(2, "100.5"),
     ["schema AAPL 1d 2025-07-01T13:30:00"]),
    ("historical_interval", lambda d:
        aapl(d)["historical"]["data"].update({"7x": aapl(d)["historical"]["data"].pop("1d")}),
     ["schema AAPL 7x -"]),
    ("historical_gaps", lambda d: put(days(d), gaps=[]), ["schema AAPL 1d -"]),
    ("days_negative", lambda d: days(d)["days"].update({"2025-07-01": -1}), ["schema AAPL 1d -"]),
    ("days_beyond_time", lambda d: days(d).update(days={"9999-07-01": 2}), ["schema AAPL 1d -"]),
    ("columns_lost", lambda d: series(d).pop("columns"), ["schema AAPL 1m -"]),
    ("quotes_lost_columns", lambda d: session(d)["quotes"].pop("columns"), ["schema AAPL - -"]),
    ("nested_deeply", lambda d: put(aapl(d)["quality"], **{"1m": deep()}),
     ["schema AAPL - -", "quality_map AAPL 1m -"]),
    ("backward_segment", lambda d: d["session"]["segments"][0].reverse(), ["session - - -"]),
    ("other_open", lambda d: put(d["session"], open=M + "13:31:00+00:00"), ["session - - -"]),
    ("naive_now", lambda d: put(d["session"], now=M + "14:06:00"), ["session - - -"]),
    ("no_date", lambda d: put(d["session"], date=None),
     ["session AAPL 1m 13:30:00", "session AAPL 5m 13:30:00", "session TSLA 1m 14:00:00"]),
    ("no_such_zone", lambda d: put(d["session"], timezone="New York"), ["session - - -"]),
    ("far_from_its_segments", lambda d: put(d["session"], date="2025-07-04"), ["session - - -"]),
    ("of_eight_days", lambda d:
        d["session"]["segments"][1].__setitem__(1, "2025-07-10T14:10:00+00:00"),
     ["session - - -"]),
    ("segment_out_of_time", lambda d:
        d["session"]["segments"][0].__setitem__(0, "0001-01-01T00:00:00+00:00"),
     ["session - - -"]),
    ("segment_of_three", lambda d: d["session"]["segments"][0].append(None), ["session - - -"]),
    ("other_name", lambda d: put(aapl(d), symbol="APPL"), ["symbol AAPL - -"]),
    ("unknown", lambda d: put(aapl(d), base_interval="7x"), ["base_interval AAPL - -"]),
    ("coarser", lambda d: put(aapl(d), base_interval="5m"),
     ["base_interval AAPL 5m -", "last_update AAPL 5m 14:00:00",
      "session_volume AAPL - -", "n_base AAPL 5m 13:30:00"]),
    ("other_spelling", lambda d: put(aapl(d), base_interval="60s"),
     ["base_interval AAPL - -", "base_interval AAPL 5m -"]),
    ("derived_from_another", lambda d: put(aapl(d), base_interval="30s"),
     ["base_interval AAPL 5m -"]),
    ("one_more", lambda d: put(series(d), count=13), ["count AAPL 1m -"]),
    ("ticks", lambda d: put(session(d)["ticks"], count=3), ["count AAPL - -"]),
    ("quotes_lost", lambda d: put(session(d)["quotes"], count=2), ["count AAPL - -"]),
    ("without_base", lambda d: put(series(d, "5m"), base=None),
     ["generated AAPL 5m -", "base_interval AAPL 5m -"]),
    ("from_coarser", lambda d: put(series(d, "5m"), base="15m"),
     ["generated AAPL 5m -", "base_interval AAPL 5m -"]),
    ("base_of_base", lambda d: put(series(d), base="1s"), ["generated AAPL 1m -"]),
    ("not_generated", lambda d: put(series(d, "5m"), generated=False, base=None),
     ["n_base AAPL 5m -"]),
    ("one_too_many", put_cell(1, 6, 3, "5m"), ["n_base AAPL 5m 13:35:00"]),
    ("swapped_rows", swap_first_rows, ["order AAPL 1m 13:30:00"]),
    ("same_slot_twice", repeat_first_row,
     ["order AAPL 1m 13:30:00", "coverage AAPL 1m -", "quality AAPL 1m -",
      "session_volume AAPL - -"]),
    ("null_close", put_cell(4, 4, None), ["finite AAPL 1m 13:36:00"]),
    ("close_above_high", put_cell(5, 4, 103.5),
     ["ohlc AAPL 1m 13:39:00", "derived_close AAPL 5m 13:35:00"]),
    ("open_below_low", put_cell(5, 1, 101.25), ["ohlc AAPL 1m 13:39:00"]),
    ("high_below_low", put_cell(11, 2, 99.0), ["ohlc AAPL 1m 14:05:00"]),
    ("negative", put_cell(0, 5, -1000),
     ["volume AAPL 1m 13:30:00", "session_volume AAPL - -", "derived_volume AAPL 5m 13:30:00"]),
    ("in_the_lunch_break", put_cell(5, 0, M + "13:45:00+00:00"),
     ["in_session AAPL 1m 13:45:00", "gaps AAPL 1m 13:39:00", "derived_high AAPL 5m 13:35:00",
      "derived_close AAPL 5m 13:35:00", "derived_volume AAPL 5m 13:35:00",
      "n_base AAPL 5m 13:35:00"]),
    ("before_the_open", put_cell(0, 0, M + "13:29:00+00:00"),
     ["in_session AAPL 1m 13:29:00", "gaps AAPL 1m 13:30:00", "derived_open AAPL 5m 13:30:00",
      "derived_low AAPL 5m 13:30:00", "derived_volume AAPL 5m 13:30:00",
      "n_base AAPL 5m 13:30:00"]),
    ("half_a_minute_off", put_cell(5, 0, M + "13:39:30+00:00"),
     ["grid AAPL 1m 13:39:30", "gaps AAPL 1m 13:39:00"]),
    ("open_bar_shown", leave_open_bar_in,
     ["closed AAPL 5m 14:05:00", "coverage AAPL 5m -", "quality AAPL 5m -",
      "derived_slots AAPL 5m 14:05:00"]),
    ("one_less", lambda d: put(series(d)["gaps"], gap_count=2), ["gap_count AAPL 1m -"]),
    ("one_less", lambda d: put(series(d)["gaps"], missing_bars=3), ["missing_bars AAPL 1m -"]),
    ("of_a_ring", evict_too_many,
     ["missing_bars AAPL 1m -", "coverage AAPL 1m -", "quality AAPL 1m -"]),
    ("without_rows", lambda d:
        [drop_rows(d, "NVDA"), d["symbols"]["NVDA"]["session"].update(as_of=M + "14:10:00+00:00")],
     ["missing_bars NVDA 1m -", "explained_quality NVDA 1m -", "gaps NVDA 5m 14:05:00",
      "explained_quality NVDA 5m -"]),
    ("bar_count", lambda d: put(series(d)["gaps"]["ranges"][2], bar_count=1),
     ["gap_range AAPL 1m 13:37:00", "missing_bars AAPL 1m -"]),
    ("off_grid", lambda d: put(series(d)["gaps"]["ranges"][0], start_time=M + "13:33:30+00:00"),
     ["gap_range AAPL 1m 13:33:30"]),
    ("backwards", lambda d:
        put(gap(2)(d), start_time=M + "13:38:00+00:00", end_time=M + "13:37:00+00:00"),
     ["gap_range AAPL 1m 13:38:00"]),
    ("not_over", gap_ahead, ["gap_range AAPL 1m 14:06:00"]),
    ("of_no_bars", lambda d: put(gap()(d), bar_count=0),
     ["gap_range AAPL 1m 13:35:00", "missing_bars AAPL 1m -", "explained_quality AAPL 1m -"]),
    ("over_a_bar", widen_gap, ["gaps AAPL 1m 13:34:00", "gap_order AAPL 1m 13:35:00"]),
    ("one_forgotten", lambda d: series(d)["gaps"]["ranges"].pop(),
     ["gaps AAPL 1m 13:37:00", "gap_count AAPL 1m -", "missing_bars AAPL 1m -"]),
    ("behind_a_ring", evict_and_lose,
     ["gaps AAPL 1m 14:01:00", "missing_bars AAPL 1m -", "coverage AAPL 1m -", "quality AAPL 1m -",
      "derived_volume AAPL 5m 14:00:00", "n_base AAPL 5m 14:00:00"]),
    ("over_a_bar_beside_one_left_out", leave_out,
     ["gaps AAPL 5m 13:30:00", "coverage AAPL 5m -", "quality AAPL 5m -"]),
    ("better_than_it_is", lambda d: put(series(d), quality=81.25),
     ["quality AAPL 1m -", "quality_map AAPL 1m -"]),
    ("absent", lambda d: put(series(d), quality=None),
     ["quality AAPL 1m -", "quality_map AAPL 1m -"]),
    ("as_percent", lambda d: put(series(d), coverage=75.0), ["coverage AAPL 1m -"]),
    ("other_value", lambda d: put(aapl(d)["quality"], **{"5m": 99.0}), ["quality_map AAPL 5m -"]),
    ("one_more", lambda d: put(session(d), volume=3651), ["session_volume AAPL - -"]),
    ("of_no_bar", lambda d: put(session(d), high=103.5), ["session_high AAPL - -"]),
    ("absent", lambda d: put(session(d), low=None), ["session_low AAPL - -"]),
    ("row_missing", drop_row("5m", 1),
     ["derived_slots AAPL 5m 13:35:00", "gaps AAPL 5m 13:35:00", "coverage AAPL 5m -",
      "quality AAPL 5m -"]),
    ("without_base_bars", lambda d: [drop_row("1m", 4)(d), drop_row("1m", 4)(d)],
     ["derived_slots AAPL 5m 13:35:00", "gaps AAPL 1m 13:36:00", "coverage AAPL 1m -",
      "quality AAPL 1m -", "session_high AAPL - -", "session_volume AAPL - -"]),
    ("of_a_bucket_without_base", lambda d: put_cell(1, 0, M + "14:05:00+00:00", "5m")(d),
     ["derived_slots AAPL 5m 14:05:00", "derived_slots AAPL 5m 13:35:00", "order AAPL 5m 14:00:00",
      "closed AAPL 5m 14:05:00", "gaps AAPL 5m 13:35:00"]),
    ("other", put_cell(1, 1, 101.5, "5m"), ["derived_open AAPL 5m 13:35:00"]),
    ("other", put_cell(1, 2, 103.5, "5m"), ["derived_high AAPL 5m 13:35:00"]),
    ("other", put_cell(1, 3, 100.75, "5m"), ["derived_low AAPL 5m 13:35:00"]),
    ("other", put_cell(1, 4, 102.75, "5m"), ["derived_close AAPL 5m 13:35:00"]),
    ("other", put_cell(1, 5, 650.001, "5m"), ["derived_volume AAPL 5m 13:35:00"]),
    ("denied", lambda d: put(aapl(d)["historical"], loaded=False), ["historical_loaded AAPL - -"]),
    ("one_more", lambda d: put(days(d), count=3),
     ["historical_count AAPL 1d -", "historical_count AAPL 1d -"]),
    ("one_day_more", lambda d: put(days(d)["days"], **{"2025-07-01": 2}),
     ["historical_count AAPL 1d -"]),
    ("the_session_itself", lambda d: days(d).update(days={"2025-06-30": 1, "2025-07-02": 1}),
     ["historical_days AAPL 1d -"]),
    ("descending", lambda d: days(d).update(days={"2025-07-01": 1, "2025-06-30": 1}),
     ["historical_days AAPL 1d -", "historical_days AAPL 1d 2025-07-01T13:30:00"]),
    ("row_of_another_day", lambda d: days(d)["data"][1].__setitem__(0, M + "13:30:00+00:00"),
     ["historical_days AAPL 1d 13:30:00"]),
    ("reversed", lambda d: days(d)["data"].reverse(),
     ["historical_order AAPL 1d 2025-06-30T13:30:00",
      "historical_days AAPL 1d 2025-07-01T13:30:00"]),
    ("low_above_open", lambda d: days(d)["data"][0].__setitem__(3, 97.5),
     ["historical_ohlc AAPL 1d 2025-06-30T13:30:00"]),
    ("null", lambda d: days(d)["data"][0].__setitem__(3, None),
     ["historical_finite AAPL 1d 2025-06-30T13:30:00"]),
    ("negative", lambda d: days(d)["data"][0].__setitem__(5, -1),
     ["historical_volume AAPL 1d 2025-06-30T13:30:00"]),
    ("text", put_historical("3100"), ["historical_indicator AAPL - -"]),
    ("flag", put_historical([True]), ["historical_indicator AAPL - -"]),
    ("nested", put_historical([[3100.0]]), ["historical_indicator AAPL - -"]),
    ("of_no_name", lambda d: aapl(d)["rejected"].update(too_late=1), ["rejected AAPL - -"]),
    ("bars_reason_of_a_quote", lambda d: aapl(d)["rejected"].update(quote_off_grid=1),
     ["rejected AAPL - -"]),
    ("quote_without_bid", put_event("quotes", 1, None), ["events AAPL - 14:05:30.250000"]),
    ("quote_of_negative_size", put_event("quotes", 4, -5), ["events AAPL - 14:05:30.250000"]),
    ("tick_before_the_open", put_event("ticks", 0, M + "13:29:59+00:00"),
     ["events AAPL - 13:29:59"]),
    ("tick_after_the_close", put_event("ticks", 0, M + "14:10:01+00:00"),
     ["events AAPL - 14:10:01"]),
    ("never", put_error(n=0), ["errors AAPL - 14:01:00"]),
    ("before_the_open", put_error(first=M + "13:29:59+00:00"), ["errors AAPL - 13:29:59"]),
    ("yet_to_come", put_error(first=M + "14:06:01+00:00"), ["errors AAPL - 14:06:01"]),
    ("no_such_series", put_indicator(interval="15m"), ["indicator_interval AAPL 15m -"]),
    ("without_value", put_indicator(value=None), ["indicator_ready AAPL 1m 14:06:00"]),
    ("yet_to_come", put_indicator(timestamp=M + "14:06:01+00:00"),
     ["indicator_time AAPL 1m 14:06:01"]),
    ("broker", put_flags("AAPL", added_by="broker"),
     ["provenance.added_by_known AAPL - -", "provenance.added_later_has_time AAPL - -"]),
    ("does_not", put_flags("AAPL", meets_session_config_requirements=False),
     ["provenance.loaded_config_meets AAPL - -"]),
    ("meets", put_flags("TSLA", meets_session_config_requirements=True),
     ["provenance.adhoc_not_meets TSLA - -", "provenance.provisioned_meets_by_upgrade TSLA - -"]),
    ("is_not", put_flags("TSLA", auto_provisioned=False),
     ["provenance.adhoc_is_provisioned TSLA - -"]),
    ("by_scanner", put_flags("TSLA", added_by="scanner"),
     ["provenance.provisioned_is_adhoc TSLA - -"]),
    ("no_upgrade", put_flags("NVDA", upgraded_from_adhoc=False),
     ["provenance.provisioned_meets_by_upgrade NVDA - -",
      "provenance.provisioned_is_adhoc NVDA - -"]),
    ("does_not", put_flags("NVDA", meets_session_config_requirements=False),
     ["provenance.upgraded_meets NVDA - -"]),
    ("was_not", put_flags("NVDA", auto_provisioned=False),
     ["provenance.upgraded_was_provisioned NVDA - -"]),
    ("adhoc", put_flags("NVDA", added_by="adhoc"),
     ["provenance.upgraded_has_requester NVDA - -", "provenance.adhoc_not_meets NVDA - -"]),
    ("has_time", put_flags("AAPL", added_at="2025-07-02T14:00:00+00:00"),
     ["provenance.config_before_open AAPL - -"]),
    ("has_none", put_flags("NVDA", added_at=None), ["provenance.added_later_has_time NVDA - -"]),
    ("swapped", swap_gaps, ["gap_order AAPL 1m 13:33:00"]),
    ("in_two", split_gap, ["gap_order AAPL 1m 13:38:00"]),
    ("twice", lambda d: series(d)["gaps"]["ranges"].insert(0, gap(0)(d)),
     ["gap_order AAPL 1m 13:33:00", "gap_count AAPL 1m -", "missing_bars AAPL 1m -"]),
    ("holiday", lambda d: put(gap()(d), reason="holiday"), ["gap_reason AAPL 1m 13:35:00"]),
    ("late_start_at_noon", lambda d: put(gap()(d), reason="late_start"),
     ["gap_reason AAPL 1m 13:35:00"]),
    ("truncated_before_the_end", lambda d: put(gap()(d), reason="truncated"),
     ["gap_reason AAPL 1m 13:35:00"]),
    ("other_than_the_base", lambda d: put(gap(0, "NVDA", "5m")(d), reason="outage"),
     ["gap_reason NVDA 5m 13:30:00"]),
    ("explained_though_the_base_is_not", lambda d: put(gap(0, "NVDA", "5m")(d), reason="no_trade"),
     ["gap_reason NVDA 5m 13:30:00", "explained_quality NVDA 5m -"]),
    ("more_silent_than_peers", put_evidence(n_silent=3), ["gap_evidence AAPL 1m 13:35:00"]),
    ("fill_rate_as_percent", put_evidence(fill_rate=75), ["gap_evidence AAPL 1m 13:35:00"]),
    ("fill_rate_below_zero", put_evidence(fill_rate=-0.1), ["gap_evidence AAPL 1m 13:35:00"]),
    ("expected_below_zero", put_evidence(expected_per_day=-0.5), ["gap_evidence AAPL 1m 13:35:00"]),
    ("that_of_quality", lambda d: put(series(d), explained_quality=75.0),
     ["explained_quality AAPL 1m -"]),
    ("absent", lambda d: put(series(d), explained_quality=None), ["explained_quality AAPL 1m -"]),
    ("of_other_reasons", lambda d: put(gap(0)(d), reason="unknown"),
     ["explained_quality AAPL 1m -"]),
    ("a_minute_ago", lambda d: put(session(d), last_update=M + "14:05:00+00:00"),
     ["last_update AAPL 1m 14:05:00"]),
    ("of_no_bar", lambda d: put(d["symbols"]["NVDA"]["session"], last_update=M + "14:05:00+00:00"),
     ["last_update NVDA 1m -"]),
    ("none", lambda d: put(session(d), last_update=None), ["last_update AAPL 1m 14:05:00"]),
    ("none", lambda d: put(days(d)["gaps"], gap_count=0), ["historical_gap_count AAPL 1d -"]),
    ("one_less", lambda d: put(days(d)["gaps"], missing_bars=1),
     ["historical_missing_bars AAPL 1d -"]),
    ("twice", lambda d:
        [days(d)["gaps"].update(gap_count=2, missing_bars=4, ranges=2 * days(d)["gaps"]["ranges"])],
     ["historical_gap_order AAPL 1d 2025-06-26T13:30:00"]),
    ("holiday", put_day(reason="holiday"), ["historical_gap_reason AAPL 1d 2025-06-26T13:30:00"]),
    ("more_silent_than_peers", lambda d:
        days(d)["gaps"]["ranges"][0].update(evidence=evidence(n_silent=3)),
     ["historical_gap_evidence AAPL 1d 2025-06-26T13:30:00"]),
]  # fmt: skip

#: The same of texts that are no dump, or hold a symbol that is none.
NO_DUMPS: list[tuple[str, bytes, list[str]]] = [
    ("cut_short", b"{", ["schema - - -"]),
    ("list", b"[1, 2]", ["schema - - -"]),
    ("another_object", b'{"symbols": {}}', ["schema - - -"]),
    ("later_version", b'{"schema_version": 2, "session": {}, "symbols": {}}', ["schema - - -"]),
    ("true_version", b'{"schema_version": true, "session": {}, "symbols": {}}', ["schema - - -"]),
    ("no_symbols", b'{"schema_version": 1, "session": {}}', ["schema - - -"]),
    ("nested_deeply", b'{"schema_version": ' + b"[" * 100_000, ["schema - - -"]),
    ("number_beyond_floats", NO_DAY % b'{"A": {"B": 1e999}, "B": 3}',
     ["schema - - -", "schema B - -"]),
    ("half_a_letter", NO_DAY % b'{"A": "\xc3"}', ["schema - - -"]),
]  # fmt: skip

#: The same of a reader's complete dump and two deltas.
DELTA_FAULTS: list[tuple[str, Callable[[list[Any]], Any], list[str]]] = [
    ("one_lost", lambda exports: exports.pop(1), ["delta_sequence - - -"]),
    ("twice", lambda exports: exports.insert(1, exports[1]), ["delta_sequence - - -"]),
    ("no_complete_one", lambda exports: exports.pop(0), ["delta_sequence - - -"]),
    ("one_alone", lambda exports: exports.__delitem__(slice(2)), ["delta_sequence - - -"]),
    ("of_two_readers", lambda exports: exports[1]["delta"].update(reader="other"),
     ["delta_sequence - - -", "delta_sequence - - -"]),
    ("of_no_reader", lambda exports: exports[2].pop("delta"), ["delta_sequence - - -"]),
    ("absent", lambda exports: exports.__setitem__(1, "absent.json"),
     ["schema - - -", "delta_sequence - - -"]),
    ("other_volume", lambda exports: exports[2]["symbols"]["AAPL"]["session"].update(volume=1),
     ["session_volume AAPL - -"]),
]  # fmt: skip

CHECKER = Path(inspect.getfile(Findings)).parent

#: What the names of rules are made of, where the code has no plain text for them.
EXPANSIONS: dict[str, list[str]] = {
    "rule": ["schema", "delta_sequence"],
    "key": ["coverage", "quality", "explained_quality"],
    "f'session_{key}'": ["session_high", "session_low"],
    "f'derived_{price}'": [f"derived_{price}" for price in ("open", "high", "low", "close")],
    "f'provenance.{rule.name}'": [f"provenance.{rule.name}" for rule in RULES],
    **{
        f"f'{{prefix}}{name}'": [name, f"historical_{name}"]
        for name in (
            "order", "finite", "ohlc", "volume", "gap_count", "missing_bars", "gap_order",
            "gap_reason", "gap_evidence",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "lines"),
    [(plant, lines) for _, plant, lines in FAULTS],
    ids=[f"{lines[0].split()[0]}-{name}" for name, _, lines in FAULTS],
)
def test_check_fault_in_a_dump_gives_just_its_lines(
    tmp_path: Path, plant: Plant, lines: list[str]
) -> None:
    dump = golden()
    plant(dump)
    found = validate_session_dump(dump)
    assert sorted(map(line_of, found)) == sorted(lines)
    assert all("\n" not in str(one) for one in found)


@pytest.mark.parametrize(
    ("plant", "lines"),
    [(plant, lines) for _, plant, lines in LOG_FAULTS],
    ids=[f"{lines[0].split()[0]}-{name}" for name, _, lines in LOG_FAULTS],
)
def test_check_fault_in_a_log_gives_just_its_lines(
    tmp_path: Path, plant: Callable[[Any], Any], lines: list[str]
) -> None:
    rows = golden_log()
    plant(rows)
    found = validate_session_dump(write_log(tmp_path / "log.csv", rows))
    assert sorted(map(line_of, found)) == sorted(lines)


@pytest.mark.parametrize(
    ("suffix", "text", "lines"),
    [(".json", text, lines) for _, text, lines in NO_DUMPS]
    + [(".csv", text, lines) for _, text, lines in NO_LOGS],
    ids=[name for name, *_ in NO_DUMPS + NO_LOGS],
)
def test_check_file_of_something_else_gives_schema_lines(
    tmp_path: Path, suffix: str, text: bytes, lines: list[str]
) -> None:
    path = tmp_path / f"dump{suffix}"
    path.write_bytes(text)
    assert [line_of(one) for one in validate_session_dump(path)] == lines


def take_exports() -> list[Any]:
    """A complete dump and two deltas of a real session, in each of which AAPL has a bar more."""
    root = make_session()
    exports: list[Any] = [root.to_json()]
    for minute in (6, 7):
        root["AAPL"].append(ns(at(14, minute)), 99.0, 99.0, 99.0, 99.0, 10.0)
        root.advance(ns(at(14, minute + 1)))
        exports.append(root.to_json(complete=False))
    return exports


def test_check_deltas_in_sequence_break_no_rule() -> None:
    assert validate_session_dump(take_exports()) == []


@pytest.mark.parametrize(
    ("plant", "lines"),
    [(plant, lines) for _, plant, lines in DELTA_FAULTS],
    ids=[f"{lines[0].split()[0]}-{name}" for name, _, lines in DELTA_FAULTS],
)
def test_check_fault_in_deltas_gives_just_its_lines(
    plant: Callable[[list[Any]], Any], lines: list[str]
) -> None:
    exports = take_exports()
    plant(exports)
    assert [line_of(one) for one in validate_session_dump(exports)] == lines


def places() -> dict[tuple[str, int], ast.Call]:
    """Where the checker's code reports something: the calls by file and line."""
    found = {}
    for path in CHECKER.glob("check*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if (
                    node.func.attr in ("add", "rows")
                    and isinstance(owner, ast.Name)
                    and owner.id.endswith("findings")
                ):
                    found[path.name, node.lineno] = node
    return found


def test_check_every_rule_the_code_can_name_has_a_planted_fault() -> None:
    named: set[str] = set()
    for call in places().values():
        rule = call.args[0]
        if isinstance(rule, ast.Constant):
            named.add(str(rule.value))
        else:
            named.update(EXPANSIONS[ast.unparse(rule)])
    planted = {lines[0].split()[0] for _, _, lines in (*FAULTS, *LOG_FAULTS, *DELTA_FAULTS)}
    assert named == planted


def test_check_every_place_that_reports_is_reached_by_a_planted_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: set[tuple[str, int]] = set()
    real_add, real_rows = Findings.add, Findings.rows

    def note(code: CodeType, line: int) -> None:
        reached.add((Path(code.co_filename).name, line))

    def add(self: Findings, *args: Any, **options: Any) -> None:
        frame = sys._getframe(1)
        note(frame.f_code, frame.f_lineno)
        real_add(self, *args, **options)

    def rows(self: Findings, rule: str, bad: Any, *args: Any) -> None:
        if bad.any():
            frame = sys._getframe(1)
            note(frame.f_code, frame.f_lineno)
        real_rows(self, rule, bad, *args)

    monkeypatch.setattr(Findings, "add", add)
    monkeypatch.setattr(Findings, "rows", rows)
    for _, plant, _ in FAULTS:
        dump = golden()
        plant(dump)
        validate_session_dump(dump)
    for _, plant_log, _ in LOG_FAULTS:
        rows_of_log = golden_log()
        plant_log(rows_of_log)
        validate_session_dump(write_log(tmp_path / "log.csv", rows_of_log))
    for _, plant_delta, _ in DELTA_FAULTS:
        exports = take_exports()
        plant_delta(exports)
        validate_session_dump(exports)
    for suffix, texts in ((".json", NO_DUMPS), (".csv", NO_LOGS)):
        for _, text, _ in texts:
            (tmp_path / f"dump{suffix}").write_bytes(text)
            validate_session_dump(tmp_path / f"dump{suffix}")
    assert sorted(places().keys() - reached) == []
