"""The quality manager over real roots: reasons, throttle, evidence, and what it does not touch."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

import openbell as ob
from openbell.export import session_to_dict, validate_session_dump
from openbell.gaps import GapRuns
from openbell.processing import GapRetries
from openbell.schema import BAR_DTYPE, BarArray
from tests.facade_bars import CLOSE, NEXT_WINDOW, OPEN, WINDOW, at, bar
from tests.strategies import SECOND

N_SLOTS = 23_400
FILL_RATES = {"BUSY": 0.9, "MIDDLE": 0.5, "QUIET": 0.2, "RARE": 0.1}


def presence(seed: int, fill_rate: float) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random(N_SLOTS) < fill_rate


def seconds(slots: npt.ArrayLike, volume: float = 10.0) -> BarArray:
    slots = np.asarray(slots, np.int64)
    bars = np.zeros(len(slots), BAR_DTYPE)
    bars["timestamp"] = OPEN + slots * SECOND
    for field in ("open", "high", "low", "close"):
        bars[field] = 20.0
    bars["volume"] = volume
    return bars


def root_of(
    presences: dict[str, npt.NDArray[np.bool_]], now_ns: int = CLOSE, **options: float
) -> tuple[ob.SessionData, ob.DataQualityManager]:
    root = ob.SessionData()
    root.begin(WINDOW)
    n_ended = (now_ns - OPEN) // SECOND
    for symbol, present in presences.items():
        rec = ob.SymbolSessionData(
            symbol, base_interval="1s", derived_intervals=["1m", "5m"],
            meets_session_config_requirements=True,
        )  # fmt: skip
        root.register_symbol_data(rec).append_block(seconds(np.flatnonzero(present[:n_ended])))
    root.advance(now_ns)
    return root, ob.DataQualityManager(root, **options)


def silent_for_all(first: int, stop: int) -> dict[str, npt.NDArray[np.bool_]]:
    found = {name: presence(k, rate) for k, (name, rate) in enumerate(FILL_RATES.items())}
    for present in found.values():
        present[first:stop] = False
    return found


def around(series: ob.BarIntervalData, slot: int) -> ob.GapInfo:
    ts_ns = OPEN + slot * SECOND
    (found,) = [gap for gap in series.gaps if gap.start_ns <= ts_ns < gap.end_ns]
    return found


def test_quality_without_a_manager_leaves_gaps_unknown_and_both_scores_equal() -> None:
    root, manager = root_of({"MIDDLE": presence(1, 0.5)})
    del manager
    gc.collect()
    series = root["MIDDLE"].bars["1s"]
    assert {gap.reason for gap in series.gaps} == {"unknown"}
    assert series.explained_quality == series.quality


def test_quality_of_a_healthy_quiet_symbol_is_low_and_explained_in_full() -> None:
    root, manager = root_of(
        {name: presence(k, r) for k, (name, r) in enumerate(FILL_RATES.items())}
    )
    for rec in root:
        series = rec.bars["1s"]
        assert {gap.reason for gap in series.gaps} == {"no_trade"}
        assert series.explained_quality == 100.0
        assert series.quality == pytest.approx(100 * FILL_RATES[rec.symbol], abs=1)
    assert manager.n_passes == 1


def test_quality_of_a_feed_that_was_silent_counts_its_slots_against_each_series() -> None:
    root, _ = root_of(silent_for_all(9000, 9180))
    for rec in root:
        series = rec.bars["1s"]
        gap = around(series, 9090)
        assert gap.reason == "outage"
        assert gap.bar_count >= 180
        assert gap.evidence is not None
        assert (gap.evidence.n_peers, gap.evidence.n_silent) == (3, 3)
        expected = 100 * (N_SLOTS - gap.bar_count) / N_SLOTS
        assert series.explained_quality == pytest.approx(expected, abs=1e-9)


def test_quality_of_a_derived_gap_is_that_of_the_base_gap_it_lies_in() -> None:
    root, _ = root_of(silent_for_all(9000, 9180))
    rec = root["BUSY"]
    minutes = rec.bars["1m"]
    assert [(gap.bar_count, gap.reason) for gap in minutes.gaps] == [(3, "outage")]
    assert minutes.gaps[0].evidence == around(rec.bars["1s"], 9000).evidence
    assert minutes.explained_quality == 100 * 387 / 390
    # All five minutes of a 5m bar were not silent.
    assert list(rec.bars["5m"].gaps) == []


def test_quality_of_one_symbol_alone_does_not_touch_the_others() -> None:
    presences = {name: presence(k, r) for k, (name, r) in enumerate(FILL_RATES.items())}
    presences["BUSY"][5000:5040] = False
    root, _ = root_of(presences)
    assert around(root["BUSY"].bars["1s"], 5020).reason == "outage"
    others = [gap.reason for s in ("MIDDLE", "QUIET", "RARE") for gap in root[s].bars["1s"].gaps]
    assert set(others) == {"no_trade"}


def test_quality_names_what_came_late_and_what_ended_early() -> None:
    presences = {name: presence(k, r) for k, (name, r) in enumerate(FILL_RATES.items())}
    presences["BUSY"][:600] = False
    presences["MIDDLE"][23_000:] = False
    root, _ = root_of(presences)
    late, early = root["BUSY"].bars["1s"].gaps[0], root["MIDDLE"].bars["1s"].gaps[-1]
    assert (late.start_ns, late.reason) == (OPEN, "late_start")
    assert (early.end_ns, early.reason) == (CLOSE, "truncated")


def test_quality_of_a_silence_that_goes_on_is_an_outage_until_the_close() -> None:
    present = presence(4, 0.9)
    present[12_000:] = False
    root, _ = root_of({"BUSY": present, "MIDDLE": presence(1, 0.5)}, OPEN + 13_000 * SECOND)
    series = root["BUSY"].bars["1s"]
    assert series.gaps[-1].reason == "outage"
    root.advance(CLOSE)
    assert series.gaps[-1].reason == "truncated"


def test_quality_knows_a_bar_of_the_vendor_that_traded_in_the_hole() -> None:
    present = presence(3, 0.1)
    present[600:660] = False
    root, manager = root_of({"RARE": present, "MIDDLE": presence(1, 0.5)})
    rec = root["RARE"]
    assert around(rec.bars["1s"], 630).reason == "no_trade"
    rec.add_bar("1m", bar(OPEN + 600 * SECOND))
    manager.update()
    gap = around(rec.bars["1s"], 630)
    assert gap.reason == "outage"
    assert gap.evidence is not None
    assert gap.evidence.n_coarser == 1


def test_quality_knows_when_the_feed_was_disconnected_and_whose() -> None:
    presences = {"ONE": presence(1, 0.2), "TWO": presence(2, 0.2)}
    for present in presences.values():
        present[700:705] = False
    root, manager = root_of(presences)
    assert around(root["ONE"].bars["1s"], 702).reason == "no_trade"
    manager.note_disconnect(OPEN + 700 * SECOND, OPEN + 705 * SECOND, ["ONE"])
    gap = around(root["ONE"].bars["1s"], 702)
    assert gap.reason == "outage"
    assert gap.evidence is not None
    assert gap.evidence.disconnected
    assert around(root["TWO"].bars["1s"], 702).reason == "no_trade"
    assert [found.symbol for found in manager.missing()] == ["ONE"]
    assert manager.missing("TWO") == []


def test_quality_of_a_disconnect_that_history_answered_for_is_no_outage_of_quiet_symbols() -> None:
    down, up = OPEN + 2000 * SECOND, OPEN + 2030 * SECOND
    presences = {"FULL": presence(1, 1.0), "RARE": presence(2, 0.02)}
    for present in presences.values():
        present[2000:2030] = False
    root, manager = root_of(presences, OPEN + 6000 * SECOND)
    manager.note_disconnect(down, up)

    def hole(symbol: str) -> ob.GapInfo:
        return next(g for g in root[symbol].bars["1s"].gaps if g.start_ns <= down < g.end_ns)

    assert [hole(s).reason for s in ("FULL", "RARE")] == ["outage", "outage"]
    # Of a part of it only: nothing is known of the rest.
    manager.note_answer(["FULL", "RARE"], down, up - SECOND)
    assert [hole(s).reason for s in ("FULL", "RARE")] == ["outage", "outage"]
    manager.note_answer(["FULL", "RARE"], down, up)
    assert [hole(s).reason for s in ("FULL", "RARE")] == ["outage", "no_trade"]
    assert hole("FULL").evidence.disconnected
    # A symbol that history did not answer for stays as it is.
    manager.note_disconnect(OPEN + 3000 * SECOND, OPEN + 3100 * SECOND)
    manager.note_answer(["FULL"], OPEN + 3000 * SECOND, OPEN + 3100 * SECOND)
    touched = [
        g for g in root["RARE"].bars["1s"].gaps
        if g.start_ns < OPEN + 3100 * SECOND and g.end_ns > OPEN + 3000 * SECOND
    ]  # fmt: skip
    assert touched
    assert {g.reason for g in touched} == {"outage"}


def test_quality_by_the_clock_judges_all_symbols_in_one_pass_while_some_are_ahead() -> None:
    presences = {f"S{k:02d}": presence(k, 0.5) for k in range(20)}
    root, manager = root_of(presences, OPEN + 600 * SECOND, throttle_s=60.0, by_clock=True)
    manager.update()
    for k, record in enumerate(root):
        # A bar of a minute that the clock has not reached, each a little later.
        record.append_block(seconds([660 + k]))
    before = manager.n_passes
    for record in root:
        assert not [g for g in record.bars["1s"].gaps if g.reason == "outage"]
    assert all(gap.start_ns < root.now_ns for gap in manager.missing())
    assert manager.n_passes == before + 1
    root.advance(OPEN + 720 * SECOND)
    for record in root:
        # Forty silent seconds or more, of all but those with a bar in them: lost, not quiet.
        assert [g.reason for g in record.bars["1s"].gaps][-1] == "outage"
    assert manager.n_passes == before + 2


def test_quality_refuses_a_disconnect_that_ends_before_it_begins() -> None:
    _, manager = root_of({})
    with pytest.raises(ob.ArgumentError, match="end"):
        manager.note_disconnect(at(5), at(5))
    with pytest.raises(ob.ArgumentError, match="symbols"):
        manager.note_disconnect(at(5), at(6), "AAPL")
    with pytest.raises(ob.ArgumentError, match="throttle_s"):
        ob.DataQualityManager(ob.SessionData(), throttle_s=-1)
    with pytest.raises(ob.ArgumentError, match="throttle_s"):
        ob.DataQualityManager(ob.SessionData(), throttle_s=float("inf"))


def test_quality_looks_again_only_when_the_clock_has_moved_by_the_throttle() -> None:
    present = presence(1, 0.5)
    root, manager = root_of({"MIDDLE": present}, at(380), throttle_s=120)
    series = root["MIDDLE"].bars["1s"]

    def go_on(until_ns: int) -> None:
        slots = np.arange((root.now_ns - OPEN) // SECOND, (until_ns - OPEN) // SECOND)
        root["MIDDLE"].append_block(seconds(slots[present[slots]]))
        root.advance(until_ns)

    assert {gap.reason for gap in series.gaps} == {"no_trade"}
    assert manager.n_passes == 1
    go_on(at(381, 59))
    assert {gap.reason for gap in series.gaps} == {"no_trade", "unknown"}
    assert manager.n_passes == 1
    go_on(at(382))
    assert series.explained_quality == 100.0
    assert manager.n_passes == 2


def test_quality_of_an_instant_does_not_depend_on_who_read_before() -> None:
    presences = silent_for_all(9000, 9180)
    watched, alone = root_of(presences, OPEN), root_of(presences, OPEN)
    read = []
    for root, _ in (watched, alone):
        read.append([])
        for slot in range(0, 12_000, 10):
            for symbol, present in presences.items():
                root[symbol].append_block(seconds(slot + np.flatnonzero(present[slot : slot + 10])))
            root.advance(OPEN + (slot + 10) * SECOND)
            if root is watched[0] and slot % 70 == 0:
                root["QUIET"].bars["1m"].explained_quality  # noqa: B018
            if slot % 300 == 290:
                read[-1] += [
                    (gap.start_ns, gap.bar_count, gap.reason, gap.evidence)
                    for rec in root
                    for gap in rec.bars["1s"].gaps[-20:]
                ]
    assert read[0] == read[1]
    assert watched[1].n_passes > alone[1].n_passes


def test_quality_looks_again_after_the_close_when_bars_changed() -> None:
    root, manager = root_of(silent_for_all(9000, 9180))
    rec = root["BUSY"]
    assert around(rec.bars["1s"], 9090).reason == "outage"
    assert manager.n_passes == 1
    assert root["QUIET"].bars["5m"].gaps == root["QUIET"].bars["5m"].gaps
    assert manager.n_passes == 1
    rec.append_block(seconds(range(9000, 9175)))
    assert around(rec.bars["1s"], 9177).reason == "no_trade"
    assert manager.n_passes == 2


def test_quality_of_an_outage_that_a_late_bar_splits_stays_until_it_is_looked_at() -> None:
    root, manager = root_of(silent_for_all(9000, 9180), OPEN + 10_000 * SECOND)
    rec = root["BUSY"]
    before = around(rec.bars["1s"], 9090)
    rec.append_block(seconds([9090]))
    left, right = around(rec.bars["1s"], 9089), around(rec.bars["1s"], 9091)
    assert (left.reason, right.reason, manager.n_passes) == ("outage", "outage", 1)
    assert left.bar_count + right.bar_count == before.bar_count - 1
    assert left.evidence == before.evidence


def test_quality_reasons_set_by_hand_stand_above_those_found() -> None:
    root, _ = root_of({"MIDDLE": presence(1, 0.5)})
    series = root["MIDDLE"].bars["1s"]
    gap = series.gaps[3]
    root.set_gaps("MIDDLE", "1s", [ob.GapInfo(*(gap.symbol, gap.interval, gap.start_time,
                  gap.end_time, gap.end_ns, gap.bar_count, "outage"))])  # fmt: skip
    assert [g.reason for g in series.gaps[:5]] == ["no_trade"] * 3 + ["outage", "no_trade"]
    assert series.unexplained_gaps == [series.gaps[3]]
    lost = 100 * (N_SLOTS - gap.bar_count) / N_SLOTS
    assert series.explained_quality == pytest.approx(lost, abs=1e-9)


def test_quality_reasons_set_by_hand_do_not_stay_on_a_gap_that_grows() -> None:
    root, manager = root_of({"QUIET": presence(2, 0.2)}, OPEN + 100 * SECOND)
    del manager
    series = root["QUIET"].bars["1s"]
    last = series.gaps[-1]
    said = replace(last, reason="no_trade", retry_count=3)
    root.set_gaps("QUIET", "1s", [said])
    assert series.gaps[-1] == said
    root.advance(OPEN + 130 * SECOND)
    assert (series.gaps[-1].start_ns, series.gaps[-1].bar_count) == (
        last.start_ns,
        last.bar_count + 30,
    )
    assert (series.gaps[-1].reason, series.gaps[-1].retry_count) == ("unknown", 3)
    with pytest.raises(ob.ArgumentError, match="holiday"):
        series.set_gaps([replace(last, reason="holiday")])


def test_quality_of_a_symbol_that_joins_leaves_what_was_found_of_the_others() -> None:
    root, manager = root_of(silent_for_all(9000, 9180), OPEN + 10_000 * SECOND)
    before = root["BUSY"].bars["1s"].explained_quality
    noted = root["BUSY"].core.gap_notes["1s"]
    root["BUSY"].append_block(seconds(range(9000, 9100)))
    joined = ob.SymbolSessionData("JOINED", base_interval="1s")
    root.register_symbol_data(joined).append_block(seconds(np.flatnonzero(presence(9, 0.5))[:4000]))
    assert joined.bars["1s"].gaps[0].reason == "no_trade"
    assert manager.n_passes == 2
    assert root["BUSY"].core.gap_notes["1s"] is noted
    assert before is not None


def test_quality_of_mixed_bases_is_judged_interval_by_interval() -> None:
    root, _ = root_of(silent_for_all(9000, 9180))
    rec = root.register_symbol_data(ob.SymbolSessionData("SLOW", base_interval="1m"))
    for minute in (*range(100), *range(104, 390)):
        rec.append(at(minute), 20.0, 20.0, 20.0, 20.0, 1.0)
    (gap,) = rec.bars["1m"].gaps
    assert (gap.start_ns, gap.reason) == (at(100), "outage")
    # Nobody else is fed minutes.
    assert gap.evidence is not None
    assert gap.evidence.n_peers == 0


def test_quality_of_a_record_without_bars_is_unknown() -> None:
    root, _ = root_of(silent_for_all(9000, 9180))
    rec = root.register_symbol("NEVER")
    assert [(g.bar_count, g.reason) for g in rec.bars["1m"].gaps] == [(390, "unknown")]
    assert rec.bars["1m"].explained_quality == 0.0


def test_quality_asks_again_for_what_is_missing_and_counts_apart_from_the_gaps() -> None:
    root, manager = root_of(silent_for_all(9000, 9180))
    manager.retries = GapRetries(max_retries=1)
    due = manager.due_retries()
    assert sorted(gap.symbol for gap in due) == sorted(FILL_RATES)
    manager.retries.note(due[0], root.now_ns)
    assert len(manager.due_retries()) == 3
    assert all(gap.retry_count == 0 for gap in root[due[0].symbol].bars["1s"].gaps)


def test_quality_takes_the_retries_it_is_given_and_one_manager_for_a_root() -> None:
    retries = GapRetries(max_retries=2)
    root, manager = root_of({}, retries=retries)  # type: ignore[arg-type]
    assert manager.retries is retries
    with pytest.raises(ob.SessionStateError, match=r"session\.quality"):
        ob.DataQualityManager(root)
    with pytest.raises(ob.ArgumentError, match="root"):
        ob.DataQualityManager("AAPL")  # type: ignore[arg-type]
    del manager
    gc.collect()
    assert ob.DataQualityManager(root).n_passes == 0


def test_quality_of_too_few_bars_is_unknown_and_says_so() -> None:
    root, manager = root_of({"FEW": np.isin(np.arange(N_SLOTS), [5, 900, 4000])})
    gap = root["FEW"].bars["1s"].gaps[1]
    assert gap.reason == "unknown"
    assert gap.evidence == ob.GapEvidence(None, None)
    manager.note_disconnect(OPEN + 950 * SECOND, OPEN + 960 * SECOND)
    gap = around(root["FEW"].bars["1s"], 955)
    assert (gap.reason, gap.evidence) == ("outage", ob.GapEvidence(None, None, disconnected=True))
    assert validate_session_dump(session_to_dict(root)) == []


def test_quality_asked_what_is_missing_looks_up_to_now() -> None:
    root, manager = root_of(silent_for_all(9000, 9180), OPEN + 10_001 * SECOND)
    assert {gap.reason for gap in manager.missing()} == {"outage"}


def test_quality_holds_no_root_and_nothing_of_the_day_before() -> None:
    root, manager = root_of(silent_for_all(9000, 9180))
    assert len(manager.missing()) == 4
    held = weakref.ref(root["BUSY"])
    root.end()
    root.clear()
    assert held() is None
    assert manager.missing() == []
    root.begin(NEXT_WINDOW)
    rec = root.register_symbol_data(ob.SymbolSessionData("BUSY", base_interval="1m"))
    root.advance(NEXT_WINDOW.open_ns + 60 * SECOND)
    assert [gap.reason for gap in rec.bars["1m"].gaps] == ["unknown"]
    alive = weakref.ref(root)
    del root, rec, manager
    gc.collect()
    assert alive() is None


def test_quality_in_a_dump_is_what_the_series_say_and_keeps_every_rule() -> None:
    root, _ = root_of(silent_for_all(9000, 9180))
    tree = session_to_dict(root)
    assert validate_session_dump(tree) == []
    for rec in root:
        for name, series in rec.bars.items():
            dumped = tree["symbols"][rec.symbol]["session"]["data"][name]
            assert dumped["explained_quality"] == series.explained_quality
            assert [one["reason"] for one in dumped["gaps"]["ranges"]] == [
                gap.reason for gap in series.gaps
            ]
            for one in dumped["gaps"]["ranges"]:
                assert ("evidence" in one) == (one["reason"] != "no_trade")


def test_quality_read_by_threads_while_bars_come_is_always_of_one_instant() -> None:
    present = presence(2, 0.5)
    root, manager = root_of(
        {"MIDDLE": presence(1, 0.5), "FED": present & False}, OPEN, throttle_s=1
    )
    rec, slots = root["FED"], np.flatnonzero(present)
    wrong: list[str] = []
    n_reads = [0]
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            gaps = rec.bars["1s"].gaps
            assert isinstance(gaps, GapRuns)
            first, n_missing = gaps.slots[:, 0], gaps.slots[:, 1]
            if (first[:-1] + n_missing[:-1] >= first[1:]).any():
                wrong.append("gaps that touch")
            score = rec.bars["1s"].explained_quality
            if score is not None and not 0 <= score <= 100:
                wrong.append(f"score {score}")
            n_reads[0] += 1

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for part in np.array_split(slots, 25):
        rec.append_block(seconds(part))
        root.advance(OPEN + (int(part[-1]) + 1) * SECOND)
        n_before = n_reads[0]
        while n_reads[0] == n_before and any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
    is_done.set()
    for thread in threads:
        thread.join()
    root.advance(CLOSE)
    assert wrong == []
    assert manager.n_passes > 10
    assert {gap.reason for gap in rec.bars["1s"].gaps} == {"no_trade"}
