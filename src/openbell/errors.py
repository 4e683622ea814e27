"""Every exception openbell raises, each holding the facts it reports.

One base class, :class:`OpenbellError`. A subclass keeps what went wrong as
attributes and composes its own message, so that a caller can branch on fields
instead of parsing text. Where a builtin exception says the same thing, the
subclass inherits from it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

__all__ = [
    "ArgumentError",
    "BarRefused",
    "CalendarError",
    "ConfigError",
    "DataSourceError",
    "DatasetError",
    "DumpError",
    "EventRefused",
    "IndicatorError",
    "IntervalError",
    "MissingLibraryError",
    "OpenbellError",
    "ProvenanceError",
    "RecordDetached",
    "SchemaError",
    "SessionStateError",
    "SessionValidationError",
    "StrategyError",
    "TimeError",
    "UnknownSymbolError",
]


_MOST_LISTED: Final = 5


class OpenbellError(Exception):
    """Base class of every exception raised by openbell."""


class IntervalError(OpenbellError, ValueError):
    """An interval is unknown, or cannot be had from what is there.

    Attributes
    ----------
    interval : object
        What was received.
    reason : str
        Why it cannot be used, and what would be accepted.
    """

    def __init__(self, interval: object, reason: str) -> None:
        self.interval = interval
        self.reason = reason
        super().__init__(f"interval {interval!r}: {reason}")


class SchemaError(OpenbellError, TypeError):
    """An array or table does not have the columns or types it must have.

    Attributes
    ----------
    what : str
        The thing examined, such as an argument's name or a file's path.
    received, expected : object
        What it has, what it must have.
    """

    def __init__(self, what: str, received: object, expected: object, hint: str = "") -> None:
        self.what = what
        self.received = received
        self.expected = expected
        super().__init__(
            f"{what}: received {received}, expected {expected}" + (f"; {hint}" if hint else "")
        )


class TimeError(OpenbellError, ValueError):
    """An instant is naive, unreadable, or outside what is allowed."""

    def __init__(self, value: object, reason: str) -> None:
        self.value = value
        self.reason = reason
        super().__init__(f"{value!r}: {reason}")


class CalendarError(OpenbellError, ValueError):
    """A calendar is unknown, or has no session where one was asked for.

    Attributes
    ----------
    calendar : str
        The calendar's name, as received.
    reason : str
        What is wrong with the request.
    """

    def __init__(self, calendar: str, reason: str) -> None:
        self.calendar = calendar
        self.reason = reason
        super().__init__(f"calendar {calendar!r}: {reason}")


class BarRefused(OpenbellError, ValueError):
    """A bar was not stored. It is counted in ``record.rejected[reason]``.

    Attributes
    ----------
    symbol, interval : str
        Where the bar was to go.
    reason : str
        One of :data:`openbell.schema.REFUSALS`.
    ts_ns : int
        The bar's label, nanoseconds UTC.
    values : tuple of float
        Open, high, low, close, volume as received.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        reason: str,
        ts_ns: int,
        values: tuple[float, ...],
        expected: str,
    ) -> None:
        self.symbol = symbol
        self.interval = interval
        self.reason = reason
        self.ts_ns = ts_ns
        self.values = values
        self.expected = expected
        shown = ", ".join(repr(v) for v in values)
        super().__init__(
            f"{symbol} {interval} bar at {ts_ns} ns ({shown}) refused: {reason}; {expected}"
        )


class EventRefused(OpenbellError, ValueError):
    """A quote or a trade was not stored; counted in ``record.rejected[f"{kind}_{reason}"]``.

    Attributes
    ----------
    symbol : str
    kind : str
        ``quote`` or ``tick``.
    reason : str
        One of :data:`openbell.events.EVENT_REFUSALS`.
    ts_ns : int
        When it was made, nanoseconds UTC.
    values : tuple of float
        As received, in the order of the dtype's fields.
    expected : str
    """

    def __init__(
        self,
        symbol: str,
        kind: str,
        reason: str,
        ts_ns: int,
        values: tuple[float, ...],
        expected: str,
    ) -> None:
        self.symbol = symbol
        self.kind = kind
        self.reason = reason
        self.ts_ns = ts_ns
        self.values = values
        self.expected = expected
        shown = ", ".join(repr(v) for v in values)
        super().__init__(f"{symbol} {kind} at {ts_ns} ns ({shown}) refused: {reason}; {expected}")


class SessionStateError(OpenbellError, RuntimeError):
    """The call needs another state of the session (not begun, already begun, ended).

    Attributes
    ----------
    call : str
        What was called.
    state : str
        The state the session is in.
    """

    def __init__(self, call: str, state: str, hint: str) -> None:
        self.call = call
        self.state = state
        super().__init__(f"{call}: the session is {state}; {hint}")


class RecordDetached(SessionStateError):
    """The record was removed, or its day was cleared; it takes no more bars."""

    def __init__(self, symbol: str, call: str = "append") -> None:
        self.symbol = symbol
        super().__init__(
            f"{symbol}.{call}",
            "no longer holding this record",
            "take the current one with root.get_symbol_data(symbol)",
        )


