"""Which interval a session streams, and which it folds."""

from __future__ import annotations

import pytest

from openbell.errors import IntervalError
from openbell.lifecycle.streams import plan_streams


@pytest.mark.parametrize(
    ("wanted", "available", "base", "derived"),
    [
        (["1s", "1m", "5m"], ["1s"], "1s", ("1m", "5m")),
        (["1m", "1s"], ["1s", "1m"], "1s", ("1m",)),
        (["1m", "5m"], ["1s", "1m"], "1m", ("5m",)),
        (["1m", "5m"], ["1s"], "1s", ("1m", "5m")),
        (["5m"], ["1s", "1m", "2m"], "1m", ("5m",)),
        (["1m"], ["1m"], "1m", ()),
        (["2m", "3m"], ["1m", "2m"], "1m", ("2m", "3m")),
        (["1h", "1d"], ["1s", "1m", "1d"], "1m", ("1h", "1d")),
        (["1d"], ["1s", "1m", "1d"], "1d", ()),
        (["1m", "1m", "60s"], ["1s", "1m"], "1m", ()),
    ],
)
def test_plan_streams_the_longest_that_divides_all(
    wanted: list[str], available: list[str], base: str, derived: tuple[str, ...]
) -> None:
    assert plan_streams(wanted, available) == (base, derived)
    assert plan_streams(wanted[::-1], available[::-1]) == (base, derived)


@pytest.mark.parametrize(
    ("wanted", "available", "named"),
    [
        (["1s"], ["1m"], "1m"),
        (["5s", "1m"], ["1m", "1d"], "1m, 1d"),
        (["1m"], [], "no interval"),
        (["15s"], ["10s"], "10s"),
    ],
)
def test_plan_streams_refuses_what_cannot_be_had(
    wanted: list[str], available: list[str], named: str
) -> None:
    with pytest.raises(IntervalError, match=named) as caught:
        plan_streams(wanted, available)
    assert caught.value.interval == wanted[0]
