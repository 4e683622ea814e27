"""Deltas of the JSON dump: what a reader has not seen yet. :mod:`.apply` puts it into a dump.

A reader is a name. Of what went out to it labels, counts and digests are kept, never a bar or a
record; and nothing is done for it until it asks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from openbell.errors import ArgumentError
from openbell.export.apply import EVENTS, head_of, scalars_of
from openbell.export.files import replacing
from openbell.export.json_dump import (
    SCHEMA_VERSION,
    Exporter,
    Places,
    write_session_json,
    write_tree,
)
from openbell.export.texts import gaps_tree, plain
from openbell.intervals import interval

if TYPE_CHECKING:
    from os import PathLike

    from openbell.session import SessionData
    from openbell.symbol import SymbolSessionData

__all__ = [
    "Reader",
    "export_record",
    "export_session",
    "write_export",
]

Tree = dict[str, Any]
Filters = tuple[frozenset[str] | None, bool]


@dataclass(slots=True)
class _Seen:
    """What one reader has seen of one record."""

    record: weakref.ref[SymbolSessionData]
    places: Places
    parts: dict[str, bytes]
    past: dict[Any, Any]


@dataclass(slots=True)
class Reader:
    """One who takes the exports of a root, or of a record, in sequence.

    Attributes
    ----------
    sequence : int
        Number of the last export; -1 before the first.
    """

    sequence: int = -1
    seen: dict[str, _Seen] = field(default_factory=dict)
    filters: Filters = (None, True)
    lock: threading.RLock = field(default_factory=threading.RLock)


def export_session(
    root: SessionData, readers: dict[str, Reader], name: str, *, complete: bool
) -> Tree:
    """Return the whole tree, or what is new in it, and count it as read.

    Parameters
    ----------
    root : SessionData
    readers : dict of str to Reader
        Those of the root; gains one when `name` is unknown.
    name : str
        Who reads.
    complete : bool
        Whether the reader begins anew. One that has not begun does so in any case.

    Raises
    ------
    ArgumentError
        When the reader began with a choice of intervals, or without rows.
    SessionStateError
        When other threads change a record faster than it can be copied; the reader is then as
        it was.
    """
    with _reading(root, readers, name, complete, None, True) as (head, symbols):
        return head | {"symbols": dict(symbols)}


def write_export(
    root: SessionData,
    readers: dict[str, Reader],
    name: str | None,
    path: str | PathLike[str],
    complete: bool,
    intervals: Iterable[str] | None = None,
    bars: bool = True,
) -> None:
    """Write what :func:`export_session` returns to a file, one symbol after another.

    Without a name a complete dump is written that begins no reader; what is new is that for the
    reader ``default``.

    Raises
    ------
    ArgumentError
        When the reader began with other `intervals` or `bars`.
    IntervalError
        When one of `intervals` is not an interval.
    OSError
        When the file cannot be written; the reader is then as it was.
    """
    if complete and name is None:
        write_session_json(root, path, intervals=intervals, bars=bars)
        return
    import msgspec

    encode = msgspec.json.Encoder().encode
    exported = _reading(root, readers, name or "default", complete, intervals, bars)
    with exported as (head, symbols), replacing(path) as file:
        write_tree(file, head, symbols, lambda file, tree: file.write(encode(tree)))


@contextmanager
def _reading(
    root: SessionData,
    readers: dict[str, Reader],
    name: str,
    complete: bool,
    intervals: Iterable[str] | None,
    bars: bool,
) -> Iterator[tuple[Tree, Iterator[tuple[str, Tree | None]]]]:
    wanted = None if intervals is None else frozenset(interval(item).name for item in intervals)
    filters: Filters = (wanted, bars)
    reader = _reader_of(readers, name)
    with reader.lock:
        begins = complete or reader.sequence < 0
        if not begins and filters != reader.filters:
            raise ArgumentError(
                "reader", name, f"one that began with {_words(filters)}; it did with "
                f"{_words(reader.filters)}",
            )  # fmt: skip
        sequence = 0 if begins else reader.sequence + 1
        exporter = Exporter(root, wanted, bars)
        head = {
            "schema_version": SCHEMA_VERSION,
            "delta": {"reader": name, "sequence": sequence},
            "session": exporter.session,
        }
        seen: dict[str, _Seen] = {}
        yield head, _branches(exporter, tuple(root), {} if begins else reader.seen, seen)
        reader.sequence, reader.seen, reader.filters = sequence, seen, filters


def _reader_of(readers: dict[str, Reader], name: str) -> Reader:
    if not isinstance(name, str):
        raise ArgumentError("reader", name, "the reader's name")
    return readers.setdefault(name, Reader())


def _words(filters: Filters) -> str:
    wanted, bars = filters
    return ("all intervals" if wanted is None else "only " + ", ".join(sorted(wanted))) + (
        "" if bars else ", without rows"
    )


def export_record(
    rec: SymbolSessionData, readers: dict[str, Reader], name: str, *, complete: bool
) -> Tree:
    """Return a record's branch, or what is new in it, and count it as read.

    See :func:`export_session`. The readers of a record know nothing of those of its root.
    """
    reader = _reader_of(readers, name)
    with reader.lock:
        begins = complete or reader.sequence < 0
        sequence = 0 if begins else reader.sequence + 1
        known = None if begins else reader.seen[rec.symbol]
        tree, seen = _branch(Exporter(None, None, True), rec, known)
        reader.sequence, reader.seen = sequence, {rec.symbol: seen}
        mark = {"reader": name, "sequence": sequence}
        return {"delta": mark, "symbol": rec.symbol} | tree


def _branches(
    exporter: Exporter,
    records: Sequence[SymbolSessionData],
    known: dict[str, _Seen],
    seen: dict[str, _Seen],
) -> Iterator[tuple[str, Tree | None]]:
    for rec in records:
        before = known.get(rec.symbol)
        if before is not None and before.record() is not rec:
            tree, seen[rec.symbol] = _branch(exporter, rec, None)
            tree = {"replace": True} | tree
        else:
            tree, seen[rec.symbol] = _branch(exporter, rec, before)
        if tree:
            yield rec.symbol, tree
    for symbol in known:
        if symbol not in seen:
            yield symbol, None


def _branch(exporter: Exporter, rec: SymbolSessionData, known: _Seen | None) -> tuple[Tree, _Seen]:
    captured = exporter.capture(rec, None if known is None else known.places)
    places, tree = captured.places, exporter.tree(captured)
    parts = _digests(tree)
    # Before it is written out: what changes meanwhile is then written out again.
    past = _past_of(rec)
    seen = _Seen(weakref.ref(rec), places, parts, {key: _mark(it) for key, it in past.items()})
    if known is not None:
        tree = _difference(tree, seen, known)
    if known is None or not _is_same_past(known.past, seen.past, past):
        tree["historical"] = exporter.historical(rec)
    return tree, seen


def _difference(tree: Tree, seen: _Seen, known: _Seen) -> Tree:
    def is_changed(part: str) -> bool:
        return seen.parts[part] != known.parts.get(part)

    found = {key: item for key, item in tree.items() if key != "session" and is_changed(key)}
    whole = tree["session"]
    session = scalars_of(whole) if is_changed("session") else {}
    data: Tree = {}
    for name, item in whole["data"].items():
        part = f"data {name}"
        if part not in known.parts:
            data[name] = item
        elif seen.places.layout != known.places.layout:
            data[name] = {"replace": True} | item
        elif is_changed(part) or item.get("data"):
            data[name] = item if item.get("data") else head_of(item)
    data |= {name: None for name in known.places.series if name not in whole["data"]}
    if data:
        session["data"] = data
    for kind in EVENTS:
        if is_changed(kind):
            session[kind] = whole[kind]
    if session:
        found["session"] = session
    return found


def _digests(tree: Tree) -> dict[str, bytes]:
    # Without rows: of those the places tell what is new.
    session = tree["session"]
    parts = tree | {"session": scalars_of(session)}
    parts |= {kind: head_of(session[kind]) for kind in EVENTS}
    parts |= {f"data {name}": head_of(item) for name, item in session["data"].items()}
    return {part: _digest(item) for part, item in parts.items()}


def _digest(tree: Any) -> bytes:
    import msgspec

    return _digest_of(msgspec.json.encode(tree))


def _digest_of(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _past_of(rec: SymbolSessionData) -> dict[Any, Any]:
    found: dict[Any, Any] = {
        ("bars", name, day): rows
        for name, by_date in tuple(rec.historical_bars.items())
        for day, rows in tuple(by_date.items())
    }
    found |= {("gaps", name): gaps for name, gaps in tuple(rec.historical_gaps.items())}
    values = list(rec.historical_bars), rec.historical_quality, rec.historical_indicators
    found["values"] = _digest(plain(values))
    return found


def _mark(item: Any) -> Any:
    # What nobody can change is known by itself; of all else the content tells.
    if isinstance(item, bytes):
        return item
    if isinstance(item, np.ndarray):
        return weakref.ref(item) if _is_frozen(item) else _digest_of(item.tobytes())
    if not isinstance(item, MutableSequence):
        try:
            return weakref.ref(item)
        except TypeError:
            pass
    return _digest(gaps_tree(item))


def _is_frozen(array: Any) -> bool:
    # A read-only view changes with what it looks at.
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return True


def _is_same_past(known: dict[Any, Any], marks: dict[Any, Any], past: dict[Any, Any]) -> bool:
    # Two references are equal when what they refer to is, and arrays have no such answer.
    return list(known) == list(marks) and all(
        isinstance(known[key], weakref.ref) and known[key]() is past[key]
        if isinstance(mark, weakref.ref)
        else isinstance(known[key], bytes) and known[key] == mark
        for key, mark in marks.items()
    )
