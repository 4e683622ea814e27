"""Where the tests of watching put their boards."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest


def use_own_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the runtime folder, for the test's processes too."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    # Where boards are looked for, too; sessions of the user's own may have theirs there.
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder
