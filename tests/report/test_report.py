"""What the report's file holds: rows, gaps and coverage, compared with what was put in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.errors import MissingLibraryError
from openbell.report import write_report
from openbell.report.coverage import make_bins, missing_by_bin
from openbell.schema import NS_PER_SECOND
from tests.export_session import AAPL_BARS, at, make_session, make_window, ns
from tests.report.pages import (
    EVIDENCE,
    HOSTILE,
    blocks_of,
    gaps_of,
    hostile_tree,
    long_day,
    make_market,
    make_tree,
    write_dump,
)

MEGABYTE = 1_000_000


def page_of(source: Any, folder: Path, **options: Any) -> dict[str, Any]:
    path = folder / "report.html"
    write_report(source, path, **options)
    return blocks_of(path)


def test_report_bars_are_those_of_the_session(tmp_path: Path) -> None:
    blocks = page_of(make_tree(), tmp_path)
    symbols = [line["symbol"] for line in blocks["session"]["symbols"]]
    packed = blocks[f"symbol-{symbols.index('AAPL')}"]["1m"]["bars"]
    starts = [ns(at(13, 30)) + s * NS_PER_SECOND for s in np.cumsum(packed["start"]).tolist()]
    rows = zip(*(packed[k] for k in ("open", "high", "low", "close", "volume")), strict=True)
    assert [(ts, *row) for ts, row in zip(starts, rows, strict=True)] == [
        (ns(moment), *values) for moment, *values in AAPL_BARS
    ]
    assert packed["length"] == [60] * len(AAPL_BARS)


def test_report_of_a_root_and_of_its_dump_are_the_same(tmp_path: Path) -> None:
    root = make_session()
    root.write_json(tmp_path / "session.json")
    assert page_of(root, tmp_path) == page_of(tmp_path / "session.json", tmp_path)


def test_report_session_tells_the_exchanges_clock(tmp_path: Path) -> None:
    session = page_of(make_tree(), tmp_path)["session"]
    assert session["date"] == "2025-07-02"
    assert session["offset_s"] == -4 * 3600
    opened = ns(at(13, 30)) // NS_PER_SECOND
    assert session["segments_s"] == [[opened, opened + 600], [opened + 1800, opened + 2400]]
    assert session["now_s"] == opened + 36 * 60


def test_report_coverage_of_a_session_with_a_break_is_that_of_its_minutes(tmp_path: Path) -> None:
    tree = make_tree()
    gaps_of(tree, "AAPL", "1m")[1]["reason"] = "no_trade"
    session = page_of(tree, tmp_path)["session"]
    (line,) = (one for one in session["symbols"] if one["symbol"] == "AAPL")
    # 13:33, 13:35 (quiet), 13:37 and 13:38 are missing; behind 14:06 nothing is expected yet.
    assert session["bins"]["step_s"] == 60
    assert line["heat"]["covered"] == (
        [1000, 1000, 1000, 0, 1000, 0, 1000, 0, 0, 1000] + [1000] * 6 + [None] * 4
    )
    assert line["heat"]["unexplained"] == (
        [0, 0, 0, 1000, 0, 0, 0, 1000, 1000, 0] + [0] * 6 + [None] * 4
    )
    assert line["gaps"] == {"unknown": 2, "no_trade": 1}


def test_report_of_a_dump_without_rows_keeps_coverage_gaps_and_tables(tmp_path: Path) -> None:
    root = make_session()
    root.write_json(tmp_path / "with.json")
    root.write_json(tmp_path / "without.json", bars=False)
    whole = page_of(tmp_path / "with.json", tmp_path)
    bare = page_of(tmp_path / "without.json", tmp_path)
    assert bare["session"] == whole["session"]
    for name in whole.keys() - {"session"}:
        for interval, chart in whole[name].items():
            assert "bars" not in bare[name][interval]
            assert bare[name][interval] == {k: v for k, v in chart.items() if k != "bars"}


def test_report_gaps_faults_are_of_the_base_and_silences_of_each_interval(tmp_path: Path) -> None:
    tree = make_tree()
    ranges = gaps_of(tree, "AAPL", "1m")
    ranges[0] |= {"reason": "outage", "evidence": EVIDENCE}
    ranges[2]["reason"] = "no_trade"
    blocks = page_of(tree, tmp_path)
    place = [line["symbol"] for line in blocks["session"]["symbols"]].index("AAPL")
    chart = blocks[f"symbol-{place}"]
    assert chart["1m"]["faults"] == {
        "outage": {
            "interval": "1m", "n": 1, "start": [180], "end": [240], "missing": [1],
            "evidence": [EVIDENCE],
        }
    }  # fmt: skip
    assert {reason: band["start"] for reason, band in chart["1m"]["gaps"].items()} == {
        "unknown": [300],
        "no_trade": [420],
    }
    assert chart["1m"]["gaps"]["no_trade"]["end"] == [540]
    assert chart["5m"]["gaps"] == {}
    assert "faults" not in chart["5m"]


def test_report_gaps_beyond_what_is_drawn_are_the_shortest_and_counted(tmp_path: Path) -> None:
    root = long_day()
    record = root["LONG"]
    tree = json.loads(json.dumps(root.to_json()))
    series = tree["symbols"]["LONG"]["session"]["data"]["1s"]
    times = [row[0] for row in series["data"]]
    # Every tenth second is missing, and from the 5,000th on the one before it, too.
    lost = [(k, k) if k < 5000 else (k - 1, k) for k in range(9, 6000, 10)]
    series["gaps"]["ranges"] = [
        {"start_time": times[a], "end_time": times[b], "bar_count": b - a + 1, "reason": "unknown"}
        for a, b in lost
    ]
    assert len(record.bars["1s"]) == 6000
    band = page_of(tree, tmp_path)["symbol-0"]["1s"]["gaps"]["unknown"]
    assert band["n"] == len(lost) == 600
    assert sorted(band["missing"]) == [1] * 300 + [2] * 100
    assert band["start"] == sorted(band["start"])
    assert set(band["start"][-100:]) == {a for a, b in lost if b > a}


def test_report_of_few_symbols_has_all_intervals_and_of_many_those_of_minutes(
    tmp_path: Path,
) -> None:
    tree = json.loads(json.dumps(long_day().to_json()))
    blocks = page_of(tree, tmp_path)
    assert [name for name, chart in blocks["symbol-0"].items() if "bars" in chart] == ["1s", "1m"]
    assert blocks["session"]["left_out"] == {}
    for k in range(8):
        tree["symbols"][f"LONG{k}"] = tree["symbols"]["LONG"]
    blocks = page_of(tree, tmp_path)
    assert [name for name, chart in blocks["symbol-8"].items() if "bars" in chart] == ["1m"]
    assert blocks["symbol-8"]["1s"]["in_page"] is False
    assert blocks["session"]["left_out"] == {"1s": 9 * 6000}
    asked = page_of(tree, tmp_path, intervals=["1s"], symbols=["LONG3"])
    assert [line["symbol"] for line in asked["session"]["symbols"]] == ["LONG3"]
    assert [name for name, chart in asked["symbol-0"].items() if "bars" in chart] == ["1s"]


def test_report_tells_how_many_symbols_the_source_has(tmp_path: Path) -> None:
    root = make_session()
    for source in (root, root.to_json()):
        session = page_of(source, tmp_path, symbols=["TSLA"])["session"]
        assert [line["symbol"] for line in session["symbols"]] == ["TSLA"]
        assert session["n_symbols"] == 3


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"symbols": "AAPL"}, r"symbols: received 'AAPL', expected several names, .*\['AAPL'\]"),
        ({"intervals": "1m"}, r"intervals: received '1m', expected several names, .*\['1m'\]"),
        ({"source": 3}, "source: received 3, expected a SessionData"),
    ],
)
def test_report_of_something_else_is_refused_by_name(
    tmp_path: Path, wish: dict[str, Any], said: str
) -> None:
    source = wish.pop("source", make_tree())
    with pytest.raises(ob.ArgumentError, match=said):
        write_report(source, tmp_path / "report.html", **wish)
    assert list(tmp_path.iterdir()) == []


def test_report_of_a_coordinator_is_that_of_its_root(tmp_path: Path) -> None:
    config = {
        "session": {"start_date": date(2025, 7, 2), "symbols": ["AAA"], "streams": ["1m"]},
        "data": {"sources": ["synthetic"]},
    }
    session = ob.open_session(config)
    session.run()
    assert page_of(session, tmp_path) == page_of(session.root, tmp_path)


def test_report_of_an_unknown_symbol_or_interval_raises_and_keeps_the_old_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ob.UnknownSymbolError, match="NOPE"):
        write_report(make_tree(), path, symbols=["AAPL", "NOPE"])
    with pytest.raises(ob.IntervalError, match="there is 1m, 5m"):
        write_report(make_tree(), path, intervals=["15m"])
    with pytest.raises(ob.IntervalError, match="7 minutes"):
        write_report(make_tree(), path, intervals=["7 minutes"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda tree: tree.pop("symbols"), "symbols"),
        (lambda tree: tree["session"].pop("segments"), "no key 'segments'"),
        (lambda tree: tree["session"].update(timezone="Nowhere/Land"), "not an IANA time zone"),
        (lambda tree: tree["symbols"].update(AAPL=None), "symbols.AAPL is not an object"),
        (lambda tree: tree["symbols"]["AAPL"].pop("metadata"), "symbols.AAPL: no key 'metadata'"),
        (
            lambda tree: gaps_of(tree, "AAPL", "1m")[0].update(bar_count=99),
            "1m gap at 2025-07-02T13:33:00",
        ),
        (
            lambda tree: tree["symbols"]["AAPL"]["session"]["data"]["1m"]["data"][0].pop(),
            "row 0 has 5 values",
        ),
    ],
)
def test_report_of_a_broken_dump_raises_and_names_the_place(
    tmp_path: Path, spoil: Any, said: str
) -> None:
    tree = make_tree()
    spoil(tree)
    with pytest.raises(ob.DumpError, match=re.escape(said)):
        write_report(write_dump(tree, tmp_path), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_report_foreign_texts_stand_nowhere_in_the_markup(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(make_tree(), path)
    usual = path.read_text().count("<script")
    write_report(hostile_tree(), path)
    text = path.read_text()
    assert text.count("<script") == usual
    assert "document.title = 'taken'" not in text
    assert HOSTILE in {line["symbol"] for line in blocks_of(path)["session"]["symbols"]}


def test_report_policy_allows_its_own_two_scripts_and_no_address(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(make_tree(), path)
    text = path.read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    assert allowed["img-src"] == "data: blob:"
    assert len(scripts) == 2
    assert not re.search(
        r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", text.split("<script>")[0]
    )


def test_report_without_plotly_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingLibraryError, match=re.escape("pip install 'openbell[report]'")):
        write_report(make_tree(), tmp_path / "report.html")


def test_report_of_500_symbols_stays_below_30_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    root = make_market(500)
    write_report(root, path)
    blocks = blocks_of(path)
    assert len(blocks["session"]["symbols"]) == 500
    for name in ("1m", "5m", "15m", "30m", "1h", "1d"):
        chart = blocks["symbol-499"][name]
        assert len(chart["bars"]["close"]) == len(root["SYN499"].bars[name]) > 0
    assert path.stat().st_size < 30 * MEGABYTE


@st.composite
def sessions(draw: Any) -> tuple[ob.SessionWindow, str, int, list[tuple[int, int]]]:
    at_s, spans = draw(st.integers(0, 3600)), []
    for _ in range(draw(st.integers(1, 3))):
        length = draw(st.integers(60, 2400))
        spans.append((at_s * NS_PER_SECOND, (at_s + length) * NS_PER_SECOND))
        at_s += length + draw(st.integers(0, 1800))
    window = ob.SessionWindow(
        date(1970, 1, 1), spans, anchor=draw(st.sampled_from(("session", "clock")))
    )
    name = draw(st.sampled_from(("1s", "30s", "1m", "5m", "1h", "1d")))
    n_slots = window.grid(name).n_slots
    n_expected = draw(st.integers(0, n_slots))
    edges = sorted(draw(st.sets(st.integers(0, n_expected), max_size=12)))
    runs = [(a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    return window, name, n_expected, runs


@given(sessions())
def test_coverage_by_bin_equals_counting_each_second(
    drawn: tuple[ob.SessionWindow, str, int, list[tuple[int, int]]],
) -> None:
    window, name, n_expected, runs = drawn
    grid, bins = window.grid(name), make_bins(window)
    absent = {slot for first, n in runs for slot in range(first, first + n)}
    wanted = [[0, 0] for _ in bins.starts_ns]
    for opened, closed in window.segments:
        for ts_ns in range(opened, closed, NS_PER_SECOND):
            slot = grid.slot_of(ts_ns)
            (place,) = np.flatnonzero((bins.starts_ns <= ts_ns) & (ts_ns < bins.ends_ns))
            wanted[place][0] += slot < n_expected
            wanted[place][1] += slot in absent
    found = missing_by_bin(
        window, bins, grid, n_expected, np.array(runs, dtype=np.int64).reshape(-1, 2)
    )
    np.testing.assert_allclose(np.stack(found, axis=1), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("hours", "step_s", "n"),
    [((20 / 60,), 60, 20), ((6.5,), 300, 78), ((2.5, 2.5), 300, 60), ((24,), 900, 96)],
)
def test_coverage_bins_suit_the_length_of_the_session(
    hours: tuple[float, ...], step_s: int, n: int
) -> None:
    spans, opened = [], 0
    for length in hours:
        closed = opened + round(length * 3600) * NS_PER_SECOND
        spans.append((opened, closed))
        opened = closed + 3600 * NS_PER_SECOND
    bins = make_bins(ob.SessionWindow(date(1970, 1, 1), spans))
    assert (bins.step_s, len(bins.starts_ns)) == (step_s, n)


def test_coverage_bins_end_at_the_segments_close() -> None:
    bins = make_bins(make_window())
    assert bins.ends_ns[9] == ns(at(13, 40))
    assert bins.starts_ns[10] == ns(at(14, 0))
