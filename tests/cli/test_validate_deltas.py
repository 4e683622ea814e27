"""`openbell validate DUMP DELTA...`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.delta_chains import chain


def write_chain(folder: Path) -> list[Path]:
    paths = []
    for n, export in enumerate(chain()):
        paths.append(folder / f"{n}.json")
        paths[-1].write_text(json.dumps(export), encoding="utf-8")
    return paths


def test_validate_deltas_in_sequence_returns_0(run: Any, tmp_path: Path) -> None:
    paths = write_chain(tmp_path)
    names = ", ".join(map(str, paths))
    assert run("validate", *paths) == (0, f"{names}: all rules kept\n", [])


def test_validate_missing_delta_returns_1_and_says_what_was_expected(
    run: Any, tmp_path: Path
) -> None:
    complete, _, second, third = write_chain(tmp_path)
    code, out, err = run("validate", complete, second, third)
    assert (code, err) == (1, [])
    assert out == f"session: delta_sequence: {second}: expected sequence 1, received 2\n"


def test_validate_delta_alone_returns_1(run: Any, tmp_path: Path) -> None:
    code, out, err = run("validate", write_chain(tmp_path)[2])
    assert (code, err) == (1, [])
    assert out.startswith("session: delta_sequence: is delta 2 of reader 'screen'")


def test_show_delta_returns_1_with_one_line(run: Any, tmp_path: Path) -> None:
    code, out, err = run("show", write_chain(tmp_path)[1])
    assert (code, out, len(err)) == (1, "", 1)
    assert "is delta 1 of reader 'screen'" in err[0]
