"""LEAN's zips: where the path says what is inside, and the rows count from midnight.

``equity/usa/minute/spy/20131007_trade.zip`` holds one CSV without a header: milliseconds since
the exchange's midnight, open, high, low, close, volume. Daily and hour zips hold a symbol's
whole history, with ``YYYYMMDD HH:MM`` instead.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from openbell.errors import DatasetError
from openbell.sources.importing.readers import Batch, OpenedFile, csv_batches

__all__ = ["open_lean"]

_NAMES: Final = ["timestamp", "open", "high", "low", "close", "volume"]
_INTERVALS: Final = {"second": "1s", "minute": "1m", "hour": "1h", "daily": "1d"}
#: Kinds of security, and what their prices are multiplied by.
_SCALES: Final = {
    "equity": 10_000.0, "option": 10_000.0, "index": 1.0, "crypto": 1.0, "cryptofuture": 1.0,
    "forex": 1.0, "cfd": 1.0, "future": 1.0,
}  # fmt: skip
_ZONES: Final = {"equity": "America/New_York", "option": "America/New_York"}
_DATED: Final = re.compile(r"(\d{8})_(\w+)")


def open_lean(path: Path) -> OpenedFile:
    """Open a LEAN zip of trade bars.

    Its kind of security is read from the path and is ``equity`` where the path names none; equity
    times are New York's, all others UTC.

    Raises
    ------
    DatasetError
        When it is not a zip, holds not exactly one CSV, or its path does not say what it is.
    """
    parts = [part.lower() for part in path.absolute().parts]
    kind = next((p for p in reversed(parts[:-1]) if p in _SCALES), "equity")
    resolution = next((p for p in reversed(parts[:-1]) if p in (*_INTERVALS, "tick")), None)
    if resolution not in _INTERVALS:
        raise DatasetError(
            path,
            "is no LEAN zip of bars: expected second, minute, hour or daily in its path",
            "import",
        )
    dated = _DATED.fullmatch(path.stem)
    date: str | None = None
    if resolution in ("second", "minute"):
        if dated is None:
            raise DatasetError(path, "expected a name such as 20131007_trade.zip", "import")
        date, content = dated[1], dated[2]
        symbol = path.parent.name
    else:
        symbol, _, content = path.stem.partition("_")
    if content not in ("", "trade"):
        raise DatasetError(path, f"holds {content} rows; only trade bars are imported", "import")
    inner, data = _only_csv(path)
    return OpenedFile(
        f"{path}#{inner}",
        _batches(path, data, date),
        has_symbol=False,
        symbol=symbol.upper(),
        interval=_INTERVALS[resolution],
        zone=_ZONES.get(kind, "UTC"),
        price_divisor=_SCALES[kind],
        line_offset=0,
    )


def _only_csv(path: Path) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.lower().endswith(".csv")]
            if len(inner) != 1:
                raise DatasetError(path, f"holds {len(inner)} CSV files, expected one", "import")
            return inner[0], archive.read(inner[0])
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise DatasetError(path, f"corrupt or truncated zip: {error}", "import") from None


def _batches(path: Path, data: bytes, date: str | None) -> Iterator[Batch]:
    # Later LEAN files carry further columns; those of a bar come first.
    first = data.split(b"\n", 1)[0].count(b",") + 1
    names = _NAMES + [f"extra{k}" for k in range(first - len(_NAMES))]
    roles = {name: name for name in _NAMES}
    for batch in csv_batches(io.BytesIO(data), str(path), names, roles):
        if date is not None and batch.columns:
            batch.columns["timestamp"] = _since_midnight(batch.columns["timestamp"], date)
        batch.done = 1.0
        yield batch


def _since_midnight(column: Any, date: str) -> Any:
    """Turn milliseconds since midnight into wall clock timestamps; null where unreadable."""
    import pyarrow as pa

    from openbell.sources.importing.values import pa_bools, parse_numbers

    elapsed, bad = parse_numbers(column)
    midnight = np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}", "ms").astype(np.int64)
    good = ~bad & (elapsed >= 0) & (elapsed < 86_400_000)
    local = midnight + np.where(good, elapsed, 0).astype(np.int64)
    validity = pa_bools(good).buffers()[1]
    return pa.Array.from_buffers(
        pa.timestamp("ms"), len(local), [validity, pa.py_buffer(local)], int((~good).sum())
    )
