"""What REST answers, page by page: from JSON rows to columns of numbers.

A row that lacks something, or holds what it must not, is left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from openbell.errors import TimeError
from openbell.schema import QUOTE_DTYPE, TICK_DTYPE, BarArray, Int64Array, to_ns
from openbell.sources.columns import FloatArray, columns_to_bars, columns_to_records
from openbell.sources.seconds import seconds_from_trades

__all__ = [
    "Page",
    "bars_of",
    "joined",
    "quotes_of",
    "read_page",
    "seconds_of",
    "taken",
    "ticks_of",
]

Rows = tuple[BarArray, dict[str, FloatArray]]

#: Keys of a row that have to be numbers, by what is asked for; then those that may be absent.
_NUMBERS: Final = {
    "bars": (("o", "h", "l", "c", "v"), ("n", "vw")),
    "trades": (("p", "s"), ()),
    "quotes": (("bp", "ap", "bs", "as"), ()),
}
_NOT_A_TIME: Final = np.iinfo(np.int64).min
_BAD: Final = (KeyError, TypeError, ValueError, OverflowError, AttributeError, TimeError)


class Page(NamedTuple):
    """Rows of one symbol.

    Attributes
    ----------
    ts_ns : numpy.ndarray
        int64, shape (n,).
    values : numpy.ndarray
        float64, shape (n, number of columns); absent ones are NaN.
    conditions, tapes : list
        Of trades; else empty.
    """

    ts_ns: Int64Array
    values: FloatArray
    conditions: list[tuple[str, ...]]
    tapes: list[str]


def read_page(kind: str, rows: Sequence[Any]) -> tuple[Page, int]:
    """Read the rows of one symbol.

    Parameters
    ----------
    kind : str
        ``bars``, ``trades`` or ``quotes``.
    rows : sequence

    Returns
    -------
    (Page, int)
        What could be read, in the order received, and how many rows could not.
    """
    try:
        page: Page | None = _read(kind, rows)
    except _BAD:
        page = None
    if page is None or not _is_sound(kind, page).all():
        return _read_one_by_one(kind, rows)
    return page, 0


def joined(kind: str, pages: Sequence[Page]) -> Page:
    """Put pages together, ascending by time; a bar that came twice counts as it came last."""
    whole = _concatenated(kind, pages)
    is_bars = kind == "bars"
    steps = np.diff(whole.ts_ns)
    if (steps > 0).all() or (not is_bars and (steps >= 0).all()):
        return whole
    order = np.argsort(whole.ts_ns, kind="stable")
    if is_bars:
        order = order[np.append(np.diff(whole.ts_ns[order]) > 0, True)]
    return taken(whole, order)


def taken(page: Page, rows: Any) -> Page:
    """Return some rows of a page, by number or by mask."""
    numbers = np.arange(len(page.ts_ns))[rows].tolist() if page.conditions else []
    return Page(
        page.ts_ns[rows],
        page.values[rows],
        [page.conditions[k] for k in numbers],
        [page.tapes[k] for k in numbers],
    )


def bars_of(page: Page) -> Rows:
    """Return bars, and the columns beside them."""
    o, h, low, c, v, n, vw = (np.ascontiguousarray(column) for column in page.values.T)
    return columns_to_bars(page.ts_ns, o, h, low, c, v), {"trade_count": n, "vwap": vw}


def seconds_of(page: Page) -> Rows:
    """Return the bars of one second that trades make, and the columns beside them."""
    bars, trade_count, vwap = seconds_from_trades(
        page.ts_ns, page.values[:, 0], page.values[:, 1], page.conditions, page.tapes
    )
    return bars, {"trade_count": trade_count, "vwap": vwap}


def ticks_of(page: Page) -> BarArray:
    """Return trades as ``TICK_DTYPE``."""
    price, size = page.values.T
    columns = {"timestamp": page.ts_ns, "price": price, "size": size}
    return columns_to_records(columns, TICK_DTYPE)


def quotes_of(page: Page) -> BarArray:
    """Return quotes as ``QUOTE_DTYPE``."""
    bid, ask, bid_size, ask_size = page.values.T
    columns = {
        "timestamp": page.ts_ns, "bid": bid, "ask": ask, "bid_size": bid_size,
        "ask_size": ask_size,
    }  # fmt: skip
    return columns_to_records(columns, QUOTE_DTYPE)


def _read(kind: str, rows: Sequence[Any]) -> Page:
    needed, optional = _NUMBERS[kind]
    texts = [row["t"] for row in rows]
    if not all(text.endswith("Z") for text in texts):
        raise ValueError
    # numpy reads all nine digits, which datetime does not.
    ts_ns = np.array([text[:-1] for text in texts], "datetime64[ns]").astype(np.int64)
    columns = [[row[key] for row in rows] for key in needed]
    columns += [[row.get(key) for row in rows] for key in optional]
    values = np.ascontiguousarray(np.array(columns, np.float64).reshape(-1, len(rows)).T)
    conditions: list[tuple[str, ...]] = []
    tapes: list[str] = []
    if kind == "trades":
        conditions = [_conditions(row) for row in rows]
        tapes = [str(row.get("z", "")) for row in rows]
    return Page(ts_ns, values, conditions, tapes)


def _conditions(row: Any) -> tuple[str, ...]:
    given = row.get("c") or ()
    if not isinstance(given, list | tuple):
        raise TypeError
    return tuple(str(condition) for condition in given)


def _is_sound(kind: str, page: Page) -> Any:
    n_needed = len(_NUMBERS[kind][0])
    return np.isfinite(page.values[:, :n_needed]).all(axis=1) & (page.ts_ns != _NOT_A_TIME)


def _read_one_by_one(kind: str, rows: Sequence[Any]) -> tuple[Page, int]:
    pages = []
    for row in rows:
        page = _read_or_none(kind, row) or _read_or_none(kind, _in_utc(row))
        if page is not None and _is_sound(kind, page).all():
            pages.append(page)
    return _concatenated(kind, pages), len(rows) - len(pages)


def _read_or_none(kind: str, row: Any) -> Page | None:
    try:
        return _read(kind, [row])
    except _BAD:
        return None


def _concatenated(kind: str, pages: Sequence[Page]) -> Page:
    n_columns = sum(len(keys) for keys in _NUMBERS[kind])
    return Page(
        np.concatenate([np.empty(0, np.int64), *(page.ts_ns for page in pages)]),
        np.concatenate([np.empty((0, n_columns)), *(page.values for page in pages)]),
        [conditions for page in pages for conditions in page.conditions],
        [tape for page in pages for tape in page.tapes],
    )


def _in_utc(row: Any) -> Any:
    # An offset other than Z: allowed by the standard that Alpaca names, though it sends none.
    try:
        return {**row, "t": f"{np.datetime64(to_ns(str(row['t'])), 'ns')}Z"}
    except _BAD:
        return None
