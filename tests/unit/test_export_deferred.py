"""Rows and ranges written natively: the file says what the tree of the same moment says."""

from __future__ import annotations

import json
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.export import session_to_dict, write_session_json
from openbell.export.deferred import DeferredRows
from openbell.export.texts import Labels
from openbell.gaps import GapRuns
from openbell.schema import BAR_DTYPE, GAP_NOTE_DTYPE, TICK_DTYPE
from tests.export_session import at, daily_bar, make_session, make_window, ns


def written(root: ob.SessionData, path: Path, **options: Any) -> str:
    """The dump's text, without the white space around its symbols."""
    write_session_json(root, path, **options)
    return path.read_text().replace("\n", "")


def write(deferred: DeferredRows, out: BytesIO, tree: object) -> None:
    deferred.encode(tree)
    deferred.flush(out)


def as_text(tree: object) -> str:
    # Not compared as values: 1 and 1.0 would be equal, and keys in any order.
    return json.dumps(tree, separators=(",", ":"))


def test_deferred_rows_file_has_the_text_of_the_tree(tmp_path: Path) -> None:
    root = make_session()
    root["AAPL"].historical_bars["1d"][date(2025, 6, 27)] = daily_bar(
        date(2025, 6, 27), 97.0, np.nan, 0.1 + 0.2, 98.0, 3000.5
    )
    assert written(root, tmp_path / "dump.json") == as_text(session_to_dict(root))
    for options in ({"bars": False}, {"intervals": ["5m"]}):
        assert written(root, tmp_path / "dump.json", **options) == as_text(
            session_to_dict(root, **options)
        )


def test_deferred_rows_of_a_root_without_session_and_of_one_without_symbols(tmp_path: Path) -> None:
    root = ob.SessionData()
    assert written(root, tmp_path / "dump.json") == as_text(session_to_dict(root))
    root.register_symbol("AAPL")
    assert written(root, tmp_path / "dump.json") == as_text(session_to_dict(root))


def test_deferred_rows_of_gaps_with_evidence_have_the_text_of_the_tree(tmp_path: Path) -> None:
    root = make_session()
    manager = ob.DataQualityManager(root)
    manager.note_disconnect(at(13, 37), at(13, 38), ["AAPL"])
    manager.update()
    tree = session_to_dict(root)
    ranges = tree["symbols"]["AAPL"]["session"]["data"]["1m"]["gaps"]["ranges"]
    [outage] = [one for one in ranges if one["reason"] == "outage"]
    assert outage["evidence"]["disconnected"] is True
    assert written(root, tmp_path / "dump.json") == as_text(tree)


def test_deferred_rows_of_a_bar_that_arrives_meanwhile_are_of_one_instant(tmp_path: Path) -> None:
    root = make_session()
    record = root["AAPL"]
    n_bars = len(record.bars["1m"])

    class Late:
        """Asked for its text when the bars have been looked at, and are not text yet."""

        def __str__(self) -> str:
            if len(record.bars["1m"]) == n_bars:
                record.append(ns(at(13, 33)), 101.75, 101.875, 101.5, 101.5, 7)
            return "came"

    record.historical_indicators["late"] = Late()
    text = written(root, tmp_path / "dump.json")
    assert len(record.bars["1m"]) == n_bars + 1
    assert '["2025-07-02T13:33:00+00:00",101.75,101.875,101.5,101.5,7' in text
    assert text == as_text(session_to_dict(root))


def test_deferred_rows_of_ticks_between_seconds_have_the_text_of_the_tree(tmp_path: Path) -> None:
    root = ob.SessionData()
    root.begin(make_window())
    root.register_symbol("X")
    root.add_tick("X", ob.TickData(at(14, 0, 2, 125), 1.0, 10))
    root.add_tick("X", ob.TickData(at(14, 0, 3), 1.0, 10.5))
    root.advance(ns(at(14, 1)))
    tree = session_to_dict(root)
    assert tree["symbols"]["X"]["session"]["ticks"]["data"] == [
        ["2025-07-02T14:00:02.000125000+00:00", 1.0, 10.0],
        ["2025-07-02T14:00:03+00:00", 1.0, 10.5],
    ]
    assert written(root, tmp_path / "dump.json") == as_text(tree)


prices = st.one_of(st.floats(), st.integers(0, 10**6).map(lambda cents: cents / 100))


@given(
    st.lists(st.tuples(st.integers(-(2**60), 2**60), prices, prices), max_size=20),
    st.lists(st.booleans(), min_size=20, max_size=20),
    st.integers(0, 4),
    st.floats(width=32),
)
def test_deferred_rows_of_anything_read_back_as_the_tree(
    rows: list[tuple[int, float, float]], missing: list[bool], reason: int, rate: float
) -> None:
    window, out = make_window(), BytesIO()
    slots = [(k, 1) for k, is_missing in enumerate(missing) if is_missing]
    notes = np.zeros(10, GAP_NOTE_DTYPE)
    notes["first_slot"], notes["n_slots"] = np.arange(10) * 2, 1
    notes["reason"], notes["fill_rate"], notes["n_peers"] = reason, rate, 7
    runs = GapRuns("X", "1m", window.grid("1m"), np.array(slots, np.int64).reshape(-1, 2), notes)
    ticks = np.array(rows, TICK_DTYPE)
    deferred = DeferredRows(window)
    trees = [
        {"rows": labels.rows(ticks), "gaps": labels.gaps("1m", runs), "list": labels.gaps("1m", [])}
        for labels in (Labels(window), deferred)
    ]
    write(deferred, out, trees[1])
    assert json.loads(out.getvalue()) == trees[0]


def test_deferred_rows_are_written_with_the_tree_they_belong_to() -> None:
    deferred, out = DeferredRows(None), BytesIO()
    bars = np.zeros(2, BAR_DTYPE)
    write(deferred, out, {"before": deferred.rows(bars[:1]), "after": deferred.rows(bars)})
    write(deferred, out, "\0")
    write(deferred, out, [deferred.rows(bars[:0])["data"], {}])
    row = '["1970-01-01T00:00:00+00:00",0.0,0.0,0.0,0.0,0]'
    columns = '["timestamp","open","high","low","close","volume"]'
    assert out.getvalue().decode() == (
        f'{{"before":{{"columns":{columns},"data":[{row}]}},'
        f'"after":{{"columns":{columns},"data":[{row},{row}]}}}}'
        r'"\u0000"[[],{}]'
    )
