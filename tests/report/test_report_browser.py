"""The report in a real browser, offline: what it draws, and what it does when it is used."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openbell.export import session_to_dict
from openbell.report import write_report
from tests.browser import Browser, Page, find_chromium, open_browser
from tests.export_session import AAPL_BARS, at, make_session, ns
from tests.report.pages import (
    EVIDENCE,
    HOSTILE,
    gaps_of,
    hostile_tree,
    long_day,
    make_market,
    make_tree,
)

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium is installed; CHROMIUM=PATH names one"
)

Open = Callable[..., Page]
DRAWN = "performance.getEntriesByName('openbell-page').length > 0"
#: What plotly was given, and what it made of it.
CANDLES = "document.getElementById('chart').data.find((t) => t.type === 'candlestick')"
RANGE = (
    "document.getElementById('chart')._fullLayout.xaxis.range"
    ".map((text) => Date.parse(text.replace(' ', 'T') + 'Z'))"
)
OPEN_MS, CLOSE_MS = (
    # On the exchange's clock, four hours behind UTC.
    (ns(at(hour, minute)) // 10**6 - 4 * 3_600_000)
    for hour, minute in ((13, 30), (14, 10))
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Write a report, open it, wait for its chart; nothing may go wrong in it, ever."""
    pages: list[tuple[Page, Path]] = []

    def show(source: Any, *, dark: bool = False, width: int = 1280, **options: Any) -> Page:
        path = tmp_path / f"report-{len(pages)}.html"
        write_report(source, path, **options)
        page = browser.open(path, dark=dark, width=width)
        pages.append((page, path))
        page.wait_for(DRAWN)
        return page

    yield show
    for page, path in pages:
        page.wait_for("new Promise((done) => setTimeout(() => done(true), 50))")
        assert page.problems == []
        addresses = [one for one in page.requests if not one.startswith(("data:", "blob:"))]
        assert addresses == [path.as_uri()]
        page.close()


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent)"
    )
    return found


def plot_at(page: Page, share: float) -> tuple[float, float]:
    """A place in the middle of the prices, so far along the width of the chart."""
    x, y = page.middle_of("#chart .nsewdrag[data-subplot='xy2']")
    width = page.evaluate("document.getElementById('chart')._fullLayout.xaxis._length")
    return x + (share - 0.5) * width, y


def zoom_in(page: Page, x: float, y: float, *, below_ms: float) -> None:
    """Turn the wheel until less than this is in view."""
    for _ in range(60):
        page.wheel(x, y, -200)
        first, last = page.evaluate(RANGE)
        if last - first < below_ms:
            break
    settled(page)
    page.wait_for(f"(([from, to]) => to - from < {below_ms})({RANGE})")


def settled(page: Page) -> list[float]:
    """What is in view, once that has not changed for a while."""
    seen: list[list[float]] = []
    while len(seen) < 4 or seen[-4:] != [seen[-1]] * 4:
        seen.append(page.evaluate(f"new Promise((done) => setTimeout(() => done({RANGE}), 150))"))
    return seen[-1]


