"""The library's client, made from its own token file."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from openbell.errors import DataSourceError, MissingLibraryError
from openbell.sources.sdk import import_sdk

__all__ = ["LOG_IN_AGAIN", "NAME", "SILENT", "check_environment", "client_from_environment", "sdk"]

NAME = "schwab"
LOG_IN_AGAIN = "log in again with schwab-py's login flow (schwab.auth.easy_client)"

#: For what the library and websockets write for debugging: the login with its token, accounts.
SILENT = logging.Logger(f"{__name__}.silent", level=logging.CRITICAL + 1)

_VARIABLES = ("SCHWAB_API_KEY", "SCHWAB_APP_SECRET", "SCHWAB_TOKEN_PATH")


def sdk(module: str) -> ModuleType:
    """Import a module of schwab-py.

    Raises
    ------
    MissingLibraryError
        When it is not installed.
    """
    needed_for = "the source 'schwab'"
    # It puts a filter of its own before ours when it is imported, which shows its warnings.
    with contextlib.suppress(MissingLibraryError):
        import_sdk("authlib.deprecate", "schwab-py", needed_for, "schwab")
    return import_sdk(module, "schwab-py", needed_for, "schwab")


def check_environment() -> None:
    """Refuse an environment in which :func:`client_from_environment` cannot log in.

    Raises
    ------
    DataSourceError
        Naming the variables that are not set, or the token file that is not there.
    """
    unset = [name for name in _VARIABLES if not os.environ.get(name)]
    if unset:
        raise DataSourceError(
            NAME,
            f"the environment lacks {', '.join(unset)}; the app's key and secret and the path of"
            " schwab-py's token file are read from there",
        )
    path = Path(os.environ["SCHWAB_TOKEN_PATH"])
    if not path.is_file():
        raise DataSourceError(
            NAME, f"there is no token file {path} (SCHWAB_TOKEN_PATH); {LOG_IN_AGAIN}"
        )


def client_from_environment() -> Any:
    """Return a ``schwab.client.Client`` made from its token file, without asking Schwab.

    The library reads, refreshes and writes the token.

    Raises
    ------
    DataSourceError
        When the environment lacks something, or the token file cannot be read as one.
    MissingLibraryError
        When schwab-py is not installed.
    """
    check_environment()
    key, secret, path = (os.environ[name] for name in _VARIABLES)
    auth = sdk("schwab.auth")
    why = ""
    try:
        return auth.client_from_token_file(path, key, secret)
    except Exception as error:  # whatever a file may hold; its content is a secret
        why = type(error).__name__
    # Outside of the handler, so that what the library raised is not chained to it.
    raise DataSourceError(NAME, f"its token file {path} cannot be read ({why}); {LOG_IN_AGAIN}")
