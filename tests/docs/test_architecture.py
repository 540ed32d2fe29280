"""What the docs say of the code's own shape: the picture of the rooms, and the invariants with their tests."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_picture_of_the_rooms_is_what_the_imports_are() -> None:
    """Run `python tools/architecture.py` when this fails."""
    pytest.importorskip("grimp")
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "tools" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PICTURE.read_text() == tool.picture()


INVARIANTS = [*(f"I{number}" for number in range(1, 11)), *(f"S{number}" for number in range(1, 5))]


def test_every_invariant_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "explanation" / "invariants.md").read_text()
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }
    invariants = re.split(r"^## ([IS]\d+)$", text, flags=re.MULTILINE)[1:]
    assert invariants[0::2] == INVARIANTS
    for name, said in zip(invariants[0::2], invariants[1::2], strict=True):
        named = set(re.findall(r"`(test_\w+)`", said))
        assert named, f"{name} names no test"
        assert named - there == set(), name


def test_the_code_cites_only_invariants_that_are_there() -> None:
    cited = {
        number
        for file in (ROOT / "papyra_flow").rglob("*")
        if file.suffix in {".py", ".lua"}
        for found in re.findall(r"\binvariants? ([IS]\d+(?:, [IS]\d+)*)", file.read_text())
        for number in found.split(", ")
    }
    assert cited <= set(INVARIANTS)
    assert {"I1", "S2", "S3"} <= cited
