"""How often the reasons of gaps are right: healthy days, and faults planted in them.

Only presence is made (``tests/bursty.py``); what is counted is the share of planted faults that
are named, and of named gaps that hold a fault. "Named" is any reason but ``no_trade``. Seeds are
fixed: a figure here changes only with the code. ``docs/quality.md`` quotes the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from openbell import kernels
from openbell.clock import TimeManager
from openbell.kernels import find_gaps
from openbell.schema import GAP_REASONS, Int64Array
from openbell.sources import ParquetSource, SyntheticSource, synthetic_symbols
from tests.bursty import Presence, dispersion, draw, intensities, make_grid, runs_of, silence

DAY = 23_400
BANDS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
MIXED = np.linspace(0.1, 0.95, 20)
COINBASE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coinbase"


def rare_length(fill: float) -> int:
    """Seconds of silence expected once in 100 days of a symbol that trades evenly."""
    return math.ceil(math.log(0.01 / (DAY * fill)) / math.log(1 - fill))


def named_in(days: Presence) -> list[npt.NDArray[np.bool_]]:
    """Which gaps of each symbol are named, all symbols together."""
    notes = kernels.explain_gaps([runs_of(x) for x in days], [DAY] * len(days), make_grid())
    return [of["reason"] != GAP_REASONS.index("no_trade") for of in notes]


def n_named(days: Presence) -> int:
    return sum(int(of.sum()) for of in named_in(days))


def gap_at(runs: Int64Array, slot: int) -> int:
    return int(np.searchsorted(runs[:, 0], slot, side="right")) - 1


def is_found(day: Presence, first: int, n: int) -> bool:
    """Whether a fault planted in a day of one symbol is named."""
    broken = day.copy()
    silence(broken, first, n)
    (named,) = named_in(broken[None])
    return bool(named[gap_at(runs_of(broken), first)])


class Alone(NamedTuple):
    """Of one fill rate: its healthy days and the true intensities they were drawn from."""

    fill: float
    days: Presence
    rates: npt.NDArray[np.float32]

    def local_fill(self, k: int, first: int) -> float:
        """The true chance of a trade in a second, over the three minutes around a fault."""
        return 1 - math.exp(-float(self.rates[k, first - 60 : first + 120].mean()))

    def own_rare_length(self) -> int:
        """The length that these days' own silences reach once in 100 days."""
        longest = np.sort(np.concatenate([runs_of(x)[:, 1] for x in self.days]))
        return int(longest[-max(1, len(self.days) // 100)]) + 1

    def recall(self, rng: np.random.Generator, *, times: float = 0.0, length: int = 0) -> float:
        """Of one fault a day: `length` seconds, or `times` what is rare at the local fill."""
        found = 0
        for k, day in enumerate(self.days):
            first = int(rng.integers(300, DAY - 1_500))
            n = length or math.ceil(times * rare_length(self.local_fill(k, first)))
            found += is_found(day, first, n)
        return found / len(self.days)


def alone(
    rng: np.random.Generator, n_days: int, *, unrest: float = 1.0, cluster: bool = False
) -> Iterator[Alone]:
    for fill in BANDS:
        rates = intensities(rng, np.full(n_days, fill), unrest=unrest)
        yield Alone(fill, draw(rng, rates, cluster=cluster), rates)


def test_presence_is_as_uneven_as_real_trading(rng: np.random.Generator) -> None:
    for of in alone(rng, 20):
        scatter, spread = dispersion(of.days)
        assert of.days.mean() == pytest.approx(of.fill, rel=0.02)
        assert scatter > 4  # real bitcoin trades of 2016: 1.7 and 2.1
        assert spread > (1.1 if of.fill > 0.9 else 1.3)


@pytest.mark.parametrize(("cluster", "n_days"), [(False, 70), (True, 40)])
def test_healthy_days_raise_one_false_alarm_in_100_symbol_days(
    cluster: bool, n_days: int, rng: np.random.Generator
) -> None:
    n = sum(n_named(draw(rng, intensities(rng, MIXED), cluster=cluster)) for _ in range(n_days))
    assert n <= n_days * len(MIXED) / 100


@pytest.mark.parametrize("fill_rate", [None, 0.05, 0.1, 0.5])
def test_healthy_days_of_the_synthetic_source_raise_few_false_alarms(
    fill_rate: float | None,
) -> None:
    window = TimeManager("XNYS").session_window(date(2025, 7, 2))
    grid, symbols = window.grid("1s"), synthetic_symbols(20)
    n = 0
    for seed in range(10):
        source = SyntheticSource(seed=seed, fill_rate=fill_rate)
        runs = [
            np.stack(find_gaps(source.load(symbol, "1s", window), grid), axis=1)
            for symbol in symbols
        ]
        notes = kernels.explain_gaps(runs, [grid.n_slots] * len(runs), grid)
        n += sum(int((of["reason"] > GAP_REASONS.index("no_trade")).sum()) for of in notes)
    assert n <= 2


@pytest.mark.parametrize("n_symbols", [2, 3, 7])
def test_healthy_days_of_few_symbols_whose_silences_line_up_raise_few_false_alarms(
    n_symbols: int,
) -> None:
    # The blocks in which the source trades less begin at the same half minutes for all symbols.
    clock, source = TimeManager("XNYS"), SyntheticSource(fill_rate=0.4)
    n = 0
    for day in clock.trading_days(date(2025, 6, 2), date(2025, 6, 30)):
        window = clock.session_window(day)
        grid = window.grid("1s")
        runs = [
            np.stack(find_gaps(source.load(symbol, "1s", window), grid), axis=1)
            for symbol in synthetic_symbols(n_symbols)
        ]
        notes = kernels.explain_gaps(runs, [grid.n_slots] * n_symbols, grid)
        n += sum(int((of["reason"] > GAP_REASONS.index("no_trade")).sum()) for of in notes)
    assert n <= 2


def test_low_fill_symbols_together_raise_one_false_alarm_in_100_symbol_days(
    rng: np.random.Generator,
) -> None:
    n = sum(n_named(draw(rng, intensities(rng, np.full(20, 0.1)))) for _ in range(30))
    assert n <= 6


def test_alone_even_trading_is_found_from_the_rare_length(rng: np.random.Generator) -> None:
    recalls, n = [], 0
    for of in alone(rng, 100, unrest=0.0):
        recalls.append(of.recall(rng, length=rare_length(of.fill)))
        n += sum(n_named(day[None]) for day in of.days)
    assert np.mean(recalls) >= 0.95
    assert n <= 6


def test_alone_bursty_trading_is_found_from_its_own_rare_length(rng: np.random.Generator) -> None:
    at_once, beyond = [], []
    for of in alone(rng, 100):
        length = of.own_rare_length()
        at_once.append(of.recall(rng, length=length))
        beyond.append(of.recall(rng, length=math.ceil(1.25 * length)))
        # The formula is given the rate, the kernel has to guess it from both sides.
        assert of.recall(rng, times=1.25) >= 0.8
        assert of.recall(rng, times=1.5) >= 0.9
    assert np.mean(at_once) >= 0.9
    assert np.mean(beyond) >= 0.97


@pytest.mark.parametrize(("seconds", "least"), [(20, 0.9), (60, 0.99)])
@pytest.mark.parametrize(("cluster", "n_out"), [(False, 20), (True, 20), (False, 19)])
def test_feed_wide_outages_are_found_and_little_else(
    seconds: int, least: float, cluster: bool, n_out: int, rng: np.random.Generator
) -> None:
    n_found = n_faults = n_all = 0
    for _ in range(12):
        days = draw(rng, intensities(rng, MIXED), cluster=cluster)
        faults = 600 + 1_500 * rng.choice(14, 4, replace=False) + rng.integers(0, 600, 4)
        out = days[:n_out]
        for first in faults:
            silence(out, int(first), seconds)
        for k, named in enumerate(named_in(days)):
            n_all += int(named.sum())
            if k < n_out:
                hit = named[[gap_at(runs_of(days[k]), int(first)) for first in faults]]
                n_faults += len(faults)
                n_found += int(hit.sum())
    assert n_found / n_faults >= least
    assert n_found / n_all >= 0.99


def coinbase_notes(day: date, interval: str) -> dict[str, npt.NDArray[np.void]]:
    window = TimeManager("24/7").session_window(day)
    grid, source = window.grid(interval), ParquetSource(COINBASE)
    runs = {}
    for symbol in source.symbols(interval):
        bars = source.load(symbol, interval, window)
        if len(bars):
            runs[symbol] = np.stack(find_gaps(bars, grid), axis=1)
    notes = kernels.explain_gaps(list(runs.values()), [grid.n_slots] * len(runs), grid)
    return dict(zip(runs, notes, strict=True))


@pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")
def test_coinbase_day_that_stops_early_is_truncated() -> None:
    found = coinbase_notes(date(2018, 4, 4), "1m")
    assert list(found) == ["BTCEUR", "BTCUSD", "ETHUSD", "LTCUSD"]
    for notes in found.values():
        last = notes[-1]
        assert GAP_REASONS[last["reason"]] == "truncated"
        assert last["first_slot"] + last["n_slots"] == 1_440
        assert 16 * 60 + 47 < last["first_slot"] <= 16 * 60 + 53
        assert last["n_peers"] == 3
        assert (notes["reason"] == GAP_REASONS.index("truncated")).sum() == 1


@pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize("day", [date(2016, 10, 7), date(2016, 10, 8)])
def test_coinbase_quiet_seconds_are_no_outage(day: date) -> None:
    (notes,) = coinbase_notes(day, "1s").values()
    assert len(notes) > 3_000
    assert notes["n_slots"].max() > 150
    assert set(notes["reason"]) == {GAP_REASONS.index("no_trade")}


@pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")
def test_coinbase_fault_planted_in_quiet_seconds_is_found() -> None:
    bars = pq.read_table(COINBASE / "bars_1s.parquet")["timestamp"].cast("int64").to_numpy()
    window = TimeManager("24/7").session_window(date(2016, 10, 7))
    slots = (bars - window.open_ns) // 10**9
    present = np.zeros(86_400, dtype=bool)
    present[slots[(slots >= 0) & (slots < 86_400)]] = True
    silence(present, 50_000, 400)
    (notes,) = kernels.explain_gaps([runs_of(present)], [86_400], window.grid("1s"))
    named = notes[notes["reason"] != GAP_REASONS.index("no_trade")]
    assert [GAP_REASONS[code] for code in named["reason"]] == ["outage"]
    assert named["first_slot"][0] <= 50_000 < named["first_slot"][0] + named["n_slots"][0]
