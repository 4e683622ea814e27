"""The rules a CSV session log must obey."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import DumpError, OpenbellError
from openbell.export.check_rules import BoolArray, Findings, Violation, instant_of
from openbell.export.csv_log import METADATA_COLUMNS
from openbell.export.load import parse_times
from openbell.provenance import RULES, Provenance
from openbell.schema import Int64Array

__all__ = ["check_csv_log"]

_SERIES_COLUMN: Final = re.compile(r"(.+)_([1-9][0-9]*[smhd])_(bars|quality|missing)")
_SYMBOL_COLUMN: Final = re.compile(
    rf"(.+)_(volume|high|low|close|is_loaded|{'|'.join(METADATA_COLUMNS)})"
)
_REQUIRED: Final = ("meets_config_req", "added_by", "auto_provisioned")
_FLAGS: Final = {"True": True, "False": False}
_TOLERANCE: Final = 1e-9

FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class _SymbolColumns:
    """Positions of one symbol's columns."""

    plain: dict[str, int] = field(default_factory=dict)
    series: dict[str, dict[str, int]] = field(default_factory=dict)


def check_csv_log(path: str | PathLike[str]) -> list[Violation]:
    """Check a CSV session log; see :func:`~openbell.export.validate_session_dump`.

    Raises
    ------
    DumpError
        When the file cannot be read.
    """
    findings = Findings()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise DumpError(fspath(path), [error.strerror or str(error)]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        findings.add("schema", f"not a CSV file: {error}")
        return findings.found
    if not rows or not rows[0] or rows[0][0] != "timestamp":
        findings.add("schema", "the first column is not 'timestamp'; this is not a session log")
        return findings.found
    header, body = rows[0], rows[1:]
    bad = next((k for k, row in enumerate(body) if len(row) != len(header)), None)
    if bad is not None:
        findings.add("schema", f"line {bad + 2} has {len(body[bad])} cells for {len(header)} "
                     f"columns", ts_ns=instant_of("".join(body[bad][:1])))  # fmt: skip
        return findings.found
    symbols = _sort_columns(header, findings)
    columns: list[tuple[str, ...]] = list(zip(*body, strict=True)) or [()] * len(header)
    ts_ns = _check_times(columns[0], findings)
    if ts_ns is None:
        return findings.found
    for name, where in symbols.items():
        symbol_findings = Findings(name)
        _check_symbol(where, columns, ts_ns, symbol_findings)
        findings.found += symbol_findings.found
    return findings.found


def _sort_columns(header: list[str], findings: Findings) -> dict[str, _SymbolColumns]:
    symbols: dict[str, _SymbolColumns] = {}
    seen = {header[0]}
    for at, name in enumerate(header[1:], start=1):
        if name in seen:
            findings.add("schema", f"column {name!r} stands there twice")
            continue
        seen.add(name)
        if match := _SERIES_COLUMN.fullmatch(name):
            symbol = symbols.setdefault(match[1], _SymbolColumns())
            symbol.series.setdefault(match[2], {})[match[3]] = at
        elif match := _SYMBOL_COLUMN.fullmatch(name):
            symbols.setdefault(match[1], _SymbolColumns()).plain[match[2]] = at
        else:
            findings.add("schema", f"column {name!r} is not known")
    return symbols


def _check_times(texts: tuple[str, ...], findings: Findings) -> Int64Array | None:
    try:
        ts_ns = parse_times(texts)
    except OpenbellError as error:
        line = 2 + next(k for k, text in enumerate(texts) if instant_of(text) is None)
        findings.add("schema", f"line {line}: {error}")
        return None
    late = np.zeros(len(ts_ns), dtype=bool)
    late[1:] = ts_ns[1:] <= ts_ns[:-1]
    findings.rows("order", late, ts_ns, "", "at or before the one above it")
    return ts_ns


def _check_symbol(
    where: _SymbolColumns,
    columns: list[tuple[str, ...]],
    ts_ns: Int64Array,
    findings: Findings,
) -> None:
    _check_metadata({key: columns[at] for key, at in where.plain.items()}, ts_ns, findings)
    for name, parts in where.series.items():
        read = {key: _numbers(columns[at], name, ts_ns, findings) for key, at in parts.items()}
        _check_series(read, name, ts_ns, findings)
    prices: dict[str, FloatArray] = {
        key: _numbers(columns[where.plain[key]], "", ts_ns, findings)
        for key in ("volume", "high", "low", "close")
        if key in where.plain
    }
    _check_prices(prices, ts_ns, findings)


def _check_metadata(
    texts: dict[str, tuple[str, ...]], ts_ns: Int64Array, findings: Findings
) -> None:
    for key in _REQUIRED:
        if key not in texts:
            findings.add("schema", f"no column {findings.symbol}_{key}")
            return
    flags: dict[str, Any] = {}
    for key in (*METADATA_COLUMNS, "is_loaded"):
        values = texts.get(key, ())
        if not values:
            continue
        changed = np.array([value != values[0] for value in values])
        if changed.any():
            findings.rows("metadata", changed, ts_ns, "", f"where {key} is not {values[0]!r} as "
                          f"above")  # fmt: skip
            return
        flags[METADATA_COLUMNS.get(key, key)] = values[0]
    for key in [key for key in flags if key not in ("added_by", "added_at")]:
        if flags[key] not in _FLAGS:
            findings.add("schema", f"{key} is {flags[key]!r}, neither True nor False")
            return
        flags[key] = _FLAGS[flags[key]]
    if not flags:
        return
    _check_provenance(flags, findings)


def _check_provenance(flags: dict[str, Any], findings: Findings) -> None:
    # Columns that document 000 does not ask for may be absent; then nothing is held against them.
    known_time, known_upgrade = "added_at" in flags, "upgraded_from_adhoc" in flags
    flags["added_at"] = flags.get("added_at") or None
    if flags["added_at"] is not None and instant_of(flags["added_at"]) is None:
        findings.add("schema", f"added_at is {flags['added_at']!r}, not an instant")
    for rule in RULES:
        if not known_time and rule.name in ("config_before_open", "added_later_has_time"):
            continue
        options = [Provenance(**flags)]
        if not known_upgrade:
            options.append(Provenance(**flags | {"upgraded_from_adhoc": True}))
        if not any(rule.holds(option) for option in options):
            findings.add(f"provenance.{rule.name}", f"broken: {rule.words}")


def _numbers(
    texts: tuple[str, ...], name: str, ts_ns: Int64Array, findings: Findings
) -> FloatArray:
    values = np.full(len(texts), np.nan)
    unreadable = np.zeros(len(texts), dtype=bool)
    for k, text in enumerate(texts):
        if text:
            number = _finite(text)
            values[k] = math.nan if number is None else number
            unreadable[k] = number is None
    findings.rows("finite", unreadable, ts_ns, name, "with something that is not a number")
    return values


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check_series(
    read: dict[str, FloatArray], name: str, ts_ns: Int64Array, findings: Findings
) -> None:
    n_bars, missing = read.get("bars"), read.get("missing")
    for key, counts in (("bars", n_bars), ("missing", missing)):
        if counts is not None:
            odd = (counts < 0) | (counts != np.rint(counts)) & ~np.isnan(counts)
            findings.rows("count", odd, ts_ns, name, f"where {key} is not a count")
    if n_bars is None:
        findings.add("schema", f"no column {findings.symbol}_{name}_bars", name)
        return
    findings.rows("count", _falls(n_bars), ts_ns, name, "with fewer bars than the one above it")
    if missing is None:
        return
    expected = n_bars + missing
    findings.rows("missing", _falls(expected), ts_ns, name,
                  "where bars + missing, the slots expected, shrink")  # fmt: skip
    if "quality" in read:
        with np.errstate(invalid="ignore", divide="ignore"):
            wanted = np.where(expected > 0, 100.0 * n_bars / expected, np.nan)
        same = np.isclose(read["quality"], wanted, rtol=_TOLERANCE, atol=0, equal_nan=True)
        findings.rows("quality", ~same, ts_ns, name,
                      "where quality is not 100 x bars / (bars + missing)")  # fmt: skip


def _check_prices(prices: dict[str, FloatArray], ts_ns: Int64Array, findings: Findings) -> None:
    volume, high, low, close = (prices.get(k) for k in ("volume", "high", "low", "close"))
    if volume is not None:
        bad = _falls(volume) | (volume < 0)
        findings.rows("session_volume", bad, ts_ns, "", "where the session's volume shrinks")
    if high is not None:
        findings.rows("session_high", _falls(high), ts_ns, "", "where the session's high falls")
    if low is not None:
        findings.rows("session_low", _falls(-low), ts_ns, "", "where the session's low rises")
    if high is not None and low is not None and close is not None:
        bad = (close > high) | (close < low)
        findings.rows("ohlc", bad, ts_ns, "", "whose close lies outside low to high")


def _falls(values: FloatArray) -> BoolArray:
    known = np.flatnonzero(~np.isnan(values))
    falls = np.zeros(len(values), dtype=bool)
    falls[known[1:]] = np.diff(values[known]) < 0
    return falls