class UnknownSymbolError(OpenbellError, KeyError):
    """No record of that name is in the root."""

    def __init__(self, symbol: str, known: Sequence[str] = ()) -> None:
        self.symbol = symbol
        self.known = tuple(known)
        shown = ", ".join(self.known[:8]) + (", ..." if len(self.known) > 8 else "")
        super().__init__(f"no symbol {symbol!r} in this session; it holds {shown or 'none'}")

    def __str__(self) -> str:
        return str(self.args[0])


class ProvenanceError(OpenbellError, ValueError):
    """A loaded record's provenance flags contradict each other.

    Attributes
    ----------
    symbol : str
    rules : tuple of str
        The broken rules, each in words.
    """

    def __init__(self, symbol: str, rules: Sequence[str]) -> None:
        self.symbol = symbol
        self.rules = tuple(rules)
        super().__init__(f"{symbol}: " + "; ".join(self.rules))


class SessionValidationError(OpenbellError):
    """No symbol passed validation, so there is no session to run.

    The message tells each reason once, with the first symbols it holds for.

    Attributes
    ----------
    reasons : dict of str to str
        Why each symbol failed.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        symbols: dict[str, list[str]] = {}
        for symbol, reason in self.reasons.items():
            symbols.setdefault(reason, []).append(symbol)
        listed = [f"{_some(names)}: {reason}" for reason, names in symbols.items()]
        n_more = len(listed) - _MOST_LISTED
        more = f"; and {n_more:,} more reasons" if n_more > 0 else ""
        super().__init__(f"no symbol can be loaded: {'; '.join(listed[:_MOST_LISTED])}{more}")


def _some(names: Sequence[str]) -> str:
    # Hundreds of symbols fail for one reason as easily as one.
    n_more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {n_more:,} more" if n_more > 0 else "")


class ConfigError(OpenbellError, ValueError):
    """The configuration has an unknown key, a wrong type, or an impossible combination.

    Attributes
    ----------
    key : str
        Dotted path of the key, such as ``session.start_date``; empty for the whole file.
    received, expected : object
    """

    def __init__(self, key: str, received: object, expected: str, file: str | None = None) -> None:
        self.key = key
        self.received = received
        self.expected = expected
        self.file = file
        where = f"{file}: " if file else ""
        name = f"{key}: " if key else ""
        super().__init__(f"{where}{name}received {received!r}, expected {expected}")


class IndicatorError(OpenbellError, ValueError):
    """An indicator cannot be made from what its configuration says.

    Attributes
    ----------
    type : str
        The indicator's type, as configured.
    key : str
        What of its configuration: ``type``, ``parameters`` or ``parameters.<name>``.
    received : object
    expected : str
    """

    def __init__(self, type: str, key: str, received: object, expected: str) -> None:
        self.type = type
        self.key = key
        self.received = received
        self.expected = expected
        super().__init__(f"indicator {type}: {key}: received {received!r}, expected {expected}")


class DataSourceError(OpenbellError):
    """A data source could not give what was asked, for a reason of its own.

    Attributes
    ----------
    source : str
        The source's name.
    reason : str
    """

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"source {source!r}: {reason}")


class SourceUnavailableError(DataSourceError):
    """A data source cannot answer at the moment; asking again later may help."""


class DatasetError(DataSourceError):
    """A file of a dataset is corrupt, truncated, or does not hold what its place says.

    Attributes
    ----------
    path : str
    """

    def __init__(self, path: object, reason: str, source: str = "parquet") -> None:
        self.path = str(path)
        super().__init__(source, f"{self.path}: {reason}")


class MissingLibraryError(OpenbellError, ImportError):
    """A call needs a library that openbell itself does without, and it is not installed.

    Attributes
    ----------
    library : str
        What it is called.
    needed_for : str
        The call.
    install : str
        What to give to pip; the library's name unless told otherwise.
    """

    def __init__(self, library: str, needed_for: str, install: str | None = None) -> None:
        self.library = library
        self.needed_for = needed_for
        self.install = install or library
        super().__init__(
            f"{needed_for} needs {library}, which is not installed: pip install {self.install}"
        )


class DumpError(OpenbellError, ValueError):
    """A session dump cannot be read as one.

    Attributes
    ----------
    path : str
    problems : tuple of str
    """

    def __init__(self, path: object, problems: Sequence[Any]) -> None:
        self.path = str(path)
        self.problems = tuple(str(p) for p in problems)
        super().__init__(f"{self.path}: " + "; ".join(self.problems))


class ArgumentError(OpenbellError, ValueError):
    """An argument's value cannot be used.

    Attributes
    ----------
    name : str
        The argument.
    received : object
    expected : str
    """

    def __init__(self, name: str, received: object, expected: str) -> None:
        self.name = name
        self.received = received
        self.expected = expected
        super().__init__(f"{name}: received {received!r}, expected {expected}")


class StrategyError(OpenbellError):
    """A compiled strategy could not be compiled, or failed in a slice.

    What numba said, or what the function raised, is the ``__cause__``.

    Attributes
    ----------
    function : str
        The name of the function.
    reason : str
    ts_ns : int or None
        The instant of the slice, nanoseconds UTC; None when it did not come to that.
    """

    def __init__(self, function: str, reason: str, ts_ns: int | None = None) -> None:
        self.function = function
        self.reason = reason
        self.ts_ns = ts_ns
        at = ""
        if ts_ns is not None:
            at = f" in the slice of {datetime.fromtimestamp(ts_ns // 10**9, UTC).isoformat()}"
        super().__init__(f"{function}{at}: {reason}")