def cells(page: Page, table: str) -> list[list[str]]:
    rows: list[list[str]] = page.evaluate(
        f"[...document.querySelectorAll('#{table} tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return rows


def test_page_draws_each_bar_as_a_candle(shown: Open) -> None:
    page = shown(make_session())
    assert page.evaluate("document.title") == "openbell 2025-07-02"
    assert page.evaluate("document.getElementById('symbol').selectedOptions[0].text") == "AAPL"
    trace = page.evaluate(
        f"(({{x, open, high, low, close}}) => [x, open, high, low, close])({CANDLES})"
    )
    middles = [ns(moment) // 10**6 - 4 * 3_600_000 + 30_000 for moment, *_ in AAPL_BARS]
    assert trace == [middles, *([row[k] for row in AAPL_BARS] for k in (1, 2, 3, 4))]
    assert page.evaluate("document.querySelectorAll('#chart .boxlayer path.box').length") == 12
    volumes = page.evaluate(
        "document.getElementById('chart').data.find((t) => t.name === 'volume').y"
    )
    assert volumes == [row[5] for row in AAPL_BARS]
    assert page.evaluate(RANGE) == [OPEN_MS, CLOSE_MS]
    (line,) = texts(page, "#session-line")
    assert line.startswith("custom, 09:30:00 to 10:10:00, until 10:06:00, 3 symbols.")
    assert "America/New_York (UTC\u221204:00)" in line


def test_page_profile_holds_the_volume_of_the_bars_in_view(shown: Open) -> None:
    page = shown(make_session())
    profile = "document.getElementById('chart').data.find((t) => t.name === 'profile')"
    volume = page.evaluate(f"{profile}.x")
    assert sum(volume) == pytest.approx(sum(row[5] for row in AAPL_BARS))
    # The day's range is 98.75 to 103.25; only the bar of 14:02 went below 99.
    price = page.evaluate(f"{profile}.y")
    assert len(price) == 48
    step = (103.25 - 98.75) / 48
    assert price[0] == pytest.approx(98.75 + step / 2)
    assert volume[0] == pytest.approx(600 / (int((102.5 - 98.75) / step) + 1))


def test_page_wheel_zooms_and_a_double_click_shows_all(shown: Open) -> None:
    page = shown(make_session())
    x, y = plot_at(page, 0.1)
    whole = page.evaluate("document.getElementById('chart').layout.yaxis2.range")
    zoom_in(page, x, y, below_ms=0.7 * (CLOSE_MS - OPEN_MS))
    # The prices follow what is in view.
    page.wait_for(
        "document.getElementById('chart').layout.yaxis2.range.some("
        f"(edge, k) => edge !== {json.dumps(whole)}[k])"
    )
    first, last = page.evaluate(RANGE)
    page.drag(x + 300, y, -200, 0)
    page.wait_for(f"{RANGE}[0] > {first + 1}")
    moved = settled(page)
    assert moved[1] - moved[0] == pytest.approx(last - first, rel=1e-6)
    page.click(x, y)
    page.call("Input.dispatchMouseEvent", {
        "type": "mousePressed", "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 2,
    })  # fmt: skip
    page.call("Input.dispatchMouseEvent", {
        "type": "mouseReleased", "x": x, "y": y, "button": "left", "clickCount": 2,
    })  # fmt: skip
    page.wait_for(f"(([from, to]) => from === {OPEN_MS} && to === {CLOSE_MS})({RANGE})")


def test_page_zoom_stays_when_the_symbol_changes(shown: Open) -> None:
    page = shown(make_session())
    x, y = plot_at(page, 0.5)
    zoom_in(page, x, y, below_ms=0.7 * (CLOSE_MS - OPEN_MS))
    page.wait_for("document.getElementById('chart').layout.xaxis.range[0] > " + str(OPEN_MS))
    before = page.evaluate(RANGE)
    page.evaluate("document.getElementById('symbol').focus()")
    page.press("ArrowDown", 40)
    page.wait_for("document.getElementById('facts').textContent.includes('high 251')")
    assert page.evaluate(RANGE) == pytest.approx(before)
    page.click(*page.middle_of("#chart .modebar-btn[data-title='Reset axes']"))
    page.wait_for(f"(([from, to]) => from === {OPEN_MS} && to === {CLOSE_MS})({RANGE})")
    # What is drawn for the one symbol is in view, also after all axes were put back.
    page.wait_for("document.getElementById('chart').layout.yaxis2.range[0] > 240")


def test_page_keys_switch_the_symbol(shown: Open) -> None:
    root = make_market(3)
    page = shown(root)
    for k, (key, code) in enumerate([("ArrowDown", 40), ("ArrowDown", 40), ("ArrowUp", 38)]):
        place = (1, 2, 1)[k]
        page.evaluate("document.getElementById('symbol').focus()")
        page.press(key, code)
        bars = root[f"SYN{place:03}"].bars["1m"].data
        page.wait_for(f"{CANDLES}.close[0] === {float(bars['close'][0])}")
        assert page.evaluate(f"{CANDLES}.low") == bars["low"].tolist()
        (chosen,) = texts(page, "#provenance tr[aria-selected='true'] td:first-child")
        assert chosen == f"SYN{place:03}"


def test_page_buttons_switch_the_interval(shown: Open) -> None:
    root = make_market(1)
    page = shown(root)
    assert texts(page, "#intervals button") == ["1m", "5m", "15m", "30m", "1h", "1d"]
    for name in ("5m", "1h"):
        page.click(*page.middle_of(f"#intervals button[data-value='{name}']"))
        bars = root["SYN000"].bars[name].data
        page.wait_for(f"{CANDLES}.open.length === {len(bars)}")
        assert page.evaluate(f"{CANDLES}.high") == bars["high"].tolist()
        assert texts(page, "#intervals button[aria-pressed='true']") == [name]
        assert texts(page, "#facts")[0].startswith(f"{name}: {len(bars)} bars")


def test_page_day_bar_is_as_wide_as_the_session(shown: Open) -> None:
    page = shown(make_market(1), intervals=["1d"])
    assert texts(page, "#intervals button") == ["1d"]
    assert page.evaluate(f"{CANDLES}.close.filter((one) => one !== null).length") == 1
    width = page.evaluate(
        "document.querySelector('#chart .boxlayer path.box').getBoundingClientRect().width"
        " / document.getElementById('chart')._fullLayout.xaxis._length"
    )
    assert width > 0.3


def test_page_gaps_have_the_colour_of_their_reason_and_tell_the_evidence(shown: Open) -> None:
    tree = make_tree()
    gaps_of(tree, "AAPL", "1m")[0] |= {"reason": "outage", "evidence": EVIDENCE}
    gaps_of(tree, "AAPL", "1m")[2]["reason"] = "no_trade"
    page = shown(tree)
    legend = texts(page, "#chart .legendtext")
    assert legend == ["no_trade (1)", "unknown (1)", "outage (1)"]
    bands = page.evaluate(
        "document.getElementById('chart').data.filter((t) => t.meta)"
        ".map((t) => [t.meta, t.visible, t.marker.color])"
    )
    colours = {reason: colour for reason, _, colour in bands}
    assert colours["outage"] == "#d55e00"
    assert len(set(colours.values())) == 3
    assert {reason: visible for reason, visible, _ in bands} == {
        "no_trade": "legendonly", "unknown": True, "outage": True,
    }  # fmt: skip
    x, y = page.evaluate(
        "(() => { const chart = document.getElementById('chart'); const {xaxis, _size} ="
        " chart._fullLayout; const box = chart.getBoundingClientRect(); const x = chart.data"
        ".find((t) => t.meta === 'outage').x[0];"
        " return [box.x + _size.l + xaxis.l2p(x), box.y + 150]; })()"
    )
    page.hover(x, y)
    page.wait_for("document.querySelectorAll('#chart .hovertext').length > 0")
    said = page.evaluate(
        "[...document.querySelectorAll('#chart .hovertext tspan')].map((t) => t.textContent)"
    )
    for part in (
        "outage", "09:33:00 \u2013 09:34:00", "1 bar of 1m missing",
        "bars in 83 % of the slots around", "such a silence: once in 500 days",
        "18 of 19 other symbols silent", "2 coarser bars traded in it",
    ):  # fmt: skip
        assert part in said
    page.click(*page.middle_of("#chart .legendtoggle"))
    page.wait_for(
        "document.getElementById('chart').data.find((t) => t.meta === 'no_trade').visible === true"
    )


def test_page_gap_of_too_few_bars_tells_no_rate(shown: Open) -> None:
    tree = make_tree()
    few = EVIDENCE | {"fill_rate": None, "expected_per_day": None, "n_coarser": 1}
    gaps_of(tree, "AAPL", "1m")[0] |= {"reason": "outage", "evidence": few}
    page = shown(tree)
    (said,) = page.evaluate(
        "document.getElementById('chart').data.find((t) => t.meta === 'outage').hovertext"
    )
    assert said.split("<br>")[2:] == [
        "1 bar of 1m missing", "too few bars to judge by", "18 of 19 other symbols silent",
        "1 coarser bar traded in it",
    ]  # fmt: skip


def test_page_heat_map_has_a_row_for_any_name(shown: Open) -> None:
    tree = make_tree()
    one = tree["symbols"]["AAPL"]
    for name in ("constructor", "__proto__", "A<b>B</b>"):
        tree["symbols"][name] = one | {"symbol": name}
    page = shown(tree)
    names = list(tree["symbols"])
    assert texts(page, "#heat .yaxislayer-above text")[::-1] == names
    box = page.evaluate(
        "(() => { const heat = document.getElementById('heat'); heat.scrollIntoView();"
        " const {xaxis, yaxis, _size} = heat._fullLayout; const box = heat.getBoundingClientRect();"
        " return [box.x + _size.l + xaxis.l2p(2), box.y + _size.t + yaxis.l2p(4)]; })()"
    )
    page.hover(*box)
    page.wait_for("document.querySelectorAll('#heat .hovertext').length > 0")
    assert texts(page, "#heat .hovertext tspan")[:2] == [names[4], "09:32"]


def test_page_heat_map_names_whole_hours_and_halves(shown: Open) -> None:
    ticks = "#heat .xaxislayer-above text"
    halves = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(570, 960, 30)]
    assert texts(shown(make_market(2)), ticks) == halves
    hours = [f"{hour}:00" for hour in range(10, 16)]
    assert texts(shown(make_market(2), width=500), ticks) == hours


def test_page_on_a_narrow_screen_has_its_legend_below_the_buttons(shown: Open) -> None:
    page = shown(make_tree(), width=500)
    legend, buttons = page.evaluate(
        "['.legend', '.modebar'].map((name) => document.querySelector(`#chart ${name}`)"
        ".getBoundingClientRect().toJSON())"
    )
    assert legend["height"] > 0
    assert legend["top"] > buttons["bottom"]


def test_page_tells_which_part_of_the_session_it_shows(shown: Open) -> None:
    page = shown(make_session(), symbols=["TSLA"])
    assert ", 1 of 3 symbols." in texts(page, "#session-line")[0]
    assert texts(page, "#left-out") == ["Not in this file: 2 other symbols. "]
    page = shown(make_session())
    assert ", 3 symbols." in texts(page, "#session-line")[0]
    assert texts(page, "#left-out") == [""]


def test_page_table_leaves_out_columns_that_are_empty_for_all(shown: Open) -> None:
    page = shown(make_session(), symbols=["AAPL"])
    heads = set(texts(page, "#provenance th"))
    assert {"symbol", "bars", "quality", "loaded", "config", "refused", "errors"} <= heads
    assert not {"auto", "upgraded", "late_start", "truncated"} & heads
    page = shown(make_market(20))
    widths = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map((one) => [one.scrollWidth, one.clientWidth])"
    )
    assert all(needed <= there for needed, there in widths)


