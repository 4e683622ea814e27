"""A running session's day as a file, as its configuration's ``[export]`` wants it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openbell.control.messages import ExportFormat
    from openbell.watch.snapshot import PublishedSession

__all__ = ["write"]


def write(
    session: PublishedSession, path: Path, format: ExportFormat, interval: str | None = None
) -> None:
    """Write the day's dump, log, bars or report. The file appears whole or not at all.

    Parameters
    ----------
    session : PublishedSession
        It may go on meanwhile.
    path : pathlib.Path
    format : "json", "csv", "parquet" or "html"
    interval : str, optional
        Bars of this one, instead of what ``[export]`` names.

    Raises
    ------
    OpenbellError, OSError
        When there is no such interval, a library is missing, or the file cannot be written.
    """
    root, wanted = session.root, session.config.export
    if format == "json":
        intervals = wanted.intervals if interval is None else (interval,)
        root.write_json(path, intervals=intervals or None, bars=wanted.bars)
    elif format == "html":
        from openbell.report import write_report

        write_report(root, path, intervals=None if interval is None else (interval,))
    elif format == "csv":
        root.to_csv(path, interval=interval or wanted.csv_interval)
    else:
        from openbell.export import pick_series, write_bars_parquet

        chosen = pick_series(root, interval or wanted.csv_interval)
        write_bars_parquet(chosen, path, complete_only=root.on_incomplete == "skip")
