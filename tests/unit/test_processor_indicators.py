"""A user's own indicators see each bar before anybody is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import openbell as ob
from openbell.schema import BarArray
from tests.facade_bars import NEXT_WINDOW, OPEN, WINDOW, minutes
from tests.indicator_bars import FIRST, config_of
from tests.lifecycle_days import bars_at, write_days
from tests.strategies import MINUTE
from tests.telling import fed, listen, process, text_of

CALLS: list[str] = []


class Trace:
    """A user's own indicator that tells what it is given."""

    def __init__(self, tag: str = "", breaks_at: int = -1) -> None:
        self.tag = tag
        self.breaks_at = breaks_at
        self.value: int | None = None

    def reset(self, bars: BarArray) -> None:
        CALLS.append(f"{self.tag} reset {len(bars)}")
        self.value = len(bars) or None

    def update(self, bar: ob.BarData) -> None:
        minute = (bar.ts_ns - OPEN) // MINUTE
        CALLS.append(f"{self.tag} update {minute}")
        if minute == self.breaks_at:
            raise LookupError(f"minute {minute}")
        self.value = (self.value or 0) + 1


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


def trace(
    root: ob.SessionData, processor: ob.DataProcessor, symbol: str, name: str, **others: Any
) -> Any:
    history = others.pop("history", ())
    config = config_of(f"{__name__}:Trace", name, f"trace {name}", tag=f"{name} {symbol}", **others)
    return processor.add_indicator(root[symbol], config, history)


def test_own_indicators_take_a_bar_in_before_anybody_is_told() -> None:
    root, processor = fed("B", "A")
    for symbol in ("B", "A"):
        for name in ("5m", "1m"):
            trace(root, processor, symbol, name)
    listen(processor, "5m", "1m", into=CALLS)
    for symbol in ("B", "A"):
        root[symbol].append_block(minutes(*range(9)))
    processor.process()
    assert sum("reset" in call for call in CALLS[:4]) == 4
    CALLS.clear()
    for symbol in ("B", "A"):
        root[symbol].append_block(minutes(9))
    processor.process()
    assert CALLS == [
        "1m A update 9", "1m B update 9", "5m A update 5", "5m B update 5",
        "1m A 9", "1m B 9", "5m A 5", "5m B 5",
    ]  # fmt: skip


def test_own_indicators_are_kept_up_to_date_with_nobody_to_tell() -> None:
    root, processor = fed("A")
    indicator = trace(root, processor, "A", "5m")
    for number in range(15):
        root["A"].append_block(minutes(number))
        processor.process()
    assert CALLS == ["5m A reset 1", "5m A update 5", "5m A update 10"]
    assert indicator.value == 3


def test_own_indicators_are_seeded_from_history() -> None:
    root, processor = fed("A")
    evening = minutes(0, 1, 2)
    evening["timestamp"] -= WINDOW.open_ns - FIRST.open_ns
    indicator = trace(root, processor, "A", "1m", history=[(FIRST, evening)])
    assert root["A"].indicators == {"trace 1m": indicator}
    root["A"].append_block(minutes(0))
    processor.process()
    root["A"].append_block(minutes(1))
    processor.process()
    assert CALLS == ["1m A reset 4", "1m A update 1"]
    assert indicator.value == 5


def test_own_indicators_are_reset_once_a_call_for_corrections() -> None:
    root, processor = fed("A", "B")
    one = trace(root, processor, "A", "1m")
    trace(root, processor, "B", "1m")
    listen(processor, "1m", into=CALLS)
    for symbol in ("A", "B"):
        root[symbol].append_block(minutes(0, 1, 2, 3))
    processor.process()
    CALLS.clear()
    for minute in (3, 1, 2):
        root["A"].append_block(minutes(minute, volume=5.0))
    for symbol in ("A", "B"):
        root[symbol].append_block(minutes(4))
    processor.process()
    assert CALLS == [
        "1m A reset 5", "1m B update 4", "1m A 1 again", "1m A 4", "1m B 4",
    ]  # fmt: skip
    assert one.revision == 1


def test_own_indicators_of_bars_that_nobody_may_see_are_up_to_date_when_read() -> None:
    root, processor = fed("A")
    root.on_incomplete = "skip"
    indicator = trace(root, processor, "A", "5m")
    root["A"].append_block(minutes(0, 5, 10))
    processor.process()
    assert indicator.value == 2


