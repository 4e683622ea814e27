"""Views that outlive what they were made of: never a foreign bar, never a future one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import SymbolSessionData
from openbell._native.values import BarData
from openbell.bars import BarIntervalData
from openbell.errors import RecordDetached
from openbell.session import SessionData
from tests.engine import begin, give, plans
from tests.strategies import MINUTE, SECOND, make_bars, real_windows, streams, window_of

WINDOW = window_of(("2025-07-02T13:30", "2025-07-02T14:30"))
NEXT = window_of(("2025-07-03T13:30", "2025-07-03T14:30"))
DERIVED = ["1m", "5m", "1d"]

LOOKS: dict[str, Callable[[BarIntervalData], np.ndarray[Any, Any]]] = {
    "data": lambda series: series.data,
    "window": lambda series: series.window(40),
    "close": lambda series: series.close(40),
    "timestamp": lambda series: series.timestamp(40),
}


def fill(record: SymbolSessionData, first: int, last: int, price: float = 10.0) -> None:
    opened = record.core.root.window.open_ns
    for second in range(first, last):
        record.append(opened + second * SECOND, price, price + 1, price - 1, price, 1.0)


def views_of(record: SymbolSessionData) -> list[np.ndarray[Any, Any]]:
    views = [look(series) for series in record.bars.values() for look in LOOKS.values()]
    return views + [series.n_base for series in record.bars.values() if series.derived]


def bytes_of(views: list[np.ndarray[Any, Any]]) -> list[bytes]:
    return [view.tobytes() for view in views]


def spoil(root: SessionData, symbols: str = "BCDEF") -> None:
    """Fill what memory is free with other bars."""
    for symbol in symbols:
        other = root.register_symbol_data(
            SymbolSessionData(symbol, base_interval="1s", derived_intervals=DERIVED)
        )
        fill(other, 0, 1500, 777.0)


@pytest.mark.parametrize("reserved", [True, False])
def test_views_stay_as_they_were_when_the_symbol_is_removed(reserved: bool) -> None:
    root, record = begin(WINDOW, "1s", DERIVED, meets_session_config_requirements=reserved)
    fill(record, 0, 1500)
    views = views_of(record)
    before = bytes_of(views)
    root.remove_symbol("AAPL")
    del record
    spoil(root)
    assert bytes_of(views) == before


def test_views_stay_as_they_were_over_the_next_days() -> None:
    root, record = begin(WINDOW, "1s", DERIVED)
    fill(record, 0, 1500)
    views = views_of(record)
    before = bytes_of(views)
    root.end()
    for window in (NEXT, WINDOW, NEXT):
        root.clear()
        root.begin(window)
        spoil(root)
    assert bytes_of(views) == before
    del root, record
    gc.collect()
    assert bytes_of(views) == before


def test_views_stay_as_they_were_when_the_ring_grows() -> None:
    root, record = begin(WINDOW, "1s", DERIVED)
    fill(record, 0, 64)
    views = views_of(record)
    before = bytes_of(views)
    fill(record, 64, 3600, 50.0)
    spoil(root)
    assert bytes_of(views) == before
    assert len(record.bars["1s"]) == 3600
    assert record.bars["1s"].data[:64].tobytes() == views[0].tobytes()


@pytest.mark.parametrize("capacity", [8, 50, 64])
def test_views_stay_as_they_were_when_the_ring_slides(capacity: int) -> None:
    root, record = begin(WINDOW, "1s", DERIVED, capacity=capacity)
    held = []
    for first in range(0, 3600, 30):
        fill(record, first, first + 30, float(first))
        views = views_of(record)
        held.append((views, bytes_of(views)))
    spoil(root)
    for views, before in held:
        assert bytes_of(views) == before


def test_views_keep_their_length_and_show_only_bars_of_their_time_after_a_late_bar() -> None:
    _, record = begin(WINDOW, "1s", DERIVED, meets_session_config_requirements=True)
    fill(record, 0, 500)
    fill(record, 510, 1000)
    base = record.bars["1s"]
    view, window = base.data, base.window(7)
    newest = int(view["timestamp"][-1])
    record.append(WINDOW.open_ns + 505 * SECOND, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert (len(view), len(window), len(base)) == (990, 7, 991)
    assert view.tobytes() == base.data[:990].tobytes()
    assert int(view["timestamp"][-1]) < newest
    assert base.revision == 1
    assert base.copy(7).tobytes() == base.window(7).tobytes() != window.tobytes()


@given(st.data())
def test_views_of_any_moment_show_only_bars_of_the_record_up_to_it(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    capacity = data.draw(st.sampled_from([0, 0, 2, 8, 40]))
    root, record = begin(window, base, derived, capacity=capacity)
    ever: dict[str, set[tuple[Any, ...]]] = {name: set() for name in record.bars}
    held: list[tuple[str, np.ndarray[Any, Any], int, int]] = []
    for call in data.draw(streams(window, base, invalid=False)):
        give(root, record, call)
        for name, series in record.bars.items():
            rows = series.data
            ever[name].update(rows.tolist())
            if len(rows):
                held.append((name, rows, len(rows), int(rows["timestamp"][-1])))
    root.clear()
    for name, view, n, newest in held:
        labels = view["timestamp"].tolist()
        assert len(view) == n
        assert labels == sorted(set(labels))
        assert labels[-1] <= newest
        assert set(view.tolist()) <= ever[name]


@pytest.mark.parametrize("look", LOOKS)
def test_views_are_read_only_and_reach_nothing_behind_them(look: str) -> None:
    _, record = begin(WINDOW, "1s", DERIVED, meets_session_config_requirements=True)
    fill(record, 0, 700)
    for series in record.bars.values():
        for view in (LOOKS[look](series), LOOKS[look](series)[:1], LOOKS[look](series).view()):
            assert not view.flags.writeable
            assert not view.flags.owndata
            with pytest.raises(ValueError, match=r"(?i)writeable"):
                view.setflags(write=True)
            with pytest.raises(ValueError, match="read-only"):
                view[:] = 0
        owner = LOOKS[look](series).base
        if owner is None:
            assert len(series) == 0
            continue
        assert not isinstance(owner, np.ndarray)
        with pytest.raises(TypeError, match="bytes-like"):
            memoryview(owner)
        with pytest.raises((TypeError, AttributeError)):
            np.frombuffer(owner)
        assert not hasattr(owner, "__array_interface__")


def test_view_of_nothing_is_empty_and_read_only() -> None:
    _, record = begin(WINDOW, "1s", DERIVED)
    for series in record.bars.values():
        for look in LOOKS.values():
            assert len(look(series)) == 0
            assert not look(series).flags.writeable


@pytest.mark.parametrize("how", ["remove", "clear", "next day"])
def test_append_cached_from_a_removed_record_raises(how: str) -> None:
    root, record = begin(WINDOW, "1s", DERIVED)
    fill(record, 0, 100)
    append, block = record.append, record.bars["1s"].copy(5)
    view = record.bars["1s"].data
    before = view.tobytes()
    if how == "remove":
        root.remove_symbol("AAPL")
    else:
        root.clear()
    if how == "next day":
        root.begin(NEXT)
    for second in (99, 100, 101, 50):
        with pytest.raises(RecordDetached) as raised:
            append(WINDOW.open_ns + second * SECOND, 1.0, 1.0, 1.0, 1.0, 1.0)
        assert raised.value.symbol == "AAPL"
    with pytest.raises(RecordDetached):
        append(-(2**63), 1.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(RecordDetached):
        record.append_block(block)
    with pytest.raises(RecordDetached):
        record.preload(block)
    with pytest.raises(RecordDetached):
        record.add_bar("1m", BarData(WINDOW.open_ns + 30 * MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert (len(record.bars["1s"]), view.tobytes()) == (100, before)
    assert record.rejected == {}


def test_record_removed_stays_readable_as_it_was() -> None:
    window = real_windows()["half_day"]
    root, record = begin(window, "1m", ["5m", "1h"])
    record.append_block(make_bars(window, "1m", 0.8, np.random.default_rng(4))[:60])
    root.advance(window.open_ns + 70 * MINUTE)
    seen = [(s.quality, s.n_gaps, len(s), s.last, s.open_bar) for s in record.bars.values()]
    root.remove_symbol("AAPL")
    root.advance(window.close_ns)
    root.clear()
    root.begin(NEXT)
    assert seen == [(s.quality, s.n_gaps, len(s), s.last, s.open_bar) for s in record.bars.values()]
