"""What a step returns is what it was for each record, or a failure: also where only some results share an object."""

from __future__ import annotations

import textwrap

import pytest

from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder
from tests.integration.test_step_failures import BAD, FUNCTIONS, OPTIONS, written

FROZEN = "from pydantic import BaseModel\nclass M(BaseModel, frozen=True):\n    n: int\n"
SHARED_BY_SOME = {
    "a dict, and nothing for others": "D = {}\ndef f(r):\n    D['n'] = r['n']\n    return D if r['n'] % 2 else None\n",
    "a dict, and new ones for others": "D = {}\ndef f(r):\n    D['n'] = r['n']\n    return D if r['n'] % 2 else {**r}\n",  # noqa: E501
    "a list that is filled again": (
        FROZEN + "L = []\ndef f(r):\n    L[:] = [M(n=r['n'])]\n    return L if r['n'] % 2 else None\n"
    ),
}


@pytest.mark.parametrize("kind", SHARED_BY_SOME)
def test_what_shares_an_object_fails_and_the_others_go_on(folder: PipelineFolder, kind: str) -> None:
    written(folder, SHARED_BY_SOME[kind], "")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(6)))
        assert {record["n"] for record in driver.out("out")} <= {0, 2, 4}
        assert ["the same object for 3 records" in letter.error for letter in driver.dead("a")] == [True] * 3


@pytest.mark.parametrize("body", [
    FROZEN + "ONE = M(n=7)\ndef f(r):\n    return ONE\n", "N = []\ndef f(r):\n    return N if r['n'] else {'n': 7}\n",
])  # fmt: skip
def test_what_cannot_have_changed_may_be_shared(folder: PipelineFolder, body: str) -> None:
    written(folder, body, "")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(3)))
        assert {record["n"] for record in driver.out("out")} == {7}
        assert driver.dead("a") == []


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_generator_may_change_a_model_that_it_has_yielded(folder: PipelineFolder, prefix: str) -> None:
    body = (
        "from pydantic import BaseModel\nclass M(BaseModel):\n    n: int\n"
        f"{prefix}def f(r):\n    m = M(n=0)\n    for n in range(3):\n        m.n = n\n        yield m\n"
    )
    written(folder, body, "")
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1})
        assert [record["n"] for record in driver.out("out")] == [0, 1, 2]


@pytest.mark.parametrize(("prefix", "options"), [("", ""), ("", "thread: true"), ("async ", "")])
def test_a_generator_without_an_end_is_a_failure(
    folder: PipelineFolder, prefix: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("papyra_flow.steps.functions.calls.MAX_PARTS", 1000)
    written(folder, f"{prefix}def f(r):\n    while r['n'] == 2:\n        yield r\n    yield r\n", options)
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3]
        assert "made more than 1,000 records" in driver.dead("a")[0].error


@pytest.mark.parametrize("said", ["'text'", "b'bytes'", "bytearray(b'x')", "7", "object()"])
def test_what_is_no_record_is_told(folder: PipelineFolder, said: str) -> None:
    written(folder, f"def f(r):\n    return {said} if r['n'] else r\n", "")
    with drive(folder.file) as driver:
        driver.put("in", {"n": 0}, {"n": 1})
        assert [record["n"] for record in driver.out("out")] == [0]
        assert "a step returned" in driver.dead("a")[0].error


def test_an_emit_adds_to_what_one_before_it_said(folder: PipelineFolder) -> None:
    module = folder.steps(
        "from papyra_flow import Emit\n"
        "def one(r):\n    return Emit(r, to='other', headers={'a': '1', 'b': '1'})\n"
        "def two(r):\n    return Emit(r, headers={'b': '2'})\n"
    )
    folder.pipeline(f"""
        pipeline: t
        stages:
          a:
            from: in
            process: [{{run: '{module}:one'}}, {{run: '{module}:two'}}]
            to: [{{stream: other, when: '1 > 2'}}, {{stream: out}}]
          b: {{from: other, process: [{{map: {{a: headers.a, b: headers.b}}}}], to: seen}}
        streams: {{in: {{}}, out: {{retain: all}}, seen: {{retain: all}}}}
        """)
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1})
        assert driver.out("out") == []
        assert driver.out("seen") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_what_a_step_raises_is_told_as_it_is(folder: PipelineFolder, kind: str) -> None:
    body = BAD.format("raise ValueError('why')") + textwrap.dedent(FUNCTIONS[kind])
    written(folder, body, OPTIONS.get(kind, ""), tables="table" in kind)
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        (letter,) = driver.dead("a")
        assert "why" in letter.error
        assert "a step returned" not in letter.error
