"""Who is told of which bar and when, of a root that is fed by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

import openbell as ob
from openbell.errors import SessionStateError
from tests.facade_bars import NEXT_WINDOW, OPEN, at, bar, minutes
from tests.strategies import MINUTE
from tests.telling import fed, listen, process, record_of


def test_bars_are_told_by_their_end_then_interval_then_symbol() -> None:
    root, processor = fed("B", "A")
    told = listen(processor, "5m", "1m")
    for symbol in ("B", "A"):
        root[symbol].append_block(minutes(3, 4, 5))
    assert process(processor, told) == [
        "1m A 3", "1m B 3", "1m A 4", "1m B 4", "5m A 0", "5m B 0", "1m A 5", "1m B 5",
    ]  # fmt: skip


def test_corrections_are_told_before_bars_that_closed() -> None:
    root, processor = fed("B", "A")
    told = listen(processor, "5m", "1m")
    for symbol in ("A", "B"):
        root[symbol].append_block(minutes(0, 1, 2, 3, 4))
    processor.process()
    for symbol in ("B", "A"):
        root[symbol].append_block(minutes(5))
        root[symbol].append(*minutes(2, volume=7.0).tolist()[0])
    assert process(processor, told) == [
        "1m A 2 again", "1m B 2 again", "5m A 0 again", "5m B 0 again", "1m A 5", "1m B 5",
    ]  # fmt: skip


def test_subscribers_of_an_interval_are_called_in_the_order_they_came() -> None:
    root, processor = fed("A")
    told: list[str] = []
    for name in ("first", "second"):
        processor.on_close("1m", lambda rec, bar, name=name: told.append(name))  # type: ignore[misc]
    root["A"].append_block(minutes(0, 1))
    assert process(processor, told) == ["first", "second"] * 2


# Whatever way bars arrive: what is done, and what each call tells.
Step = Callable[[ob.SessionData], object]
ARRIVALS: dict[str, list[tuple[Step, list[str]]]] = {
    "on time": [
        (lambda root: root["A"].append_block(minutes(0)), ["1m A 0"]),
        (lambda root: root["A"].append_block(minutes(1, 2, 3)), ["1m A 1", "1m A 2", "1m A 3"]),
        (lambda root: root["A"].append_block(minutes(4)), ["1m A 4", "5m A 0"]),
        (lambda root: root["A"].append_block(minutes(5)), ["1m A 5"]),
    ],
    "nothing came": [(lambda root: None, []), (lambda root: root.advance(at(9)), [])],
    "by the clock": [
        (lambda root: root["A"].append_block(minutes(0, 1)), ["1m A 0", "1m A 1"]),
        (lambda root: root.advance(at(5) - 1), []),
        (lambda root: root.advance(at(5)), ["5m A 0"]),
        (lambda root: root.advance(at(200)), []),
    ],
    "by a bar behind": [
        (lambda root: root["A"].append_block(minutes(0)), ["1m A 0"]),
        (lambda root: root["A"].append_block(minutes(8)), ["5m A 0", "1m A 8"]),
    ],
    "over many slots": [
        (lambda root: root["A"].append_block(minutes(1, 7)), ["1m A 1", "5m A 0", "1m A 7"]),
        (lambda root: root["A"].append_block(minutes(388)), ["5m A 5", "1m A 388"]),
        (lambda root: root.end(), ["5m A 385"]),
    ],
    "late but newest": [
        (lambda root: root["A"].append_block(minutes(0)), ["1m A 0"]),
        (lambda root: root.advance(at(30)), ["5m A 0"]),
        (lambda root: root["A"].append_block(minutes(11)), ["1m A 11", "5m A 10"]),
        (lambda root: root["A"].append(*minutes(21).tolist()[0]), ["1m A 21", "5m A 20"]),
        (lambda root: root.advance(at(40)), []),
    ],
    "late in the newest bucket": [
        (lambda root: root["A"].append_block(minutes(5)), ["1m A 5"]),
        (lambda root: root.advance(at(30)), ["5m A 5"]),
        (lambda root: root["A"].append_block(minutes(6)), ["5m A 5 again", "1m A 6"]),
    ],
    "inserted late": [
        (lambda root: root["A"].append_block(minutes(0, 12)), ["1m A 0", "5m A 0", "1m A 12"]),
        (lambda root: root["A"].append_block(minutes(7)), ["1m A 7 again", "5m A 5"]),
        (lambda root: root.advance(at(40)), ["5m A 10"]),
        (lambda root: root["A"].append_block(minutes(9)), ["1m A 9 again", "5m A 5 again"]),
        (lambda root: root["A"].append_block(minutes(377)), ["1m A 377"]),
        (lambda root: root["A"].append_block(minutes(20)), ["1m A 20 again", "5m A 20"]),
        (lambda root: root["A"].append_block(minutes(382)), ["5m A 375", "1m A 382"]),
        (lambda root: root["A"].append_block(minutes(30)), ["1m A 30 again", "5m A 30 again"]),
    ],
    "ahead of the clock": [
        (lambda root: root["A"].append_block(minutes(20)), ["1m A 20"]),
        (lambda root: root["A"].append_block(minutes(30)), ["5m A 20", "1m A 30"]),
        (lambda root: root.advance(at(31)), []),
        (lambda root: root.advance(at(35)), ["5m A 30"]),
    ],
    "the same again": [
        (lambda root: root["A"].append_block(minutes(0, 1)), ["1m A 0", "1m A 1"]),
        (lambda root: root["A"].append_block(minutes(0, 1)), []),
    ],
    "corrected before it was told": [
        (
            lambda root: (root["A"].append_block(minutes(0, 1, 6)),
                          root["A"].append_block(minutes(1, volume=3.0))),
            ["1m A 0", "1m A 1", "5m A 0", "1m A 6"],
        ),
        (lambda root: None, []),
    ],
    "inserted before it was told": [
        (
            lambda root: (root["A"].append_block(minutes(0, 2)),
                          root["A"].append_block(minutes(1))),
            ["1m A 0", "1m A 1", "1m A 2"],
        ),
    ],
    "corrected while its bucket is open": [
        (lambda root: root["A"].append_block(minutes(0, 1)), ["1m A 0", "1m A 1"]),
        (lambda root: root["A"].append_block(minutes(0, volume=3.0)), ["1m A 0 again"]),
        (lambda root: root.advance(at(5)), ["5m A 0"]),
    ],
    "corrected when another closes": [
        (lambda root: root["A"].append_block(minutes(0, 5)), ["1m A 0", "5m A 0", "1m A 5"]),
        (
            lambda root: (root["A"].append_block(minutes(1)), root.advance(at(10))),
            ["1m A 1 again", "5m A 0 again", "5m A 5"],
        ),
    ],
    "written by others": [
        (lambda root: root.add_bar("W", "5m", bar(at(0))), ["5m W 0"]),
        (lambda root: root.add_bar("W", "5m", bar(at(10))), ["5m W 10"]),
        (lambda root: root.add_bar("W", "5m", bar(at(5))), ["5m W 5 again"]),
        (lambda root: root.add_bar("W", "5m", bar(at(5), 12.0)), ["5m W 5 again"]),
        (lambda root: root.add_bar("A", "5m", bar(at(15))), ["5m A 15"]),
        (lambda root: root.add_bar("A", "5m", bar(at(15), 12.0)), ["5m A 15 again"]),
        (lambda root: root["A"].append_block(minutes(15)), ["1m A 15"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("way", list(ARRIVALS))
def test_each_bar_is_told_once_however_it_arrives(way: str) -> None:
    root, processor = fed("A")
    told = listen(processor, "1m", "5m")
    without = listen(processor, "1m", "5m", corrections=False)
    for n, (step, expected) in enumerate(ARRIVALS[way]):
        step(root)
        without.clear()
        assert process(processor, told) == expected, f"step {n}"
        assert without == [text for text in expected if not text.endswith("again")]
        assert process(processor, told) == []


def test_corrections_are_told_once_a_call_with_the_earliest_that_changed() -> None:
    root, processor = fed("A", "B")
    told = listen(processor, "1m", "5m")
    for symbol in ("A", "B"):
        root[symbol].append_block(minutes(*range(20)))
    processor.process()
    for minute in (17, 8, 12, 8):
        root["A"].append(at(minute), 10.0, 11.0, 9.0, 10.0, 1.0 + minute)
    assert process(processor, told) == ["1m A 8 again", "5m A 5 again"]
    root["A"].append_block(minutes(9, volume=5.0))
    assert process(processor, told) == ["1m A 9 again", "5m A 5 again"]
    assert process(processor, told) == []


def test_corrections_hold_the_bar_as_it_is_now() -> None:
    root, processor = fed("A")
    bars: list[ob.BarData] = []
    processor.on_close("5m", lambda rec, bar: bars.append(bar), corrections=True)
    root["A"].append_block(minutes(0, 1, 4))
    processor.process()
    root["A"].append(at(1), 50.0, 60.0, 40.0, 50.0, 1.0)
    processor.process()
    assert [(b.is_correction, b.open, b.high, b.low, b.close, b.volume) for b in bars] == [
        (False, 10.0, 15.0, 9.0, 14.0, 300.0),
        (True, 10.0, 60.0, 9.0, 14.0, 201.0),
    ]


@pytest.mark.parametrize("n", [15, 16, 17, 33, 200])
@pytest.mark.parametrize("as_block", [False, True])
def test_corrections_however_many_are_told_once(n: int, as_block: bool) -> None:
    root, processor = fed("A")
    told = listen(processor, "1m", "5m")
    root["A"].append_block(minutes(*range(300)))
    processor.process()
    # The earliest is neither the first nor the last of them.
    numbers = [*range(299, 299 - n // 2, -1), 41, *range(60, 60 + n - n // 2 - 1)]
    if as_block:
        root["A"].append_block(minutes(*numbers, volume=5.0))
    else:
        for number in numbers:
            root["A"].append_block(minutes(number, volume=5.0))
    again = [text.split() for text in process(processor, told)]
    assert [(name, symbol, word) for name, symbol, _, word in again] == [
        ("1m", "A", "again"), ("5m", "A", "again"),
    ]  # fmt: skip
    # Of more than 16 it is no longer known which was the earliest: none lies before that told.
    places = [int(minute) for _, _, minute, _ in again]
    assert places == [41, 40] if n <= 16 else places[0] <= 41 and places[1] <= 40
    assert process(processor, told) == []


def test_bars_that_lack_base_bars_are_not_told_when_such_are_skipped() -> None:
    root, processor = fed("A")
    root.on_incomplete = "skip"
    told = listen(processor, "1m", "5m")
    root["A"].append_block(minutes(0, 1, 3, 4, 5, 6, 7, 8, 9))
    assert process(processor, told) == [f"1m A {k}" for k in (0, 1, 3, 4, 5, 6, 7, 8, 9)] + [
        "5m A 5"
    ]
    root["A"].append_block(minutes(1, volume=5.0))
    assert process(processor, told) == ["1m A 1 again"]
    root["A"].append_block(minutes(2))
    assert process(processor, told) == ["1m A 2 again", "5m A 0 again"]


def test_bars_corrected_behind_one_that_is_skipped_are_told() -> None:
    root, processor = fed("A")
    root.on_incomplete = "skip"
    told = listen(processor, "5m")
    root["A"].append_block(minutes(0, 1, 5, 6, 7, 8, 9))
    assert process(processor, told) == ["5m A 5"]
    root["A"].append_block(minutes(0, 7, volume=5.0))
    assert process(processor, told) == ["5m A 5 again"]


# Who is told, from when on


def test_subscriber_that_comes_later_is_told_what_closes_from_then_on() -> None:
    root, processor = fed("A")
    first = listen(processor, "1m")
    root["A"].append_block(minutes(0, 1, 2, 3, 4))
    processor.process()
    second = listen(processor, "1m", "5m")
    first.clear()
    root["A"].append_block(minutes(5, 6))
    processor.process()
    assert first == second == ["1m A 5", "1m A 6"]
    root.advance(at(10))
    processor.process()
    assert second[2:] == ["5m A 5"]


def test_subscriber_that_comes_in_a_callback_is_told_what_closes_from_then_on() -> None:
    root, processor = fed("A")
    told: list[str] = []

    def once(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if bar.ts_ns == at(1):
            listen(processor, "1m", "5m", into=told)

    processor.on_close("1m", once)
    for number in range(3):
        root["A"].append_block(minutes(number))
        processor.process()
    root.advance(at(5))
    processor.process()
    assert told == ["1m A 2", "5m A 0"]


def test_subscribers_are_told_on_every_day() -> None:
    root, processor = fed("A")
    told = listen(processor, "1m", "5m")
    root["A"].append_block(minutes(0, 389))
    root.end()
    assert process(processor, told) == ["1m A 0", "5m A 0", "1m A 389", "5m A 385"]
    root.clear()
    with pytest.raises(SessionStateError):
        processor.process()
    root.begin(NEXT_WINDOW)
    assert process(processor, told) == []
    opened = NEXT_WINDOW.open_ns
    listen(processor, "1m", into=told)
    root.register_symbol_data(record_of("B", "1m", "5m")).append(opened, 1.0, 2.0, 1.0, 2.0, 3.0)
    n = (opened - OPEN) // MINUTE
    assert process(processor, told) == [f"1m B {n}"] * 2
    root.end()
    assert process(processor, told) == [f"5m B {n}"]


def test_records_that_join_and_leave_are_followed() -> None:
    root, processor = fed("A", "B")
    told = listen(processor, "1m", "5m")
    root["A"].append_block(minutes(0))
    assert process(processor, told) == ["1m A 0"]
    joined = root.register_symbol_data(record_of("AB", "1m", "5m"))
    joined.append_block(minutes(0, 1))
    root["B"].append_block(minutes(1))
    # All that a record brings is told; there was nobody to see it come.
    assert process(processor, told) == ["1m AB 0", "1m AB 1", "1m B 1"]
    root["A"].append_block(minutes(1))
    root.remove_symbol("A")
    joined.append_block(minutes(2))
    assert process(processor, told) == ["1m AB 2"]
    root.register_symbol_data(record_of("A")).append_block(minutes(0, 2))
    assert process(processor, told) == ["1m A 0", "1m A 2"]
    for symbol in ("A", "AB", "B"):
        root.remove_symbol(symbol)
    root.end()
    assert process(processor, told) == []


def test_record_removed_by_a_callback_is_told_no_more() -> None:
    root, processor = fed("A", "B", "C")
    told = listen(processor, "1m")
    processor.on_close("1m", lambda rec, bar: rec.symbol == "B" and root.remove_symbol("C"))
    told_last = listen(processor, "1m")
    for symbol in ("A", "B", "C"):
        root[symbol].append_block(minutes(0))
    assert process(processor, told) == ["1m A 0", "1m B 0"]
    assert told_last == ["1m A 0", "1m B 0"]


def test_series_a_record_gets_later_tells_what_closes_from_then_on() -> None:
    root, processor = fed("A")
    told = listen(processor, "1m", "10m")
    root["A"].append_block(minutes(*range(10)))
    processor.process()
    root["A"].set_intervals("1m", ["5m", "10m"])
    assert len(root["A"].bars["10m"]) == 1
    assert process(processor, told) == []
    root["A"].append_block(minutes(10))
    root.advance(at(20))
    assert process(processor, told) == ["1m A 10", "10m A 10"]


def test_series_written_directly_is_told_from_its_first_bar() -> None:
    root, processor = fed("A")
    told = listen(processor, "1m", "10m")
    root["A"].append_block(minutes(0))
    processor.process()
    root.add_bar("A", "10m", bar(at(10)))
    root.add_bar("NEW", "10m", bar(at(20)))
    # Of minutes that were there, and of nothing but what was written.
    assert process(processor, told) == ["10m A 10", "10m NEW 20"]
    root.add_bar("A", "10m", bar(at(30)))
    assert process(processor, told) == ["10m A 30"]


def test_ring_smaller_than_the_day_tells_each_bar() -> None:
    root, processor = fed()
    told = listen(processor, "1m", "5m")
    record = root.register_symbol_data(record_of("A", "1m", "5m", capacity=8))
    seen = []
    for number in range(100):
        record.append_block(minutes(number))
        seen += process(processor, told)
    assert record.bars["1m"].n_evicted > 80
    assert seen == [
        text for k in range(100) for text in [f"1m A {k}", *[f"5m A {k - 4}"] * (k % 5 == 4)]
    ]


# What goes wrong


def test_error_of_a_callback_is_noted_once_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    root, processor = fed("A", "B")

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if rec.symbol == "A":
            raise ValueError("no A today")

    processor.on_close("1m", on_minute)
    told = listen(processor, "1m")
    with caplog.at_level(logging.ERROR):
        for number in range(3):
            root.advance(at(number + 1))
            for symbol in ("A", "B"):
                root[symbol].append_block(minutes(number))
            assert process(processor, told) == [f"1m A {number}", f"1m B {number}"]
    (error,) = root["A"].errors
    assert (error.error, error.n, error.first_ns) == ("ValueError: no A today", 3, at(1))
    assert error.where.startswith("on_close 1m ")
    assert error.where.endswith("on_minute")
    assert root["B"].errors == []
    assert [line.name for line in caplog.records] == ["openbell.session"]
    assert "no A today" in caplog.text


def test_error_of_a_callback_propagates_when_strict() -> None:
    root, processor = fed("A", "B", strict=True)
    processor.on_close("1m", lambda rec, bar: 1 // (bar.ts_ns - at(1)))
    told = listen(processor, "1m")
    root["A"].append_block(minutes(0))
    assert process(processor, told) == ["1m A 0"]
    root["A"].append_block(minutes(1))
    with pytest.raises(ZeroDivisionError):
        processor.process()
    assert [error.n for error in root["A"].errors] == [1]
    root["A"].append_block(minutes(2))
    assert process(processor, told) == ["1m A 2"]


def test_interrupt_in_a_callback_is_no_error_of_the_record() -> None:
    root, processor = fed("A")

    def interrupt(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        raise KeyboardInterrupt

    processor.on_close("1m", interrupt)
    root["A"].append_block(minutes(0))
    with pytest.raises(KeyboardInterrupt):
        processor.process()
    assert root["A"].errors == []


def test_process_without_a_day_is_refused() -> None:
    processor = ob.DataProcessor(ob.SessionData())
    for call in (processor.process, processor.begin):
        with pytest.raises(SessionStateError, match="begin"):
            call()


def test_on_close_of_an_unknown_interval_is_refused() -> None:
    _, processor = fed("A")
    with pytest.raises(ob.IntervalError, match="7x"):
        processor.on_close("7x", print)
    processor.on_close("1m", print)


def test_derived_intervals_of_a_symbol() -> None:
    _, processor = fed("A", derived=("15m", "5m"))
    assert processor.get_derived_intervals_for_symbol("A") == ["5m", "15m"]
    assert processor.get_derived_intervals_for_symbol("Z") == []
