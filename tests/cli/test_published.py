"""A run is published while it lasts, and not for nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openbell.cli.published import published
from openbell.control import find_controls
from openbell.lifecycle import SessionCoordinator, open_session
from openbell.watch import find_boards
from tests.waiting import wait_until
from tests.watching import use_own_runtime

if os.name != "posix":
    pytest.skip("boards need a POSIX system", allow_module_level=True)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionCoordinator:
    use_own_runtime(tmp_path, monkeypatch)
    table = {"start_date": "2025-07-02", "symbols": ["SYN001"], "streams": ["1m"]}
    return open_session({"session": table, "data": {"sources": ["synthetic"]}})


def test_published_run_that_lasts_is_found_until_it_is_over(session: SessionCoordinator) -> None:
    with published(session, after_s=0.01):
        wait_until(lambda: bool(find_controls()))
        assert len(find_boards()) == 1
    assert (list(find_boards()), list(find_controls())) == ([], [])


def test_published_run_that_is_over_before_leaves_no_folder(
    session: SessionCoordinator, tmp_path: Path
) -> None:
    with published(session, after_s=60.0):
        pass
    assert not list(tmp_path.rglob("openbell"))
