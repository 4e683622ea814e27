"""What a session does when another process tells it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import openbell as ob
from openbell.control import ControlClient, ControlError, serve_control
from tests.controlling import Slow, Stepped, client, dataset, runtime, slow, stepped
from tests.healths import feed, symbol
from tests.lifecycle_days import WEDNESDAY, session_over
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets need a POSIX system")

__all__ = ["client", "dataset", "runtime", "slow", "stepped"]


# What it tells


def test_status_of_a_running_session_holds_its_numbers(
    stepped: Stepped, client: ControlClient
) -> None:
    stepped.step(7)
    stepped.session.root["AAPL"].note_error("rule", ValueError("no"))
    found = client.ask("status")
    assert (found["name"], found["pid"], found["phase"]) == ("stepped", os.getpid(), "running")
    assert (found["date"], found["calendar"]) == ("2025-07-02", "XNYS")
    assert found["open"] == "2025-07-02T13:30:00+00:00"
    assert found["close"] == "2025-07-02T14:00:00+00:00"
    assert found["clock"] == "2025-07-02T13:37:00+00:00"
    assert (found["n_bars"], found["n_symbols"]) == (14, 2)
    aapl, msft = found["symbols"]
    assert (aapl["symbol"], aapl["base_interval"], aapl["quality"]) == ("AAPL", "1m", 100.0)
    assert (msft["symbol"], msft["counts"]) == ("MSFT", {"1m": 7, "5m": 1})
    # Slot 6: a walk of 100 + (6 x 7919) mod 997 / 64, which closes a quarter above.
    assert aapl["close"] == 100 + (6 * 7919) % 997 / 64 + 0.25
    assert found["errors"] == [
        {"symbol": "AAPL", "where": "rule", "error": "ValueError: no", "n": 1}
    ]
    assert (found["feeds"], found["symbol_feeds"], found["config"]) == ([], [], None)
    assert (found["pending"], found["left_out"]) == ([], {})


def test_status_between_days_is_one_without_a_day(dataset: Path, tmp_path: Path) -> None:
    session = session_over(dataset, [WEDNESDAY], ["AAPL"], ["1m"])
    config = tmp_path / "session.toml"
    served = serve_control(session, "mine", config=config)
    with served, ControlClient(served.path) as client:
        found = client.ask("status")
    assert (found["name"], found["phase"], found["config"]) == ("mine", "idle", str(config))
    assert {found[key] for key in ("date", "open", "close", "clock")} == {None}


def test_status_tells_the_feeds_of_a_session_that_has_them(slow: Slow) -> None:
    slow.feed_health = [feed("alpaca", "down", "connection lost", n_drops=2)]  # type: ignore[attr-defined]
    slow.symbol_health = {"AAPL": symbol("AAPL", "down")}  # type: ignore[attr-defined]
    with serve_control(slow) as served, ControlClient(served.path) as client:
        found = client.ask("status")
    assert found["feeds"][0]["source"] == "alpaca"
    assert (found["feeds"][0]["state"], found["feeds"][0]["n_drops"]) == ("down", 2)
    assert found["symbol_feeds"][0]["symbol"] == "AAPL"


def test_look_tells_the_phase_and_where_symbols_stand(
    stepped: Stepped, client: ControlClient
) -> None:
    stepped.step()
    found = client.ask("look", {"symbols": ["AAPL", "NONE"]})
    assert (found["phase"], found["is_over"], found["n_symbols"]) == ("running", False, 2)
    assert {name: one["state"] for name, one in found["symbols"].items()} == {
        "AAPL": "loaded",
        "NONE": "absent",
    }
    stepped.finish()
    found = client.ask("look")
    assert (found["phase"], found["is_over"]) == ("ended", True)


# What it does


def test_add_has_a_symbol_loaded_with_the_next_slice(
    stepped: Stepped, client: ControlClient
) -> None:
    stepped.step(3)
    found = client.ask("add", {"symbols": ["TSLA", "NONE", "AAPL"]})["symbols"]
    assert [found[name]["state"] for name in ("TSLA", "NONE", "AAPL")] == [
        "pending",
        "refused",
        "loaded",
    ]
    assert "no source has it" in found["NONE"]["reason"]
    assert client.ask("status")["pending"] == ["TSLA"]
    stepped.step()
    status = client.ask("status")
    assert [one["symbol"] for one in status["symbols"]] == ["AAPL", "MSFT", "TSLA"]
    assert list(status["left_out"]) == ["NONE"]
    record = stepped.session.root["TSLA"]
    assert (record.added_by, len(record.bars["1m"])) == ("strategy", 4)


def test_remove_takes_a_symbol_out(stepped: Stepped, client: ControlClient) -> None:
    stepped.step()
    found = client.ask("remove", {"symbols": ["MSFT", "NONE"]})
    assert {name: one["state"] for name, one in found["symbols"].items()} == {
        "MSFT": "removed",
        "NONE": "absent",
    }
    assert stepped.session.root.get_active_symbols() == {"AAPL"}


@pytest.mark.parametrize("command", ["add", "remove"])
def test_symbols_of_a_session_without_a_day_are_refused(
    stepped: Stepped, client: ControlClient, command: str
) -> None:
    stepped.finish()
    with pytest.raises(ControlError, match=f"{command}: no trading day is running: .* is ended"):
        client.ask(command, {"symbols": ["TSLA"]})


def test_pause_resume_and_stop_do_as_the_session_does(
    stepped: Stepped, client: ControlClient
) -> None:
    stepped.step()
    client.ask("pause")
    running = threading.Thread(target=stepped.finish)
    running.start()
    wait_until(lambda: client.ask("look")["phase"] == "paused")
    client.ask("stop")
    running.join()
    found = client.ask("look")
    assert (found["phase"], found["is_over"]) == ("stopped", True)
    for command in ("pause", "resume", "stop"):
        with pytest.raises(ControlError, match=f"{command}: the session is over: it is stopped"):
            client.ask(command)


def test_resume_lets_a_paused_session_go_on(stepped: Stepped, client: ControlClient) -> None:
    stepped.step()
    client.ask("pause")
    running = threading.Thread(target=stepped.finish)
    running.start()
    wait_until(lambda: client.ask("look")["phase"] == "paused")
    client.ask("resume")
    running.join()
    assert client.ask("status")["n_bars"] == 60


def test_stop_before_the_first_day_is_refused(dataset: Path) -> None:
    session = session_over(dataset, [WEDNESDAY], ["AAPL"], ["1m"])
    with serve_control(session) as served, ControlClient(served.path) as client:
        with pytest.raises(ControlError, match="no day has begun yet"):
            client.ask("stop")
        with pytest.raises(ControlError, match="no day yet"):
            client.ask("export", {"path": "/none.json", "format": "json"})


# Files


def test_export_writes_what_the_session_holds(
    stepped: Stepped, client: ControlClient, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    stepped.step(11)
    for format in ("json", "csv", "parquet", "html"):
        path = tmp_path / f"session.{format}"
        found = client.ask("export", {"path": str(path), "format": format})
        assert found == {"path": str(path), "format": format, "n_bytes": path.stat().st_size}
    assert ob.validate_session_dump(tmp_path / "session.json") == []
    assert ob.validate_session_dump(tmp_path / "session.csv") == []
    assert pq.read_table(tmp_path / "session.parquet")["symbol"].to_pylist() == [
        *["AAPL"] * 11,
        *["MSFT"] * 11,
    ]
    assert (tmp_path / "session.html").read_text().startswith("<!DOCTYPE html>")


def test_export_of_an_interval_writes_its_bars(
    stepped: Stepped, client: ControlClient, tmp_path: Path
) -> None:
    stepped.step(11)
    path = tmp_path / "five.json"
    client.ask("export", {"path": str(path), "format": "json", "interval": "5m"})
    tree = json.loads(path.read_text())
    assert list(tree["symbols"]["AAPL"]["session"]["data"]) == ["5m"]


def test_export_over_a_file_needs_force(
    stepped: Stepped, client: ControlClient, tmp_path: Path
) -> None:
    path = tmp_path / "session.json"
    path.write_text("precious")
    wanted = {"path": str(path), "format": "json"}
    with pytest.raises(ControlError, match="is there already; --force replaces it"):
        client.ask("export", wanted)
    assert path.read_text() == "precious"
    client.ask("export", {**wanted, "force": True})
    assert ob.validate_session_dump(path) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"path": "session.json"}, "path: received 'session.json', expected an absolute one"),
        ({"path": "/no/such/folder/session.json"}, "/no/such/folder: is no folder"),
        ({"path": "/dev/null"}, "is a folder or a device"),
        ({"path": "{folder}", "force": True}, "is a folder or a device"),
        ({"path": "{folder}/a", "format": "parquet", "interval": "7m"}, "interval '7m': "),
        ({"path": "{folder}/a", "format": "csv", "interval": "x"}, "interval 'x': "),
        ({"path": "{folder}/a", "format": "xyz"}, "xyz"),
        ({"path": 1}, "Expected `str`"),
    ],
)
def test_export_that_cannot_be_is_refused_in_one_line(
    stepped: Stepped, client: ControlClient, tmp_path: Path, wanted: dict[str, Any], said: str
) -> None:
    stepped.step()
    path = wanted["path"]
    if isinstance(path, str):
        wanted = {**wanted, "path": path.format(folder=tmp_path)}
    with pytest.raises(ControlError) as caught:
        client.ask("export", {"format": "json", **wanted})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert client.ask("look")["phase"] == "running"
