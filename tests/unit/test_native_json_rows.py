"""Rows and ranges as JSON text: the same values as Python's own, and never outside the buffer."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openbell._native.json_rows import encode_ranges, encode_rows
from openbell.errors import ArgumentError, SchemaError
from openbell.schema import (
    BAR_DTYPE,
    GAP_NOTE_DTYPE,
    GAP_REASONS,
    QUOTE_DTYPE,
    TICK_DTYPE,
)

OPENED = 1_751_463_000 * 10**9  # 2025-07-02 13:30
LOWEST = -1.7976931348623157e308


def rows_text(rows: Any, **options: Any) -> str:
    buffer = bytearray()
    return buffer[: encode_rows(buffer, rows, **options)].decode()


def texts_of(values: Any) -> list[str]:
    """Each number as it stands in a row."""
    ticks = np.zeros(len(values), TICK_DTYPE)
    ticks["price"] = values
    text = rows_text(ticks)
    return [row.split(",")[1] for row in text[2:-2].split("],[")] if len(values) else []


def bits(value: float) -> bytes:
    return struct.pack("d", value)


decimals = st.builds(
    lambda digits, exponent, sign: sign * digits / 10.0**exponent,
    st.integers(0, 10**15),
    st.integers(0, 22),
    st.sampled_from([1, -1]),
)


@given(st.lists(st.one_of(st.floats(), decimals), max_size=50))
@example([0.0, -0.0, 5e-324, 2.2250738585072014e-308, LOWEST, -LOWEST])
@example([math.nan, math.inf, -math.inf, -math.nan])
@example([1e-4, math.nextafter(1e-4, 0), 1e-5, 9.5e-5, 1.25e-15, 0.1, math.nextafter(0.1, 0)])
@example([2.0**53, 2.0**53 - 1, 2.0**52 + 0.5, 1e15 + 0.125, 1e16, math.nextafter(1e16, 0), 1e22])
@example([0.1 + 0.2, 100.1, 100.12, 100.0, 99.999, 1 / 3, 2 / 3, 1e-4 / 3, 123456.789012345])
@example([2.0**-k for k in range(1, 14)])
def test_json_rows_float_is_what_repr_shows(values: list[float]) -> None:
    found = texts_of(values)
    assert found == [repr(v) if math.isfinite(v) else "null" for v in values]
    for text, value in zip(found, values, strict=True):
        if math.isfinite(value):
            assert bits(json.loads(text)) == bits(value)


@given(st.integers(0, 2**64 - 1))
def test_json_rows_float_of_any_bits_and_its_neighbours_is_what_repr_shows(seed: int) -> None:
    # Many at a time, of all sizes, with 15, 16 and 17 digits, and next to short decimals.
    rng = np.random.default_rng(seed)
    anything = rng.integers(0, 2**64, 300, dtype=np.uint64).view(np.float64)
    scaled = rng.uniform(-1, 1, 300) * 10.0 ** rng.integers(-5, 17, 300)
    short = rng.integers(0, 10 ** int(rng.integers(1, 18)), 300) / 10.0 ** rng.integers(0, 20, 300)
    near = np.nextafter(short, rng.choice([-np.inf, np.inf], 300))
    values = np.concatenate([anything, scaled, short, near])
    values = values[np.isfinite(values)]
    assert texts_of(values) == list(map(repr, values.tolist()))


def test_json_rows_of_bars_are_these_bytes() -> None:
    bars = np.array(
        [
            (OPENED, 100.0, 101.25, 99.5, 100.1, 1000),
            (OPENED + 3_661 * 10**9, 0.30000000000000004, 1e22, 1e-7, -0.0, 0),
        ],
        BAR_DTYPE,
    )
    assert rows_text(bars, counted=("volume",), n_base=np.array([60, -7], np.int32)) == (
        '[["2025-07-02T13:30:00+00:00",100.0,101.25,99.5,100.1,1000,60],'
        '["2025-07-02T14:31:01+00:00",0.30000000000000004,1e+22,1e-07,-0.0,0,-7]]'
    )
    assert rows_text(bars[:0]) == "[]"


@pytest.mark.parametrize(
    ("volumes", "wanted"),
    [
        ([1.0, 2.0], ["1", "2"]),
        ([-0.0, -3.0], ["0", "-3"]),
        ([2.0**53 - 1, -(2.0**53) + 1], ["9007199254740991", "-9007199254740991"]),
        ([999.0, 1000.0, 999_999.0, 1e6], ["999", "1000", "999999", "1000000"]),
        ([1.0, 2.5], ["1.0", "2.5"]),
        ([1.0, 2.0**53], ["1.0", "9007199254740992.0"]),
        ([1.0, math.nan], ["1.0", "null"]),
        ([math.inf, 1.0], ["null", "1.0"]),
    ],
)
def test_json_rows_counted_column_is_of_ints_when_all_of_it_is_whole(
    volumes: list[float], wanted: list[str]
) -> None:
    ticks = np.zeros(len(volumes), TICK_DTYPE)
    ticks["size"] = volumes
    text = rows_text(ticks, counted={"size", "volume"})
    assert [row.split(",")[2] for row in text[2:-2].split("],[")] == wanted
    assert [row.split(",")[1] for row in text[2:-2].split("],[")] == ["0.0"] * len(volumes)


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=20))
@example([0, -1, -(10**9), 951_782_399 * 10**9, 951_782_400 * 10**9, 4_107_542_400 * 10**9])
@example([OPENED, OPENED + 7, OPENED + 86_400 * 10**9 - 1, OPENED, OPENED - 86_400 * 10**9])
def test_json_rows_label_is_the_instant_to_the_nanosecond(instants: list[int]) -> None:
    ticks = np.zeros(len(instants), TICK_DTYPE)
    ticks["timestamp"] = instants
    for row, ts_ns in zip(json.loads(rows_text(ticks)), instants, strict=True):
        seconds, rest = divmod(ts_ns, 10**9)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        fraction = f".{rest:09}" if rest else ""
        assert row[0] == f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}+00:00"


@pytest.mark.parametrize("dtype", [BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE])
@pytest.mark.parametrize("n", [1, 2, 63, 1000])
def test_json_rows_of_the_longest_values_fit(dtype: np.dtype[np.void], n: int) -> None:
    rows = np.zeros(n, dtype)
    names = dtype.names or ()
    for name in names[1:]:
        rows[name] = LOWEST
    rows["timestamp"] = -1
    n_base = np.full(n, -(2**31), np.int32)
    row = ["1969-12-31T23:59:59.999999999+00:00", *[LOWEST] * (len(names) - 1), -(2**31)]
    assert json.loads(rows_text(rows, counted=names, n_base=n_base)) == [row] * n


def test_json_rows_that_grow_longer_fit() -> None:
    rows = np.zeros(5000, BAR_DTYPE)
    for name in (BAR_DTYPE.names or ())[1:]:
        rows[name][2500:] = LOWEST
    wanted = [["1970-01-01T00:00:00+00:00", *[x] * 5] for x in [0.0] * 2500 + [LOWEST] * 2500]
    assert json.loads(rows_text(rows)) == wanted


def test_json_rows_buffer_is_used_again_and_left_longer() -> None:
    buffer = bytearray(b"x" * 10)
    rows = np.zeros(100, BAR_DTYPE)
    n_bytes = encode_rows(buffer, rows)
    assert len(buffer) >= n_bytes
    room, long = len(buffer), bytes(buffer[:n_bytes])
    n_short = encode_rows(buffer, rows[:1])
    assert (len(buffer), json.loads(buffer[:n_short])) == (room, json.loads(long)[:1])
    with memoryview(buffer), pytest.raises(BufferError):
        encode_rows(buffer, np.zeros(1000, BAR_DTYPE))
    assert buffer[: encode_rows(buffer, rows)] == long


def test_json_rows_of_every_other_bar_and_of_memory_that_is_not_aligned() -> None:
    bars = np.zeros(8, BAR_DTYPE)
    bars["close"] = np.arange(8) / 10
    bars.flags.writeable = False
    before = bars.tobytes()
    assert rows_text(bars[::2]) == rows_text(bars[::2].copy())
    shifted = np.frombuffer(b"x" + before, np.uint8)[1:].view(BAR_DTYPE)
    assert rows_text(shifted) == rows_text(bars)
    assert bars.tobytes() == before


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, 2), BAR_DTYPE),
        np.zeros((), BAR_DTYPE),
        np.zeros((4, 6)),
        np.zeros(3, BAR_DTYPE.newbyteorder()),
        np.zeros(3, [("timestamp", "<i8"), ("volume", "<f8"), ("price", "<f8")]),
        np.zeros(3, GAP_NOTE_DTYPE),
    ],
)
def test_json_rows_of_other_records_are_refused(rows: Any) -> None:
    with pytest.raises(SchemaError, match="rows"):
        encode_rows(bytearray(), rows)


@pytest.mark.parametrize(
    "n_base",
    [
        np.zeros(3, np.int32),
        np.zeros(4, np.int64),
        np.zeros((2, 2), np.int32),
        np.zeros(8, np.int32)[::2],
        np.zeros(4, ">i4"),
    ],
)
def test_json_rows_n_base_that_does_not_fit_is_refused(n_base: Any) -> None:
    with pytest.raises(SchemaError, match="n_base"):
        encode_rows(bytearray(), np.zeros(4, BAR_DTYPE), n_base=n_base)


def notes_of(*rows: tuple[Any, ...]) -> Any:
    return np.array(list(rows), GAP_NOTE_DTYPE)


def ranges_text(*arguments: Any) -> str:
    buffer = bytearray()
    return buffer[: encode_ranges(buffer, *arguments)].decode()


STARTS = OPENED + 10**9 * np.arange(100)


def test_json_ranges_are_these_bytes() -> None:
    runs = np.array([[0, 1], [10, 60], [99, 1]])
    notes = notes_of((10, 60, 2, True, 3, 0.25, 1e-9, 7, 5), (99, 1, 1, 0, 0, 0.5, 2.0, 1, 1))
    reasons, places = np.array([0, 2, 1], np.int8), np.array([-1, 0, 1])
    assert ranges_text(runs, STARTS, reasons, notes, places) == (
        '[{"start_time":"2025-07-02T13:30:00+00:00","end_time":"2025-07-02T13:30:00+00:00",'
        '"bar_count":1,"reason":"unknown"},'
        '{"start_time":"2025-07-02T13:30:10+00:00","end_time":"2025-07-02T13:31:09+00:00",'
        '"bar_count":60,"reason":"outage","evidence":{"fill_rate":0.25,'
        '"expected_per_day":9.999999717180685e-10,"n_peers":7,"n_silent":5,"n_coarser":3,'
        '"disconnected":true}},'
        '{"start_time":"2025-07-02T13:31:39+00:00","end_time":"2025-07-02T13:31:39+00:00",'
        '"bar_count":1,"reason":"no_trade"}]'
    )
    assert ranges_text(runs[:0], STARTS, reasons[:0], notes, places[:0]) == "[]"


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_json_ranges_of_the_longest_values_fit(n: int) -> None:
    longest = max(range(len(GAP_REASONS)), key=lambda code: len(GAP_REASONS[code]))
    low = float(np.finfo(np.float32).min)
    notes = notes_of((0, 1, longest, False, -(2**15), low, low, -(2**15), -(2**15)))
    starts = np.full(100, -1)
    found = json.loads(
        ranges_text(
            np.tile([0, 100], (n, 1)), starts, np.full(n, longest, np.int8), notes,
            np.zeros(n, np.int64),
        )
    )  # fmt: skip
    label = "1969-12-31T23:59:59.999999999+00:00"
    wanted = {
        "start_time": label, "end_time": label, "bar_count": 100, "reason": GAP_REASONS[longest],
        "evidence": {
            "fill_rate": low, "expected_per_day": low, "n_peers": -(2**15), "n_silent": -(2**15),
            "n_coarser": -(2**15), "disconnected": False,
        },
    }  # fmt: skip
    assert found == [wanted] * n


GOOD = {
    "runs": np.array([[0, 1], [2, 3]]),
    "starts_ns": STARTS,
    "reasons": np.zeros(2, np.int8),
    "notes": np.zeros(1, GAP_NOTE_DTYPE),
    "places": np.array([-1, 0]),
}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("runs", np.array([0, 1])),
        ("runs", np.zeros((2, 3), np.int64)),
        ("runs", np.zeros((2, 2))),
        ("runs", np.array([[0, 1], [-1, 3]])),
        ("runs", np.array([[0, 1], [98, 3]])),
        ("runs", np.array([[0, 0], [2, 3]])),
        ("runs", np.array([[0, 1], [2**62, 2**62]])),
        ("runs", np.array([[0, 1], [1, 2**63 - 1]])),
        ("runs", np.array([[0, 1], [2, 3], [4, 5]])),
        ("starts_ns", STARTS[:4]),
        ("starts_ns", STARTS[::2]),
        ("reasons", np.zeros(2, np.int64)),
        ("reasons", np.zeros(1, np.int8)),
        ("reasons", np.array([0, 5], np.int8)),
        ("reasons", np.array([-1, 0], np.int8)),
        ("notes", np.zeros(1, BAR_DTYPE)),
        ("notes", np.zeros(4, GAP_NOTE_DTYPE)[::2]),
        ("places", np.array([0, 1])),
        ("places", np.array([0])),
    ],
)
def test_json_ranges_that_point_outside_are_refused(name: str, bad: Any) -> None:
    assert len(json.loads(ranges_text(*GOOD.values()))) == 2
    with pytest.raises(SchemaError):
        encode_ranges(bytearray(), *(GOOD | {name: bad}).values())


def test_json_rows_and_ranges_begin_where_asked_and_leave_what_stands_before() -> None:
    rows = np.zeros(100, BAR_DTYPE)
    alone, gaps = rows_text(rows), ranges_text(*GOOD.values())
    for room in (3, 10_000):
        buffer = bytearray(b"xyz".ljust(room))
        end = encode_rows(buffer, rows, at=3)
        assert buffer[:end].decode() == "xyz" + alone
        end = encode_ranges(buffer, *GOOD.values(), at=end)
        assert buffer[:end].decode() == "xyz" + alone + gaps
        end = encode_rows(buffer, rows[:0], at=2)
        assert buffer[:end] == b"xy[]"
    for at in (-1, 4):
        with pytest.raises(ArgumentError, match="at: received"):
            encode_rows(bytearray(3), rows, at=at)
        with pytest.raises(ArgumentError, match="at: received"):
            encode_ranges(bytearray(3), *GOOD.values(), at=at)
