"""The documentation is true: generated pages are up to date, every YAML block is valid, every Python block runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import papyra_flow.cli
from tests.harness.pipelines import PipelineFolder

ROOT = Path(__file__).parents[2]
STARTER = Path(papyra_flow.cli.__file__).parent / "starter"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    """Every block of a language, with its page and line as its name."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_declares(generate: ModuleType) -> None:
    """Run `python docs/generate.py` when this fails."""
    folder = ROOT / "docs" / "reference"
    there = {str(page.relative_to(folder)): page.read_text() for page in folder.rglob("*.md")}
    assert there == generate.pages()


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_pipeline_in_the_docs_is_valid(folder: PipelineFolder, text: str) -> None:
    for file in STARTER.iterdir():
        if file.is_file():
            folder.write(file.name, file.read_text())
    folder.pipeline(text)
    assert [str(problem) for problem in folder.problems()] == []


@pytest.mark.parametrize("text", blocks("python"))
def test_every_python_block_in_the_docs_runs(text: str) -> None:
    exec(compile(text, "<docs>", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


OPERATED = ["groups", "consumers", "pending", "claim", "ack", "delete", "trim", "reset", "dead", "tap", "status", "acl"]


@pytest.mark.parametrize("verb", OPERATED)
def test_each_of_the_operators_verbs_has_a_page_with_its_output(verb: str) -> None:
    """Run `python docs/record.py` when a verb says something else than its page."""
    text = (ROOT / "docs" / "operate" / f"{verb}.md").read_text()
    assert f"$ papyra-flow {verb}" in text
    assert "Traceback" not in text
    assert "no such command" not in text.lower()
