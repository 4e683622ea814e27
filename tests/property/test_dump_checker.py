"""The checker stands whatever it is given, and no number that something else tells can change."""

from __future__ import annotations

import copy
import json
import math
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import openbell as ob
from openbell.export import Violation, load_session_dump, validate_session_dump
from openbell.schema import BAR_DTYPE
from tests.golden_dump import Tree, aapl, golden, line_of
from tests.golden_log import golden_log, write_log

SECOND = 10**9
#: 2025-07-02T13:30:00Z, by `date -u -d 2025-07-02T13:30:00Z +%s`.
OPEN = 1_751_463_000 * SECOND
#: Two and a half minutes, a break, one and a half.
SEGMENTS = [(OPEN, OPEN + 150 * SECOND), (OPEN + 600 * SECOND, OPEN + 690 * SECOND)]
#: The last 10s bucket and the last minute have not closed.
NOW = OPEN + 685 * SECOND
INTERVALS = {"5s": 5, "10s": 10, "1m": 60}
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, 2**63, 2**64 + 2, -(2**63), 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "NaT", "now", "1e5", "unknown", "1m", "5m", "60s", "1d", "99999s"])
    | st.sampled_from(["2025-07-02", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"])
    | st.sampled_from(["2025-07-02T13:31:00Z", "2025-07-02T13:31:00", "2025-07-02T13+01:00Z"])
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged_dumps(draw: st.DrawFn) -> Tree:
    """The golden dump after one to four things in it were lost, replaced, moved or repeated."""
    dump = golden()
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, dump)
    return dump


def _damage(draw: st.DrawFn, dump: Tree) -> None:
    at: Any = dump
    # Down to a random depth, and there into one child.
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        child = at[key]
        if isinstance(child, dict | list) and child and draw(st.integers(0, 5)):
            at = child
            continue
        break
    how = draw(st.sampled_from(["replace", "replace", "delete", "repeat", "reverse"]))
    if how == "delete":
        del at[key]
    elif how == "repeat" and isinstance(at, list):
        at.insert(key, copy.deepcopy(child))
    elif how == "repeat":
        at[draw(st.text(max_size=4))] = copy.deepcopy(child)
    elif how == "reverse" and isinstance(child, list):
        child.reverse()
    else:
        at[key] = draw(GARBAGE)


def assert_lines(found: list[Violation]) -> None:
    for one in found:
        assert one.rule
        assert str(one).isprintable()


@given(dump=damaged_dumps())
def test_check_damaged_tree_gives_lines_and_never_raises(dump: Tree) -> None:
    assert_lines(validate_session_dump(dump))


@given(dump=damaged_dumps())
def test_check_damaged_file_gives_what_its_tree_gives(
    tmp_path_factory: pytest.TempPathFactory, dump: Tree
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "dump.json"
    path.write_text(json.dumps(dump))
    found = validate_session_dump(path)
    assert_lines(found)
    try:
        readable = json.loads(path.read_text(), parse_constant=lambda name: {}[name])
    except (KeyError, ValueError):
        assert found
        return
    text = json.dumps(readable)
    if "\\ud" not in text and len(text) < 10**6 and "0" * 300 not in text:
        assert [*map(line_of, found)] == [*map(line_of, validate_session_dump(readable))]
    if not found:
        load_session_dump(path)


@given(tree=st.dictionaries(st.text(max_size=8), GARBAGE, max_size=4), symbols=GARBAGE)
def test_check_any_json_gives_lines_and_never_raises(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, symbols: Any
) -> None:
    path = tmp_path_factory.mktemp("any") / "dump.json"
    for made in (tree, golden() | tree, golden() | {"symbols": symbols}):
        path.write_text(json.dumps(made))
        assert_lines(validate_session_dump(path))
        assert_lines(validate_session_dump(made))


@given(raw=st.binary(max_size=60), suffix=st.sampled_from(["json", "csv", "log"]))
@example(raw=b"{" * 100_000, suffix="json")
@example(raw=b"timestamp," + b'"' * 3, suffix="csv")
@example(raw=b"timestamp,A_low\n2025-07-02T13:30:00Z,1_0\n", suffix="csv")
def test_check_any_bytes_give_lines_and_never_raise(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"dump.{suffix}"
    path.write_bytes(raw)
    found = validate_session_dump(path)
    assert found
    assert_lines(found)


@given(
    cells=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 42), SCALARS.map(str) | st.text(max_size=8)),
        min_size=1,
        max_size=4,
    )
)
def test_check_damaged_log_gives_lines_and_never_raises(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[int, int, str]]
) -> None:
    rows = golden_log()
    for row, column, text in cells:
        rows[row][list(rows[row])[column]] = text.replace("\ud800", "?")
    path = tmp_path_factory.mktemp("log") / "log.csv"
    try:
        write_log(path, rows)
    except UnicodeEncodeError:
        return
    assert_lines(validate_session_dump(path))


@cache
def _seconds_dump() -> str:
    rng = np.random.default_rng(4)
    root = ob.SessionData()
    root.begin(ob.SessionWindow(date(2025, 7, 2), SEGMENTS))
    record = root.register_symbol_data(
        ob.SymbolSessionData("AAA", base_interval="1s", derived_intervals=list(INTERVALS))
    )
    instants = [t for o, c in SEGMENTS for t in range(o, c, SECOND) if t < NOW]
    bars = np.zeros(len(instants), BAR_DTYPE)
    bars["timestamp"] = instants
    prices = np.round(100 + rng.normal(0, 1, (len(bars), 4)), 2)
    bars["open"], bars["close"] = prices[:, 0], prices[:, 1]
    bars["high"], bars["low"] = prices.max(axis=1), prices.min(axis=1)
    bars["volume"] = rng.integers(1, 10_000, len(bars))
    record.append_block(bars[rng.random(len(bars)) < 0.7])
    root.advance(NOW)
    return json.dumps(root.to_json())


