"""Real trade bars, replayed: the minutes folded from seconds are the vendor's own minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import openbell as ob
from openbell.lifecycle import TradingDay
from openbell.schema import BAR_FIELDS
from openbell.sources import import_bars

COINBASE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coinbase"
pytestmark = pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")

DAYS = [date(2016, 10, 7), date(2016, 10, 8)]
MIDNIGHTS = {DAYS[0]: 1_475_798_400, DAYS[1]: 1_475_884_800}
SECOND = 1_000_000_000
INTERVALS = ["1s", "5s", "1m", "5m", "15m", "1h"]
Row = tuple[int, float, float, float, float, float]


def vendor_rows(name: str, day: date) -> list[Row]:
    table = pq.read_table(COINBASE / f"bars_{name}.parquet")
    table = table.set_column(1, "timestamp", table["timestamp"].cast("int64"))
    opened = MIDNIGHTS[day] * SECOND
    rows = zip(*(table[field].to_pylist() for field in ("symbol", *BAR_FIELDS)), strict=True)
    return sorted(
        row[1:]
        for row in rows
        if row[0] == "BTCUSD" and opened <= row[1] < opened + 86_400 * SECOND
    )


def fold(rows: list[Row], step: int) -> list[Row]:
    buckets: dict[int, list[Row]] = {}
    for row in rows:
        buckets.setdefault(row[0] // (step * SECOND), []).append(row)
    return [
        (
            at * step * SECOND,
            held[0][1],
            max(row[2] for row in held),
            min(row[3] for row in held),
            held[-1][4],
            sum(row[5] for row in held),
        )
        for at, held in buckets.items()
    ]


def assert_same_bars(bars: np.ndarray, rows: list[Row]) -> None:
    expected = np.array(rows, dtype=ob.BAR_DTYPE)
    for field in BAR_FIELDS[:-1]:
        assert bars[field].tobytes() == expected[field].tobytes(), field
    np.testing.assert_allclose(bars["volume"], expected["volume"], rtol=1e-9, atol=0)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("coinbase")
    import_bars(COINBASE / "bars_1s.parquet", folder, calendar="24/7", interval="1s")
    return {
        "session": {
            "exchange": "24/7",
            "start_date": DAYS[0],
            "end_date": DAYS[1],
            "symbols": ["BTCUSD"],
            "streams": INTERVALS,
        },
        "data": {"parquet": str(folder)},
    }


def by_slices(day: TradingDay) -> None:
    for _ in day.slices():
        pass


WAYS: dict[str, Callable[[TradingDay], None]] = {
    "run": lambda day: day.run(),
    "callback": lambda day: day.run(lambda ts_ns, records: None),
    "slices": by_slices,
}


def replayed(config: dict[str, object], way: str) -> Iterator[tuple[date, ob.SymbolSessionData]]:
    session = ob.open_session(config)
    for day in session.days():
        WAYS[way](day)
        session.root.end()
        yield day.date, session.root["BTCUSD"]


@pytest.mark.parametrize("way", list(WAYS))
def test_replay_of_seconds_gives_the_vendors_minutes(config: dict[str, object], way: str) -> None:
    seen = []
    for day, rec in replayed(config, way):
        seen.append(day)
        assert_same_bars(rec.bars["1s"].data, vendor_rows("1s", day))
        minutes = vendor_rows("1m", day)
        assert_same_bars(rec.bars["1m"].data, minutes)
        for name, step in (("5m", 300), ("15m", 900), ("1h", 3600)):
            assert_same_bars(rec.bars[name].data, fold(minutes, step))
        assert_same_bars(rec.bars["5s"].data, fold(vendor_rows("1s", day), 5))
        assert rec.bars["1m"].quality == pytest.approx(100 * len(minutes) / 1440)
        assert rec.session_high == max(row[2] for row in minutes)
        assert rec.session_low == min(row[3] for row in minutes)
        assert rec.rejected == {}
    assert seen == DAYS


def test_replay_and_plain_append_give_the_same_bytes(config: dict[str, object]) -> None:
    appended = {}
    for day in DAYS:
        root = ob.SessionData()
        root.begin(ob.TimeManager("24/7").session_window(day))
        rec = root.register_symbol_data(
            ob.SymbolSessionData("BTCUSD", base_interval="1s", derived_intervals=INTERVALS[1:])
        )
        for row in vendor_rows("1s", day):
            rec.append(*row)
        root.end()
        appended[day] = {name: series.data.tobytes() for name, series in rec.bars.items()}
    assert list(appended[DAYS[0]]) == INTERVALS
    for way in WAYS:
        for day, rec in replayed(config, way):
            held = {name: series.data.tobytes() for name, series in rec.bars.items()}
            assert held == appended[day], (way, day)
