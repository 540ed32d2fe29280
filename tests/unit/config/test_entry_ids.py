"""Entry ids as people write them: both numbers have 64 bits, and what is larger is told before a server is asked."""

from __future__ import annotations

import pytest

from papyra_flow.spec.units import is_entry_id
from tests.harness.pipelines import PipelineFolder


@pytest.mark.parametrize("text", ["0", "0-0", "1700000000000-0", f"{2**64 - 1}-{2**64 - 1}", str(2**53 + 1)])
def test_an_id_of_64_bits_is_one(text: str) -> None:
    assert is_entry_id(text)


@pytest.mark.parametrize(
    "text", ["", "-", "1-", "-1", "1-2-3", "x", "1 ", str(2**64), f"0-{2**64}", "9" * 5000, "1.5", "\u0661-\u0662"]
)
def test_anything_else_is_not(text: str) -> None:
    assert not is_entry_id(text)


def test_a_start_beyond_64_bits_is_a_problem_of_the_file(folder: PipelineFolder) -> None:
    folder.pipeline(f"pipeline: p\nstages: {{a: {{from: s, to: t, start: '{2**64}'}}}}\nstreams: {{s: {{}}}}\n")
    assert ["entry id" in problem.message for problem in folder.problems()] == [True]
