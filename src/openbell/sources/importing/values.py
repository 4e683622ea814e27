"""From the cells of a column to numbers and instants, without giving up at the first bad one.

Everything here takes an Arrow array and returns numpy arrays of its length: the values, and a
mask or code of those that could not be read.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError, TimeError
from openbell.schema import NS_PER_DAY, NS_PER_SECOND, Int64Array
from openbell.sources.columns import (
    FloatArray,
    epoch_unit_ns,
    fixed_width,
    null_mask,
    single_chunk,
)

Mask = npt.NDArray[np.bool_]

_INTEGER: Final = r"^[+-]?\d{1,18}$|^[+-]?[0-8]\d{18}$"
_DECIMAL: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$|^[+-]?(?i:nan|inf|infinity)$"
_ISO: Final = (
    r"^(?P<y>\d{4})[-/]?(?P<mo>\d{2})[-/]?(?P<d>\d{2})"
    r"(?:[T ]+(?P<h>\d{2}):?(?P<mi>\d{2})(?::?(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
    r"\s*(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?$"
)


class Times(NamedTuple):
    """Instants of one column."""

    ns: Int64Array
    """Nanoseconds: UTC, or of the wall clock where `naive`."""
    bad: Mask
    naive: Mask


def text_of(column: Any) -> Any:
    """Return an Arrow column as trimmed text, nulls as empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = single_chunk(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not pa.types.is_string(array.type):
        array = pc.cast(array, pa.string())
    if array.null_count:
        array = pc.fill_null(array, "")
    return pc.utf8_trim_whitespace(array)


def parse_numbers(column: Any) -> tuple[FloatArray, Mask]:
    """Return a column as float64, NaN where it cannot be read, and where that is.

    A cell that says NaN or infinity is read: it is a number, if not a finite one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = single_chunk(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if (
        pa.types.is_integer(array.type)
        or pa.types.is_floating(array.type)
        or (pa.types.is_decimal(array.type))
    ):
        array = pc.cast(array, pa.float64(), safe=False)
        bad = null_mask(array)
        return fixed_width(pc.fill_null(array, float("nan")), np.float64), bad
    text = text_of(array)
    try:
        return fixed_width(pc.cast(text, pa.float64()), np.float64), np.zeros(len(text), bool)
    except pa.ArrowInvalid:
        pass
    good = pc.match_substring_regex(text, _DECIMAL)
    values = pc.cast(pc.if_else(good, text, "nan"), pa.float64())
    return fixed_width(values, np.float64), ~_bools(good)


class TimeReader:
    """Reads the timestamp columns of one file; the unit of epoch numbers is told by its start.

    Parameters
    ----------
    file : str
        For errors.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._unit_ns: int | None = None

    def read(self, column: Any, time_of_day: Any = None) -> Times:
        """Read one column, or a column of dates beside one of times of day.

        Raises
        ------
        SchemaError
            When the column's type holds no instants.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        array = single_chunk(column)
        kind = array.type
        if pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        if pa.types.is_date(kind):
            array = pc.cast(array, pa.timestamp("s"))
            kind = array.type
        if time_of_day is not None:
            day, clock = text_of(array), text_of(time_of_day)
            day = pc.utf8_slice_codeunits(day, 0, 10)
            return self._from_text(pc.binary_join_element_wise(day, clock, " "))
        if pa.types.is_timestamp(kind):
            return self._from_timestamps(array)
        if pa.types.is_integer(kind):
            bad = null_mask(array)
            return self._from_integers(
                fixed_width(pc.fill_null(pc.cast(array, pa.int64()), 0), np.int64), bad
            )
        if pa.types.is_floating(kind):
            values, bad = parse_numbers(array)
            return self._from_floats(values, bad)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._from_text(text_of(array))
        raise SchemaError(f"{self._file}: timestamp", f"type {kind}", "timestamps, text or numbers")

    def _from_timestamps(self, array: Any) -> Times:
        bad = null_mask(array)
        scale = {"s": NS_PER_SECOND, "ms": 1_000_000, "us": 1000, "ns": 1}[array.type.unit]
        raw = np.where(bad, 0, fixed_width(array, np.int64))
        bad |= np.abs(raw) > np.iinfo(np.int64).max // scale
        naive = np.full(len(raw), array.type.tz is None)
        return Times(np.where(bad, 0, raw) * scale, bad, naive)

    def _from_integers(self, raw: Int64Array, bad: Mask) -> Times:
        if self._unit_ns is None:
            good = raw[~bad]
            middle = float(np.median(good)) if len(good) else 0.0
            # Eight digits are a date; as seconds they would be some day of August 1970.
            dates = 19_000_101 <= middle <= 21_001_231
            self._unit_ns = 0 if dates else epoch_unit_ns(good)
        if self._unit_ns == 0:
            ns, wrong = _civil_ns(raw // 10_000, raw // 100 % 100, raw % 100)
            return Times(ns, bad | wrong, np.ones(len(raw), bool))
        bad = bad | (np.abs(raw) > np.iinfo(np.int64).max // self._unit_ns)
        return Times(np.where(bad, 0, raw) * self._unit_ns, bad, np.zeros(len(raw), bool))

    def _from_floats(self, values: FloatArray, bad: Mask) -> Times:
        whole = np.isfinite(values) & (np.abs(values) < 2.0**53)
        values = np.where(whole, values, 0.0)
        if self._unit_ns is None:
            self._unit_ns = epoch_unit_ns(values[whole & ~bad])
        whole_part = np.floor(values)
        fraction = np.rint((values - whole_part) * 1e6).astype(np.int64)
        times = self._from_integers(whole_part.astype(np.int64), bad | ~whole)
        # A double near 1.7e9 has no digits beyond the microsecond.
        fraction_ns = fraction * (self._unit_ns or 0) // 1_000_000
        return Times(times.ns + fraction_ns, times.bad, times.naive)

    def _from_text(self, text: Any) -> Times:
        import pyarrow as pa
        import pyarrow.compute as pc

        for zone in (None, "UTC"):
            try:
                array = pc.cast(text, pa.timestamp("ns", zone))
            except pa.ArrowInvalid:
                continue
            return self._from_timestamps(array)
        integers = _bools(pc.match_substring_regex(text, _INTEGER))
        if integers.mean() > 0.5:
            digits = pc.if_else(pa_bools(integers), text, "0")
            values = fixed_width(pc.cast(digits, pa.int64()), np.int64)
            return self._from_integers(values, ~integers)
        decimals = _bools(pc.match_substring_regex(text, r"^\d{9,}\.\d+$"))
        if decimals.mean() > 0.5:
            values, bad = parse_numbers(text)
            return self._from_floats(values, bad)
        return _from_iso(text)


def _from_iso(text: Any) -> Times:
    import pyarrow as pa
    import pyarrow.compute as pc

    groups = pc.extract_regex(text, _ISO)
    bad = null_mask(groups)

    def part(name: str) -> Int64Array:
        cells = pc.fill_null(pc.struct_field(groups, name), "")
        cells = pc.if_else(pc.equal(cells, ""), "0", cells)
        return fixed_width(pc.cast(cells, pa.int64()), np.int64)

    ns, wrong = _civil_ns(part("y"), part("mo"), part("d"))
    hour, minute, second = part("h"), part("mi"), part("s")
    wrong |= (hour > 23) | (minute > 59) | (second > 59)
    padded = pc.utf8_rpad(pc.fill_null(pc.struct_field(groups, "f"), ""), 9, "0")
    ns += (hour * 3600 + minute * 60 + second) * NS_PER_SECOND
    ns += fixed_width(pc.cast(padded, pa.int64()), np.int64)
    zones = pc.fill_null(pc.struct_field(groups, "z"), "").dictionary_encode()
    offsets = np.array([_offset_ns(str(z)) for z in zones.dictionary.to_pylist()] or [0], np.int64)
    codes = fixed_width(pc.cast(zones.indices, pa.int64()), np.int64)
    named = np.array([str(z) != "" for z in zones.dictionary.to_pylist()] or [False])
    bad = bad | wrong
    return Times(np.where(bad, 0, ns - offsets[codes]), bad, ~named[codes])


def _civil_ns(year: Int64Array, month: Int64Array, day: Int64Array) -> tuple[Int64Array, Mask]:
    # Years that 64 bits of nanoseconds hold, with room for a zone's offset.
    wrong = (year < 1678) | (year > 2261) | (month < 1) | (month > 12) | (day < 1) | (day > 31)
    months = np.where(wrong, 0, (year - 1970) * 12 + month - 1)
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    days = first.astype(np.int64) + np.where(wrong, 0, day - 1)
    wrong |= days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) != months
    return np.where(wrong, 0, days) * NS_PER_DAY, wrong


def _offset_ns(zone: str) -> int:
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})?", zone)
    if match is None:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return (-seconds if match[1] == "-" else seconds) * NS_PER_SECOND


def check_zone(tz: str) -> None:
    """Raise :class:`TimeError` unless `tz` is an IANA time zone."""
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TimeError(tz, "is not an IANA time zone, such as America/New_York") from None


def to_utc(local_ns: Int64Array, tz: str) -> tuple[Int64Array, Mask, Mask]:
    """Turn a zone's wall clock into UTC.

    Returns
    -------
    (utc_ns, ambiguous, nonexistent)
        The last two are masks: times that the zone's clocks show twice, or skip.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    naive = pa.Array.from_buffers(
        pa.timestamp("ns"), len(local_ns), [None, pa.py_buffer(np.ascontiguousarray(local_ns))]
    )
    early = pc.assume_timezone(naive, tz, ambiguous="earliest", nonexistent="earliest")
    late = pc.assume_timezone(naive, tz, ambiguous="latest", nonexistent="latest")
    utc = fixed_width(early, np.int64)
    differs = utc != fixed_width(late, np.int64)
    shown = fixed_width(pc.local_timestamp(early), np.int64)
    exists = shown == local_ns
    return utc, differs & exists, differs & ~exists


def _bools(array: Any) -> Mask:
    import pyarrow.compute as pc

    return fixed_width(pc.cast(array, "uint8"), np.uint8).astype(bool)


def pa_bools(mask: Mask) -> Any:
    """Return a numpy mask as an Arrow array."""
    import pyarrow as pa

    bits = np.packbits(mask, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, pa.py_buffer(bits)])