def test_own_indicators_of_a_removed_record_are_let_be() -> None:
    root, processor = fed("A", "B")
    for symbol in ("A", "B"):
        trace(root, processor, symbol, "1m")
        root[symbol].append_block(minutes(0))
    root.remove_symbol("A")
    processor.process()
    assert CALLS == ["1m B reset 1"]


@pytest.mark.parametrize("strict", [False, True])
def test_own_indicators_that_break_are_noted_and_the_others_go_on(strict: bool) -> None:
    root, processor = fed("A", "B", strict=strict)
    broken = trace(root, processor, "A", "1m", breaks_at=2)
    sound = trace(root, processor, "B", "1m")
    told = listen(processor, "1m")
    for number in range(2):
        for symbol in ("A", "B"):
            root[symbol].append_block(minutes(number))
        processor.process()
    for symbol in ("A", "B"):
        root[symbol].append_block(minutes(2))
    if strict:
        with pytest.raises(LookupError, match="minute 2"):
            processor.process()
        return
    assert process(processor, told) == ["1m A 2", "1m B 2"]
    assert (broken.value, sound.value) == (None, 3)
    root["A"].append_block(minutes(3))
    assert process(processor, told) == ["1m A 3"]
    (error,) = root["A"].errors
    assert (error.where, error.error, error.n) == (
        "indicator trace 1m", "LookupError: minute 2", 1,
    )  # fmt: skip
    # Bars that change have it built anew.
    root["A"].append_block(minutes(1, volume=5.0))
    assert process(processor, told) == ["1m A 1 again"]
    assert broken.value == 4


def test_own_indicators_of_a_replay_are_configured_seeded_and_corrected(tmp_path: Path) -> None:
    wednesday, half_day = WINDOW, NEXT_WINDOW
    symbols = ["B", "A"]
    write_days(
        tmp_path,
        {
            window.date: {"1m": {s: bars_at(window, "1m", range(12)) for s in symbols}}
            for window in (wednesday, half_day)
        },
    )
    session = ob.open_session(
        {
            "session": {
                "start_date": half_day.date, "symbols": symbols, "streams": ["1m", "5m"],
            },
            "historical": [{"trailing_days": 1, "intervals": ["1m"]}],
            "indicators": [
                {"name": f"of {name}", "type": f"{__name__}:Trace", "interval": name,
                 "parameters": {"tag": name}}
                for name in ("5m", "1m")
            ],
            "data": {"parquet": str(tmp_path)},
        }
    )  # fmt: skip
    n = (half_day.open_ns - OPEN) // MINUTE
    for name in ("5m", "1m"):
        session.on_close(name, lambda rec, bar: CALLS.append(text_of(rec, bar)), corrections=True)
    calls = {}
    for day in session.days():
        for ts_ns, _ in day.slices():
            minute = (ts_ns - half_day.open_ns) // MINUTE
            calls[minute] = list(CALLS)
            CALLS.clear()
            if minute == 9:
                for k in (7, 2, 8):
                    start = half_day.open_ns + k * MINUTE
                    session.root["A"].append(start, 50.0, 51.0, 49.0, 50.0, 3.0)
    # Twelve bars of the day before; five of them are three of five minutes, the last a stub.
    assert calls[1] == ["1m reset 13", "1m reset 13", f"1m A {n}", f"1m B {n}"]
    assert calls[2] == [f"1m update {n + 1}"] * 2 + [f"1m A {n + 1}", f"1m B {n + 1}"]
    assert calls[5] == [
        *[f"1m update {n + 4}"] * 2, "5m reset 4", "5m reset 4",
        f"1m A {n + 4}", f"1m B {n + 4}", f"5m A {n}", f"5m B {n}",
    ]  # fmt: skip
    assert calls[10] == [
        "1m reset 22", "5m reset 5", f"1m update {n + 9}", f"5m update {n + 5}",
        f"1m A {n + 2} again", f"5m A {n} again",
        f"1m A {n + 9}", f"1m B {n + 9}", f"5m A {n + 5}", f"5m B {n + 5}",
    ]  # fmt: skip
    assert session.root["A"].indicators["of 5m"].revision == 1
    assert session.root["B"].indicators["of 5m"].revision == 0
    assert session.root["A"].indicators["of 1m"].value == 24
