"""The stubs of the native modules say what the compiled modules hold, no more and no less."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "src" / "openbell" / "_native"
SOURCES = FOLDER.parents[1] / "_native"
MODULES = sorted(path.stem for path in SOURCES.glob("*.pyx"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def stub(name: str) -> ast.Module:
    path = FOLDER / f"{name}.pyi"
    # A module that only other native modules use shows Python nothing, and needs no stub.
    return ast.parse(path.read_text(encoding="utf-8") if path.exists() else "")


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Public names of a stub's module or class; imports are not its own."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | Function):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if not _is_alias(node):
                names[node.target.id] = node
        elif isinstance(node, ast.Assign):
            # `BarArray = npt.NDArray[...]` names a type for the stub's own use.
            continue
    return {name: node for name, node in names.items() if not name.startswith("_")}


def _is_alias(node: ast.AnnAssign) -> bool:
    return "TypeAlias" in ast.unparse(node.annotation)


def held(module: ModuleType) -> set[str]:
    """Public names of a compiled module that are its own."""
    own = set()
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        origin = getattr(value, "__module__", module.__name__)
        if (inspect.isclass(value) or callable(value)) and origin != module.__name__:
            continue
        own.add(name)
    return own


def parameters(node: Function) -> list[str]:
    args = node.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def test_stubs_are_of_native_modules_only() -> None:
    stubs = {path.stem for path in FOLDER.glob("*.pyi")} - {"__init__"}
    assert stubs
    assert stubs <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_stubs_of_a_module_name_what_it_holds(name: str) -> None:
    module = importlib.import_module(f"openbell._native.{name}")
    in_module = held(module)
    in_stub = set(declared(stub(name).body))
    # A name that a module takes from another and passes on is declared by the other.
    constants = {n for n in in_module if not callable(getattr(module, n))}
    assert in_stub - in_module == set(), "only in the stub"
    assert in_module - in_stub - _imported_constants(module, constants) == set(), "not in the stub"


def _imported_constants(module: ModuleType, names: set[str]) -> set[str]:
    from openbell import schema

    return {n for n in names if getattr(schema, n, None) is getattr(module, n)}


@pytest.mark.parametrize("name", MODULES)
def test_stubs_of_classes_name_their_members(name: str) -> None:
    module = importlib.import_module(f"openbell._native.{name}")
    wrong = {}
    for class_name, node in declared(stub(name).body).items():
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(module, class_name)
        in_class = {n for n in vars(cls) if not n.startswith("_")}
        in_stub = set(declared(node.body))
        inherited = {n for n in in_stub if any(n in vars(base) for base in cls.__mro__[1:])}
        difference = in_class ^ (in_stub - (inherited - in_class))
        if difference:
            wrong[class_name] = sorted(difference)
    assert not wrong


@pytest.mark.parametrize("name", MODULES)
def test_stubs_of_functions_name_their_parameters(name: str) -> None:
    module = importlib.import_module(f"openbell._native.{name}")
    wrong = []

    def compare(where: str, owner: object, node: Function) -> None:
        if any(
            "property" in ast.unparse(d) or "overload" in ast.unparse(d)
            for d in node.decorator_list
        ):
            return
        try:
            signature = inspect.signature(getattr(owner, node.name))
        except (TypeError, ValueError):
            return
        names = [n for n in signature.parameters if n not in ("self", "cls")]
        if names != parameters(node) and "args" not in names:
            wrong.append(f"{where}{node.name}: compiled {names}, stub {parameters(node)}")

    for top in declared(stub(name).body).values():
        if isinstance(top, Function):
            compare("", module, top)
        elif isinstance(top, ast.ClassDef):
            for member in declared(top.body).values():
                if isinstance(member, Function):
                    compare(f"{top.name}.", getattr(module, top.name), member)
    assert not wrong, "\n".join(wrong)
