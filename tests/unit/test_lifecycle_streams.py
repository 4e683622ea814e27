"""Which interval a session streams, which it folds, and what its history is read from."""

from __future__ import annotations

from itertools import permutations

import pytest

from openbell.errors import IntervalError
from openbell.lifecycle.streams import history_base, plan_streams

#: What a source holds -> what is wanted -> (streamed, derived), or None where it cannot be.
USUAL: dict[tuple[str, ...], dict[tuple[str, ...], tuple[str, tuple[str, ...]] | None]] = {
    ("1s",): {
        ("1s",): ("1s", ()),
        ("5s",): ("1s", ("5s",)),
        ("10s", "15s"): ("1s", ("10s", "15s")),
        ("1s", "5s", "1m"): ("1s", ("5s", "1m")),
        ("1m",): ("1s", ("1m",)),
        ("1m", "5m"): ("1s", ("1m", "5m")),
        ("1h", "1d"): ("1s", ("1h", "1d")),
        ("1d",): ("1s", ("1d",)),
    },
    ("1m",): {
        ("1s",): None,
        ("5s",): None,
        ("1s", "1m"): None,
        ("90s",): None,
        ("1m",): ("1m", ()),
        ("2m", "3m"): ("1m", ("2m", "3m")),
        ("1m", "5m", "1h"): ("1m", ("5m", "1h")),
        ("1d",): ("1m", ("1d",)),
    },
    ("1d",): {
        ("1s",): None,
        ("1m",): None,
        ("1h",): None,
        ("1m", "1d"): None,
        ("1d",): ("1d", ()),
    },
    ("1s", "1m"): {
        ("1s",): ("1s", ()),
        ("30s",): ("1s", ("30s",)),
        ("1m",): ("1s", ("1m",)),
        ("1m", "5m"): ("1s", ("1m", "5m")),
        ("1d",): ("1s", ("1d",)),
    },
    ("1s", "1d"): {
        ("1s", "1d"): ("1s", ("1d",)),
        ("1m",): ("1s", ("1m",)),
        ("1d",): ("1s", ("1d",)),
    },
    ("1m", "1d"): {
        ("1s",): None,
        ("5s", "1m"): None,
        ("1m", "1d"): ("1m", ("1d",)),
        ("5m",): ("1m", ("5m",)),
        ("1d",): ("1m", ("1d",)),
    },
    ("1s", "1m", "1d"): {
        ("1s", "1m", "5m", "1d"): ("1s", ("1m", "5m", "1d")),
        ("5s", "1m"): ("1s", ("5s", "1m")),
        ("1m", "5m"): ("1s", ("1m", "5m")),
        ("1d",): ("1s", ("1d",)),
    },
    (): {("1s",): None, ("1m",): None, ("1d",): None},
    # Sources that hold what others do not.
    ("10s",): {
        ("1s",): None,
        ("15s",): None,
        ("10s",): ("10s", ()),
        ("1m", "1d"): ("10s", ("1m", "1d")),
        ("15s", "1m"): None,
    },
    ("5m",): {
        ("1m",): None,
        ("7m",): None,
        ("5m", "15m", "1h"): ("5m", ("15m", "1h")),
        ("1d",): ("5m", ("1d",)),
    },
    ("10s", "1m"): {
        ("15s",): None,
        ("1m", "5m"): ("10s", ("1m", "5m")),
    },
    ("2m", "3m"): {
        ("6m",): ("2m", ("6m",)),
        ("3m",): ("3m", ()),
        ("2m", "3m"): None,
        ("4m", "9m"): None,
    },
    ("2m", "5m", "1d"): {
        ("5m", "15m"): ("5m", ("15m",)),
        ("5m", "1d"): ("5m", ("1d",)),
        ("10m", "1d"): ("2m", ("10m", "1d")),
    },
}
CASES = [(held, want, plan) for held, rows in USUAL.items() for want, plan in rows.items()]


