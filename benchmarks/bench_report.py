"""The HTML report: how big it is, and how soon a browser shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

import openbell as ob
from benchmarks.data import make_bars, make_root
from benchmarks.harness import Beside
from openbell.report import plotly_script, write_report
from tests.browser import find_chromium, open_browser

N_SYMBOLS = 500
#: Symbols share some days of bars; a report packs each symbol by itself.
N_DISTINCT = 10
#: A page with the library and its smallest chart.
LEAST = """<!DOCTYPE html><meta charset="utf-8"><div id="chart"></div>
<script>{library}</script>
<script>
Plotly.newPlot("chart", [{{y: [1, 2]}}]).then(() => performance.mark("openbell-chart"));
</script>
"""
#: Milliseconds since the address was entered.
DRAWN = "performance.getEntriesByName('openbell-chart')[0]?.startTime"


def make_market() -> ob.SessionData:
    """A closed session of 1s bars, a fifth of the seconds without one, with eight intervals."""
    root, records = make_root(N_SYMBOLS, n_reserve=0)
    days = [make_bars(seed=k, gap_share=0.2) for k in range(N_DISTINCT)]
    for k, record in enumerate(records):
        record.append_block(days[k % N_DISTINCT])
    assert root.window is not None
    root.advance(root.window.close_ns)
    return root


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")
def bench_report_opens(beside: Beside, tmp_path: Path) -> None:
    page, least = tmp_path / "report.html", tmp_path / "least.html"
    write_report(make_market(), page)
    least.write_text(LEAST.format(library=plotly_script()), encoding="utf-8")
    with open_browser() as browser:

        def drawn_ms(path: Path) -> float:
            tab = browser.open(path)
            taken = float(tab.wait_for(DRAWN))
            tab.close()
            return taken

        beside.values(
            f"report of {N_SYMBOLS} symbols at 1m and coarser: from its address to the first chart",
            "a page with plotly.js alone",
            lambda: drawn_ms(page),
            lambda: drawn_ms(least),
            unit="ms",
            goal=3000,
            goal_of="value",
            note=f"{page.stat().st_size / 1e6:.1f} MB, by the clock",
        )