def seconds_dump() -> Tree:
    """A real dump of one symbol: 1s bars of seven seconds in ten, and what they fold to."""
    made: Tree = json.loads(_seconds_dump())
    return made


def folded(rows: list[list[Any]]) -> list[tuple[float, ...]]:
    """What the 1s rows give: the bars of all buckets that have closed, and the session's."""
    made = []
    stamped = [(np.datetime64(row[0][:-6], "ns").astype(np.int64), *row[1:]) for row in rows]
    for seconds in INTERVALS.values():
        for opened, closed in SEGMENTS:
            for start in range(opened, closed, seconds * SECOND):
                end = min(start + seconds * SECOND, closed)
                inside = [row for row in stamped if start <= row[0] < end]
                if inside and end <= NOW:
                    made.append(_fold(inside))
    session = _fold(stamped)
    return [*made, (0.0, session[1], session[2], 0.0, session[4])]


def _fold(rows: list[Any]) -> tuple[float, ...]:
    return (
        rows[0][1],
        max(row[2] for row in rows),
        min(row[3] for row in rows),
        rows[-1][4],
        math.fsum(row[5] for row in rows),
    )


@given(data=st.data(), column=st.integers(1, 5))
def test_check_changed_base_number_is_noticed_whenever_it_changes_anything(
    data: st.DataObject, column: int
) -> None:
    # Anything: a derived bar, the session's high, low or volume, or the order of the prices. What
    # changes none of them is told by nothing else in the dump. Volumes are sums: to 1e-9.
    dump = seconds_dump()
    rows = dump["symbols"]["AAA"]["session"]["data"]["1s"]["data"]
    before = folded(rows)
    row = data.draw(st.sampled_from(rows))
    old = row[column]
    if column == 5:
        new = data.draw(st.sampled_from([old + 1, old - 1, 2 * old, -old, old + 1e-12, 0]))
    else:
        ulps = st.sampled_from([math.nextafter(old, math.inf), math.nextafter(old, -math.inf)])
        new = data.draw(ulps | st.sampled_from(row[1:5]) | st.floats(row[3], row[2]))
    row[column] = new
    sound = row[3] <= min(row[1], row[4]) and row[2] >= max(row[1], row[4]) and row[5] >= 0
    after = folded(rows)
    same = sound and all(
        a[:4] == b[:4] and math.isclose(a[4], b[4], rel_tol=1e-9)
        for a, b in zip(after, before, strict=True)
    )
    found = validate_session_dump(dump)
    assert (found == []) == same, [str(one) for one in found]


@given(data=st.data(), interval=st.sampled_from([*INTERVALS]), column=st.integers(1, 6))
def test_check_changed_derived_number_is_always_noticed(
    data: st.DataObject, interval: str, column: int
) -> None:
    dump = seconds_dump()
    row = data.draw(st.sampled_from(dump["symbols"]["AAA"]["session"]["data"][interval]["data"]))
    step = {5: row[5] * 1e-6, 6: 1}.get(column, math.ulp(row[column]))
    row[column] += data.draw(st.sampled_from([step, -step]))
    assert {(v.symbol, v.interval, v.time) for v in validate_session_dump(dump)} == {
        ("AAA", interval, row[0])
    }


@given(data=st.data(), interval=st.sampled_from(["1s", *INTERVALS]))
def test_check_changed_label_is_always_noticed(data: st.DataObject, interval: str) -> None:
    dump = seconds_dump()
    row = data.draw(st.sampled_from(dump["symbols"]["AAA"]["session"]["data"][interval]["data"]))
    seconds = data.draw(st.integers(-700, 700).filter(bool))
    moved = np.datetime64(row[0][:-6], "s") + np.timedelta64(seconds, "s")
    row[0] = f"{moved}+00:00"
    assert interval in {v.interval for v in validate_session_dump(dump)}


#: Scalars of a symbol that the rest of the dump tells again.
TOLD_TWICE = ["count", "quality", "explained_quality", "coverage", "missing_bars", "gap_count",
              "bar_count", "start_time", "end_time", "volume", "high", "low", "last_update",
              "generated", "base"]  # fmt: skip


def _holders(tree: Any, key: str) -> list[Any]:
    if isinstance(tree, list):
        return [found for item in tree for found in _holders(item, key)]
    if not isinstance(tree, dict):
        return []
    own = [tree] if key in tree else []
    return own + [found for item in tree.values() for found in _holders(item, key)]


@given(data=st.data(), key=st.sampled_from(TOLD_TWICE))
def test_check_changed_scalar_that_is_told_twice_is_always_noticed(
    data: st.DataObject, key: str
) -> None:
    dump = golden()
    holder = data.draw(st.sampled_from(_holders(aapl(dump)["session"], key)))
    old = holder[key]
    if isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int | float):
        holder[key] = old + data.draw(st.sampled_from([1, -1, 0.001, 1000]))
    else:
        others = {"2025-07-02T13:36:00+00:00", "2025-07-02T13:29:00+00:00", "1m", None} - {old}
        holder[key] = data.draw(st.sampled_from(sorted(others, key=str)))
    assert validate_session_dump(dump)