def test_page_heat_map_shows_symbols_by_time_and_a_click_chooses(shown: Open) -> None:
    tree = make_tree()
    gaps_of(tree, "AAPL", "1m")[1]["reason"] = "no_trade"
    page = shown(tree)
    page.wait_for("document.querySelectorAll('#heat .heatmaplayer image').length === 1")
    heat = "document.getElementById('heat').data[0]"
    assert texts(page, "#heat .yaxislayer-above text")[::-1] == list(tree["symbols"])
    assert page.evaluate(f"[{heat}.x.length, {heat}.x[0], {heat}.x[10]]") == [20, "09:30", "10:00"]
    assert page.evaluate(f"{heat}.z[0].slice(0, 10)") == [100, 100, 100, 0, 100, 0, 100, 0, 0, 100]
    assert page.evaluate(f"{heat}.z[0].slice(16)") == [None] * 4
    page.click(*page.middle_of("#measures button[data-value='unexplained']"))
    page.wait_for(f"{heat}.z[0][3] === 100 && {heat}.z[0][5] === 0")
    x, y = page.evaluate(
        "(() => { const heat = document.getElementById('heat'); heat.scrollIntoView();"
        " const {xaxis, yaxis, _size} = heat._fullLayout; const box = heat.getBoundingClientRect();"
        " return [box.x + _size.l + xaxis.l2p(2), box.y + _size.t + yaxis.l2p(1)]; })()"
    )
    page.click(x, y)
    second = list(tree["symbols"])[1]
    page.wait_for(
        f"document.getElementById('symbol').selectedOptions[0].text === {json.dumps(second)}"
    )


