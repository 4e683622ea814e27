"""Waiting for what a network gives, without being held by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from openbell.errors import SessionStateError

__all__ = ["LoadingStopped", "interruptible"]

_T = TypeVar("_T")

_LOOK_S: Final = 0.1


class LoadingStopped(SessionStateError):
    """The session was stopped while it was being loaded."""

    def __init__(self) -> None:
        super().__init__("loading", "stopped", "open the session again")


def interruptible(items: Iterable[_T], is_over: Callable[[], bool]) -> Iterator[_T]:
    """Go through what another thread goes through, until it is over.

    Parameters
    ----------
    items : iterable
        Its next item may take as long as a server likes; a daemon thread asks for it.
    is_over : callable
        Asked ten times a second whether to wait no longer. What comes afterwards is dropped.

    Raises
    ------
    LoadingStopped
        When it is over before the last item has come.
    """
    found: SimpleQueue[tuple[bool, _T | BaseException | None]] = SimpleQueue()

    def go_through() -> None:
        try:
            for item in items:
                found.put((True, item))
                if is_over():
                    return
        except BaseException as error:
            found.put((False, error))
        else:
            found.put((False, None))

    threading.Thread(target=go_through, name="openbell loading", daemon=True).start()
    while True:
        try:
            is_item, item = found.get(timeout=_LOOK_S)
        except Empty:
            if is_over():
                raise LoadingStopped from None
            continue
        if is_item:
            yield item  # type: ignore[misc]
        elif item is None:
            return
        else:
            raise item  # type: ignore[misc]
        if is_over():
            raise LoadingStopped
