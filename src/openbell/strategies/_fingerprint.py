"""What the machine code of a function depends on, as one short text.

numba keeps machine code by the file a function is in, and looks neither at the functions it
calls nor at the values of its globals. Here both are part of the name it is kept under.
"""

from __future__ import annotations

import hashlib
import inspect
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["fingerprint"]

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype)


def fingerprint(*values: Any) -> str | None:
    """A digest of functions, all they refer to, and plain values.

    Returns
    -------
    str or None
        None when one of them refers to something of which it cannot be told whether it is the
        same in another process.
    """
    parts: list[str] = []
    seen: set[int] = set()
    if not all(_take(value, parts, seen) for value in values):
        return None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _take(value: Any, parts: list[str], seen: set[int]) -> bool:
    if isinstance(value, _CONSTANTS):
        parts.append(f"{type(value).__name__} {value!r}")
        return True
    if isinstance(value, tuple | list):
        parts.append(f"{type(value).__name__} of {len(value)}")
        return all(_take(each, parts, seen) for each in value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return False
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        parts.append(f"array {value.dtype!r} {value.shape} {digest}")
        return True
    if isinstance(value, ModuleType):
        parts.append(f"module {value.__name__} {getattr(value, '__version__', '')}")
        return True
    plain = getattr(value, "py_func", value)
    if isinstance(plain, FunctionType):
        if id(plain) in seen:
            parts.append(f"seen {plain.__qualname__}")
            return True
        seen.add(id(plain))
        options = sorted(getattr(value, "targetoptions", {}).items())
        parts.append(f"function {plain.__qualname__} {options}")
        return _take_code(plain.__code__, plain, parts, seen)
    if isinstance(value, type | BuiltinFunctionType | np.ufunc):
        parts.append(f"{getattr(value, '__module__', '')} {value.__name__}")
        return True
    return False


def _take_code(code: CodeType, function: FunctionType, parts: list[str], seen: set[int]) -> bool:
    parts.append(code.co_code.hex())
    parts.append(" ".join((*code.co_varnames, *code.co_names)))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if not _take_code(constant, function, parts, seen):
                return False
        else:
            parts.append(repr(constant))
    refers = {name: function.__globals__.get(name) for name in code.co_names}
    if code is function.__code__:
        refers |= inspect.getclosurevars(function).nonlocals
        refers |= {"": function.__defaults__}
    return all(_take(value, parts, seen) for value in refers.values())
