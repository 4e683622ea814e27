"""`openbell profile`: a session run and exported, and where its time went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle_days import WEDNESDAY, bars_at, window_of, write_days

SYMBOLS = ("SYN001", "SYN002")
CONFIG = """
[session]
start_date = 2025-07-02
symbols = ["SYN001", "SYN002"]
streams = ["1m", "5m"]
base = "1m"
[data]
sources = ["synthetic"]
[[indicators]]
name = "vwap"
type = "VWAP"
interval = "1m"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "session.toml"
    path.write_text(CONFIG)
    return path


def test_profile_stages_add_up_on_the_terminal_and_in_the_file(
    run: Any, config: Path, tmp_path: Path
) -> None:
    # Each with a gap, whose reason is asked for when it is dumped.
    window = window_of(WEDNESDAY)
    days = {name: bars_at(window, "1m", {*range(390)} - {k}) for k, name in enumerate(SYMBOLS, 9)}
    folder = write_days(tmp_path / "days", {WEDNESDAY: {"1m": days}})
    config.write_text(CONFIG.replace('sources = ["synthetic"]', f'parquet = "{folder}"'))
    figures, dump, log = tmp_path / "f.json", tmp_path / "d.json", tmp_path / "d.csv"
    code, out, err = run("profile", config, "--json", figures, "--dump", dump, "--csv", log)
    assert (code, err) == (0, [])
    found = json.loads(figures.read_text())
    assert (found["n_days"], found["n_symbols"], found["n_bars"]) == (1, 2, 778)
    for key in ("wall_s", "cpu_s", "memory_bytes"):
        parts = [stage[key] for stage in found["stages"].values()]
        assert sum(parts) == pytest.approx(found["whole"][key])
        assert min(parts) >= 0
    assert sum(stage["share"] for stage in found["stages"].values()) == pytest.approx(1)
    used = {name for name, stage in found["stages"].items() if stage["wall_s"] > 0}
    assert used >= {"validation", "decode", "ingest", "cascade", "indicators", "quality", "export"}
    assert "start" not in used, "this process is older than the command"
    table = [line.split()[0] for line in out.splitlines() if " ms " in line]
    assert table == [*(name for name in found["stages"] if name in used), "whole"]
    assert "778 bars of 2 symbols in 1 day" in out
    assert run("validate", dump)[0] == run("validate", log)[0] == 0


@pytest.mark.parametrize(
    ("change", "words", "code", "said"),
    [
        ((), ["--json", "none/f.json"], 2, "--json"),
        ((), ["--dump", "none/d.json"], 2, "--dump"),
        ((), ["--json", "a.json", "--dump", "a.json"], 2, "another file"),
        (("5m", "7x"), [], 2, "7x"),
        (("start_date = 2025-07-02", 'mode = "live"'), [], 2, "openbell live"),
        (("2025-07-02", "2025-07-04"), [], 2, "no trading day"),
        (('"SYN001", "SYN002"', '""'), [], 2, "symbols"),
        (('["synthetic"]', '["parquet"]\nparquet = "."'), [], 1, "SYN001"),
    ],
)
def test_profile_that_cannot_be_made_returns_its_code_and_one_line(
    run: Any, config: Path, change: tuple[str, ...], words: list[str], code: int, said: str
) -> None:
    if change:
        config.write_text(CONFIG.replace(*change))
    found, out, err = run("profile", config, *words)
    assert (found, out, len(err)) == (code, "", 1)
    assert said in err[0]
