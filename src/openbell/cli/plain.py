"""``openbell replay CONFIG``, read without typer, which with its pydantic costs more than a day.

What is not plain (help, a word misspelt, a file that is not there) is typer's to read, which
says what is wrong with it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["PlainReplay", "plain_replay"]

_FILES: Final = ("--json", "--csv", "--report")


class PlainReplay(NamedTuple):
    """The words of ``openbell replay``, as the command takes them."""

    config: Path
    json: Path | None
    csv: Path | None
    report: Path | None
    speed: float | None


def plain_replay(words: Sequence[str]) -> PlainReplay | None:
    """Return what a plain line asks for, as typer would; None when typer is to read it."""
    if not words or words[0] != "replay":
        return None
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            value = value if equals else next(rest, "")
        else:
            name, value = "CONFIG", word
        if name not in ("CONFIG", "--speed", *_FILES) or name in given or value[:1] in ("", "-"):
            return None
        given[name] = value
    config, speed = given.get("CONFIG", ""), given.get("--speed", "0")
    is_number = speed.isascii() and speed.replace(".", "", 1).isdigit()
    if not (is_number and os.path.isfile(config) and os.access(config, os.R_OK)):
        return None
    json, csv, report = (Path(given[name]) if name in given else None for name in _FILES)
    chosen = float(speed) if "--speed" in given else None
    return PlainReplay(Path(config), json, csv, report, chosen)
