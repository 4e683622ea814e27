"""The ``openbell`` command: thin commands over the library."""

from __future__ import annotations

import gc
from collections.abc import Sequence

__all__ = ["collect_garbage", "main"]


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
    is_own_process = arguments is None
    if is_own_process:
        # Nothing that is made by importing is garbage.
        gc.disable()
    try:
        from openbell.cli.calls import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130
    finally:
        if is_own_process:
            # What is left goes with the process: looking for garbage in all of the libraries
            # would take as long as importing numpy.
            gc.freeze()


def collect_garbage() -> None:
    """Begin to collect garbage, once what is needed is imported; that is not looked through."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
