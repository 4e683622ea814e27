"""The table of provenance rules: what passes, and that each rule catches its own fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from openbell.provenance import RULES, Provenance, check_provenance

AT = datetime(2025, 7, 2, 14, 30, tzinfo=UTC)

CONFIG = Provenance(is_loaded=True, meets_session_config_requirements=True)
MID_SESSION = Provenance(
    is_loaded=True, meets_session_config_requirements=True, added_by="strategy", added_at=AT
)
ADHOC = Provenance(added_by="adhoc", auto_provisioned=True, added_at=AT)
UPGRADED = replace(
    ADHOC,
    is_loaded=True,
    meets_session_config_requirements=True,
    added_by="strategy",
    upgraded_from_adhoc=True,
)

LEGITIMATE = {
    "bare": Provenance(),
    "config": CONFIG,
    "config_still_loading": replace(CONFIG, is_loaded=False),
    "strategy": MID_SESSION,
    "strategy_still_loading": replace(MID_SESSION, is_loaded=False),
    "scanner": replace(MID_SESSION, added_by="scanner"),
    "adhoc": ADHOC,
    "upgraded_by_strategy": UPGRADED,
    "upgraded_by_scanner": replace(UPGRADED, added_by="scanner"),
    "upgraded_by_config": replace(UPGRADED, added_by="config"),
}

FAULTS = {
    "added_by_known": replace(MID_SESSION, added_by="broker"),
    "loaded_config_meets": replace(CONFIG, meets_session_config_requirements=False),
    "adhoc_not_meets": replace(ADHOC, meets_session_config_requirements=True),
    "adhoc_is_provisioned": replace(ADHOC, auto_provisioned=False),
    "provisioned_is_adhoc": replace(ADHOC, added_by="scanner"),
    "provisioned_meets_by_upgrade": replace(MID_SESSION, auto_provisioned=True),
    "upgraded_meets": replace(UPGRADED, meets_session_config_requirements=False),
    "upgraded_was_provisioned": replace(UPGRADED, auto_provisioned=False),
    "upgraded_has_requester": replace(UPGRADED, added_by="adhoc"),
    "config_before_open": replace(CONFIG, added_at=AT),
    "added_later_has_time": replace(MID_SESSION, added_at=None),
}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_provenance_of_each_creation_scenario_breaks_no_rule(name: str) -> None:
    assert check_provenance(LEGITIMATE[name]) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_provenance_rule_with_its_fault_is_reported_in_words(rule) -> None:  # type: ignore[no-untyped-def]
    assert rule.words in check_provenance(FAULTS[rule.name])


def test_provenance_table_names_are_unique_and_all_have_a_planted_fault() -> None:
    assert sorted(rule.name for rule in RULES) == sorted(FAULTS)


def test_provenance_upgrade_flag_alone_never_passes() -> None:
    flags = (False, True)
    for loaded, meets, auto, by in product(flags, flags, flags, ("config", "strategy")):
        made = Provenance(loaded, meets, by, auto, AT, upgraded_from_adhoc=True)
        assert (check_provenance(made) == []) == (meets and auto)
