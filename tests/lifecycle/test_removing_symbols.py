"""Symbols that leave a running day, for good or to come back."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import RecordDetached
from tests.lifecycle_days import (
    SECOND,
    WEDNESDAY,
    everything,
    ns_at,
    play,
    tree,
    window_of,
)
from tests.lifecycle_market import OTHERS, over, same_but_provenance


def test_symbol_removed_in_a_slice_is_in_no_later_one(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA", "RIVN"])
    told: list[tuple[int, str]] = []
    session.on_close("1s", lambda rec, bar: told.append((bar.ts_ns, rec.symbol)))
    removed_ns = 0
    for day in session.days():
        for ts_ns, records in day.slices():
            symbols = [rec.symbol for rec in records]
            if removed_ns:
                assert "NVDA" not in symbols
            elif ts_ns >= ns_at(WEDNESDAY, "11:00") and len(symbols) > 1 and "NVDA" in symbols:
                assert session.remove_symbol("NVDA")
                assert not session.remove_symbol("NVDA")
                assert "NVDA" not in session.root
                removed_ns = ts_ns
                list(records)
    assert removed_ns
    assert max(ts for ts, symbol in told if symbol == "NVDA") < removed_ns
    assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
    alone = over(market, ["AAPL", "RIVN"])
    alone.run()
    assert tree(session.root) == tree(alone.root)


def test_symbol_removed_in_its_own_callback_is_told_no_more(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA", "RIVN"])
    told: list[tuple[int, str, str]] = []
    removed: list[int] = []

    def tell(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        now_ns = session.root.now_ns
        told.append((now_ns, bar.interval, rec.symbol))
        if rec.symbol == "NVDA" and now_ns >= ns_at(WEDNESDAY, "11:00"):
            assert session.remove_symbol("NVDA")
            removed.append(now_ns)

    for name in ("1s", "1m", "5m"):
        session.on_close(name, tell)
    session.run()
    assert len(removed) == 1
    assert [t for t in told if t[2] == "NVDA" and t[0] >= removed[0]] == [
        next(t for t in told if t[2] == "NVDA" and t[0] == removed[0])
    ]
    alone = over(market, ["AAPL", "RIVN"])
    others: list[tuple[int, str, str]] = []
    for name in ("1s", "1m", "5m"):
        alone.on_close(
            name,
            lambda rec, bar: others.append((alone.root.now_ns, bar.interval, rec.symbol)),
        )
    alone.run()
    assert [t for t in told if t[2] != "NVDA"] == others
    assert tree(session.root) == tree(alone.root)


def test_symbol_removed_while_it_waits_never_comes(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        assert session.add_symbol("NVDA")
        assert session.remove_symbol("NVDA")
        assert session.pending == {}
        assert not session.remove_symbol("NVDA")

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}


def test_removed_record_is_freed_as_soon_as_nobody_holds_it(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA"], **OTHERS)
    session.on_close("1m", lambda rec, bar: None)
    freed: list[weakref.ref[ob.SymbolSessionData]] = []

    def remove(symbol: str) -> None:
        rec = session.root[symbol]
        for indicator in rec.indicators.values():
            indicator.settle()
        session.root.latest("close", "1m")
        list(rec.bars["1s"].gaps[:3])
        freed.append(weakref.ref(rec))
        assert session.remove_symbol(symbol)

    def look() -> None:
        assert freed[-1]() is None
        assert not any(key[0] in ("NVDA", "RIVN") for key in session.root.active_streams)
        left = [
            held for held in gc.get_objects()
            # Not isinstance, which asks a proxy for what it stands for, if that is still there.
            if issubclass(type(held), ob.BarIntervalData | ob.IndicatorData)
            and getattr(held, "symbol", "") in ("NVDA", "RIVN")
        ]  # fmt: skip
        assert left == []

    gc.collect()
    gc.disable()
    try:
        play(
            session,
            {
                "11:00": lambda: remove("NVDA"),
                "11:05": look,
                "12:00": lambda: session.add_symbol("RIVN"),
                "12:30": lambda: remove("RIVN"),
                "12:35": look,
            },
        )
    finally:
        gc.enable()


def test_removed_record_held_by_somebody_stays_as_it_was(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA"], **OTHERS)
    held: list[tuple[ob.SymbolSessionData, np.ndarray, dict[str, object]]] = []

    def remove() -> None:
        rec = session.root["NVDA"]
        session.remove_symbol("NVDA")
        before = everything(rec)
        before.pop("historical_indicators")
        held.append((rec, rec.bars["1s"].data, before))

    play(session, {"11:00": remove})
    ((rec, view, before),) = held
    after = everything(rec)
    after.pop("historical_indicators")
    assert after == before
    assert view.tobytes() == rec.bars["1s"].data.tobytes()
    with pytest.raises(RecordDetached):
        rec.append(ns_at(WEDNESDAY, "15:00"), 1.0, 1.0, 1.0, 1.0, 1.0)


def test_add_remove_add_in_one_session_starts_clean(market: Path) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    records: list[ob.SymbolSessionData] = []

    def remove() -> None:
        rec = session.root["NVDA"]
        records.append(rec)
        rec.append(ns_at(WEDNESDAY, "11:00"), 1.0, 1.0, 1.0, 1.0, 1.0)
        with pytest.raises(ob.errors.BarRefused):
            rec.append(ns_at(WEDNESDAY, "11:00") + 1, 1.0, 1.0, 1.0, 1.0, 1.0)
        rec.note_error("test", ValueError("of the first life"))
        assert session.remove_symbol("NVDA")

    play(
        session,
        {
            "11:00": lambda: session.add_symbol("NVDA"),
            "11:30": remove,
            "12:00": lambda: session.add_symbol("NVDA", "scanner"),
        },
    )
    rec = session.root["NVDA"]
    assert rec is not records[0]
    assert rec.added_by == "scanner"
    assert ns_at(WEDNESDAY, "12:00") <= int(rec.added_at.timestamp()) * SECOND  # type: ignore[union-attr]
    whole = over(market, ["AAPL", "NVDA"], **OTHERS)
    whole.run()
    assert tree(session.root) == tree(whole.root)
    same_but_provenance(rec, whole.root["NVDA"])


def test_add_remove_add_within_one_slice_loads_once(market: Path) -> None:
    session = over(market, ["AAPL"])
    loaded = []
    session.on_loaded(lambda rec: loaded.append(rec.symbol))

    def ask() -> None:
        for _ in range(3):
            assert session.add_symbol("NVDA")
            assert session.remove_symbol("NVDA")
        assert session.add_symbol("NVDA")
        assert session.remove_symbol("AAPL")
        assert session.add_symbol("AAPL")
        assert set(session.pending) == {"AAPL", "NVDA"}

    play(session, {"11:00": ask})
    assert loaded == ["AAPL", "NVDA", "AAPL"]
    assert session.root["AAPL"].added_by == "strategy"
    whole = over(market, ["NVDA", "AAPL"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_every_symbol_may_go_and_another_come(market: Path) -> None:
    session = over(market, ["AAPL"])
    n_slices = 0
    for day in session.days():
        for _ in day.slices():
            n_slices += 1
            if n_slices == 100:
                session.remove_symbol("AAPL")
                session.add_symbol("NVDA")
    assert session.root.get_active_symbols() == {"NVDA"}
    whole = over(market, ["NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_last_symbol_gone_ends_the_slices_and_the_day_goes_to_its_close(market: Path) -> None:
    session = over(market, ["AAPL"])
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            assert n == 0
            session.remove_symbol("AAPL")
    assert len(session.root) == 0
    assert session.root.now_ns == window_of(WEDNESDAY).close_ns
    assert session.phase == "ended"
