"""What can be imported from `papyra_flow`: each name says what it is and since when, and the docs show it at work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import papyra_flow

ROOT = Path(__file__).parents[2]
NAMES = [name for name in papyra_flow.__all__ if name != "__version__"]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SINCE = re.compile(r"\bSince (\d+\.\d+)\.")


def examples() -> str:
    """All Python that the docs show."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return "\n".join(match[1] for page in pages for match in FENCE.finditer(page.read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_says_what_it_is_and_since_when(name: str) -> None:
    found = getattr(papyra_flow, name)
    own = getattr(found, "__doc__", None) if callable(found) and not hasattr(found, "__origin__") else None
    text = own or (
        next((part for part in (papyra_flow.__doc__ or "").split("`") if part == name), "") and papyra_flow.__doc__
    )
    assert text, f"{name} has no docstring"
    assert SINCE.search(text), f"{name} does not say since when"


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_show_each_name_in_an_example(name: str) -> None:
    imported = {
        part.strip(" \n()")
        for match in re.finditer(r"^from papyra_flow import (\([^)]*\)|[^\n]*)", examples(), re.MULTILINE)
        for part in match[1].split(",")
    }
    assert name in imported


def test_examples_import_from_nowhere_else() -> None:
    """Page by page: what an author needs is in one package."""
    assert re.findall(r"^(?:from|import) papyra_flow\.[^\n]*", examples(), re.MULTILINE) == []


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import papyra_flow, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert [name for name in ("asyncio", "pydantic", "redis", "orjson", "yaml") if name in loaded] == []
    assert [name for name in loaded if name.startswith("papyra_flow.")] == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nowhere'"):
        papyra_flow.nowhere  # noqa: B018
    assert {*papyra_flow.__all__} <= {*dir(papyra_flow)}
