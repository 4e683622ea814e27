"""A run that other processes can watch and command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openbell.cli.console import warn

if TYPE_CHECKING:
    from openbell.lifecycle import SessionCoordinator

__all__ = ["published"]


@contextmanager
def published(session: SessionCoordinator, config: Path | None = None) -> Iterator[None]:
    """Publish a session for ``openbell watch``, and take commands of ``openbell ctl``.

    Where that cannot be, one line on stderr says why, and the run goes on without.

    Parameters
    ----------
    session : SessionCoordinator
    config : pathlib.Path, optional
        The configuration's file, which ``ctl status`` then tells.
    """
    from openbell.control import ControlError, serve_control
    from openbell.watch import WatchError, publish

    with ExitStack() as held:
        try:
            board = held.enter_context(publish(session))
            held.enter_context(serve_control(session, config=config, board=board))
        except WatchError as error:
            warn(f"this run cannot be watched, nor take commands: {error}")
        except ControlError as error:
            warn(f"this run takes no commands: {error}")
        yield
