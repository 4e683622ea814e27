"""Shows a live session while it runs: lines of events, and on a terminal a page below them."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, Final

from openbell.cli.live_events import LiveEvents, lasting, queue_line
from openbell.cli.watch import page
from openbell.errors import SessionValidationError
from openbell.watch.snapshot import SnapshotTaker

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.live import Live

    from openbell.lifecycle import SessionCoordinator

__all__ = ["LiveShow"]

_REFRESH_S: Final = 0.25
#: Of the time, what drawing may take: a big page is drawn less often.
_MOST_OF_THE_TIME: Final = 0.1
_LONGEST_JOIN_S: Final = 5.0


class LiveShow:
    """A context in which a live session runs and is shown, by a thread of its own.

    The session's thread neither prints nor draws: a terminal that is slow holds no bar up.

    Parameters
    ----------
    session : SessionCoordinator
    console : Console

    Raises
    ------
    SessionValidationError
        On leaving, when every symbol was refused while the session ran, which stopped it.
    OSError
        On leaving, when the output could not be written, which stopped it.
    """

    def __init__(self, session: SessionCoordinator, console: Console) -> None:
        self._session = session
        self._console = console
        self._events = LiveEvents(session)
        self._taker = SnapshotTaker(session)
        self._loading = ""
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._page: Live | None = None
        self._held = ExitStack()
        self._thread = threading.Thread(target=self._run, name="openbell show", daemon=True)
        session.on_progress(self._note_progress)

    def __enter__(self) -> LiveShow:
        if self._console.is_terminal:
            from rich.live import Live

            page_ = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                # Warnings go above the page; those that go to a file are left alone.
                redirect_stderr=sys.stderr.isatty(),
            )
            self._page = self._held.enter_context(page_)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_LONGEST_JOIN_S)
        self._held.close()
        if self._failure is None:
            self._print_events(is_last=True)
        if error is not None:
            return
        if isinstance(self._failure, SystemExit):
            # So the console says that its reader went away.
            raise BrokenPipeError
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._over.wait(self._tick()):
                pass
        except BaseException as error:
            self._failure = error
            self._session.stop()

    def _tick(self) -> float:
        began = monotonic()
        self._print_events()
        self._require_symbols()
        if self._page is not None:
            self._draw(self._page)
        return max(_REFRESH_S, (monotonic() - began) / _MOST_OF_THE_TIME)

    def _note_progress(self, what: str, done: int, total: int) -> None:
        self._loading = f"loading {what}: {done:,} of {total:,}"

    def _print_events(self, *, is_last: bool = False) -> None:
        for line in self._events.take(is_last=is_last):
            self._console.print(line, soft_wrap=True)

    def _require_symbols(self) -> None:
        session = self._session
        if session.phase not in ("waiting", "running") or len(session.root) or session.pending:
            return
        results = dict(session.results)
        if results and not any(result.can_proceed for result in results.values()):
            raise SessionValidationError({one.symbol: one.reason for one in results.values()})

    def _draw(self, live: Live) -> None:
        session, console = self._session, self._console
        snapshot = self._taker.take()
        texts = [queue_line(session)] * bool(snapshot.feeds)
        if snapshot.phase == "loading" and self._loading:
            texts.append(self._loading)
        elif snapshot.phase == "waiting":
            left_ns = snapshot.open_ns - session.time_manager.now_ns
            texts.append(f"opens in {lasting(max(0, left_ns) / 1e9)}")
        shown = page(
            console,
            snapshot,
            height=console.height - 1,
            notes=texts,
            chooser="openbell watch --symbols",
        )
        live.update(shown, refresh=True)
