"""Sessions to make reports of, and what a report's file holds, read back without a browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

import openbell as ob
from openbell.export import session_to_dict
from openbell.schema import NS_PER_SECOND
from openbell.sources import SyntheticSource
from tests.export_session import make_session

Tree = dict[str, Any]

BLOCK = re.compile(r'<script type="text/plain" id="([a-z0-9-]+)">([A-Za-z0-9+/=]*)</script>')
EVIDENCE: Tree = {
    "fill_rate": 0.83, "expected_per_day": 0.002, "n_peers": 19, "n_silent": 18,
    "n_coarser": 2, "disconnected": False,
}  # fmt: skip
HOSTILE = "</script><b>&amp;%{x}"


def blocks_of(path: Path) -> dict[str, Tree]:
    """Each packed block of a page by its id."""
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return {name: json.loads(zlib.decompress(base64.b64decode(text))) for name, text in found}


def make_tree() -> Tree:
    """The session of the golden exports: ten minutes, a break, ten minutes, seen at 14:06."""
    tree = json.loads(json.dumps(session_to_dict(make_session())))
    for symbol in tree["symbols"].values():
        for series in symbol["session"]["data"].values():
            for gap in series["gaps"]["ranges"]:
                gap["reason"] = "unknown"
                gap.pop("evidence", None)
    return tree


def gaps_of(tree: Tree, symbol: str, interval: str) -> list[Tree]:
    ranges: list[Tree] = tree["symbols"][symbol]["session"]["data"][interval]["gaps"]["ranges"]
    return ranges


def write_dump(tree: Tree, folder: Path) -> Path:
    path = folder / "session.json"
    path.write_text(json.dumps(tree))
    return path


def hostile_tree() -> Tree:
    """Markup wherever a dump has room for a text of somebody else's."""
    tree = make_tree()
    tree["symbols"][HOSTILE] = tree["symbols"].pop("AAPL")
    record = tree["symbols"][HOSTILE]
    record["symbol"] = HOSTILE
    record["metadata"]["added_by"] = HOSTILE
    record["rejected"] = {HOSTILE: 2}
    bad = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
    record["errors"] = [{"where": HOSTILE, "error": bad, "first": None, "n": 1}]
    tree["session"]["calendar"] = bad
    gaps_of(tree, HOSTILE, "1m")[0] |= {"reason": bad, "evidence": {"fill_rate": bad}}
    return tree


def make_market(n_symbols: int, n_distinct: int = 8) -> ob.SessionData:
    """A day of many symbols, from 1m; their bars repeat after some."""
    window = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))
    source = SyntheticSource(fill_rate=0.1)
    days = [source.load(f"DAY{k}", "1m", window) for k in range(n_distinct)]
    root = ob.SessionData()
    root.begin(window)
    for k in range(n_symbols):
        record = ob.SymbolSessionData(
            f"SYN{k:03}",
            base_interval="1m",
            derived_intervals=["5m", "15m", "30m", "1h", "1d"],
            is_loaded=True,
            meets_session_config_requirements=True,
        )
        root.register_symbol_data(record).append_block(days[k % n_distinct])
    root.advance(window.close_ns)
    return root


def long_day() -> ob.SessionData:
    """One symbol with a bar in each of 6,000 seconds, from 09:30 in New York."""
    opened = int(datetime(2025, 7, 2, 13, 30, tzinfo=UTC).timestamp()) * NS_PER_SECOND
    window = ob.SessionWindow(
        date(2025, 7, 2),
        [(opened, opened + 6000 * NS_PER_SECOND)],
        timezone="America/New_York",
    )
    bars = np.zeros(6000, ob.BAR_DTYPE)
    bars["timestamp"] = opened + NS_PER_SECOND * np.arange(6000)
    bars["open"] = bars["close"] = 100 + np.arange(6000) % 50 / 100
    bars["high"], bars["low"], bars["volume"] = bars["open"] + 0.25, bars["open"] - 0.25, 10
    root = ob.SessionData()
    root.begin(window)
    record = ob.SymbolSessionData("LONG", base_interval="1s", derived_intervals=["1m"])
    root.register_symbol_data(record).append_block(bars)
    root.advance(window.close_ns)
    return root
