"""Telling of single records' closings, as a live session does with each bar that comes."""

from __future__ import annotations

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell._native.closings import Closings

MINUTE = 60 * 10**9
WINDOW = ob.TimeManager("XNYS").session_window(date(2025, 7, 3))


class Scene:
    """Two records and what their subscribers were told."""

    def __init__(self, *, by_record: bool) -> None:
        self.root = ob.SessionData()
        self.root.begin(WINDOW)
        self.records = [
            self.root.register_symbol_data(
                ob.SymbolSessionData(s, base_interval="1m", derived_intervals=["2m", "5m"])
            )
            for s in "AB"
        ]
        self.closings = Closings(self.root.core)
        self.closings.by_data = True
        self.told: list[tuple[Any, ...]] = []
        for interval in ("1m", "2m", "5m"):
            self.closings.on_close(interval, self.tell, True)
        self.closings.sync(self.records, set(self.records))
        self.by_record = by_record

    def tell(self, record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        self.told.append(
            (record.symbol, bar.interval, (bar.ts_ns - WINDOW.open_ns) // MINUTE, bar.close,
             bar.is_correction)
        )  # fmt: skip

    def put(self, which: int, slot: int, close: float) -> None:
        record = self.records[which]
        record.append(WINDOW.open_ns + slot * MINUTE, close, close, close, close, 1.0)
        if self.by_record:
            self.closings.tell_of({record})
        else:
            self.closings.tell((1 << 63) - 2, True)


def test_record_is_told_when_its_own_bar_closes_a_bucket_ahead_of_the_clock() -> None:
    scene = Scene(by_record=True)
    scene.put(0, 0, 10.0)
    scene.put(1, 1, 20.0)
    scene.put(0, 1, 11.0)
    assert scene.told == [
        ("A", "1m", 0, 10.0, False),
        ("B", "1m", 1, 20.0, False),
        ("B", "2m", 0, 20.0, False),
        ("A", "1m", 1, 11.0, False),
        ("A", "2m", 0, 11.0, False),
    ]


def test_clock_closes_what_no_bar_has_closed() -> None:
    scene = Scene(by_record=True)
    scene.put(0, 0, 10.0)
    scene.root.advance(WINDOW.open_ns + 2 * MINUTE)
    assert scene.closings.next_end_ns == WINDOW.open_ns + MINUTE
    scene.closings.tell(scene.root.now_ns)
    assert scene.told == [("A", "1m", 0, 10.0, False), ("A", "2m", 0, 10.0, False)]
    assert scene.closings.next_end_ns == WINDOW.open_ns + 3 * MINUTE


def test_record_that_nobody_took_in_is_passed_over() -> None:
    scene = Scene(by_record=True)
    other = scene.root.register_symbol_data(ob.SymbolSessionData("C", base_interval="1m"))
    other.append(WINDOW.open_ns, 1.0, 1.0, 1.0, 1.0, 1.0)
    scene.closings.tell_of([other])
    assert scene.told == []


def test_subscriber_that_comes_later_is_told_from_then_on() -> None:
    scene = Scene(by_record=True)
    scene.put(0, 0, 10.0)
    late: list[int] = []
    scene.closings.on_close("10m", lambda record, bar: late.append(bar.ts_ns))
    scene.records[0].set_intervals("1m", ["2m", "5m", "10m"])
    scene.closings.sync(scene.records, set(scene.records))
    for slot in range(1, 10):
        scene.put(0, slot, 10.0 + slot)
    assert late == [WINDOW.open_ns]


steps = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 25), st.sampled_from([1.0, 2.0, 3.0])), max_size=60
)


@given(steps)
def test_telling_of_one_record_tells_what_telling_of_all_would(
    steps: list[tuple[int, int, float]],
) -> None:
    one, all_ = Scene(by_record=True), Scene(by_record=False)
    for step in steps:
        one.put(*step)
        all_.put(*step)
        assert one.told == all_.told
