"""How a configuration's mistakes are told: the key's path, what was received, what is expected.

Works on any msgspec Struct; knows no key of its own, except what a credential's looks like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date as Date
from datetime import time as Time
from typing import Any, Final

import msgspec

from openbell.errors import ConfigError

__all__ = ["NO_SECRETS", "listed", "refuse_secrets", "translate", "unique_keys"]

#: What is expected where a credential was found.
NO_SECRETS: Final = "no credentials; set them in the environment, never in a configuration"

_SECRET_KEY: Final = re.compile(
    r"(.*[_-])?(api_?key|(access|private|secret)_?key(_?id)?|secret|passw(or)?d|passphrase|"
    r"token|credentials?)([_-].*)?",
    re.IGNORECASE,
)


def listed(values: Sequence[object]) -> str:
    """Show values for a message, the first twelve of them."""
    shown = ", ".join(repr(v) for v in values[:12])
    return shown + (", ..." if len(values) > 12 else "")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object (an ``object_pairs_hook``), refusing a key given twice."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ConfigError(key, "the same key twice", "each key once in a JSON object")
        table[key] = value
    return table


def refuse_secrets(value: object, path: str) -> None:
    """Raise ConfigError where a key's name says that its value is a credential.

    Runs before anything else looks at the values, so that no message can hold one of them.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                raise ConfigError(here, key, "keys that are text")
            if _SECRET_KEY.fullmatch(key):
                raise ConfigError(here, "an unknown key", NO_SECRETS)
            refuse_secrets(item, here)
    elif isinstance(value, list | tuple):
        for n, item in enumerate(value):
            refuse_secrets(item, f"{path}[{n}]")


def translate(
    exc: msgspec.ValidationError, raw: Mapping[str, Any], cls: type[msgspec.Struct]
) -> ConfigError:
    """Return what msgspec found as a ConfigError. Never shows the value of an unknown key."""
    message, _, where = str(exc).partition(" - at `$")
    steps = _steps(where.rstrip("`"), raw, str(exc), cls)
    value: Any = raw
    kind: Any = msgspec.inspect.type_info(cls)
    for step in steps:
        value = value[step]
        kind = _kind_inside(kind, step)
    key = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).removeprefix(".")
    quoted = re.search(r"`(\w[^`]*)`", message)
    name = quoted[1] if quoted else ""
    inner = f"{key}.{name}" if key else name
    if message.startswith("Object contains unknown field"):
        known = [f.encode_name for f in _struct_of(kind).fields]
        from difflib import get_close_matches

        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        names = ", ".join(repr(key) for key in known)
        return ConfigError(inner, "an unknown key", f"one of {names}{hint}")
    if message.startswith("Object missing required field"):
        return ConfigError(inner, None, _describe(_kind_inside(kind, name)))
    if isinstance(value, Mapping):
        value = "a table"
    elif isinstance(value, list | tuple):
        value = "an empty array" if not value else "an array"
    elif isinstance(value, Date | Time):
        value = str(value)
    return ConfigError(key, value, _describe(kind))


def _steps(
    where: str, raw: Mapping[str, Any], message: str, cls: type[msgspec.Struct]
) -> list[str | int]:
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]", where):
        if index == "...":
            steps.append(_failing_key(steps, raw, message, cls))
        else:
            steps.append(name or int(index))
    return steps


def _failing_key(
    steps: list[str | int], raw: Mapping[str, Any], message: str, cls: type[msgspec.Struct]
) -> str:
    # msgspec does not say under which key of a dict it failed: try them one by one.
    keys = list(_at(raw, steps))
    for key in keys:
        trial = deepcopy(dict(raw))
        table = _at(trial, steps)
        for other in keys:
            if other != key:
                del table[other]
        try:
            msgspec.convert(trial, cls)
        except msgspec.ValidationError as exc:
            if str(exc) == message:
                return str(key)
    return str(keys[0])


def _at(value: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        value = value[step]
    return value


def _kind_inside(kind: Any, step: str | int) -> Any:
    info = msgspec.inspect
    for option in getattr(kind, "types", (kind,)):
        if isinstance(option, info.StructType):
            return next(f.type for f in option.fields if f.encode_name == step)
        if isinstance(option, info.DictType):
            return option.value_type
        if isinstance(option, info.VarTupleType):
            return option.item_type
        if isinstance(option, info.TupleType) and isinstance(step, int):
            return option.item_types[step]
    return kind


def _struct_of(kind: Any) -> msgspec.inspect.StructType:
    options = getattr(kind, "types", (kind,))
    return next(o for o in options if isinstance(o, msgspec.inspect.StructType))


def _describe(kind: Any) -> str:
    info = msgspec.inspect
    match kind:
        case info.UnionType():
            options = [o for o in kind.types if not isinstance(o, info.NoneType)]
            return " or ".join(_describe(o) for o in options)
        case info.LiteralType():
            return f"one of {listed(kind.values)}"
        case info.IntType() | info.FloatType():
            limits = (("above", kind.gt), ("at least", kind.ge), ("at most", kind.le))
            said = " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
            name = "an integer" if isinstance(kind, info.IntType) else "a number"
            return f"{name} {said}".rstrip()
        case info.StrType():
            return "text that is not empty" if kind.min_length else "text"
        case info.BoolType():
            return "true or false"
        case info.DateType():
            return "a date such as 2025-07-02"
        case info.VarTupleType():
            if isinstance(kind.item_type, info.StructType):
                return "an array of tables, each headed [[...]] in TOML"
            least = "at least one" if kind.min_length else "any number"
            return f"an array of {least}, each {_describe(kind.item_type)}"
        case info.TupleType():
            return "a pair of texts"
        case _:
            return "a table"
