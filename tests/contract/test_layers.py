"""Imports run one way: from the command line down to the errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "openbell"

#: Low to high; names side by side know nothing of each other. A module may import from what is
#: below it in any of these chains. `openbell` is the facade in `openbell/__init__.py`.
CHAINS = (
    "_version _lazy errors < schema < intervals provenance < clock.window < _native kernels"
    " < gaps events error_log filled side_columns < bars < symbol < session < export < lifecycle"
    " < profiling < openbell < cli < __main__",
    "clock.window < clock < config < sources < export",
    "_native intervals < strategies < openbell",
    "_native < sources",
    "session config < processing < lifecycle",
    "sources processing < live < lifecycle",
    "session live < watch < control < cli",
    "live < metrics < cli",
    "export < report < control < cli",
)

#: Methods that hand over to a higher layer when called, never when imported.
HANDED_UP = {("session", "export"), ("symbol", "export"), ("bars", "export")}


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, where, and whether a call triggers it."""

    importer: str
    imported: str
    place: str
    inside_function: bool


def layer_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1:
        return "openbell"
    return "clock.window" if parts[1:3] == ["clock", "window"] else parts[1]


def layers_below() -> dict[str, set[str]]:
    below: dict[str, set[str]] = {}
    for chain in CHAINS:
        under: list[str] = []
        for names in (step.split() for step in chain.split("<")):
            for name in names:
                below.setdefault(name, set()).update(under)
            under.extend(names)
    changed = True
    while changed:
        changed = False
        for names in below.values():
            more = set().union(*(below[n] for n in names)) - names if names else set()
            names |= more
            changed = changed or bool(more)
    return below


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    suffixes = (".py", ".pyi", ".pyx")
    return path.is_dir() or any(path.with_suffix(suffix).exists() for suffix in suffixes)


def imports_of(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        source = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*above, *([source] if source else [])])
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            yield inner if is_module(inner) else source

    def walk(node: ast.AST, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                place = f"{path.relative_to(ROOT)}:{child.lineno}"
                for name in names(child):
                    if name.split(".")[0] == "openbell":
                        yield Import(importer, name, place, inside)
            elif not _is_type_checking(child):
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or function)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


SOURCES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = [found for path in SOURCES for found in imports_of(path)]


def test_layers_of_every_module_are_in_the_table() -> None:
    below = layers_below()
    unknown = {module_name(path) for path in SOURCES if layer_of(module_name(path)) not in below}
    assert not unknown


def test_layers_imports_go_down_only() -> None:
    below = layers_below()
    wrong, handed_up = [], set()
    for found in IMPORTS:
        importer, imported = layer_of(found.importer), layer_of(found.imported)
        if importer == imported or imported in below[importer]:
            continue
        if found.inside_function and (importer, imported) in HANDED_UP:
            handed_up.add((importer, imported))
        else:
            wrong.append(f"{found.place}: {found.importer} imports {found.imported}")
    assert not wrong, "\n".join(wrong)
    assert handed_up == HANDED_UP, "an exception that nobody needs"


def test_layers_within_a_package_hold_no_cycle() -> None:
    edges: dict[str, set[str]] = {}
    for found in IMPORTS:
        if not found.inside_function and found.importer != found.imported:
            edges.setdefault(found.importer, set()).add(found.imported)
    seen: dict[str, str] = {}

    def visit(module: str, path: tuple[str, ...]) -> None:
        if seen.get(module) == "done":
            return
        assert module not in path, f"import cycle: {' -> '.join((*path, module))}"
        for imported in sorted(edges.get(module, ())):
            visit(imported, (*path, module))
        seen[module] = "done"

    for module in sorted(edges):
        visit(module, ())


def test_layers_reference_kernels_stay_out_of_the_package() -> None:
    users = {f.place for f in IMPORTS if f.imported.startswith("openbell.kernels.reference")}
    assert not users


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import openbell.cli", ["openbell.cli"]),
        ("from . import export", ["openbell.export"]),
        ("def f():\n    from .export import write", ["openbell.export"]),
        ("from openbell import SessionData", ["openbell"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import openbell.cli", []),
    ],
)
def test_layers_reader_sees_each_form_of_import(
    text: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    module = sys.modules[__name__]
    package = tmp_path / "src" / "openbell"
    (package / "cli").mkdir(parents=True)
    (package / "export").mkdir()
    (package / "session.py").write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", package)
    assert [f.imported for f in imports_of(package / "session.py")] == expected


def test_layers_table_puts_the_engine_apart_from_calendars_and_files() -> None:
    below = layers_below()
    assert "sources" not in below["session"]
    assert "clock" not in below["session"]
    assert "session" not in below["sources"]
    assert {"session", "sources", "export", "clock", "errors"} <= below["lifecycle"]
