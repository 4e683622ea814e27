"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from openbell.export.files import replacing


def test_replacing_leaves_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["dump.json"]


def test_replacing_leaves_nothing_behind_when_the_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "dump.json").mkdir()
    with pytest.raises(OSError, match=r"dump\.json"), replacing(tmp_path / "dump.json") as file:
        file.write(b"whole")
    assert os.listdir(tmp_path) == ["dump.json"]


def test_replacing_names_the_file_asked_for_when_its_folder_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "dump.json"
    with pytest.raises(FileNotFoundError) as caught, replacing(path) as file:
        file.write(b"whole")
    assert caught.value.filename == str(path)


def test_replacing_writes_where_a_link_points(tmp_path: Path) -> None:
    path, link = tmp_path / "dump.json", tmp_path / "latest.json"
    path.write_bytes(b"old")
    link.symlink_to(path.name)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a matter of POSIX")
def test_replacing_writes_into_a_pipe_and_leaves_it_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with replacing(pipe) as file:
        file.write(b"dump")
    reader.join(10)
    assert received == [b"dump"]
    assert pipe.is_fifo()
