"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["replacing", "write_in_pieces"]

#: For a megabyte at once the kernel takes whole blocks of free memory, which a virtual machine may
#: first have to get from its host: then it takes four times as long as in pieces.
_PIECE: Final = 1 << 18


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing; give it that name when the block ends well.

    When the block raises, the unfinished file is deleted and `path` is as it was. A link keeps
    pointing where it points; a device or a pipe is written to, not replaced.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file() and not target.is_dir():
        with open(target, "wb") as device:
            yield device
        return
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    # Exclusive creation instead of tempfile: the usual permissions, not private ones.
    try:
        with open(unfinished, "xb") as file:
            yield file
        os.replace(unfinished, target)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError) and error.filename == str(unfinished):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise


def write_in_pieces(file: BinaryIO, text: memoryview) -> None:
    """Write a long text to a file open for writing, in pieces that the system has memory for."""
    for at in range(0, len(text), _PIECE):
        file.write(text[at : at + _PIECE])
