"""JSON as it comes, which is not always JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["read_object"]


def read_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object that a text holds, or None when it holds none.

    Literals that JSON lacks, such as ``NaN``, are read; a record refuses them bar by bar.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Slower, and takes more.
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None
