"""The golden dump, which the engine's export equals, and ways to plant faults in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openbell.export import Violation

GOLDEN = Path(__file__).parent / "golden" / "session_dump_v1.json"

#: What every time of the day begins with.
M = "2025-07-02T"

#: A dump of no day, with room for its symbols.
NO_DAY = (
    b'{"schema_version": 1, "session": {"date": null, "open": null, "close": null, "segments": [],'
    b'"active": false, "now": null, "calendar": null, "timezone": null, "anchor": null},'
    b'"symbols": %b}'
)

Tree = dict[str, Any]
Plant = Callable[[Tree], Any]


def line_of(found: Violation) -> str:
    """Rule, symbol, interval and time of a violation; the day's date and offset left out."""
    time = found.time.removeprefix(M).removesuffix("+00:00")
    return " ".join((found.rule, found.symbol or "-", found.interval or "-", time or "-"))


def golden() -> Tree:
    """The golden dump, with reasons written into its gaps; it breaks no rule."""
    made: Tree = json.loads(GOLDEN.read_text())
    explain(made)
    return made


def explain(dump: Tree) -> None:
    quiet, lost, quiet_too = series(dump)["gaps"]["ranges"]
    quiet["reason"] = quiet_too["reason"] = "no_trade"
    lost.update(reason="outage", evidence=evidence())
    series(dump)["explained_quality"] = 93.75
    nvda = dump["symbols"]["NVDA"]
    minutes = nvda["session"]["data"]["1m"]
    minutes["gaps"]["ranges"][0].update(reason="late_start", evidence=evidence())
    minutes["explained_quality"] = 0.0
    gap = {
        "start_time": M + "13:30:00+00:00", "end_time": M + "14:00:00+00:00", "bar_count": 3,
        "reason": "late_start", "evidence": evidence(),
    }  # fmt: skip
    nvda["session"]["data"]["5m"] = {
        "count": 0, "generated": True, "base": "1m", "quality": 0.0, "explained_quality": 0.0,
        "coverage": 0.0, "gaps": {"gap_count": 1, "missing_bars": 3, "ranges": [gap]},
        "columns": [*minutes["columns"], "n_base"], "data": [],
    }  # fmt: skip
    nvda["quality"]["5m"] = 0.0
    days = aapl(dump)["historical"]["data"]["1d"]
    missing = {
        "start_time": "2025-06-26T13:30:00+00:00", "end_time": "2025-06-27T13:30:00+00:00",
        "bar_count": 2, "reason": "unknown",
    }  # fmt: skip
    days["gaps"] = {"gap_count": 1, "missing_bars": 2, "ranges": [missing]}


def evidence(**values: Any) -> Tree:
    made: Tree = {
        "fill_rate": 0.75, "expected_per_day": 0.5, "n_peers": 2, "n_silent": 2, "n_coarser": 0,
        "disconnected": False,
    }  # fmt: skip
    put(made, **values)
    return made


def aapl(dump: Tree) -> Tree:
    found: Tree = dump["symbols"]["AAPL"]
    return found


def series(dump: Tree, name: str = "1m") -> Tree:
    found: Tree = aapl(dump)["session"]["data"][name]
    return found


def days(dump: Tree) -> Tree:
    found: Tree = aapl(dump)["historical"]["data"]["1d"]
    return found


def session(dump: Tree) -> Tree:
    found: Tree = aapl(dump)["session"]
    return found


def put(tree: Tree, **values: Any) -> None:
    assert values.keys() <= tree.keys(), "a fault must change what is there"
    tree.update(values)


def put_cell(row: int, column: int, value: Any, name: str = "1m") -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        series(dump, name)["data"][row][column] = value

    return plant


def drop_row(name: str, row: int) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        tree = series(dump, name)
        del tree["data"][row]
        tree["count"] -= 1

    return plant


def put_flags(symbol: str, is_loaded: bool | None = None, **flags: Any) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        put(dump["symbols"][symbol]["metadata"], **flags)
        if is_loaded is not None:
            put(dump["symbols"][symbol], is_loaded=is_loaded)

    return plant


def widen_gap(dump: Tree) -> None:
    gaps = series(dump)["gaps"]
    put(gaps["ranges"][0], end_time="2025-07-02T13:34:00+00:00", bar_count=2)
    put(gaps, missing_bars=5)


