"""Reading a JSON dump back into arrays."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbell.errors import DumpError, OpenbellError
from openbell.export import load_session_dump
from openbell.export.load import RowError, parse_bars, parse_times, read_dump
from openbell.schema import BAR_DTYPE
from tests.golden_dump import GOLDEN, NO_DAY, golden

#: 2025-07-02T13:30:00Z, by `date -u -d 2025-07-02T13:30:00Z +%s`.
OPEN_NS = 1_751_463_000 * 10**9
MINUTE_NS = 60 * 10**9


def test_load_golden_gives_bars_as_arrays() -> None:
    dump = load_session_dump(GOLDEN)
    assert list(dump.symbols) == ["AAPL", "TSLA", "NVDA"]
    bars = dump.symbols["AAPL"].bars["1m"]
    assert bars.dtype == BAR_DTYPE
    assert bars[3].tolist() == (OPEN_NS + 4 * MINUTE_NS, 101.75, 101.75, 101.0, 101.25, 150.0)
    minutes = ((bars["timestamp"] - OPEN_NS) // MINUTE_NS).tolist()
    assert minutes == [0, 1, 2, 4, 6, 9, 30, 31, 32, 33, 34, 35]
    assert dump.symbols["TSLA"].bars["1m"]["volume"].tolist() == [12.5]
    assert len(dump.symbols["NVDA"].bars["1m"]) == 0


def test_load_golden_gives_what_stands_beside_the_bars() -> None:
    dump = load_session_dump(GOLDEN)
    aapl = dump.symbols["AAPL"]
    assert dump.session["calendar"] == "custom"
    assert aapl.n_base["5m"].tolist() == [4, 2, 5]
    assert aapl.n_base["5m"].dtype == np.int32
    assert "1m" not in aapl.n_base
    assert aapl.quality == {"1m": 75.0, "5m": 100.0}
    assert aapl.coverage == {"1m": 0.75, "5m": 1.0}
    assert aapl.explained_quality == {"1m": 75.0, "5m": 100.0}
    assert [gap["bar_count"] for gap in aapl.gaps["1m"]] == [1, 1, 2]
    assert aapl.session["high"] == 103.25
    assert aapl.metadata["added_by"] == "config"
    assert aapl.rejected == {"high_below_low": 2}
    assert [(item["where"], item["n"]) for item in aapl.errors] == [("indicator rsi", 2)]
    assert dump.symbols["NVDA"].errors == []


def test_load_golden_splits_history_by_date() -> None:
    aapl = load_session_dump(GOLDEN).symbols["AAPL"]
    days = aapl.historical["1d"]
    assert list(days) == [date(2025, 6, 30), date(2025, 7, 1)]
    assert days[date(2025, 7, 1)]["close"].tolist() == [100.0]
    assert aapl.historical_quality == {"1d": 100.0}
    assert aapl.historical_indicators == {"avg_volume_2d": 3100.0}


def test_load_times_in_any_offset_are_the_same_instants() -> None:
    forms = ["2025-07-02T13:30:00+00:00", "2025-07-02T13:30:00Z", "2025-07-02T09:30:00-04:00"]
    assert parse_times(forms).tolist() == [OPEN_NS] * 3
    assert parse_times(forms[:2]).tolist() == [OPEN_NS] * 2
    assert parse_times(["2025-07-02T13:30:00.000000007Z"]).tolist() == [OPEN_NS + 7]


@pytest.mark.parametrize(
    "text", ["2025-07-02T13:30:00", "NaT", "nowZ", "2025Z", "", 5, None, [], {},
     "2025-07-02T13:30:00+01:00Z", "2025-07-02T13+01:00Z", "1677-01-01T00:00:00Z",
     "2263-01-01T00:00:00+00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59",
     "2025-07-02T24:30:00Z"],
)  # fmt: skip
def test_load_times_that_are_no_instants_are_refused(text: Any) -> None:
    with pytest.raises(OpenbellError):
        parse_times(["2025-07-02T13:30:00Z", text])


def test_load_dump_with_z_suffix_equals_the_one_with_offset(tmp_path: Path) -> None:
    path = tmp_path / "z.json"
    path.write_text(GOLDEN.read_text().replace("+00:00", "Z"))
    other, golden = load_session_dump(path), load_session_dump(GOLDEN)
    for name, symbol in golden.symbols.items():
        for interval, bars in symbol.bars.items():
            np.testing.assert_array_equal(other.symbols[name].bars[interval], bars)


def test_load_absent_numbers_become_nan(tmp_path: Path) -> None:
    tree = json.loads(GOLDEN.read_text())
    tree["symbols"]["TSLA"]["session"]["data"]["1m"]["data"][0][3] = None
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    assert np.isnan(load_session_dump(path).symbols["TSLA"].bars["1m"]["low"][0])


def test_load_gaps_keep_their_reasons_and_evidence(tmp_path: Path) -> None:
    tree = golden()
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    aapl = load_session_dump(path).symbols["AAPL"]
    assert [gap["reason"] for gap in aapl.gaps["1m"]] == ["no_trade", "outage", "no_trade"]
    assert aapl.gaps["1m"][1]["evidence"] == {
        "fill_rate": 0.75, "expected_per_day": 0.5, "n_peers": 2, "n_silent": 2, "n_coarser": 0,
        "disconnected": False,
    }  # fmt: skip
    assert "evidence" not in aapl.gaps["1m"][0]
    assert aapl.explained_quality == {"1m": 93.75, "5m": 100.0}


def test_load_dump_of_an_openbell_that_explained_nothing_has_no_explained_quality(
    tmp_path: Path,
) -> None:
    tree = json.loads(GOLDEN.read_text())
    for symbol in tree["symbols"].values():
        for series in symbol["session"]["data"].values():
            series.pop("explained_quality", None)
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    aapl = load_session_dump(path).symbols["AAPL"]
    assert aapl.explained_quality == {}
    assert aapl.quality == {"1m": 75.0, "5m": 100.0}


def test_load_symbols_go_on_behind_one_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(NO_DAY % b'{"A": [1], "B": 1e999, "C": [3]}')
    _, symbols = read_dump(path)
    assert next(symbols) == ("A", [1])
    with pytest.raises(DumpError, match=r"symbols\.B"):
        next(symbols)
    assert list(symbols) == [("C", [3])]
    with pytest.raises(DumpError):
        load_session_dump(path)


@pytest.mark.parametrize("value", ["1.5", True, [], 10**400, {}])
def test_load_row_with_something_that_is_no_number_says_which(value: Any) -> None:
    series = json.loads(GOLDEN.read_text())["symbols"]["AAPL"]["session"]["data"]["5m"]
    series["data"][1][2] = value
    with pytest.raises(RowError, match="'high'") as caught:
        parse_bars(series)
    assert caught.value.row == 1
    assert caught.value.time_in(series) == OPEN_NS + 5 * MINUTE_NS


@pytest.mark.parametrize("value", [None, 2.0, -1, 2**32, "2"])
def test_load_row_whose_n_base_is_no_count_is_refused(value: Any) -> None:
    series = json.loads(GOLDEN.read_text())["symbols"]["AAPL"]["session"]["data"]["5m"]
    series["data"][2][6] = value
    with pytest.raises(RowError, match=r"row 2 has .* for 'n_base'"):
        parse_bars(series)


def test_load_times_that_were_read_before_are_read_once() -> None:
    known: dict[Any, int] = {}
    texts = ["2025-07-02T13:30:00Z", "2025-07-02T13:31:00+00:00"]
    assert parse_times(texts, known).tolist() == [OPEN_NS, OPEN_NS + MINUTE_NS]
    assert known == {texts[0]: OPEN_NS, texts[1]: OPEN_NS + MINUTE_NS}
    known[texts[0]] = 7
    assert parse_times(texts, known).tolist() == [7, OPEN_NS + MINUTE_NS]
    with pytest.raises(OpenbellError):
        parse_times([texts[0], []], known)


def test_load_dump_of_an_openbell_that_noted_no_errors_has_none(tmp_path: Path) -> None:
    tree = json.loads(GOLDEN.read_text())
    for symbol in tree["symbols"].values():
        del symbol["errors"]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    assert [symbol.errors for symbol in load_session_dump(path).symbols.values()] == [[], [], []]


def test_load_dump_without_rows_gives_empty_arrays(tmp_path: Path) -> None:
    tree = json.loads(GOLDEN.read_text())
    for symbol in tree["symbols"].values():
        for series in [*symbol["session"]["data"].values(), *symbol["historical"]["data"].values()]:
            del series["columns"], series["data"]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    aapl = load_session_dump(path).symbols["AAPL"]
    assert len(aapl.bars["1m"]) == 0
    assert aapl.quality["1m"] == 75.0
    assert {day: len(bars) for day, bars in aapl.historical["1d"].items()} == {
        date(2025, 6, 30): 0,
        date(2025, 7, 1): 0,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree.update(schema_version=2), "schema_version 2; this openbell reads 1"),
        (lambda tree: tree.pop("schema_version"), "not a session dump"),
        (lambda tree: tree.pop("symbols"), "'symbols'"),
        (lambda tree: tree["symbols"]["TSLA"].pop("metadata"), "symbols.TSLA: no key 'metadata'"),
        (lambda tree: tree["symbols"].update(TSLA=3), "symbols.TSLA"),
        (
            lambda tree: tree["symbols"]["AAPL"]["session"]["data"]["1m"]["columns"].reverse(),
            "columns",
        ),
        (
            lambda tree: tree["symbols"]["AAPL"]["historical"]["data"]["1d"]["days"].popitem(),
            "'days' counts 1 rows, 'data' has 2",
        ),
    ],
)
def test_load_tree_that_is_no_dump_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    tree = json.loads(GOLDEN.read_text())
    change(tree)
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(DumpError) as caught:
        load_session_dump(path)
    assert caught.value.path == str(path)
    assert words in str(caught.value)


def test_load_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(GOLDEN.read_text()[:4000])
    with pytest.raises(DumpError, match="not a JSON dump"):
        load_session_dump(path)


def test_load_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="No such file"):
        load_session_dump(tmp_path / "nothing.json")