def test_page_tables_tell_provenance_refusals_and_errors(shown: Open) -> None:
    page = shown(make_session())
    heads = texts(page, "#provenance th")
    rows = {row[0]: dict(zip(heads, row, strict=True)) for row in cells(page, "provenance")}
    assert list(rows) == ["AAPL", "TSLA", "NVDA"]
    wanted = {
        "base": "1m", "added by": "config", "loaded": "yes", "bars": "12", "quality": "75.00 %",
        "refused": "2", "errors": "1", "auto": "", "upgraded": "",
    }  # fmt: skip
    assert {key: rows["AAPL"][key] for key in wanted} == wanted
    assert (rows["NVDA"]["added by"], rows["NVDA"]["at (UTC)"]) == ("strategy", "14:01:00")
    assert (rows["NVDA"]["auto"], rows["NVDA"]["upgraded"]) == ("yes", "yes")
    assert cells(page, "rejected") == [["AAPL", "high_below_low", "2"]]
    assert cells(page, "errors") == [
        ["AAPL", "indicator rsi", "ZeroDivisionError: division by zero", "14:01:00", "2"]
    ]


def test_page_table_sorts_by_a_click_and_filters_by_typing(shown: Open) -> None:
    page = shown(make_session())
    symbols = "#provenance tbody td:first-child"
    place = texts(page, "#provenance th").index("bars") + 1
    for wanted in (["AAPL", "TSLA", "NVDA"], ["NVDA", "TSLA", "AAPL"]):
        page.click(*page.middle_of(f"#provenance th:nth-child({place}) button"))
        assert texts(page, symbols) == wanted
    page.evaluate("document.getElementById('filter').focus()")
    page.call("Input.insertText", {"text": "ts"})
    assert texts(page, symbols) == ["TSLA"]
    page.click(*page.middle_of("#provenance tbody tr"))
    page.wait_for("document.getElementById('symbol').selectedOptions[0].text === 'TSLA'")
    page.wait_for(f"{CANDLES}.close[0] === 250.5")


