"""What the whole session costs to hand over: as JSON, as Arrow, as a file."""

from __future__ import annotations

import json
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from benchmarks.data import N_DAY, OPEN_NS, make_bars, make_root
from benchmarks.harness import Beside
from openbell import kernels
from openbell.export import series_to_arrow, session_to_dict, write_session_json
from openbell.export.deferred import DeferredRows
from openbell.export.json_dump import Exporter
from openbell.schema import BAR_DTYPE, BAR_FIELDS, NS_PER_SECOND

N_SYMBOLS = 500
#: Bars of a symbol in a dump of many: an hour's.
N_HOUR = 3600
N_TABLES = 20


def with_columns(tree: dict[str, Any], record: ob.SymbolSessionData) -> dict[str, Any]:
    """The branch of a symbol, arrays instead of rows."""
    for name, series in tree["session"]["data"].items():
        held = record.bars[name]
        columns: dict[str, Any] = dict(
            zip(BAR_FIELDS, kernels.deinterleave(held.data), strict=True)
        )
        columns["timestamp"] = columns["timestamp"].view("M8[ns]")
        columns["volume"] = columns["volume"].astype(np.int64)
        if held.n_base is not None:
            columns["n_base"] = held.n_base.copy()
        assert list(columns) == series["columns"]
        series["data"] = columns
    return tree


@pytest.mark.parametrize("gap_share", [0.0, 0.8])
def bench_json_symbol(beside: Beside, gap_share: float) -> None:
    orjson = pytest.importorskip("orjson", reason="orjson is not installed; see [bench]")
    root, (record,) = make_root(1)
    record.append_block(make_bars(gap_share=gap_share))
    root.advance(OPEN_NS + N_DAY * NS_PER_SECOND)
    manager = ob.DataQualityManager(root)
    manager.update()
    rows = DeferredRows(root.window)
    exporter = Exporter(root, None, True, rows)
    tree = session_to_dict(root)["symbols"][record.symbol]
    in_columns = with_columns(session_to_dict(root)["symbols"][record.symbol], record)
    how = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC
    ours, theirs = BytesIO(), BytesIO()

    def encode() -> None:
        ours.seek(0)
        rows.write(ours, exporter.symbol(record))

    def encode_columns() -> None:
        theirs.seek(0)
        theirs.write(orjson.dumps(in_columns, option=how))

    encode()
    encode_columns()
    assert json.loads(ours.getvalue()) == tree
    found = json.loads(theirs.getvalue())
    for series in found["session"]["data"].values():
        series["data"] = list(map(list, zip(*series["data"].values(), strict=True)))
    assert found == tree
    n_rows = sum(series["count"] for series in tree["session"]["data"].values())
    n_gaps = sum(series["gaps"]["gap_count"] for series in tree["session"]["data"].values())
    sizes = f"{n_rows:,} rows, {n_gaps:,} gaps: {ours.tell():,} bytes, {theirs.tell():,} beside"
    beside.times(
        f"JSON of a symbol-day and 8 intervals, {1 - gap_share:.0%} of its seconds traded",
        "orjson of the same in numpy columns",
        encode,
        encode_columns,
        goal=1.0,
        rounds=60,
        unit="us",
        note=lambda _: sizes,
    )


def bench_arrow_symbol(beside: Beside) -> None:
    root, (record,) = make_root(1)
    bars = make_bars()
    record.append_block(bars)
    root.advance(OPEN_NS + N_DAY * NS_PER_SECOND)
    series, columns = record.bars["1s"], kernels.deinterleave(bars)
    out = np.zeros(N_DAY, BAR_DTYPE)
    table = series_to_arrow(series)
    assert table["close"].to_numpy().tobytes() == columns[4].tobytes()

    def to_arrow() -> None:
        for _ in repeat(None, N_TABLES):
            series_to_arrow(series)

    def interleave() -> None:
        for _ in repeat(None, N_TABLES):
            kernels.interleave(*columns, out=out)

    beside.times(
        "Arrow table of a symbol-day",
        "interleave six columns of it (kernel)",
        to_arrow,
        interleave,
        n=N_TABLES,
        goal=1.3,
        rounds=100,
        unit="us",
    )


def bench_dump_500_symbols(beside: Beside, tmp_path: Path) -> None:
    root, records = make_root(N_SYMBOLS, n_reserve=N_HOUR)
    for k, record in enumerate(records):
        record.append_block(make_bars(N_HOUR, seed=k % 8))
    root.advance(OPEN_NS + N_HOUR * NS_PER_SECOND)
    path, beside_path = tmp_path / "dump.json", tmp_path / "beside.json"
    write_session_json(root, path)
    n_bytes = path.stat().st_size
    symbol = path.read_bytes()[-n_bytes // N_SYMBOLS :]

    def write_bytes() -> None:
        with open(beside_path, "wb") as file:
            for _ in range(N_SYMBOLS):
                file.write(symbol)

    beside.times(
        f"dump of {N_SYMBOLS} symbols, an hour of 1s bars and 8 intervals, to a file",
        "writing as many bytes",
        lambda: write_session_json(root, path),
        write_bytes,
        rounds=5,
        warmup_rounds=1,
        unit="ms",
        note=lambda t: f"{n_bytes / 1e6:.0f} MB, {n_bytes / 1e6 / t:.0f} MB/s",
    )
