"""What is said over a session's socket: one JSON object a line, each way.

A request is ``{"command": "add", "arguments": {"symbols": ["NVDA"]}}``, and may name the protocol's
``"version"``. Its answer is ``{"ok": true, "result": ...}`` or ``{"ok": false, "error": "why"}``. A
connection takes any number of requests, one after the other.
"""

from __future__ import annotations

from datetime import date as Date
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from openbell.live.states import FeedHealth, SymbolHealth
from openbell.watch.places import RunningSessionError

__all__ = [
    "LONGEST_REQUEST",
    "VERSION",
    "Answer",
    "ControlError",
    "ExportFormat",
    "ExportRequest",
    "Exported",
    "Look",
    "LookRequest",
    "NoArguments",
    "Request",
    "SessionGone",
    "Standing",
    "Status",
    "SymbolsRequest",
    "arguments_of",
]

#: Changes when a program that knows the one before would misunderstand.
VERSION: Final = 1
#: Bytes of a request, its end of line included.
LONGEST_REQUEST: Final = 1 << 16

ExportFormat = Literal["json", "csv", "parquet", "html"]
Symbol = Annotated[str, Meta(min_length=1)]


class ControlError(RunningSessionError):
    """A session cannot be commanded, or refuses a command."""


class SessionGone(ControlError):
    """A session ended, or its process did, before it could answer."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One line to the session."""

    command: str
    arguments: dict[str, Any] = {}
    version: int = VERSION


class Answer(Struct, frozen=True, omit_defaults=True):
    """One line from the session."""

    ok: bool
    result: Any = None
    error: str = ""


class NoArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``status``, ``pause``, ``resume`` and ``stop``."""


class SymbolsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``add`` and ``remove``."""

    symbols: Annotated[list[Symbol], Meta(min_length=1)]


class LookRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``look``: whose standing is wanted."""

    symbols: list[Symbol] = []


class ExportRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Of ``export``.

    Attributes
    ----------
    path : str
        Absolute. The session's process writes it.
    format : "json", "csv", "parquet" or "html"
    interval : str or None
        Bars of this one. None: of a dump those ``[export]`` names, of a report those it chooses,
        of a log and of Parquet ``csv_interval`` of ``[export]``.
    force : bool
        Whether a file that is there is replaced.
    """

    path: str
    format: ExportFormat
    interval: str | None = None
    force: bool = False


class Standing(Struct, frozen=True):
    """Where a symbol stands.

    Attributes
    ----------
    state : str
        ``loaded``; ``pending``: it waits to be loaded; ``refused``: it may not be, or could not
        be; ``adhoc``: it holds what was brought directly; ``removed``, in the answer to
        ``remove``; ``absent``.
    reason : str
        Why it was refused, or empty.
    """

    state: Literal["loaded", "pending", "refused", "adhoc", "removed", "absent"]
    reason: str = ""


class Look(Struct, frozen=True):
    """What ``look`` answers, and ``add``, ``remove``, ``pause``, ``resume`` and ``stop`` too: O(1).

    Attributes
    ----------
    name, pid, phase, date
        As in :class:`Status`.
    n_symbols : int
        Symbols that have a record.
    is_over : bool
        Whether no day comes any more.
    symbols : dict of str to Standing
        Those named in the request.
    """

    name: str
    pid: int
    phase: str
    date: Date | None
    n_symbols: int
    is_over: bool
    symbols: dict[str, Standing] = {}


class Status(Struct, frozen=True):
    """What ``status`` answers.

    Attributes
    ----------
    name : str
    pid : int
    config : str or None
        The configuration's file, where it is known.
    phase : str
        As ``SessionCoordinator.phase``.
    date : datetime.date or None
        None when there is no day, and the next ones with it.
    calendar : str
    open, close, clock : str or None
        The day's bounds and its clock, ISO-8601 UTC.
    n_bars, n_symbols : int
        Base bars of all symbols; how many symbols have a record.
    symbols : list of dict
        Of each the fields of :class:`openbell.watch.SymbolState`.
    pending : list of str
        Symbols that wait to be loaded.
    left_out : dict of str to str
        Symbols that could not be loaded for the day, and why.
    feeds : list of FeedHealth
        Of a live session the health of each source; else empty.
    symbol_feeds : list of SymbolHealth
        Of a live session how each symbol's stream fares; else empty.
    errors : list of dict
        ``symbol, where, error, n`` of what raised while working on a record.
    """

    name: str
    pid: int
    config: str | None
    phase: str
    date: Date | None
    calendar: str
    open: str | None
    close: str | None
    clock: str | None
    n_bars: int
    n_symbols: int
    symbols: list[dict[str, Any]]
    pending: list[str]
    left_out: dict[str, str]
    feeds: list[FeedHealth]
    symbol_feeds: list[SymbolHealth]
    errors: list[dict[str, Any]]


class Exported(Struct, frozen=True):
    """What ``export`` answers."""

    path: str
    format: ExportFormat
    n_bytes: int


def arguments_of(request: Request, kind: type[Any]) -> Any:
    """Return a request's arguments as its command's own type.

    Raises
    ------
    ControlError
        When they are others.
    """
    try:
        return msgspec.convert(request.arguments, kind)
    except msgspec.ValidationError as error:
        raise ControlError(f"{request.command}: arguments", str(error)) from None
