"""What a session does when it is commanded; each answers with plain values, or raises."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date as Date
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec.structs import asdict

from openbell.control.exporting import write
from openbell.control.messages import (
    ControlError,
    Exported,
    ExportRequest,
    Look,
    LookRequest,
    NoArguments,
    Request,
    Standing,
    Status,
    SymbolsRequest,
    arguments_of,
)
from openbell.errors import ArgumentError, OpenbellError
from openbell.schema import to_iso
from openbell.watch.snapshot import PublishedSession, SnapshotTaker

__all__ = ["COMMANDS", "Command", "Commands", "ControlledSession", "described"]

_RUNNING: Final = ("running", "paused", "waiting")
_OVER: Final = ("stopped", "closed")


class ControlledSession(PublishedSession, Protocol):
    """What commands need of a session; a ``SessionCoordinator`` has it."""

    results: dict[str, Any]

    def add_symbol(self, symbol: str) -> bool:
        """Bring a symbol into the running day."""

    def remove_symbol(self, symbol: str) -> bool:
        """Take a symbol out of it."""

    def pause(self) -> None:
        """Hold the session."""

    def resume(self) -> None:
        """Let it go on."""

    def stop(self) -> None:
        """End the day and the session."""

    def trading_days(self) -> list[Date]:
        """The days configured."""


class Commands:
    """Carries commands out on one session; any thread may call.

    Parameters
    ----------
    session : ControlledSession
    name : str, optional
        The configured name when None.
    config : path, optional
        The configuration's file, for ``status``.

    Attributes
    ----------
    name : str

    Raises
    ------
    ArgumentError
        When `session` is something else, or the name is empty or cannot be printed on a line.
    """

    def __init__(
        self,
        session: ControlledSession,
        name: str | None = None,
        config: str | os.PathLike[str] | None = None,
    ) -> None:
        if not hasattr(session, "add_symbol"):
            raise ArgumentError("session", session, "a SessionCoordinator")
        self._taker = SnapshotTaker(session, name)
        self._session = session
        self._config = None if config is None else os.path.abspath(config)
        self.name = self._taker.name

    def status(self, _: NoArguments) -> Status:
        """Tell all there is to see. O(symbols)."""
        session, seen = self._session, self._taker.take()
        has_day = seen.date is not None
        return Status(
            name=seen.name,
            pid=seen.pid,
            config=self._config,
            phase=seen.phase,
            date=seen.date,
            calendar=seen.calendar,
            open=to_iso(seen.open_ns) if has_day else None,
            close=to_iso(seen.close_ns) if has_day else None,
            clock=to_iso(seen.now_ns) if has_day else None,
            n_bars=seen.n_bars,
            n_symbols=len(seen.symbols),
            symbols=[asdict(state) for state in seen.symbols],
            pending=seen.pending,
            left_out={
                symbol: result.reason
                for symbol, result in dict(session.results).items()
                if not result.can_proceed
            },
            feeds=seen.feeds,
            # Only a live session has them.
            symbol_feeds=list(getattr(session, "symbol_health", {}).values()),
            errors=[
                {"symbol": rec.symbol, "where": one.where, "error": one.error, "n": one.n}
                for rec in session.root
                if rec.n_errors
                for one in rec.errors
            ],
        )

    def look(self, wanted: LookRequest) -> Look:
        """Tell the phase, and where a few symbols stand."""
        return self._look({symbol: self._standing(symbol) for symbol in wanted.symbols})

    def add(self, wanted: SymbolsRequest) -> Look:
        """Bring symbols into the running day; each has its own answer."""
        self._require_day("add")
        return self._look({one: self._add(one) for one in dict.fromkeys(wanted.symbols)})

    def remove(self, wanted: SymbolsRequest) -> Look:
        """Take symbols out of it."""
        self._require_day("remove")
        remove = self._session.remove_symbol
        told: dict[str, Standing] = {}
        for symbol in dict.fromkeys(wanted.symbols):
            told[symbol] = Standing("removed" if remove(symbol) else "absent")
        return self._look(told)

    def export(self, wanted: ExportRequest) -> Exported:
        """Write the running day into a file."""
        path = Path(wanted.path)
        if not path.is_absolute():
            raise ControlError(
                "export: path", f"received {wanted.path!r}, expected an absolute one"
            )
        if self._session.root.window is None:
            raise ControlError("export", f"there is no day yet: the session is {self._phase}")
        if not path.parent.is_dir():
            raise ControlError(path.parent, "is no folder; make it first")
        if path.exists():
            # Renaming the finished file over a device would take the device away.
            if not path.is_file():
                raise ControlError(path, "is a folder or a device, expected a file")
            if not wanted.force:
                raise ControlError(path, "is there already; --force replaces it")
        write(self._session, path, wanted.format, wanted.interval)
        return Exported(str(path), wanted.format, path.stat().st_size)

    def pause(self, _: NoArguments) -> Look:
        """Hold the session before its next slice."""
        self._require_not_over("pause")
        self._session.pause()
        return self._look()

    def resume(self, _: NoArguments) -> Look:
        """Let a paused session go on."""
        self._require_not_over("resume")
        self._session.resume()
        return self._look()

    def stop(self, _: NoArguments) -> Look:
        """End the day and the session before the next slice."""
        self._require_not_over("stop")
        if self._phase == "idle":
            raise ControlError("stop", "no day has begun yet; ask again when one has")
        self._session.stop()
        return self._look()

    @property
    def _phase(self) -> str:
        return self._session.phase

    def _add(self, symbol: str) -> Standing:
        try:
            is_taken = self._session.add_symbol(symbol)
        except Exception as error:
            # Of one symbol; the others are still asked for.
            return Standing("refused", described(error))
        found = self._standing(symbol)
        if is_taken or found.state == "refused":
            return found
        return Standing("refused", "no trading day is running")

    def _standing(self, symbol: str) -> Standing:
        session = self._session
        # In this order: what waits no more has a record, or a reason.
        if symbol in session.pending:
            return Standing("pending")
        rec = session.root.get_symbol_data(symbol)
        if rec is not None and rec.is_loaded:
            return Standing("loaded")
        result = session.results.get(symbol)
        if result is not None and not result.can_proceed:
            return Standing("refused", result.reason)
        return Standing("absent" if rec is None else "adhoc")

    def _look(self, symbols: Mapping[str, Standing] | None = None) -> Look:
        session = self._session
        return Look(
            name=self.name,
            pid=os.getpid(),
            phase=session.phase,
            date=session.root.current_session_date,
            n_symbols=len(session.root),
            is_over=self._is_over(),
            symbols=dict(symbols or {}),
        )

    def _is_over(self) -> bool:
        session, phase = self._session, self._phase
        if phase != "ended":
            return phase in _OVER
        date = session.root.current_session_date
        is_live = session.config.session.end_date is None
        return is_live or date is None or date >= session.trading_days()[-1]

    def _require_day(self, command: str) -> None:
        if self._phase not in _RUNNING:
            raise ControlError(command, f"no trading day is running: the session is {self._phase}")

    def _require_not_over(self, command: str) -> None:
        if self._is_over():
            raise ControlError(command, f"the session is over: it is {self._phase}")


@dataclass(frozen=True, slots=True)
class Command:
    """How a command is carried out.

    Attributes
    ----------
    arguments : type
    carry_out : callable
        Takes the commands' object and the arguments.
    grace_s : float
        0: it is done at once. Else it has a thread of its own, for which a closing server
        waits so long.
    """

    arguments: type[Any]
    carry_out: Callable[[Commands, Any], Any]
    grace_s: float = 0.0

    def __call__(self, commands: Commands, request: Request) -> Any:
        """Carry a request out."""
        return self.carry_out(commands, arguments_of(request, self.arguments))


COMMANDS: Final = {
    "status": Command(NoArguments, Commands.status),
    "look": Command(LookRequest, Commands.look),
    # Sources are asked for a symbol, over the network too.
    "add": Command(SymbolsRequest, Commands.add, 1.5),
    "remove": Command(SymbolsRequest, Commands.remove, 1.5),
    "export": Command(ExportRequest, Commands.export, 60.0),
    "pause": Command(NoArguments, Commands.pause),
    "resume": Command(NoArguments, Commands.resume),
    "stop": Command(NoArguments, Commands.stop),
}


def described(error: BaseException) -> str:
    """An error in one line; openbell's own say what they are."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, OpenbellError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    # A path may hold what is no character, and no answer could be written of it.
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
