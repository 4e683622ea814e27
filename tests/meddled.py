"""A series that somebody else changes between any two looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import openbell as ob
from openbell.schema import BarArray


class MeddledSeries(ob.BarIntervalData):
    """One that calls `meddle` behind each reading, as another thread may."""

    def __init__(self, rec: ob.SymbolSessionData, interval: str, meddle: Callable[[], Any]) -> None:
        super().__init__(rec.core, interval)
        self.meddle = meddle

    def __new__(cls, rec: ob.SymbolSessionData, interval: str, *_: Any) -> MeddledSeries:
        return super().__new__(cls, rec.core, interval)

    def copy(self, n: int | None = None) -> BarArray:
        rows = super().copy(n)
        self.meddle()
        return rows

    def n_base_full(self) -> np.ndarray[Any, Any]:
        counts = super().n_base_full()
        self.meddle()
        return counts

    @property
    def n_expected(self) -> int:
        n = super().n_expected
        self.meddle()
        return n

    @property
    def n_evicted(self) -> int:
        n = super().n_evicted
        self.meddle()
        return n

    @property
    def n_base(self) -> np.ndarray[Any, Any] | None:
        counts = super().n_base
        self.meddle()
        return counts
