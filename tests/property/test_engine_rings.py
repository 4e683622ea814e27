"""Rings smaller than the day: what they hold, what they refuse, and what still counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import BarRefused, SessionStateError
from openbell.schema import REFUSALS
from tests.engine import assert_like_model, begin, give, give_model, model_of, plans, snapshot
from tests.strategies import MINUTE, Call, make_bars, make_stream, real_windows, streams, to_bars

HALF_DAY = real_windows()["half_day"]


@given(st.data())
def test_ring_is_what_the_model_says(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    capacity = data.draw(st.sampled_from([1, 2, 3, 8, 20]))
    root, record = begin(window, base, derived, capacity=capacity)
    block_root, blocks = begin(window, base, derived, capacity=capacity)
    model = model_of(window, base, derived, capacity)
    waiting: list[Call] = []
    for call in [*data.draw(streams(window, base)), Call("advance", window.close_ns)]:
        answer = give_model(model, call)
        assert give(root, record, call) == (answer if answer in REFUSALS else None)
        if call.is_bar:
            waiting.append(call)
            continue
        blocks.append_block(to_bars(waiting))
        waiting.clear()
        give(block_root, blocks, call)
        # What a ring lets go of and when follows the closings; those follow the reads.
        assert snapshot(record) == snapshot(blocks)
    assert_like_model(record, model)


@pytest.mark.parametrize("capacity", [8, 16, 33, 64])
@pytest.mark.parametrize("base", ["1s", "1m"])
def test_ring_over_a_day_keeps_the_newest_and_counts_them_all(base: str, capacity: int) -> None:
    derived = ["2m", "3m", "5m", "15m", "1h", "1d"]
    calls = make_stream(HALF_DAY, base, 0.7, 21, disorder=0.05)
    ring_root, ring = begin(HALF_DAY, base, derived, capacity=capacity)
    taken = [call for call in calls if give(ring_root, ring, call) is None]
    root, whole = begin(HALF_DAY, base, derived)
    whole.append_block(to_bars(taken))
    ring_root.end()
    root.end()
    assert ring.rejected.keys() == {"evicted"}
    assert ring.rejected["evicted"] + len(taken) == len(calls)
    for name, series in ring.bars.items():
        full = whole.bars[name]
        assert series.n_evicted + len(series) == len(full)
        assert len(series) <= 2 * capacity
        assert series.n_evicted == 0 or len(series) >= capacity
        assert series.data.tobytes() == full.data[series.n_evicted :].tobytes()
        assert series.gaps == full.gaps
        assert (series.n_gaps, series.n_missing, series.quality, series.coverage) == (
            full.n_gaps, full.n_missing, full.quality, full.coverage,
        )  # fmt: skip
    assert ring.bars["3m"].n_evicted > 0 or capacity > 32
    assert (ring.session_high, ring.session_low) == (whole.session_high, whole.session_low)
    assert ring.session_volume == pytest.approx(whole.session_volume, rel=1e-9)


def test_ring_by_hand_holds_n_to_2n_and_refuses_what_it_let_go() -> None:
    root, record = begin(HALF_DAY, "1m", ["2m"], capacity=3)
    opened = HALF_DAY.open_ns

    def put(minute: int, price: float = 10.0) -> str | None:
        values = (price, price + 1, price - 1, price, 1.0)
        return give(root, record, Call("bar", opened + minute * MINUTE, values))

    for minute in range(6):
        assert put(minute) is None
        assert len(record.bars["1m"]) == minute + 1
    assert put(7) is None
    base, pairs = record.bars["1m"], record.bars["2m"]
    assert base.timestamp(9).tolist() == [opened + m * MINUTE for m in (3, 4, 5, 7)]
    assert (base.n_evicted, pairs.n_evicted, len(pairs)) == (3, 0, 4)
    assert put(2) == put(0) == "evicted"
    assert put(3, 11.0) == "evicted"  # minutes 2 and 3 make a bar, and 2 is gone
    assert put(3) is None  # the same again changes nothing
    assert put(4, 12.0) is None
    assert put(6) is None
    assert (record.n_duplicate, record.n_corrected, record.n_late) == (1, 1, 1)
    assert record.rejected == {"evicted": 3}
    assert pairs.close(9).tolist() == [10.0, 10.0, 10.0, 10.0]
    assert pairs.high(2).tolist() == [13.0, 11.0]
    assert (base.n_gaps, base.quality, record.session_volume) == (0, 100.0, 8.0)
    with pytest.raises(BarRefused) as refused:
        record.append(opened, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert (refused.value.reason, refused.value.ts_ns) == ("evicted", opened)


def test_ring_that_let_go_of_bars_refuses_to_derive_anew(rng: np.random.Generator) -> None:
    bars = make_bars(HALF_DAY, "1m", 0.9, rng)
    root, record = begin(HALF_DAY, "1m", ["5m", "1h"], capacity=8)
    record.append_block(bars[:16])
    record.set_intervals("1m", ["5m", "15m", "1h"])
    record.append_block(bars[16:])
    root.end()
    before = snapshot(record)
    with pytest.raises(SessionStateError, match="capacity"):
        record.set_intervals("1m", ["5m", "30m"])
    assert snapshot(record) == before
    assert list(record.bars) == ["1m", "5m", "15m", "1h"]