@pytest.mark.parametrize(("available", "wanted", "plan"), CASES)
def test_plan_streams_the_smallest_that_gives_all(
    available: tuple[str, ...], wanted: tuple[str, ...], plan: tuple[str, tuple[str, ...]] | None
) -> None:
    for held in permutations(available):
        for asked in (wanted, wanted[::-1], wanted * 2):
            if plan is not None:
                assert plan_streams(asked, held) == plan
                continue
            with pytest.raises(IntervalError, match="cannot be had") as caught:
                plan_streams(asked, held)
            assert f"holds {', '.join(available) or 'no interval'}" in str(caught.value)


def test_plan_streams_takes_an_interval_by_any_of_its_spellings() -> None:
    assert plan_streams(["60s", "1m"], ["1m"]) == ("1m", ())
    assert plan_streams(["1m"], ["60s"], base="60s") == ("1m", ())


@pytest.mark.parametrize(
    ("wanted", "available", "lost"),
    [
        (["5s", "1m"], ["1m", "1d"], "5s"),
        (["1m", "5s"], ["1m", "1d"], "5s"),
        (["1m", "5m"], ["5m"], "1m"),
        (["10s", "15s", "1m"], ["10s"], "15s"),
        (["3m", "2m"], ["2m", "3m"], "2m, 3m"),
    ],
)
def test_plan_streams_names_what_cannot_be_had(
    wanted: list[str], available: list[str], lost: str
) -> None:
    with pytest.raises(IntervalError) as caught:
        plan_streams(wanted, available)
    assert caught.value.interval == lost


@pytest.mark.parametrize(
    ("wanted", "base", "plan"),
    [
        (["1m", "5m"], "1m", ("1m", ("5m",))),
        (["1m", "5m"], "1s", ("1s", ("1m", "5m"))),
        (["5m", "1d"], "1m", ("1m", ("5m", "1d"))),
        (["1d"], "1d", ("1d", ())),
        (["1d"], "1m", ("1m", ("1d",))),
    ],
)
def test_plan_streams_with_a_base_streams_that(
    wanted: list[str], base: str, plan: tuple[str, tuple[str, ...]]
) -> None:
    assert plan_streams(wanted, ["1s", "1m", "1d"], base) == plan


@pytest.mark.parametrize(
    ("wanted", "available", "base", "interval", "reason"),
    [
        (["1m"], ["1s"], "1m", "1m", "cannot be streamed: the source holds 1s"),
        (["1m"], [], "1s", "1s", "the source holds no interval"),
        (["1s", "1m"], ["1s", "1m"], "1m", "1s", "cannot be derived from the base, 1m"),
        (["1m", "1d"], ["1m", "1d"], "1d", "1m", "cannot be derived from the base, 1d"),
    ],
)
def test_plan_streams_refuses_a_base_that_does_not_serve(
    wanted: list[str], available: list[str], base: str, interval: str, reason: str
) -> None:
    with pytest.raises(IntervalError) as caught:
        plan_streams(wanted, available, base)
    assert caught.value.interval == interval
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("name", "available", "read"),
    [
        ("1m", ["1s", "1m"], "1m"),
        ("1m", ["1s"], "1s"),
        ("5m", ["1s", "1m", "1d"], "1m"),
        ("5m", ["1m", "1s", "2m"], "1m"),
        ("15s", ["1s", "10s", "5s"], "5s"),
        ("1d", ["1s", "1m", "1d"], "1d"),
        ("1d", ["1s", "1m"], "1m"),
        ("1d", ["1s", "1h"], "1h"),
        ("60s", ["1m"], "1m"),
    ],
)
def test_history_base_is_itself_or_its_longest_divisor(
    name: str, available: list[str], read: str
) -> None:
    assert history_base(name, available) == read


@pytest.mark.parametrize(
    ("name", "available", "held"),
    [
        ("1s", ["1m", "1d"], "1m, 1d"),
        ("15s", ["10s"], "10s"),
        ("1m", ["1d"], "1d"),
        ("1m", [], "no interval"),
    ],
)
def test_history_base_refuses_what_cannot_be_had(
    name: str, available: list[str], held: str
) -> None:
    with pytest.raises(IntervalError, match=f"the source holds {held}") as caught:
        history_base(name, available)
    assert caught.value.interval == name
