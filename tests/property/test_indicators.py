"""Whatever comes, in whatever order, read whenever: an indicator is that of the bars there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock.window import SessionWindow
from openbell.schema import NS_PER_DAY, NS_PER_MINUTE
from tests.engine import begin, give, give_model, model_of, plans
from tests.indicator_bars import Case, Past, batch, joined, make, same, vwap
from tests.model import slots_of
from tests.strategies import make_bars, splits, streams, to_bars

SMALL: list[Case] = [
    ("SMA", ("close",), {"timeperiod": 3}, 2),
    ("EMA", ("close",), {"timeperiod": 4}, 3),
    ("RSI", ("close",), {"timeperiod": 3}, 3),
    ("MACD", ("close",), {"fastperiod": 2, "slowperiod": 4, "signalperiod": 2}, 4),
    ("ATR", ("high", "low", "close"), {"timeperiod": 3}, 3),
    ("OBV", ("close", "volume"), {}, 0),
    ("STOCH", ("high", "low", "close"), {}, 8),
    ("CDLDOJI", ("open", "high", "low", "close"), {}, 10),
    ("SAR", ("high", "low"), {}, 1),
]


@st.composite
def pasts(draw: st.DrawFn, window: SessionWindow, interval: str) -> Past:
    """None, one or two earlier sessions of the same hours, with some of their bars."""
    made = []
    for days_ago in range(draw(st.integers(0, 2)), 0, -1):
        shift = days_ago * NS_PER_DAY
        earlier = SessionWindow(
            window.date, [(o - shift, c - shift) for o, c in window.segments],
            timezone=window.timezone, anchor=window.anchor,
        )  # fmt: skip
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        made.append((earlier, make_bars(earlier, interval, 0.5, rng)))
    return made


@given(st.data())
def test_indicator_of_a_stream_read_now_and_then_is_that_of_its_bars(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    root, record = begin(window, base, derived)
    name = data.draw(st.sampled_from([base, *derived]))
    series = record.bars[name]
    history = data.draw(pasts(window, name))
    case = data.draw(st.sampled_from(SMALL))
    indicator = make(record, case[0], name, history, **case[2])
    average = make(record, "VWAP", name)
    own = make(record, "tests.indicator_bars:Streak", name, history)
    n_revisions = seen = 0
    has_taken = False
    for call in data.draw(streams(window, base)):
        give(root, record, call)
        if data.draw(st.integers(0, 3)):
            continue
        bars = series.data.copy()
        values = batch(case, joined(history, bars))
        assert same(indicator.value, values[-1] if values else None)
        assert same(average.value, vwap(bars))
        own.settle()
        taken = [ts for ts, _ in own._calculation._made.bars]
        assert taken == joined(history, bars)["timestamp"].tolist()
        n_revisions += has_taken and series.revision != seen
        assert indicator.revision == average.revision == own.revision == n_revisions
        seen, has_taken = series.revision, len(bars) > 0
    assert record.errors == []


@given(st.data())
def test_opening_range_of_a_stream_is_that_of_its_first_bars(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    root, record = begin(window, base, derived)
    model = model_of(window, base, derived)
    name = data.draw(st.sampled_from([base, *derived]))
    length = data.draw(st.sampled_from([0.5, 1, 2, 3, 7, 60]))
    indicator = make(record, "OPENING_RANGE", name, minutes=length)
    until_ns = window.open_ns + int(length * NS_PER_MINUTE)
    slots = slots_of(window.segments, name, window.anchor, window.timezone)
    n_first = sum(start < until_ns for start, _ in slots)
    for call in data.draw(streams(window, base, invalid=False)):
        give(root, record, call)
        give_model(model, call)
        if data.draw(st.integers(0, 3)):
            continue
        first = [row for row in model.held(name) if row.ts < until_ns]
        is_over = model.n_expected(name) >= n_first
        expected = (
            (max(r.high for r in first), min(r.low for r in first)) if first and is_over else None
        )
        assert indicator.value == expected


@given(st.data())
def test_indicator_of_blocks_is_that_of_single_bars(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    bars = to_bars(data.draw(streams(window, base, advance=False, invalid=False)))
    name = data.draw(st.sampled_from([base, *derived]))
    case = data.draw(st.sampled_from(SMALL))
    _, single = begin(window, base, derived)
    _, blocks = begin(window, base, derived)
    by_bar, by_block = (make(record, case[0], name, **case[2]) for record in (single, blocks))
    for start, stop in data.draw(splits(len(bars))):
        for row in bars[start:stop].tolist():
            single.append(*row)
            by_bar.settle()
        blocks.append_block(bars[start:stop])
        assert same(by_block.value, by_bar.value)
        assert by_block.timestamp == by_bar.timestamp
    values = batch(case, single.bars[name].data)
    assert same(by_bar.value, values[-1] if values else None)
