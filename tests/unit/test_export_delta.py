"""Deltas of the JSON dump: what a reader is given, what is put where, and whose turn it is."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
import openbell.symbol
from openbell.errors import ArgumentError, DumpError, IntervalError, OpenbellError
from openbell.export import (
    apply_delta,
    load_session_dump,
    session_to_dict,
    symbol_to_dict,
    validate_session_dump,
)
from openbell.schema import to_datetime
from tests.delta_chains import (
    DELTA_FAULTS,
    Chain,
    Tree,
    add_bar,
    add_late_bar_and_remove,
    add_quote,
    chain,
    without_mark,
)
from tests.export_session import make_session
from tests.facade_bars import NEXT_WINDOW, OPEN, WINDOW, bar, minutes
from tests.lifecycle_days import bars_at, session_over, window_of, write_days
from tests.strategies import MINUTE, SECOND
from tests.waiting import wait_until

EVE = date(2025, 7, 1)


@pytest.fixture
def root() -> ob.SessionData:
    return make_session()


def one_record(**how: Any) -> ob.SessionData:
    root = ob.SessionData()
    root.begin(WINDOW)
    root.register_symbol_data(ob.SymbolSessionData("AAPL", **how))
    return root


def series_of(delta: Tree, name: str = "1m") -> Any:
    return delta["symbols"]["AAPL"]["session"]["data"][name]


def labels(series: Tree) -> list[int]:
    """Minutes since the open of the rows that stand in a series."""
    return [
        (np.datetime64(row[0].removesuffix("+00:00"), "ns").astype(int) - OPEN) // MINUTE
        for row in series["data"]
    ]


def test_delta_holds_what_is_new_and_nothing_else(root: ob.SessionData) -> None:
    assert root.to_json(reader="screen")["delta"] == {"reader": "screen", "sequence": 0}
    add_bar(root)
    delta = root.to_json(complete=False, reader="screen")
    assert list(delta) == ["schema_version", "delta", "session", "symbols"]
    assert delta["delta"] == {"reader": "screen", "sequence": 1}
    assert list(delta["symbols"]) == ["AAPL"]
    assert list(delta["symbols"]["AAPL"]) == ["quality", "session"]
    session = delta["symbols"]["AAPL"]["session"]
    assert list(session) == ["volume", "high", "low", "last_update", "data"]
    assert (session["volume"], session["last_update"]) == (3660, "2025-07-02T14:07:00+00:00")
    # The five minutes that the bar lies in are not over: nothing of them has changed.
    assert list(session["data"]) == ["1m"]
    assert session["data"]["1m"]["data"] == [
        ["2025-07-02T14:06:00+00:00", 100.0, 101.0, 99.0, 100.5, 10]
    ]
    assert session["data"]["1m"]["count"] == 13


def test_delta_of_nothing_new_has_no_symbols(root: ob.SessionData) -> None:
    root.to_json()
    delta = root.to_json(complete=False)
    assert (delta["delta"]["sequence"], delta["symbols"]) == (1, {})


def test_delta_of_a_late_bar_begins_with_it_and_its_buckets() -> None:
    root = one_record(derived_intervals=["5m"])
    root["AAPL"].append_block(minutes(*range(7), *range(8, 20)))
    root.to_json()
    root["AAPL"].append_block(minutes(7))
    root["AAPL"].append_block(minutes(7, volume=7.0))
    delta = root.to_json(complete=False)
    assert labels(series_of(delta)) == list(range(7, 20))
    assert labels(series_of(delta, "5m")) == [5, 10, 15]
    assert series_of(delta)["data"][0][-1] == 7
    # The next one goes on behind: one late bar is not told again and again.
    root["AAPL"].append_block(minutes(20))
    assert labels(series_of(root.to_json(complete=False))) == [20]


@pytest.mark.parametrize(("n_changes", "first"), [(1, 30), (16, 30), (17, 3)])
def test_delta_of_many_changes_begins_with_the_earliest_ever(n_changes: int, first: int) -> None:
    root = one_record()
    root["AAPL"].append_block(minutes(*range(40)))
    root["AAPL"].append_block(minutes(3, volume=7.0))
    tree = root.to_json()
    for n in range(n_changes):
        root["AAPL"].append_block(minutes(30, volume=float(n)))
    delta = root.to_json(complete=False)
    assert labels(series_of(delta)) == list(range(first, 40))
    assert without_mark(apply_delta(tree, delta)) == session_to_dict(root)


def test_delta_without_any_before_is_the_complete_tree(root: ob.SessionData) -> None:
    first = root.to_json(complete=False, reader="late")
    assert first["delta"] == {"reader": "late", "sequence": 0}
    assert without_mark(first) == session_to_dict(root)


def test_delta_after_a_complete_one_counts_anew(root: ob.SessionData) -> None:
    root.to_json()
    assert [root.to_json(complete=False)["delta"]["sequence"] for _ in range(3)] == [1, 2, 3]
    root.to_json()
    assert root.to_json(complete=False)["delta"]["sequence"] == 1


def test_delta_readers_of_other_rhythms_do_not_disturb_each_other(root: ob.SessionData) -> None:
    often, seldom = root.to_json(reader="often"), root.to_json(reader="seldom")
    for change in (add_bar, add_late_bar_and_remove, add_quote):
        change(root)
        often = apply_delta(often, root.to_json(complete=False, reader="often"))
        root.to_json(reader="another")
    delta = root.to_json(complete=False, reader="seldom")
    assert delta["symbols"]["TSLA"] is None
    assert delta["delta"]["sequence"] == 1
    seldom = apply_delta(seldom, delta)
    assert without_mark(often) == without_mark(seldom) == session_to_dict(root)


def test_delta_applied_gives_the_complete_tree_also_through_text(root: ob.SessionData) -> None:
    tree = json.loads(json.dumps(root.to_json()))
    for change in (add_bar, add_late_bar_and_remove, add_quote):
        change(root)
        tree = apply_delta(tree, json.loads(json.dumps(root.to_json(complete=False))))
        assert without_mark(tree) == session_to_dict(root)
    assert tree["delta"] == {"reader": "default", "sequence": 3, "applied": True}


def test_delta_applied_leaves_both_as_they_were() -> None:
    complete, *deltas = chain()
    before = deepcopy((complete, deltas))
    tree = complete
    for delta in deltas:
        tree = apply_delta(tree, delta)
    assert (complete, deltas) == before


def test_delta_of_a_record_registered_anew_replaces_it_at_the_end() -> None:
    root = one_record()
    root.register_symbol("MSFT")
    root["AAPL"].append_block(minutes(0, 1, 2))
    tree = root.to_json()
    root.remove_symbol("AAPL")
    root.register_symbol("AAPL").append_block(minutes(1))
    delta = root.to_json(complete=False)
    assert delta["symbols"]["AAPL"]["replace"] is True
    tree = apply_delta(tree, delta)
    assert list(tree["symbols"]) == ["MSFT", "AAPL"]
    assert labels(series_of(tree)) == [1]
    assert without_mark(tree) == session_to_dict(root)


def test_delta_of_a_finer_base_replaces_every_series_in_order() -> None:
    root = one_record(base_interval="1m", derived_intervals=["5m"])
    root["AAPL"].append_block(minutes(*range(10)))
    tree = root.to_json()
    root.add_bar("AAPL", "30s", bar(OPEN + 20 * MINUTE))
    delta = root.to_json(complete=False)
    assert ["replace" in series_of(delta, name) for name in ("30s", "1m", "5m")] == [
        False, True, True,
    ]  # fmt: skip
    tree = apply_delta(tree, delta)
    assert list(tree["symbols"]["AAPL"]["session"]["data"]) == ["30s", "1m", "5m"]
    # Five base bars each, before; folded from nothing of the base, now.
    assert [row[-1] for row in series_of(tree, "5m")["data"]] == [0, 0]
    assert without_mark(tree) == session_to_dict(root)


def test_delta_of_a_series_that_is_gone_is_null() -> None:
    root = one_record(derived_intervals=["5m"])
    tree = root.to_json()
    del root["AAPL"].bars["5m"]
    delta = root.to_json(complete=False)
    assert series_of(delta, "5m") is None
    assert without_mark(apply_delta(tree, delta)) == session_to_dict(root)


def test_delta_of_a_ring_drops_what_it_let_go_of() -> None:
    root = one_record(capacity=4)
    root["AAPL"].append_block(minutes(*range(6)))
    tree = root.to_json()
    assert labels(series_of(tree)) == list(range(6))
    for n in range(6, 9):
        root["AAPL"].append_block(minutes(n))
    delta = root.to_json(complete=False)
    assert labels(series_of(delta)) == [6, 7, 8]
    tree = apply_delta(tree, delta)
    assert series_of(tree)["evicted"] == 4
    assert labels(series_of(tree)) == [4, 5, 6, 7, 8]
    assert without_mark(tree) == session_to_dict(root)


def test_delta_of_quotes_goes_behind_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbell.symbol, "EVENT_CAPACITY", 2)
    root = one_record()

    def add(*seconds: float) -> None:
        for second in seconds:
            moment = to_datetime(OPEN + int(second * SECOND))
            root.add_quote("AAPL", ob.QuoteData(moment, 1.0, 2.0, 3.0, 4.0))

    add(0, 1, 2)
    tree = root.to_json()
    add(3, 3.5)
    delta = root.to_json(complete=False)
    quotes = delta["symbols"]["AAPL"]["session"]["quotes"]
    assert (quotes["count"], quotes["evicted"]) == (3, 2)
    assert [row[0] for row in quotes["data"]] == [
        "2025-07-02T13:30:03+00:00", "2025-07-02T13:30:03.500000000+00:00",
    ]  # fmt: skip
    tree = apply_delta(tree, delta)
    assert without_mark(tree) == session_to_dict(root)
    # More than a ring holds: what came and went between two exports is in none.
    add(*range(10, 20))
    tree = apply_delta(tree, root.to_json(complete=False))
    assert without_mark(tree) == session_to_dict(root)


def test_delta_that_counts_wrongly_loses_no_row_in_silence() -> None:
    root = one_record()
    root["AAPL"].append_block(minutes(0, 1, 2))
    complete = root.to_json()
    root["AAPL"].append_block(minutes(3))
    delta = root.to_json(complete=False)
    series_of(delta)["count"] = 2
    assert labels(series_of(apply_delta(complete, delta))) == [0, 1, 2, 3]
    assert {found.rule for found in validate_session_dump([complete, delta])} >= {"count"}


def test_delta_shows_a_bar_once_it_is_complete() -> None:
    root = one_record(derived_intervals=["5m"])
    root.on_incomplete = "skip"
    root["AAPL"].append_block(minutes(0, 1, 3, 4, 5))
    tree = root.to_json()
    assert series_of(tree, "5m")["data"] == []
    root["AAPL"].append_block(minutes(2))
    delta = root.to_json(complete=False)
    assert labels(series_of(delta, "5m")) == [0]
    tree = apply_delta(tree, delta)
    assert without_mark(tree) == session_to_dict(root)
    root["AAPL"].append_block(minutes(6, 8, 9))
    root.on_incomplete = "keep"
    delta = root.to_json(complete=False)
    assert series_of(delta, "5m")["replace"] is True
    assert without_mark(apply_delta(tree, delta)) == session_to_dict(root)


def test_delta_tells_history_only_when_it_changed(root: ob.SessionData) -> None:
    tree, rec = root.to_json(), root["AAPL"]
    add_bar(root)
    tree = apply_delta(tree, root.to_json(complete=False))
    day = next(iter(rec.historical_bars["1d"]))

    def replace_day() -> None:
        rows = rec.historical_bars["1d"][day].copy()
        rows.flags.writeable = False
        rec.historical_bars["1d"] = rec.historical_bars["1d"] | {day: rows}

    changes: list[Callable[[], Any]] = [
        lambda: rec.historical_bars["1d"][day].put(0, rec.historical_bars["1d"][day][0]),
        lambda: rec.historical_bars["1d"][day].__setitem__("volume", 7.0),
        replace_day,
        lambda: rec.historical_quality.update({"1d": 50.0}),
        lambda: rec.historical_indicators.update({"avg_volume_2d": 1.0}),
        lambda: rec.historical_gaps.update({"1d": []}),
        lambda: rec.historical_gaps["1d"].append(rec.bars["1m"].gaps[0]),
        lambda: rec.historical_bars["1d"].pop(day),
    ]
    told = []
    for change in changes:
        change()
        delta = root.to_json(complete=False)
        told.append("AAPL" in delta["symbols"])
        assert told[-1] is (delta["symbols"] != {})
        tree = apply_delta(tree, delta)
        assert without_mark(tree) == session_to_dict(root)
    # The same row written again is the same content.
    assert told == [False, *[True] * 7]


def test_delta_tells_history_that_changed_behind_a_read_only_view(root: ob.SessionData) -> None:
    rec = root["AAPL"]
    day, rows = next((d, r.copy()) for d, r in rec.historical_bars["1d"].items())
    seen = rows[:]
    seen.flags.writeable = False
    rec.historical_bars["1d"] = rec.historical_bars["1d"] | {day: seen}
    tree = root.to_json()
    rows["close"] += 1.0
    tree = apply_delta(tree, root.to_json(complete=False))
    assert without_mark(tree) == session_to_dict(root)


def test_delta_readers_are_forgotten_with_the_day() -> None:
    root = one_record()
    tree = root.to_json(complete=False)
    root.end()
    assert root.to_json(complete=False)["delta"]["sequence"] == 1
    root.clear()
    root.begin(NEXT_WINDOW)
    first = root.to_json(complete=False)
    assert (first["delta"]["sequence"], first["session"]["date"]) == (0, "2025-07-03")
    # To whoever applies it, too, it is a beginning.
    assert apply_delta(tree, first) == first


def test_delta_readers_of_no_day_are_forgotten_when_one_begins() -> None:
    root = ob.SessionData()
    root.to_json()
    assert root.to_json(complete=False)["delta"]["sequence"] == 1
    root.begin(WINDOW)
    assert root.to_json(complete=False)["delta"]["sequence"] == 0


def test_delta_of_a_forgotten_reader_is_complete(root: ob.SessionData) -> None:
    for holder in (root, root["AAPL"]):
        assert not holder.forget_reader("screen")
        holder.to_json(reader="screen")
        assert holder.to_json(complete=False, reader="screen")["delta"]["sequence"] == 1
        assert holder.forget_reader("screen")
        assert holder.to_json(complete=False, reader="screen")["delta"]["sequence"] == 0


def test_delta_of_one_record_is_apart_from_those_of_the_root(root: ob.SessionData) -> None:
    root.to_json()
    rec = root["AAPL"]
    tree = rec.to_json(complete=False)
    assert tree["delta"] == {"reader": "default", "sequence": 0}
    add_bar(root)
    root.to_json(complete=False)
    delta = rec.to_json(complete=False)
    assert list(delta) == ["delta", "symbol", "quality", "session"]
    tree = apply_delta(tree, delta)
    assert without_mark(tree) == symbol_to_dict(rec)
    other = root["NVDA"].to_json() | {"delta": {"reader": "default", "sequence": 2}}
    with pytest.raises(DumpError, match="expected symbol AAPL, received NVDA"):
        apply_delta(tree, other)


def test_delta_files_give_what_the_complete_file_holds(
    root: ob.SessionData, tmp_path: Path
) -> None:
    names = {"intervals": ["1m"], "reader": "disk", "complete": False}
    root.write_json(tmp_path / "0.json", **names)
    for n, change in enumerate((add_bar, add_late_bar_and_remove, add_quote), 1):
        change(root)
        root.write_json(tmp_path / f"{n}.json", **names)
    root.write_json(tmp_path / "whole.json", intervals=["1m"])
    paths = [tmp_path / f"{n}.json" for n in range(4)]
    assert validate_session_dump(paths) == []
    tree: Tree = {}
    for path in paths:
        tree = apply_delta(tree, json.loads(path.read_text(encoding="utf-8")))
    assert without_mark(tree) == json.loads((tmp_path / "whole.json").read_text(encoding="utf-8"))
    (tmp_path / "merged.json").write_text(json.dumps(tree), encoding="utf-8")
    merged, whole = (load_session_dump(tmp_path / f"{n}.json") for n in ("merged", "whole"))
    assert merged.session == whole.session
    np.testing.assert_array_equal(
        merged.symbols["AAPL"].bars["1m"], whole.symbols["AAPL"].bars["1m"]
    )
    with pytest.raises(DumpError, match="is delta 1 of reader 'disk'"):
        load_session_dump(paths[1])


def test_delta_file_of_nobody_leaves_the_readers_alone(
    root: ob.SessionData, tmp_path: Path
) -> None:
    root.to_json()
    add_bar(root)
    root.write_json(tmp_path / "dump.json")
    assert "delta" not in json.loads((tmp_path / "dump.json").read_text(encoding="utf-8"))
    assert root.to_json(complete=False)["delta"]["sequence"] == 1
    root.write_json(tmp_path / "dump.json", reader="default")
    assert root.to_json(complete=False)["delta"]["sequence"] == 1


def test_delta_of_a_reader_that_began_with_another_choice_is_refused(
    root: ob.SessionData, tmp_path: Path
) -> None:
    path = tmp_path / "dump.json"
    root.write_json(path, intervals=["5m"], bars=False, reader="disk")
    with pytest.raises(ArgumentError, match="only 5m, without rows") as caught:
        root.to_json(complete=False, reader="disk")
    assert (caught.value.name, caught.value.received) == ("reader", "disk")
    with pytest.raises(IntervalError):
        root.write_json(path, intervals=["7x"], reader="disk")
    root.write_json(path, complete=False, intervals=["5m"], bars=False, reader="disk")
    assert json.loads(path.read_text(encoding="utf-8"))["delta"]["sequence"] == 1


def test_delta_that_could_not_be_written_is_given_again(
    root: ob.SessionData, tmp_path: Path
) -> None:
    root.to_json()
    add_bar(root)
    with pytest.raises(OSError, match="absent"):
        root.write_json(tmp_path / "absent" / "delta.json", complete=False)
    root["AAPL"].historical_indicators["data"] = 1.0
    with pytest.raises(OpenbellError, match="historical indicator"):
        root.to_json(complete=False)
    del root["AAPL"].historical_indicators["data"]
    delta = root.to_json(complete=False)
    assert (delta["delta"]["sequence"], len(series_of(delta)["data"])) == (1, 1)


def test_delta_reader_keeps_neither_bars_nor_records() -> None:
    root = one_record()
    rows = minutes(0, 1, 2)
    past = minutes(0)
    past.flags.writeable = False
    root["AAPL"].append_block(rows)
    root["AAPL"].historical_bars["1m"] = {WINDOW.date: past}
    root.to_json()
    gone = [weakref.ref(root["AAPL"]), weakref.ref(past)]
    del past
    root.remove_symbol("AAPL")
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert root.to_json(complete=False)["symbols"] == {"AAPL": None}


class Meddler:
    """An indicator that, when it is exported, first lets something else happen to the record."""

    def __init__(self, acts: list[Callable[[], Any]]) -> None:
        self.acts = acts

    def to_json(self) -> dict[str, Any]:
        if self.acts:
            self.acts.pop(0)()
        return {
            "name": "meddler", "type": "test", "interval": "1m", "parameters": {},
            "value": None, "timestamp": None, "ready": False, "revision": 0,
        }  # fmt: skip


def test_delta_of_what_changes_in_the_midst_of_it_is_of_one_instant() -> None:
    root = one_record(derived_intervals=["5m"])
    rec = root["AAPL"]
    rec.append_block(minutes(*range(12)))
    tree = root.to_json()
    acts: list[Callable[[], Any]] = [
        lambda: rec.append_block(minutes(12)),
        lambda: rec.append_block(minutes(4, volume=7.0)),
        lambda: rec.set_intervals("1m", ["2m", "5m"]),
        lambda: rec.add_tick(ob.TickData(OPEN, 5.0, 1.0)),
        lambda: root.advance(OPEN + 30 * MINUTE),
    ]
    for act in acts:
        rec.append_block(minutes(11, volume=float(rec.n_corrected)))
        rec.indicators["meddler"] = Meddler([act])
        tree = apply_delta(tree, root.to_json(complete=False))
        assert [found.rule for found in validate_session_dump(tree)] == []
        assert rec.indicators["meddler"].acts == []
    tree = apply_delta(tree, root.to_json(complete=False))
    assert without_mark(tree) == session_to_dict(root)


def test_delta_of_a_fed_record_is_of_one_instant() -> None:
    root = one_record(base_interval="1m", derived_intervals=["5m"])
    rec, enough = root["AAPL"], threading.Event()
    n_fed = 0

    def feed() -> None:
        nonlocal n_fed
        while not enough.is_set():
            n = n_fed % 390
            rec.append_block(minutes(n, volume=float(n_fed)))
            rec.append_block(minutes(max(0, n - 7), volume=float(n_fed)))
            rec.add_tick(ob.TickData(OPEN, float(n_fed), 1.0))
            n_fed += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    tree: Tree = {}
    try:
        for _ in range(12):
            wait_until(lambda n=n_fed: n_fed > n)
            tree = apply_delta(tree, root.to_json(complete=False))
            # The rows of one instant: every five minutes add up to what their minutes do.
            assert [str(found) for found in validate_session_dump(tree)] == []
    finally:
        enough.set()
        feeder.join()
    tree = apply_delta(tree, root.to_json(complete=False))
    assert without_mark(tree) == session_to_dict(root)


def test_delta_of_a_replay_at_any_moment_gives_the_complete_tree(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    seconds = {
        symbol: bars_at(window_of(EVE), "1s", rng.permutation(23_400)[:600], 100.0)
        for symbol in ("AAA", "BBB", "CCC")
    }
    folder = write_days(tmp_path, {EVE: {"1s": seconds}})
    session = session_over(folder, [EVE], ["AAA", "BBB"], ["1s", "1m", "5m"])
    trees: list[Tree] = [{}, {}]
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            for k, every in enumerate((201, 450)):
                if n % every == 0:
                    delta = session.root.to_json(complete=False, reader=str(every))
                    trees[k] = apply_delta(trees[k], delta)
                    assert without_mark(trees[k]) == session_to_dict(session.root)
            if n == 500:
                early = day.window.open_ns + 77 * MINUTE
                session.root["AAA"].append(early, 5.0, 5.0, 5.0, 5.0, 1.0)
                session.add_adhoc_bar("CCC", "1m", bar(day.window.open_ns))
            if n == 800:
                assert session.add_symbol("CCC")
                assert session.remove_symbol("BBB")
    session.root.end()
    last = apply_delta(trees[1], session.root.to_json(complete=False, reader="450"))
    assert without_mark(last) == session_to_dict(session.root)
    assert list(last["symbols"]) == ["AAA", "CCC"]
    assert validate_session_dump(last) == []


@pytest.mark.parametrize(
    ("tree", "delta", "words"),
    [
        ({}, chain()[1], "no complete dump"),
        (chain()[0], chain()[2], "expected sequence 1, received 2"),
        (chain()[0], without_mark(chain()[1]), "with 'delta', received one without"),
        (chain()[0], chain("log")[0], "expected a delta of reader 'screen'"),
        (chain()[0], apply_delta(*chain()[:2]), "expected sequence 1, received what deltas were"),
    ],
)  # fmt: skip
def test_delta_that_is_not_the_next_one_is_refused(tree: Tree, delta: Tree, words: str) -> None:
    with pytest.raises(DumpError, match=words):
        apply_delta(tree, delta)


def test_check_of_a_dump_and_its_deltas_judges_what_they_give() -> None:
    exports = chain()
    assert validate_session_dump(exports) == []
    assert validate_session_dump(exports[:1]) == []
    # The last that tells the bars: the late one before them makes it tell them again.
    series_of(exports[2])["data"][-1][2] = 50.0
    (found,) = [one for one in validate_session_dump(exports) if one.rule == "ohlc"]
    assert (found.symbol, found.interval, found.time) == (
        "AAPL", "1m", "2025-07-02T14:06:00+00:00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "lines"),
    [(broken, lines) for _, broken, lines in DELTA_FAULTS],
    ids=[name for name, *_ in DELTA_FAULTS],
)
def test_check_of_deltas_out_of_sequence_gives_just_its_lines(
    tmp_path: Path, broken: Callable[[Path], Chain], lines: list[tuple[str, str]]
) -> None:
    found = validate_session_dump(broken(tmp_path))
    assert [one.rule for one in found] == [rule for rule, _ in lines]
    for one, (_, words) in zip(found, lines, strict=True):
        assert words in str(one)
        assert str(one).startswith("session: ")


def test_check_of_no_dump_at_all_is_refused() -> None:
    with pytest.raises(DumpError, match="none given"):
        validate_session_dump([])
