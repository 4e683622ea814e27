"""Where the time of a session goes, stage by stage.

Owns a clock that every moment belongs to one stage of, and the attaching of it to a session for
a while; an engine that is not profiled knows nothing of it.
"""

from openbell.profiling.attached import profile
from openbell.profiling.result import STAGES, Profile, StageTime

__all__ = ["STAGES", "Profile", "StageTime", "profile"]
