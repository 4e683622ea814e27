"""When a recorded feed was down: a small file of a session date beside its bars.

``DIR/feed/date=2025-07-02.json``: ``{"version": 1, "date": ..., "recorded_until_ns": ...,
"outages": [{"start_ns": ..., "end_ns": ..., "symbols": [...] or null, "is_answered": ...}]}``; no
symbols is all. One that ``is_answered`` tells that history was asked for that time, and had it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Date
from pathlib import PurePath
from typing import Final, NamedTuple

import msgspec

from openbell.errors import DatasetError

__all__ = ["FeedLog", "Outage", "encode_feed_log", "feed_path", "parse_feed_log"]


class Outage(NamedTuple):
    """When bars of some symbols may have been lost, or that history has answered for that time."""

    start_ns: int
    """Inclusive, nanoseconds UTC; so the end, exclusive."""
    end_ns: int
    symbols: tuple[str, ...] | None
    """Whose; None for all."""
    is_answered: bool = False


_VERSION: Final = 1


class FeedLog(msgspec.Struct, frozen=True):
    """What the file of a date says.

    Attributes
    ----------
    date : datetime.date
    recorded_until_ns : int
        Until when it was recorded, nanoseconds UTC.
    outages : tuple of Outage
        By start.
    """

    date: Date
    recorded_until_ns: int
    outages: tuple[Outage, ...]


class _Row(msgspec.Struct):
    start_ns: int
    end_ns: int
    symbols: tuple[str, ...] | None = None
    is_answered: bool = False


class _File(msgspec.Struct):
    version: int
    date: Date
    recorded_until_ns: int
    outages: list[_Row]


def feed_path(date: Date) -> PurePath:
    """Return where the file of a date lies inside a dataset."""
    return PurePath("feed") / f"date={date.isoformat()}.json"


def encode_feed_log(date: Date, recorded_until_ns: int, outages: Sequence[Outage]) -> bytes:
    """Return the text of the file."""
    rows = [_Row(*row) for row in outages]
    text = msgspec.json.encode(_File(_VERSION, date, recorded_until_ns, rows))
    return msgspec.json.format(text, indent=1) + b"\n"


def parse_feed_log(text: bytes, path: object) -> FeedLog:
    """Read the text of the file.

    Raises
    ------
    DatasetError
        When it is damaged, or of another version.
    """
    try:
        found = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatasetError(path, f"is no log of a feed: {error}") from None
    if found.version != _VERSION:
        raise DatasetError(path, f"is a log of version {found.version}; expected {_VERSION}")
    rows = [Outage(*msgspec.structs.astuple(row)) for row in found.outages]
    if any(row.end_ns <= row.start_ns for row in rows):
        raise DatasetError(path, "tells of an outage that ends before it begins")
    return FeedLog(found.date, found.recorded_until_ns, tuple(rows))
