"""The ``openbell`` command: thin commands over the library."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``openbell`` command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``openbell``; those of this process when None.

    Returns
    -------
    int
        0 when all is fine, 1 when the data or the session failed, 2 when the call was wrong,
        130 when it was interrupted.
    """
    try:
        from openbell.cli.app import run
    except KeyboardInterrupt:
        return 130
    return run(arguments)