def swap_first_rows(dump: Tree) -> None:
    rows = series(dump)["data"]
    rows[0], rows[1] = rows[1], rows[0]


def repeat_first_row(dump: Tree) -> None:
    rows = series(dump)["data"]
    rows.insert(0, list(rows[0]))
    series(dump)["count"] += 1


def leave_open_bar_in(dump: Tree) -> None:
    tree = series(dump, "5m")
    tree["data"].append(["2025-07-02T14:05:00+00:00", 99.75, 100.25, 99.75, 100.0, 25, 1])
    tree["count"] += 1


def drop_column(dump: Tree) -> None:
    tree = series(dump)
    tree["columns"].pop()
    for row in tree["data"]:
        row.pop()


def put_error(**values: Any) -> Callable[[Tree], None]:
    return lambda dump: put(aapl(dump)["errors"][0], **values)


def put_event(kind: str, column: int, value: Any) -> Callable[[Tree], None]:
    def plant(dump: Tree) -> None:
        aapl(dump)["session"][kind]["data"][0][column] = value

    return plant


def sma(**values: Any) -> Tree:
    """An indicator as a dump shows it: the mean of the closes of 14:03, 14:04 and 14:05."""
    made: Tree = {
        "name": "sma", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3},
        "value": 99.66666666666667, "timestamp": M + "14:06:00+00:00", "ready": True, "revision": 0,
    }  # fmt: skip
    put(made, **values)
    return made


def put_indicator(**values: Any) -> Callable[[Tree], None]:
    return lambda dump: aapl(dump)["indicators"].update(sma=sma(**values))


def drop_indicator_key(dump: Tree) -> None:
    put_indicator()(dump)
    del aapl(dump)["indicators"]["sma"]["ready"]


def put_historical(value: Any) -> Callable[[Tree], None]:
    return lambda dump: put(aapl(dump)["historical"], avg_volume_2d=value)


def gap(at: int = 1, symbol: str = "AAPL", name: str = "1m") -> Callable[[Tree], Tree]:
    def find(dump: Tree) -> Tree:
        found: Tree = dump["symbols"][symbol]["session"]["data"][name]["gaps"]["ranges"][at]
        return found

    return find


def put_evidence(**values: Any) -> Plant:
    return lambda dump: gap()(dump).update(evidence=evidence(**values))


def put_day(**values: Any) -> Plant:
    return lambda dump: put(aapl(dump)["historical"]["data"]["1d"]["gaps"]["ranges"][0], **values)


def drop_rows(dump: Tree, symbol: str = "AAPL", name: str = "1m") -> Tree:
    tree: Tree = dump["symbols"][symbol]["session"]["data"][name]
    del tree["data"], tree["columns"]
    return tree


def split_gap(dump: Tree) -> None:
    ranges = series(dump)["gaps"]["ranges"]
    ranges[2:] = [
        dict(ranges[2], start_time=M + f"13:{minute}:00+00:00", bar_count=1)
        | {"end_time": M + f"13:{minute}:00+00:00"}
        for minute in (37, 38)
    ]
    put(series(dump)["gaps"], gap_count=4)


def swap_gaps(dump: Tree) -> None:
    ranges = series(dump)["gaps"]["ranges"]
    ranges[0], ranges[1] = ranges[1], ranges[0]


def gap_ahead(dump: Tree) -> None:
    ranges = series(dump)["gaps"]["ranges"]
    ranges.append(dict(ranges[0], start_time=M + "14:06:00+00:00", bar_count=2)
                  | {"end_time": M + "14:07:00+00:00"})  # fmt: skip
    put(series(dump)["gaps"], gap_count=4, missing_bars=6)


def evict(dump: Tree) -> Tree:
    tree = series(dump)
    del tree["data"][:4]
    tree.update(count=8, evicted=4)
    return tree


def evict_too_many(dump: Tree) -> None:
    put(evict(dump), evicted=5)


def evict_and_lose(dump: Tree) -> None:
    evict(dump)
    drop_row("1m", 3)(dump)


def leave_out(dump: Tree) -> None:
    tree = series(dump, "5m")
    del tree["data"][1]
    tree.update(count=2, incomplete=1)
    tree["gaps"] = {"gap_count": 1, "missing_bars": 1, "ranges": [
        dict(gap(0)(dump), start_time=M + "13:30:00+00:00", end_time=M + "13:30:00+00:00")
    ]}  # fmt: skip


def deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(100_000):
        made = [made]
    return made
