"""A small dump written by hand: one symbol, six minutes after the open, two of them missing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openbell.cli import main

Tree = dict[str, Any]

COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]

DUMP: Tree = {
    "schema_version": 1,
    "session": {
        "date": "2025-07-02",
        "open": "2025-07-02T13:30:00+00:00",
        "close": "2025-07-02T20:00:00+00:00",
        "segments": [["2025-07-02T13:30:00+00:00", "2025-07-02T20:00:00+00:00"]],
        "active": True,
        "now": "2025-07-02T13:36:00+00:00",
        "calendar": "XNYS",
        "timezone": "America/New_York",
        "anchor": "session",
    },
    "symbols": {
        "RIVN": {
            "symbol": "RIVN",
            "base_interval": "1m",
            "is_loaded": True,
            "metadata": {
                "meets_session_config_requirements": True,
                "added_by": "config",
                "auto_provisioned": False,
                "added_at": None,
                "upgraded_from_adhoc": False,
            },
            "session": {
                "volume": 1000,
                "high": 13.54,
                "low": 13.47,
                "last_update": "2025-07-02T13:36:00+00:00",
                "data": {
                    "1m": {
                        "count": 4,
                        "generated": False,
                        "base": None,
                        "quality": 400 / 6,
                        "coverage": 4 / 6,
                        "gaps": {
                            "gap_count": 1,
                            "missing_bars": 2,
                            "ranges": [
                                {
                                    "start_time": "2025-07-02T13:32:00+00:00",
                                    "end_time": "2025-07-02T13:33:00+00:00",
                                    "bar_count": 2,
                                    "reason": "unknown",
                                }
                            ],
                        },
                        "columns": COLUMNS,
                        "data": [
                            ["2025-07-02T13:30:00+00:00", 13.5, 13.54, 13.5, 13.52, 100],
                            ["2025-07-02T13:31:00+00:00", 13.52, 13.53, 13.48, 13.5, 200],
                            ["2025-07-02T13:34:00+00:00", 13.5, 13.51, 13.47, 13.49, 300],
                            ["2025-07-02T13:35:00+00:00", 13.49, 13.5, 13.49, 13.495, 400],
                        ],
                    }
                },
                "quotes": {"count": 0},
                "ticks": {"count": 0},
            },
            "indicators": {},
            "quality": {"1m": 400 / 6},
            "historical": {"loaded": False, "data": {}},
            "rejected": {"off_grid": 3},
            "revised": {"duplicate": 0, "corrected": 0, "late": 0},
        }
    },
}


@pytest.fixture
def dump() -> Tree:
    return copy.deepcopy(DUMP)


@pytest.fixture
def dump_file(tmp_path: Path) -> Callable[[Tree], Path]:
    def write(tree: Tree) -> Path:
        path = tmp_path / "session.json"
        path.write_text(json.dumps(tree))
        return path

    return write


Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: its exit code, its output, its lines on stderr."""

    def call(*words: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        caught = capsys.readouterr()
        return code, caught.out, caught.err.splitlines()

    return call
