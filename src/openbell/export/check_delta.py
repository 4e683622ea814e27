"""A reader's complete dump and its deltas, put together before they are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from openbell.errors import DumpError
from openbell.export.apply import apply_delta, mark_problem, sequence_problem
from openbell.export.check_rules import Findings

__all__ = ["Source", "merge_deltas"]

Source = Mapping[str, Any] | str | PathLike[str]


def merge_deltas(sources: Sequence[Source], findings: Findings) -> Source | None:
    """Return the dump that a complete one and its deltas give; None when they do not fit.

    Parameters
    ----------
    sources : sequence of mappings or paths
        The complete dump, then the deltas in order. One alone is returned as it is.
    findings : Findings
        Gains a violation of ``delta_sequence`` for each that does not follow the one before it,
        of ``schema`` for one that cannot be read.

    Raises
    ------
    DumpError
        When there is none.
    """
    if not sources:
        raise DumpError("deltas", ["none given; expected a complete dump, and its deltas"])
    if len(sources) == 1:
        return sources[0]
    tree: Mapping[str, Any] = {}
    #: What the next one must follow.
    last: Mapping[str, Any] = {}
    for n, source in enumerate(sources):
        name = f"dump {n}" if isinstance(source, Mapping) else str(source)
        try:
            found = _read(source)
            problem = _problem_of(last, found)
            if problem is not None:
                findings.add("delta_sequence", f"{name}: {problem}")
            elif not findings.found:
                tree = apply_delta(tree, found) if tree else found
        except DumpError as error:
            findings.add("schema", f"{name}: {'; '.join(error.problems)}")
            continue
        if not last and mark_problem(found) is not None:
            return None
        if _goes_on(last, found):
            last = found
    return None if findings.found else tree


def _problem_of(last: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    problem = sequence_problem(last, found) if last else mark_problem(found)
    if problem is not None:
        return problem
    received = found["delta"]["sequence"]
    if not last and received and not found["delta"].get("applied"):
        return f"expected the complete dump, sequence 0, received {received}"
    if last and not received:
        return f"expected sequence {last['delta']['sequence'] + 1}, received 0"
    return None


def _goes_on(last: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    # Behind one that is missing the others may follow each other; one repeated is passed over.
    if not last or mark_problem(found) is not None:
        return not last
    held, mark = last["delta"], found["delta"]
    return bool(mark["reader"] == held["reader"] and mark["sequence"] > held["sequence"])


def _read(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    import msgspec

    try:
        tree = msgspec.json.decode(Path(source).read_bytes())
    except OSError as error:
        raise DumpError(source, [error.strerror or str(error)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DumpError(source, [f"not a JSON dump: {error}"]) from error
    if not isinstance(tree, dict):
        raise DumpError(source, ["not a JSON dump: no object"])
    return tree
