"""Importing a broker's own library, which openbell itself does without."""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType

from openbell.errors import MissingLibraryError

__all__ = ["import_sdk"]


def import_sdk(module: str, library: str, needed_for: str, extra: str) -> ModuleType:
    """Import a module of an optional library.

    Parameters
    ----------
    module : str
        Such as ``alpaca.data.live``.
    library : str
        What pip calls it.
    needed_for : str
        The source that needs it.
    extra : str
        The extra of openbell that brings it.

    Raises
    ------
    MissingLibraryError
        When it is not installed.
    """
    try:
        # Both brokers' libraries import deprecated parts of others; that is theirs to mend.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingLibraryError(library, needed_for, f"'openbell[{extra}]'") from None
