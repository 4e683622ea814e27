"""A reader's complete dump and its deltas, and ways to break their sequence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openbell as ob
from tests.export_session import at, make_session, ns

Tree = dict[str, Any]
Chain = list[Any]


def chain(reader: str = "screen") -> Chain:
    """Four exports of one reader: complete, a bar, a late bar and a removal, a quote."""
    root = make_session()
    found = [root.to_json(reader=reader)]
    for change in (add_bar, add_late_bar_and_remove, add_quote):
        change(root)
        found.append(root.to_json(complete=False, reader=reader))
    return found


def add_bar(root: ob.SessionData) -> None:
    root["AAPL"].append(ns(at(14, 6)), 100.0, 101.0, 99.0, 100.5, 10)


def add_late_bar_and_remove(root: ob.SessionData) -> None:
    root["AAPL"].append(ns(at(13, 33)), 101.0, 101.5, 100.5, 101.0, 20)
    root.remove_symbol("TSLA")


def add_quote(root: ob.SessionData) -> None:
    root.add_quote("NVDA", ob.QuoteData(at(14, 5, 31), 9.5, 10.5, 1, 1))


def without_mark(tree: Tree) -> Tree:
    return {key: item for key, item in tree.items() if key != "delta"}


def of_another_date(delta: Tree) -> Tree:
    return delta | {"session": delta["session"] | {"date": "2025-07-03"}}


def damaged(delta: Tree) -> Tree:
    return delta | {"symbols": {"AAPL": {"session": {"data": {"1m": {"data": [[]]}}}}}}


def in_file(folder: Path, tree: Chain) -> Chain:
    """The same, the last one in a file that is cut off."""
    (folder / "cut.json").write_text('{"schema_version": 1,', encoding="utf-8")
    return [*tree, str(folder / "cut.json")]


#: What was done, the chain, and each line that is to come of it: the rule and words of the message.
DELTA_FAULTS: list[tuple[str, Callable[[Path], Chain], list[tuple[str, str]]]] = [
    ("missing", lambda _: [*chain()[:2], chain()[3]],
     [("delta_sequence", "dump 2: expected sequence 2, received 3")]),
    ("the first is missing", lambda _: [chain()[0], *chain()[2:]],
     [("delta_sequence", "dump 1: expected sequence 1, received 2")]),
    ("repeated", lambda _: [*chain()[:2], *chain()[1:]],
     [("delta_sequence", "dump 2: expected sequence 2, received 1")]),
    ("in disorder", lambda _: [chain()[0], chain()[2], chain()[1], chain()[3]],
     [("delta_sequence", "dump 1: expected sequence 1, received 2"),
      ("delta_sequence", "dump 2: expected sequence 3, received 1")]),
    ("of another reader", lambda _: [chain()[0], chain("log")[1]],
     [("delta_sequence", "dump 1: expected a delta of reader 'screen', received one of 'log'")]),
    ("of another date", lambda _: [chain()[0], of_another_date(chain()[1])],
     [("delta_sequence", "dump 1: expected date 2025-07-02, received 2025-07-03")]),
    ("without the complete dump", lambda _: chain()[1:],
     [("delta_sequence", "dump 0: expected the complete dump, sequence 0, received 1")]),
    ("one delta alone", lambda _: [chain()[2]],
     [("delta_sequence", "is delta 2 of reader 'screen'; expected before it the complete dump, "
                         "sequence 0, and the deltas up to 1")]),
    ("two complete dumps", lambda _: [chain()[0], chain()[0]],
     [("delta_sequence", "dump 1: expected sequence 1, received 0")]),
    ("a dump of no reader", lambda _: [without_mark(chain()[0]), *chain()[1:2]],
     [("delta_sequence", "dump 0: expected an export of a reader, with 'delta', received one "
                         "without")]),
    ("a mark of something else", lambda _: [chain()[0] | {"delta": {"reader": 7}}],
     [("schema", "expected delta with a reader and a sequence from 0 on, received {'reader': 7}")]),
    ("another version", lambda _: [chain()[0], chain()[1] | {"schema_version": 2}],
     [("delta_sequence", "dump 1: expected schema_version 1, received 2")]),
    ("no delta inside", lambda _: [chain()[0], damaged(chain()[1])],
     [("schema", "dump 1: cannot be applied: list index out of range")]),
    ("a file cut off", lambda folder: in_file(folder, chain()[:2]),
     [("schema", "cut.json: not a JSON dump: Input data was truncated")]),
]  # fmt: skip