def test_page_shows_foreign_texts_as_texts(shown: Open) -> None:
    tree = hostile_tree()
    tree["symbols"] = {HOSTILE: tree["symbols"].pop(HOSTILE), **tree["symbols"]}
    page = shown(tree)
    page.wait_for("document.querySelectorAll('#heat .heatmaplayer image').length === 1")
    assert page.evaluate("document.title") == "openbell 2025-07-02"
    assert page.evaluate("document.querySelectorAll('img, b, body script:not([id])').length") == 2
    assert HOSTILE in texts(page, "#symbol option")
    assert HOSTILE in texts(page, "#heat .yaxislayer-above text")
    assert HOSTILE in texts(page, "#provenance td")
    assert [HOSTILE, HOSTILE, "2"] in cells(page, "rejected")
    error = cells(page, "errors")[0]
    assert error[1:3] == [HOSTILE, tree["symbols"][HOSTILE]["errors"][0]["error"]]
    assert tree["session"]["calendar"] in texts(page, "#session-line")[0]


def test_page_symbol_without_bars_says_so(shown: Open) -> None:
    page = shown(make_session())
    page.evaluate("document.getElementById('symbol').focus()")
    page.press("N", 78)
    page.evaluate(
        "(() => { const one = document.getElementById('symbol'); one.value = [...one.options]"
        ".find((o) => o.text === 'NVDA').value; one.dispatchEvent(new Event('change')); })()"
    )
    page.wait_for("!document.getElementById('chart-note').hidden")
    assert texts(page, "#chart-note")[0] in ("No bars of 1m.", "No bars came.")
    assert page.evaluate(f"{CANDLES} === undefined")


def test_page_without_rows_draws_gaps_and_says_what_is_missing(shown: Open) -> None:
    page = shown(session_to_dict(make_session(), bars=False))
    assert texts(page, "#chart-note") == ["The dump was written without the rows of bars."]
    assert texts(page, "#chart .legendtext") != []


@pytest.mark.parametrize("has_day", [True, False], ids=["no symbols", "no day"])
def test_page_of_nothing_says_so(shown: Open, has_day: bool) -> None:
    tree = copy.deepcopy(make_tree())
    tree["symbols"] = {}
    if not has_day:
        nothing = dict.fromkeys(("date", "open", "close", "now", "calendar", "timezone", "anchor"))
        tree["session"] |= nothing | {"segments": [], "active": False}
    page = shown(tree)
    assert texts(page, "#chart-note") == [
        "There are no symbols." if has_day else "There is no session."
    ]
    assert cells(page, "provenance") == [["no symbols"]]


def test_page_of_seconds_is_a_line_until_candles_have_room(shown: Open) -> None:
    page = shown(long_day())
    page.click(*page.middle_of("#intervals button[data-value='1s']"))
    kind = "document.getElementById('chart').data.find((t) => t.yaxis === 'y2').type"
    page.wait_for(f"{kind} === 'scatter'")
    line = "document.getElementById('chart').data.find((t) => t.yaxis === 'y2')"
    assert page.evaluate(f"[{line}.y.length, {line}.y[75]]") == [6000, 100.25]
    x, y = plot_at(page, 0.5)
    zoom_in(page, x, y, below_ms=1_400_000)
    page.wait_for(f"{kind} === 'candlestick'")


def test_page_follows_the_readers_dark_scheme(shown: Open) -> None:
    light, dark = shown(make_session()), shown(make_session(), dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "document.getElementById('chart').layout.font.color"
    assert light.evaluate(ground) != dark.evaluate(ground)
    assert light.evaluate(ink) != dark.evaluate(ink)
