"""Running sessions, commanded from another process of the same user.

A session that serves control has a Unix socket beside its board, in the user's own runtime
folder. ``openbell ctl`` asks there; :class:`ControlClient` does from a script.
"""

from openbell.control.client import ControlClient, find_controls
from openbell.control.messages import ControlError, Exported, Look, SessionGone, Standing, Status
from openbell.control.server import ControlServer, serve_control

__all__ = [
    "ControlClient",
    "ControlError",
    "ControlServer",
    "Exported",
    "Look",
    "SessionGone",
    "Standing",
    "Status",
    "find_controls",
    "serve_control",
]
