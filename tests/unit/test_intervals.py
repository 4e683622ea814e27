"""Intervals: parse, order, divide, fold."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import IntervalError
from openbell.intervals import Interval, fold_sources, interval

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "name", "seconds", "daily"),
    [
        ("1s", "1s", 1, False),
        ("5s", "5s", 5, False),
        ("60s", "1m", 60, False),
        ("90s", "90s", 90, False),
        ("5m", "5m", 300, False),
        ("60m", "1h", 3600, False),
        ("90m", "90m", 5400, False),
        ("3600s", "1h", 3600, False),
        ("4h", "4h", 14_400, False),
        ("24h", "24h", 86_400, False),
        ("1d", "1d", 86_400, True),
        ("2d", "2d", 172_800, True),
        ("99999s", "99999s", 99_999, False),
    ],
)
def test_interval_parses_to_its_canonical_name(
    text: str, name: str, seconds: int, daily: bool
) -> None:
    item = Interval(text)
    assert (item.name, item.step_ns, item.is_daily) == (name, seconds * SECOND, daily)
    assert str(item) == name
    assert repr(item) == f"Interval({name!r})"
    assert pickle.loads(pickle.dumps(item)) == item


@pytest.mark.parametrize(
    "text",
    ["7x", "", "m", "1", "0m", "01m", "-1m", "1.5m", "1 m", "1M", "1H", "1w", "1mo", "1ms",
     "100000s", "1m ", "\u0661m", "1min", None, 5, b"1m"],
)  # fmt: skip
def test_interval_of_another_spelling_is_refused(text: object) -> None:
    with pytest.raises(IntervalError) as caught:
        Interval(text)  # type: ignore[arg-type]
    assert caught.value.interval == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1Min", "1m"), ("5-MINUTE", "5m"), ("1T", "1m"), ("15 mins", "15m"), ("Day", "1d"),
        ("1D", "1d"), ("hour", "1h"), ("4H", "4h"), ("30sec", "30s"), ("1_second", "1s"),
        (" 5m ", "5m"), ("60Min", "1h"), ("5m", "5m"),
    ],
)  # fmt: skip
def test_alias_parses_to_its_interval(text: str, name: str) -> None:
    assert Interval.from_alias(text).name == name


@pytest.mark.parametrize("text", ["1M", "M", "1month", "1w", "", "5", "0min", "7x", "m5", None])
def test_alias_that_is_none_or_ambiguous_is_refused(text: object) -> None:
    with pytest.raises(IntervalError):
        Interval.from_alias(text)  # type: ignore[arg-type]


def test_intervals_order_by_length_with_days_last() -> None:
    names = ["1d", "24h", "1m", "90s", "2d", "1s", "48h", "1h", "30s"]
    wanted = ["1s", "30s", "1m", "90s", "1h", "24h", "48h", "1d", "2d"]
    assert [i.name for i in sorted(map(Interval, names))] == wanted
    assert Interval("60s") == Interval("1m")
    assert hash(Interval("60s")) == hash(Interval("1m"))
    assert Interval("24h") != Interval("1d")
    assert Interval("1m") != "1m"


def test_interval_is_immutable_and_shared() -> None:
    item = interval("5m")
    assert interval("5m") is item
    with pytest.raises(AttributeError, match="immutable"):
        item.step_ns = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fine", "coarse", "answer"),
    [
        ("1s", "5s", True), ("5s", "1m", True), ("10s", "15s", False), ("7s", "1m", False),
        ("1m", "1m", False), ("5m", "1m", False), ("1m", "1d", True), ("7m", "1d", True),
        ("1d", "2d", True), ("2d", "3d", False), ("1d", "48h", False), ("1d", "1d", False),
        ("48h", "1d", False),
    ],
)  # fmt: skip
def test_divides(fine: str, coarse: str, answer: bool) -> None:
    assert Interval(fine).divides(Interval(coarse)) is answer


@pytest.mark.parametrize(
    ("base", "derived", "sources"),
    [
        ("1s", [], {}),
        ("1s", ["1m", "5s", "10s", "15s"], {"5s": "1s", "10s": "5s", "15s": "5s", "1m": "15s"}),
        ("1s", ["5m", "1m", "15m", "1h", "1d"],
         {"1m": "1s", "5m": "1m", "15m": "5m", "1h": "15m", "1d": "1h"}),
        ("1m", ["2m", "3m", "5m"], {"2m": "1m", "3m": "1m", "5m": "1m"}),
        ("1m", ["4m", "6m", "12m"], {"4m": "1m", "6m": "1m", "12m": "6m"}),
        ("1m", ["1d"], {"1d": "1m"}),
        ("1s", ["60s", "1m"], {"1m": "1s"}),
    ],
)  # fmt: skip
def test_fold_sources_takes_the_largest_divisor_present(
    base: str, derived: list[str], sources: dict[str, str]
) -> None:
    found = fold_sources(base, derived)
    assert found == sources
    assert list(found) == list(sources)


@pytest.mark.parametrize(
    ("base", "derived", "culprit"),
    [
        ("1m", ["1s"], "1s"), ("1m", ["5s"], "5s"), ("1m", ["1m"], "1m"), ("2m", ["5m"], "5m"),
        ("1m", ["90s"], "90s"), ("1m", ["2d"], "2d"), ("1m", ["5m", "7x"], "7x"),
        ("1d", ["1h"], "1h"), ("1d", ["1d"], "1d"), ("bad", [], "bad"),
    ],
)  # fmt: skip
def test_fold_sources_of_what_the_base_cannot_give_is_refused(
    base: str, derived: list[str], culprit: str
) -> None:
    with pytest.raises(IntervalError) as caught:
        fold_sources(base, derived)
    assert caught.value.interval == culprit


@given(st.lists(st.integers(2, 600), min_size=1, max_size=8, unique=True))
def test_fold_sources_makes_a_tree_in_which_each_parent_divides(seconds: list[int]) -> None:
    sources = fold_sources("1s", [f"{n}s" for n in seconds])
    present = {"1s", *sources}
    steps = {name: Interval(name).step_ns for name in present}
    assert sorted(steps[n] for n in sources) == sorted(n * SECOND for n in seconds)
    for name, source in sources.items():
        divisors = [s for s in steps.values() if s < steps[name] and steps[name] % s == 0]
        assert steps[source] == max(divisors)
