"""A headless Chromium, spoken to over its DevTools protocol through two pipes.

No driver, no port, no further package: messages are JSON, each ended by a NUL, written to the
browser's file descriptor 3 and read from its 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

Tree = dict[str, Any]

#: Seconds a call may take, the first one included: a loaded machine starts a browser slowly.
PATIENCE: Final = 90.0
#: Seconds until something on a page must have come true.
PAGE_PATIENCE: Final = 40.0
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--password-store=basic",
)


def find_chromium() -> str | None:
    """Path of an installed Chromium, None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


class BrowserError(Exception):
    """The browser did not start, went away, or refused a command."""


class Browser:
    """A running browser; made by `open_browser`."""

    def __init__(self, executable: str, folder: Path) -> None:
        self._log = folder / "log"
        from_us, to_us = _pipe(), _pipe()
        arguments = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.insert(0, "--no-sandbox")
        writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # A group of its own: the launcher, the browser and its helpers end together.
        self._pid = os.posix_spawn(
            executable,
            [executable, *arguments],
            os.environ | {"HOME": str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), writing, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, from_us[0], 3),
                (os.POSIX_SPAWN_DUP2, to_us[1], 4),
            ],
            setpgroup=0,
        )
        os.close(from_us[0])
        os.close(to_us[1])
        self._out, self._in = from_us[1], to_us[0]
        self._received = bytearray()
        self._n_sent = 0
        self._pages: dict[str, Page] = {}

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """Open a file in a page of its own and wait until it is loaded."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"], target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.call("Network.emulateNetworkConditions", {
            "offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        })  # fmt: skip
        page.call("Page.navigate", {"url": path.resolve().as_uri()})
        self.wait(lambda: page.is_loaded, f"{path} to load")
        return page

    def call(self, method: str, params: Tree | None = None, session: str | None = None) -> Tree:
        """Send a command and return its result; events that come meanwhile reach their page."""
        self._n_sent += 1
        number = self._n_sent
        message: Tree = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(until, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def wait(self, is_so: Any, what: str) -> None:
        """Take in events until something is so."""
        until = time.monotonic() + PATIENCE
        while not is_so():
            self._receive(until, what)

    def _receive(self, until: float, what: str) -> Tree:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise BrowserError(f"no answer to {what} in {PATIENCE:.0f} s; {self._last_words()}")
            read = os.read(self._in, 1 << 20)
            if not read:
                raise BrowserError(f"the browser went away at {what}; {self._last_words()}")
            self._received += read
        text, _, rest = self._received.partition(b"\0")
        self._received = bytearray(rest)
        message: Tree = json.loads(text)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.take(message["method"], message["params"])
        return message

    def _last_words(self) -> str:
        with suppress(OSError):
            return self._log.read_text(errors="replace")[-2000:]
        return "no log"

    def close(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        for descriptor in (self._out, self._in):
            os.close(descriptor)


class Page:
    """One tab, and what was heard of it.

    Attributes
    ----------
    problems : list of str
        Errors and warnings on the console, uncaught exceptions, what the browser itself logged.
    requests : list of str
        Every address that was asked for, the page's own first.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser = browser
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.is_loaded = False
        self._session = session
        self._target = target

    def call(self, method: str, params: Tree | None = None) -> Tree:
        return self.browser.call(method, params, self._session)

    def take(self, method: str, params: Tree) -> None:
        if method == "Page.loadEventFired":
            self.is_loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in (
            "error",
            "warning",
            "assert",
        ):
            said = [str(one.get("value", one.get("description"))) for one in params["args"]]
            self.problems.append(" ".join(said))

    def evaluate(self, script: str) -> Any:
        """Value of an expression, a promise's once it is there."""
        params = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Value of an expression once it is truthy."""
        until = time.monotonic() + PAGE_PATIENCE
        while not (value := self.evaluate(script)):
            if time.monotonic() > until:
                raise BrowserError(f"never so: {script}; heard {self.problems}")
            time.sleep(0.02)
        return value

    def middle_of(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is on the screen, after scrolling to it."""
        box = self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            " one.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const {x, y, width, height} = one.getBoundingClientRect();"
            " return [x + width / 2, y + height / 2]; })()"
        )
        return box[0], box[1]

    def click(self, x: float, y: float) -> None:
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        self._mouse("mouseReleased", x, y, button="left", buttons=0, clickCount=1)

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        for step in range(1, 6):
            self._mouse(
                "mouseMoved", x + dx * step / 5, y + dy * step / 5, button="left", buttons=1
            )
        self._mouse("mouseReleased", x + dx, y + dy, button="left", buttons=0, clickCount=1)

    def hover(self, x: float, y: float) -> None:
        self._mouse("mouseMoved", x - 2, y)
        self._mouse("mouseMoved", x, y)

    def wheel(self, x: float, y: float, distance: float) -> None:
        self._mouse("mouseMoved", x, y)
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=distance)

    def press(self, key: str, code: int) -> None:
        """Press a key, such as ArrowDown and 40."""
        for kind in ("rawKeyDown", "keyUp"):
            params = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", params)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        params = {"format": "png", "captureBeyondViewport": whole}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", params)["data"]))

    def close(self) -> None:
        self.browser.call("Target.closeTarget", {"targetId": self._target})


def _pipe() -> tuple[int, int]:
    # Out of the way of 3 and 4, which the browser's ends become.
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser with a profile of its own; it is killed when the block ends."""
    executable = find_chromium()
    if executable is None:
        raise BrowserError(f"none of {', '.join(_NAMES)} is installed; CHROMIUM=PATH names one")
    with TemporaryDirectory(prefix="openbell-browser-", ignore_cleanup_errors=True) as folder:
        browser = Browser(executable, Path(folder))
        try:
            yield browser
        finally:
            browser.close()
