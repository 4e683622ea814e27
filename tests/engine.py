"""Records to test on, and how they are compared: with the model, and with each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from openbell.clock.window import SessionWindow
from openbell.errors import BarRefused
from openbell.schema import BAR_DTYPE, to_ns
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData
from tests.model import RecordModel, Row
from tests.strategies import SHORT_1M, SHORT_1S, Call, short_windows

#: What may be derived, by base: beside each other such that do not divide one another, and some
#: longer than the session.
PLANS = {
    "1s": SHORT_1S,
    "5s": ("10s", "15s", "20s", "30s", "1m", "5m", "1h", "1d"),
    "1m": (*SHORT_1M, "10m", "1h"),
}
PRICES = ["timestamp", "open", "high", "low", "close"]


@st.composite
def plans(draw: st.DrawFn) -> tuple[SessionWindow, str, list[str]]:
    """A short window, a base interval and what to derive from it."""
    base = draw(st.sampled_from(sorted(PLANS)))
    derived = draw(st.lists(st.sampled_from(PLANS[base]), unique=True))
    return draw(short_windows(base)), base, derived


def begin(
    window: SessionWindow, base: str, derived: Iterable[str] = (), **options: Any
) -> tuple[SessionData, SymbolSessionData]:
    """A day that has begun, and one record in it."""
    root = SessionData()
    root.begin(window)
    record = SymbolSessionData("AAPL", base_interval=base, derived_intervals=derived, **options)
    return root, root.register_symbol_data(record)


def model_of(
    window: SessionWindow, base: str, derived: Iterable[str] = (), capacity: int = 0
) -> RecordModel:
    return RecordModel(
        window.segments, base, derived, window.anchor, window.timezone, capacity or None
    )


def give(root: SessionData, record: SymbolSessionData, call: Call) -> str | None:
    """Make one call; the name of the refusal when there is one."""
    if not call.is_bar:
        root.advance(max(call.ts_ns, root.now_ns))
        return None
    try:
        record.append(call.ts_ns, *call.values)
    except BarRefused as refused:
        return refused.reason
    return None


def give_model(model: RecordModel, call: Call) -> str | None:
    if call.is_bar:
        return model.append(call.ts_ns, *call.values)
    model.advance(call.ts_ns)
    return None


def snapshot(record: SymbolSessionData) -> dict[str, Any]:
    """All that is seen of a record but the revisions of what is derived."""
    seen: dict[str, Any] = {
        "rejected": record.rejected,
        "counters": (record.n_duplicate, record.n_corrected, record.n_late),
        "metrics": record.session_metrics,
        "revision": record.bars[record.base_interval].revision,
    }
    for name, series in record.bars.items():
        counts = series.n_base
        seen[name] = {
            "data": series.data.tobytes(),
            "n_base": None if counts is None else counts.tobytes(),
            "n_evicted": series.n_evicted,
            "runs": series.gap_runs().tobytes(),
            "counters": (series.n_gaps, series.n_missing, series.n_expected),
            "shares": (series.quality, series.coverage),
            "open_bar": series.open_bar,
            "updated": series.updated,
        }
    return seen


def assert_like_model(record: SymbolSessionData, model: RecordModel) -> None:
    """The record holds what the model holds: prices bit for bit, volumes to 1e-9."""
    assert record.rejected == model.rejected
    assert (record.n_duplicate, record.n_corrected, record.n_late) == (
        model.n_duplicate, model.n_corrected, model.n_late,
    )  # fmt: skip
    assert record.bars[record.base_interval].revision == model.revision
    assert record.session_volume == pytest.approx(model.session_volume, rel=1e-9, abs=1e-9)
    assert (record.session_high, record.session_low) == (model.session_high, model.session_low)
    for name, series in record.bars.items():
        held = model.held(name)
        assert_rows(series.data, held)
        if series.derived:
            assert series.n_base.tolist() == [row.n_base for row in held]
        assert series.n_evicted == model.n_evicted(name)
        gaps = [(gap.start_ns, to_ns(gap.end_time)) for gap in series.gaps]
        assert gaps == model.gaps(name)
        assert series.n_gaps == len(gaps)
        assert series.n_missing == model.n_missing(name) == sum(g.bar_count for g in series.gaps)
        assert series.n_expected == model.n_expected(name)
        assert (series.quality, series.coverage) == (model.quality(name), model.coverage(name))
        assert_bar(series.open_bar, model.open_bar(name))


def assert_rows(data: np.ndarray, rows: Sequence[Row]) -> None:
    wanted = np.array([row[:6] for row in rows], dtype=BAR_DTYPE)
    assert data["timestamp"].tolist() == wanted["timestamp"].tolist()
    for field in PRICES:
        assert data[field].tobytes() == wanted[field].tobytes(), field
    np.testing.assert_allclose(data["volume"], wanted["volume"], rtol=1e-9, atol=1e-9)


def assert_bar(bar: Any, row: Row | None) -> None:
    if row is None:
        assert bar is None
        return
    assert bar is not None
    assert (bar.ts_ns, bar.open, bar.high, bar.low, bar.close) == row[:5]
    assert bar.volume == pytest.approx(row.volume, rel=1e-9, abs=1e-9)
