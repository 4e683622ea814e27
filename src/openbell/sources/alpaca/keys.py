"""The credentials: read from the environment, told to Alpaca alone, shown to nobody."""

from __future__ import annotations

import os
from typing import Any, Final

from openbell.errors import DataSourceError

__all__ = ["NAME", "Keys"]

NAME: Final = "alpaca"
#: What the library is given in place of credentials; ours are added where they are sent.
PLACEHOLDER: Final = "from the environment"

_VARIABLES: Final = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
_HEADERS: Final = ("APCA-API-KEY-ID", "APCA-API-SECRET-KEY")


class Keys:
    """A key and its secret.

    The library's own objects hold neither, so that no traceback with local variables, no dump of
    an object and no record of its log can show them. Called with a request, it signs it.
    """

    __slots__ = ("_values",)

    def __init__(self, key: str, secret: str) -> None:
        self._values = (key, secret)

    @classmethod
    def from_environment(cls) -> Keys:
        """Read ``APCA_API_KEY_ID`` and ``APCA_API_SECRET_KEY``.

        Raises
        ------
        DataSourceError
            When one is absent, or has characters that no key has.
        """
        values = [os.environ.get(name, "").strip() for name in _VARIABLES]
        for name, value in zip(_VARIABLES, values, strict=True):
            if not value:
                raise DataSourceError(
                    NAME, f"needs credentials: set {' and '.join(_VARIABLES)} in the environment"
                )
            if not (value.isascii() and value.isprintable()) or " " in value:
                raise DataSourceError(NAME, f"{name} holds what is no key; set it anew")
        return cls(*values)

    def __call__(self, request: Any) -> Any:
        """Add the headers to a request of ``requests``, which takes this for its `auth`."""
        request.headers.update(zip(_HEADERS, self._values, strict=True))
        return request

    def stream_login(self) -> dict[str, str]:
        """Return the message that lets a stream in."""
        key, secret = self._values
        return {"action": "auth", "key": key, "secret": secret}

    def without(self, text: str) -> str:
        """Return a text of others with the credentials taken out, should they be in it."""
        for value in self._values:
            text = text.replace(value, "***")
        return text

    def __repr__(self) -> str:
        return "<Keys>"

    def __reduce__(self) -> Any:
        raise TypeError("credentials are not pickled; make the source anew from the environment")
