"""The one table of what a record's provenance flags may say together.

Whoever binds a loaded record to it and whoever checks a dump read the same rules here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from openbell.schema import ADDED_BY

__all__ = ["RULES", "Provenance", "ProvenanceFlags", "ProvenanceRule", "check_provenance"]


class ProvenanceFlags(Protocol):
    """What the rules read: a record, or the :class:`Provenance` of a dumped one."""

    is_loaded: bool
    meets_session_config_requirements: bool
    added_by: Any
    auto_provisioned: bool
    added_at: Any
    upgraded_from_adhoc: bool


@dataclass(slots=True)
class Provenance:
    """The flags alone, for where there is no record, such as in a dump.

    The defaults are those of a record made with nothing but its symbol.
    """

    is_loaded: bool = False
    meets_session_config_requirements: bool = False
    added_by: str = "config"
    auto_provisioned: bool = False
    added_at: Any = None
    upgraded_from_adhoc: bool = False


class ProvenanceRule(NamedTuple):
    """One implication between flags.

    Attributes
    ----------
    name : str
        Short and stable, for a program to branch on.
    holds : callable
        Whether the flags obey it.
    words : str
        The rule in words, for a message.
    """

    name: str
    holds: Callable[[ProvenanceFlags], bool]
    words: str


#: Every rule. An adhoc record is born by auto-provisioning; an upgrade keeps `auto_provisioned`
#: and `added_at` as they were and puts the requester into `added_by`.
RULES: Final = (
    ProvenanceRule(
        "added_by_known",
        lambda p: p.added_by in ADDED_BY,
        f"added_by is one of {', '.join(ADDED_BY)}",
    ),
    ProvenanceRule(
        "loaded_config_meets",
        lambda p: (
            not (p.is_loaded and p.added_by == "config") or p.meets_session_config_requirements
        ),
        "a loaded record added by config meets the session's config",
    ),
    ProvenanceRule(
        "adhoc_not_meets",
        lambda p: p.added_by != "adhoc" or not p.meets_session_config_requirements,
        "an adhoc record does not meet the session's config until it is upgraded",
    ),
    ProvenanceRule(
        "adhoc_is_provisioned",
        lambda p: p.added_by != "adhoc" or p.auto_provisioned,
        "an adhoc record is auto-provisioned",
    ),
    ProvenanceRule(
        "provisioned_is_adhoc",
        lambda p: not p.auto_provisioned or p.upgraded_from_adhoc or p.added_by == "adhoc",
        "an auto-provisioned record is added by adhoc until it is upgraded",
    ),
    ProvenanceRule(
        "provisioned_meets_by_upgrade",
        lambda p: (
            not (p.auto_provisioned and p.meets_session_config_requirements)
            or p.upgraded_from_adhoc
        ),
        "an auto-provisioned record meets the session's config only by an upgrade",
    ),
    ProvenanceRule(
        "upgraded_meets",
        lambda p: not p.upgraded_from_adhoc or p.meets_session_config_requirements,
        "an upgraded record meets the session's config",
    ),
    ProvenanceRule(
        "upgraded_was_provisioned",
        lambda p: not p.upgraded_from_adhoc or p.auto_provisioned,
        "an upgraded record was auto-provisioned",
    ),
    ProvenanceRule(
        "upgraded_has_requester",
        lambda p: not p.upgraded_from_adhoc or p.added_by != "adhoc",
        "an upgraded record names who asked for the upgrade, not adhoc",
    ),
    ProvenanceRule(
        "config_before_open",
        lambda p: p.added_by != "config" or p.upgraded_from_adhoc or p.added_at is None,
        "a record added by config has no added_at unless it was upgraded",
    ),
    ProvenanceRule(
        "added_later_has_time",
        lambda p: (p.added_by == "config" and not p.upgraded_from_adhoc) or p.added_at is not None,
        "a record that config did not bring says when it was added (added_at)",
    ),
)


def check_provenance(record: ProvenanceFlags) -> list[str]:
    """Return the words of every rule that a record's flags break; empty when they agree.

    Examples
    --------
    >>> check_provenance(Provenance())
    []
    >>> check_provenance(Provenance(is_loaded=True))
    ["a loaded record added by config meets the session's config"]
    """
    return [rule.words for rule in RULES if not rule.holds(record)]
