"""What a run reads before it begins, and what it writes of each day."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openbell.cli.console import require_file
from openbell.errors import ArgumentError, ConfigError

if TYPE_CHECKING:
    from datetime import date as Date

    from openbell.cli.console import Output
    from openbell.config import SessionConfig
    from openbell.lifecycle import SessionCoordinator

__all__ = [
    "Outputs",
    "configured",
    "write_csv",
    "write_html",
    "write_json",
]

#: The command that runs a configuration of each mode.
_COMMANDS: Final = {"backtest": "openbell replay", "live": "openbell live"}


def configured(path: Path, mode: str) -> SessionConfig:
    """Read the configuration of a run, of one mode only.

    Raises
    ------
    ConfigError
        When it is wrong, or of the other mode.
    """
    from openbell.config import SessionConfig

    settings = SessionConfig.load(path)
    found = settings.session.mode
    if found != mode:
        expected = f"{mode!r}; {_COMMANDS[found]} runs this one"
        raise ConfigError("session.mode", found, expected, str(path))
    if any(":" in indicator.type for indicator in settings.indicators):
        # A user's own may lie beside the configuration that names them; nothing else does.
        sys.path.append(str(path.parent.resolve()))
    return settings


@dataclass(frozen=True)
class Outputs:
    """The files of each day that a run was asked to write.

    Attributes
    ----------
    json_option : str
        What the dump's path was typed after.

    Raises
    ------
    ArgumentError
        When one of them cannot be there; that is known before a long run, not after it.
    MissingLibraryError
        When there is to be a report, and plotly is not installed.
    """

    json: Path | None
    csv: Path | None
    report: Path | None
    json_option: str = "--json"

    def __post_init__(self) -> None:
        taken: dict[Path, str] = {}
        targets = {self.json_option: self.json, "--csv": self.csv, "--report": self.report}
        for option, path in targets.items():
            if path is None:
                continue
            if path in taken:
                raise ArgumentError(option, str(path), f"another file than that of {taken[path]}")
            taken[path] = option
            require_file(option, path)
        if self.report is not None:
            from openbell.report import plotly_script

            plotly_script()

    def write(
        self, session: SessionCoordinator, console: Output, date: Date, several: bool = False
    ) -> None:
        """Write what was asked for of the day in the session's root, and say so.

        Parameters
        ----------
        several : bool
            Whether there are other days, so that names without a ``{date}`` get one.
        """
        pairs = (self.json, write_json), (self.csv, write_csv), (self.report, write_html)
        for path, write in pairs:
            if path is not None:
                target = _dated(path, date, several)
                write(session, target)
                console.print(f"wrote {target}", soft_wrap=True)


def write_json(session: SessionCoordinator, path: Path) -> None:
    """Write the day's dump, as the config's ``[export]`` wants it."""
    wanted = session.config.export
    session.root.write_json(path, intervals=wanted.intervals or None, bars=wanted.bars)


def write_csv(session: SessionCoordinator, path: Path) -> None:
    """Write the day's session log, as the config's ``[export]`` wants it."""
    session.root.to_csv(path, interval=session.config.export.csv_interval)


def write_html(session: SessionCoordinator, path: Path) -> None:
    """Write the day's report."""
    from openbell.report import write_report

    write_report(session.root, path)


def _dated(path: Path, date: Date, several: bool) -> Path:
    if "{date}" in path.name:
        return path.with_name(path.name.replace("{date}", date.isoformat()))
    return path.with_stem(f"{path.stem}-{date}") if several else path
