"""A run that other processes can watch and command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openbell.cli.console import warn

if TYPE_CHECKING:
    from openbell.lifecycle import SessionCoordinator

__all__ = ["published"]


@contextmanager
def published(
    session: SessionCoordinator, config: Path | None = None, *, after_s: float = 0.0
) -> Iterator[None]:
    """Publish a session for ``openbell watch``, and take commands of ``openbell ctl``.

    Where that cannot be, one line on stderr says why, and the run goes on without.

    Parameters
    ----------
    session : SessionCoordinator
    config : pathlib.Path, optional
        The configuration's file, which ``ctl status`` then tells.
    after_s : float
        How long the run may last before it is published: one that is over before is done
        sooner than a person looks, and need not load what publishes it.
    """
    over = threading.Event()

    def publish_later() -> None:
        if not over.wait(after_s):
            _publish(held, session, config)

    with ExitStack() as held:
        if after_s <= 0:
            _publish(held, session, config)
            yield
            return
        thread = threading.Thread(target=publish_later, name="openbell publish", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _publish(held: ExitStack, session: SessionCoordinator, config: Path | None) -> None:
    from openbell.control import ControlError, serve_control
    from openbell.watch import WatchError, publish

    try:
        board = held.enter_context(publish(session))
        held.enter_context(serve_control(session, config=config, board=board))
    except WatchError as error:
        warn(f"this run cannot be watched, nor take commands: {error}")
    except ControlError as error:
        warn(f"this run takes no commands: {error}")
