"""The Python examples of the README and of docs/ run, in order, a folder for each file."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if p.exists()]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def examples(text: str) -> list[tuple[int, str]]:
    """Line and source of each fenced ``python`` block."""
    return [(text.count("\n", 0, m.start(1)) + 1, m[1]) for m in FENCE.finditer(text)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_document_examples_run_in_order(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, source in examples(document.read_text(encoding="utf-8")):
        if source.lstrip().startswith(">>>"):
            run_prompts(source, names, document.name, line)
        else:
            # Blank lines before it make a traceback show the document's own line numbers.
            code = compile("\n" * (line - 1) + source, str(document), "exec")
            exec(code, names)


def run_prompts(source: str, names: dict[str, object], document: str, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(source, names, document, document, line - 1)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_document_links_lead_to_files(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    local = [t for t in LINK.findall(text) if not re.match(r"[a-z]+:", t)]
    assert [t for t in local if not (document.parent / t).exists()] == []


def test_examples_reader_finds_blocks_with_their_lines() -> None:
    text = "a\n\n```python\nx = 1\n```\n\n```py\nno\n```\n```python\ny = 2\nz = 3\n```\n"
    assert examples(text) == [(4, "x = 1\n"), (11, "y = 2\nz = 3\n")]
