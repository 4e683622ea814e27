"""Putting deltas into a dump: the other half of :mod:`.delta`, of plain trees alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final

from openbell.errors import DumpError

__all__ = ["EVENTS", "apply_delta", "head_of", "mark_problem", "scalars_of", "sequence_problem"]

Tree = dict[str, Any]

#: The parts of a record's session that are rows in the order received.
EVENTS: Final = ("quotes", "ticks")
_ROWS: Final = ("columns", "data")


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
    found = scalars_of(change) or scalars_of(held)
    found["data"] = _merge_named(held["data"], change.get("data", {}), _merge_bars)
    for kind in EVENTS:
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
    found = head_of(change)
    if "data" not in held:
        return found
    if change.get("columns", held["columns"]) != held["columns"]:
        raise ValueError(f"columns {change['columns']}, where there were {held['columns']}")
    # No more than were let go of, so that a wrong count stays one that can be seen.
    n_let_go = change.get("evicted", 0) - held.get("evicted", 0)
    n_dropped = max(0, min(len(rows) - change["count"], n_let_go))
    return found | {"columns": held["columns"], "data": rows[n_dropped:]}


def scalars_of(session: Tree) -> Tree:
    """Return what of a record's session is neither bars nor events."""
    return {key: item for key, item in session.items() if key != "data" and key not in EVENTS}


def head_of(tree: Tree) -> Tree:
    """Return a series, or events, without the rows."""
    return {key: item for key, item in tree.items() if key not in _ROWS}
