"""The documentation is true: generated pages are up to date, every YAML block is valid, every Python block runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import papyra_flow.cli
from papyra_flow.cli.verbs.develop.init import TEMPLATES
from papyra_flow.config.load import load_pipeline
from papyra_flow.connectors.redis_stream import StreamSource
from papyra_flow.testing.cases import run_cases
from tests.harness.pipelines import PipelineFolder

ROOT = Path(__file__).parents[2]
STARTER = Path(papyra_flow.cli.__file__).parent / "templates" / "orders"
COMPONENTS = ROOT / "examples" / "components"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, *, with_page: bool = False) -> list[object]:
    """Every block of a language, with its page and line as its name."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                more = (str(page.relative_to(ROOT)),) if with_page else ()
                found.append(pytest.param(match[2], *more, id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_declares(generate: ModuleType) -> None:
    """Run `python tools/generate.py` when this fails."""
    folder = ROOT / "docs" / "reference"
    there = {str(page.relative_to(folder)): page.read_text() for page in folder.rglob("*.md")}
    assert there == generate.pages()


@pytest.fixture
def place(folder: PipelineFolder) -> PipelineFolder:
    """A folder with the files that pipelines in the docs name: those of `init`, of both templates."""
    for template in TEMPLATES:
        folder.cli("init", "--template", template)
    folder.records("logs/app.log", [{"level": "info"}])
    flights = folder.path / "nycflights13"
    shutil.copy(flights / "airports.csv", folder.path)
    shutil.copy(flights / "flights-2013-01.csv.gz", folder.path / "flights.csv.gz")
    shutil.copytree(COMPONENTS, folder.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("pipeline.yml"))
    return folder


def steps_of(page: str) -> str:
    """A module of step functions: those of `init`, and all that a page itself shows."""
    shown = [match[2] for match in FENCE.finditer((ROOT / page).read_text()) if match[1] == "python"]
    return "\n".join([(STARTER / "steps.py").read_text(), *shown])


@pytest.mark.parametrize(("text", "page"), blocks("yaml", with_page=True))
async def test_every_pipeline_in_the_docs_runs_and_passes_its_own_tests(
    place: PipelineFolder, url: str, text: str, page: str
) -> None:
    module = place.steps(steps_of(page))
    place.file.write_text(text.replace("steps:", f"{module}:"))
    assert [str(problem) for problem in place.problems()] == []
    loaded = load_pipeline(place.file, environment={})
    assert [verdict.problems for verdict in run_cases(loaded, place.file) if not verdict.passed] == []
    topology = place.topology()
    elsewhere = [s for s in topology.stages.values() if isinstance(s.source, StreamSource) and s.source.redis]
    if not elsewhere:
        await place.run(url, drain=True)


@pytest.mark.parametrize("text", blocks("python"))
def test_every_python_block_in_the_docs_runs(text: str) -> None:
    exec(compile(text, "<docs>", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("name", ["inbox.py", "mask.py", "sqlite_table.py"])
def test_components_in_the_docs_are_those_of_the_example(name: str) -> None:
    assert (COMPONENTS / name).read_text() in (ROOT / "docs/how-to/extend.md").read_text()


def test_init_writes_exactly_what_the_readme_shows() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = {match[1]: match[2] for match in reversed(list(FENCE.finditer(readme))) if match[1] in {"yaml", "python"}}
    assert (STARTER / "pipeline.yml").read_text().partition("\n# papyra-flow test")[0] == shown["yaml"]
    assert (STARTER / "steps.py").read_text().endswith(shown["python"])


def test_the_tutorial_can_be_followed(folder: PipelineFolder) -> None:
    """Its commands, up to where screens and pages are opened, with the exit codes that it names."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    commands = [
        line.partition("  #")[0].split()
        for match in FENCE.finditer(text)
        if match[1] == "sh"
        for line in match[2].splitlines()
    ]
    codes: list[tuple[str, int]] = []
    for command in commands:
        if command[0] == "cd":
            folder = PipelineFolder((folder.path / command[1]).resolve())
        elif command[0] == "papyra-flow" and command[1] not in {"top", "serve"}:
            if command[1:3] == ["dead", "replay"]:
                steps = folder.path / "steps.py"
                steps.write_text(steps.read_text().replace("<= 0", "== 0"))
            codes.append((command[1], folder.cli(*command[1:], code=None).code))
    assert [code for verb, code in codes if verb == "run"] == [3, 0, 0]
    assert [verb for verb, code in codes if verb != "run" and code] == []
    assert (folder.path / "flights.html").exists()


def test_tests_in_the_docs_pass(place: PipelineFolder) -> None:
    """The tests in Python that a page shows, as pytest runs them beside the pipeline of `init`."""
    shown = [match[2] for match in FENCE.finditer((ROOT / "docs/how-to/test.md").read_text()) if match[1] == "python"]
    place.write("test_shown.py", "\n".join(shown))
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shown.py"],
        cwd=place.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 passed" in tested.stdout, tested.stdout


def test_the_site_is_built_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "tutorial" / "index.html").exists()
    pages = list((tmp_path / "site").rglob("*.html"))
    fetched = {
        found
        for page in pages
        for found in re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", page.read_text())
    }
    assert fetched == set(), "a page of the site needs the network"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


OPERATED = ["groups", "consumers", "pending", "claim", "ack", "delete", "trim", "reset", "dead", "tap", "status", "acl"]
OPERATED += ["doctor", "drop-group", "drop-consumer"]


@pytest.mark.parametrize("verb", OPERATED)
def test_each_of_the_operators_verbs_has_a_page_with_its_output(verb: str) -> None:
    """Run `python tools/record.py` when a verb says something else than its page."""
    text = (ROOT / "docs" / "operate" / f"{verb}.md").read_text()
    assert f"$ papyra-flow {verb}" in text
    assert "Traceback" not in text
    assert "no such command" not in text.lower()
