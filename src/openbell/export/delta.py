"""Deltas of the JSON dump: what a reader has not seen yet, and how a dump takes it in.

A reader is a name. Of what went out to it labels, counts and digests are kept, never a bar or a
record; and nothing is done for it until it asks.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from openbell.errors import ArgumentError, DumpError
from openbell.export.files import replacing
from openbell.export.json_dump import SCHEMA_VERSION, Exporter, Places, write_session_json
from openbell.export.texts import gaps_tree, plain
from openbell.intervals import interval

if TYPE_CHECKING:
    from os import PathLike

    from openbell.session import SessionData
    from openbell.symbol import SymbolSessionData

__all__ = [
    "Reader",
    "apply_delta",
    "export_record",
    "export_session",
    "mark_problem",
    "sequence_problem",
    "write_export",
]

Tree = dict[str, Any]
Filters = tuple[frozenset[str] | None, bool]

_EVENTS: Final = ("quotes", "ticks")
_ROWS: Final = ("columns", "data")


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
    exported = _reading(root, readers, name or "default", complete, intervals, bars)
    with exported as (head, symbols), replacing(path) as file:
        _write(file, head, symbols)


def _write(file: BinaryIO, head: Tree, symbols: Iterator[tuple[str, Tree | None]]) -> None:
    import msgspec

    encode = msgspec.json.Encoder().encode
    file.write(encode(head)[:-1] + b',"symbols":{')
    separator = b"\n"
    for symbol, tree in symbols:
        file.write(separator + encode(symbol) + b":" + encode(tree))
        separator = b",\n"
    file.write(b"\n}}\n")


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
    session = _scalars_of(whole) if is_changed("session") else {}
    data: Tree = {}
    for name, item in whole["data"].items():
        part = f"data {name}"
        if part not in known.parts:
            data[name] = item
        elif seen.places.layout != known.places.layout:
            data[name] = {"replace": True} | item
        elif is_changed(part) or item.get("data"):
            data[name] = item if item.get("data") else _head_of(item)
    data |= {name: None for name in known.places.series if name not in whole["data"]}
    if data:
        session["data"] = data
    for kind in _EVENTS:
        if is_changed(kind):
            session[kind] = whole[kind]
    if session:
        found["session"] = session
    return found


def _digests(tree: Tree) -> dict[str, bytes]:
    # Without rows: of those the places tell what is new.
    session = tree["session"]
    parts = tree | {"session": _scalars_of(session)}
    parts |= {kind: _head_of(session[kind]) for kind in _EVENTS}
    parts |= {f"data {name}": _head_of(item) for name, item in session["data"].items()}
    return {part: _digest(item) for part, item in parts.items()}


def _digest(tree: Any) -> bytes:
    import msgspec

    return _digest_of(msgspec.json.encode(tree))


def _digest_of(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _scalars_of(session: Tree) -> Tree:
    return {key: item for key, item in session.items() if key != "data" and key not in _EVENTS}


def _head_of(tree: Tree) -> Tree:
    return {key: item for key, item in tree.items() if key not in _ROWS}


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


def apply_delta(tree: Mapping[str, Any], delta: Mapping[str, Any]) -> Tree:
    """Return a dump as it is after a delta.

    Parameters
    ----------
    tree : mapping
        What the reader's complete export was, with every delta since applied; an empty one
        before the first. Of ``root.to_json``, or of one record's.
    delta : mapping
        The reader's next export. One of sequence 0 is complete and begins anew, as after the
        end of a day.

    Returns
    -------
    dict
        Equal to a complete export of the moment of the delta. Its own ``delta`` says up to which
        sequence deltas are ``applied``. `tree` stays as it is; what did not change is shared with
        it, not copied.

    Raises
    ------
    DumpError
        When the delta is not the next one of that reader and date, or is none.

    Notes
    -----
    What stands in a delta replaces what stands in the tree. Symbols, series, bars, quotes and
    trades that do not stand in it stay. Bars go to their slots, quotes and trades behind those
    that are held; in front as many are dropped as ``evicted`` says, until ``count`` are left. A
    symbol or series that is null is gone; one with ``replace`` is put in anew, last.

    Examples
    --------
    >>> import openbell as ob
    >>> root, tree = ob.SessionData(), {}
    >>> for symbol in ("AAPL", "MSFT"):
    ...     rec = root.register_symbol(symbol)
    ...     tree = apply_delta(tree, root.to_json(complete=False, reader="screen"))
    >>> list(tree["symbols"]), tree["delta"]["sequence"]
    (['AAPL', 'MSFT'], 1)
    """
    problem = sequence_problem(tree, delta) if tree else mark_problem(delta)
    if problem is not None:
        raise DumpError("delta", [problem])
    if delta["delta"]["sequence"] == 0:
        return dict(delta)
    if not tree:
        raise DumpError("delta", ["there is no complete dump that it follows"])
    try:
        mark = {"delta": delta["delta"] | {"applied": True}}
        if "symbols" not in delta:
            return _merge_record(dict(tree), delta) | mark
        symbols = _merge_named(tree["symbols"], delta["symbols"], _merge_record)
        return dict(tree) | dict(delta) | mark | {"symbols": symbols}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise DumpError("delta", [f"cannot be applied: {what}"]) from error


def sequence_problem(tree: Mapping[str, Any], delta: Mapping[str, Any]) -> str | None:
    """Say why a delta is not the one that follows a dump; None when it is."""
    problem = mark_problem(tree) or mark_problem(delta)
    if problem is not None:
        return problem
    held, mark = tree["delta"], delta["delta"]
    if mark["reader"] != held["reader"]:
        return f"expected a delta of reader {held['reader']!r}, received one of {mark['reader']!r}"
    if mark["sequence"] == 0:
        return None
    if mark["sequence"] != held["sequence"] + 1 or mark.get("applied"):
        received = "what deltas were applied to" if mark.get("applied") else mark["sequence"]
        return f"expected sequence {held['sequence'] + 1}, received {received}"
    for key, one, other in (
        ("schema_version", tree.get("schema_version"), delta.get("schema_version")),
        ("symbol", tree.get("symbol"), delta.get("symbol")),
        ("date", _date_of(tree), _date_of(delta)),
    ):
        if one != other:
            return f"expected {key} {one}, received {other}"
    return None


def mark_problem(tree: object) -> str | None:
    """Say why an export is not one of a reader; None when it is."""
    mark = tree.get("delta") if isinstance(tree, Mapping) else None
    if not isinstance(mark, Mapping):
        return "expected an export of a reader, with 'delta', received one without"
    reader, sequence = mark.get("reader"), mark.get("sequence")
    if not isinstance(reader, str) or type(sequence) is not int or sequence < 0:
        return f"expected delta with a reader and a sequence from 0 on, received {mark!r}"
    return None


def _date_of(tree: Mapping[str, Any]) -> Any:
    session = tree.get("session")
    return session.get("date") if isinstance(session, Mapping) else None


def _merge_named(
    held: Mapping[str, Any], changes: Mapping[str, Any], merge: Callable[[Tree, Any], Tree]
) -> Tree:
    found = dict(held)
    for name, change in changes.items():
        if change is not None and name in held and not change.get("replace"):
            found[name] = merge(found[name], change)
            continue
        found.pop(name, None)
        if change is not None:
            found[name] = {key: item for key, item in change.items() if key != "replace"}
    return found


def _merge_record(held: Tree, change: Mapping[str, Any]) -> Tree:
    found = held | dict(change)
    if "session" in change:
        found["session"] = _merge_session(held["session"], change["session"])
    return found


def _merge_session(held: Tree, change: Tree) -> Tree:
    found = _scalars_of(change) or _scalars_of(held)
    found["data"] = _merge_named(held["data"], change.get("data", {}), _merge_bars)
    for kind in _EVENTS:
        found[kind] = _merge_events(held[kind], change[kind]) if kind in change else held[kind]
    return found


def _merge_bars(held: Tree, change: Tree) -> Tree:
    rows, more = held.get("data", []), change.get("data", [])
    if more:
        first = bisect_left(rows, min(row[0] for row in more), key=lambda row: row[0])
        by_slot = {row[0]: row for row in (*rows[first:], *more)}
        rows = rows[:first] + [by_slot[label] for label in sorted(by_slot)]
    return _put_rows(held, change, rows)


def _merge_events(held: Tree, change: Tree) -> Tree:
    return _put_rows(held, change, held.get("data", []) + change.get("data", []))


def _put_rows(held: Tree, change: Tree, rows: list[Any]) -> Tree:
    found = _head_of(change)
    if "data" not in held:
        return found
    if change.get("columns", held["columns"]) != held["columns"]:
        raise ValueError(f"columns {change['columns']}, where there were {held['columns']}")
    # No more than were let go of, so that a wrong count stays one that can be seen.
    n_let_go = change.get("evicted", 0) - held.get("evicted", 0)
    n_dropped = max(0, min(len(rows) - change["count"], n_let_go))
    return found | {"columns": held["columns"], "data": rows[n_dropped:]}
