"""Running sessions, seen from another process.

A session publishes itself on a *board*: a small file in the user's own runtime folder. While
somebody watches, a thread of the session writes what it sees of the root onto it, a few times a
second; while nobody does, it only looks whether somebody came. ``openbell watch`` shows a board;
:func:`read_board` reads one from a script.
"""

from openbell.watch.board import Board, publish
from openbell.watch.places import WatchError
from openbell.watch.reader import BoardReader, find_boards, read_board
from openbell.watch.snapshot import Snapshot, SymbolState

__all__ = [
    "Board",
    "BoardReader",
    "Snapshot",
    "SymbolState",
    "WatchError",
    "find_boards",
    "publish",
    "read_board",
]
