"""Waiting for what another thread or process brings about."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep


def wait_until(holds: Callable[[], object], timeout: float = 10.0, what: str = "") -> None:
    """Return as soon as `holds()` is true; fail when it is not in time."""
    until = monotonic() + timeout
    while not holds():
        assert monotonic() < until, f"not within {timeout:g} s: {what or holds}"
        sleep(0.005)
