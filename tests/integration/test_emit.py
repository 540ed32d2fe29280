"""An `Emit` is exact, or a dead letter that says what was wrong with it; single records and tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow import Emit
from papyra_flow.errors import RecordError
from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder

TO = "to: [{stream: other, when: '1 > 2'}, {stream: out}]"
SHAPES = {
    "stream": (f"{{from: in, process: [{{run: '%s:f'}}], {TO}}}", ""),
    "fields": (f"{{from: in, process: [{{run: '%s:f'}}], {TO}}}", ", format: fields"),
    "sink": ("{from: in, process: [{run: '%s:f'}], write: {jsonl: o.jsonl}}", ""),
    "table": (f"{{from: in, process: [batch, {{run: '%s:t'}}], {TO}}}", ", format: arrow"),
}
WRONG = [
    "to=['out']", "to=7", "to=''", "to='nosuch'", "to='in'", "to=b'out'", "to={}", "to='\\ud800'", "key=7", "key=b'x'",
    "key=['x']", "key='\\udfff'", "headers=['a']", "headers='a'", "headers={'a': 7}", "headers={'a': None}",
    "headers={'a': b'x'}", "headers={'a': {'b': 'c'}}", "headers={7: 'a'}", "headers={None: 'a'}", "headers={'': 'x'}",
    "headers={'data': 'x'}", "headers={'a': '\\ud800'}", "headers={'\\ud800': 'a'}", "key='a', headers={'key': 'b'}",
    "headers={'a': 'x' * 9_000_000}", "headers={str(i): 'x' for i in range(4000)}",
]  # fmt: skip


def piped(folder: PipelineFolder, shape: str, said: str) -> PipelineFolder:
    module = folder.steps(
        "import pyarrow as pa\nfrom papyra_flow import Emit\n"
        f"def emitted(r):\n    return Emit(r{said})\n"
        "def f(r):\n    return emitted(r) if r['n'] == 2 else r\n"
        "def t(t: pa.Table):\n    return emitted(t) if 2 in t['n'].to_pylist() else t\n"
    )
    stage, out = SHAPES[shape]
    return folder.pipeline(f"""
        pipeline: t
        defaults: {{retry: {{attempts: 1}}}}
        stages: {{a: {stage % module}}}
        streams: {{in: {{}}{"" if shape == "sink" else f", out: {{retain: all{out}}}, other: {{}}"}}}
        """)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("said", WRONG)
def test_what_cannot_leave_is_a_dead_letter_that_says_why(folder: PipelineFolder, shape: str, said: str) -> None:
    piped(folder, shape, f", {said}")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        left = driver.written("a") if shape == "sink" else driver.out("out")
        assert [int(str(record["n"])) for record in left] == [0, 1, 3]
        (letter,) = driver.dead("a")
        assert "Emit" in letter.error or "max_record" in letter.error or "fields" in letter.error
        assert len(letter.error) < 5000


@pytest.mark.parametrize("inner", ["Emit(r)", "None", "7", "'text'", "[]", "object()"])
def test_an_emit_of_something_else_than_a_record_is_told(folder: PipelineFolder, inner: str) -> None:
    piped(folder, "stream", "")
    module = next(folder.path.glob("steps_*.py"))
    module.write_text(module.read_text().replace("return Emit(r)", f"return Emit({inner})"))
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3]
        assert "an Emit of" in driver.dead("a")[0].error


@pytest.mark.parametrize("shape", ["stream", "fields", "sink", "table"])
def test_an_emit_that_says_nothing_is_the_record(folder: PipelineFolder, shape: str) -> None:
    piped(folder, shape, ", headers={}")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert len(driver.written("a") if shape == "sink" else driver.out("out")) == 4
        assert driver.dead("a") == []


def test_a_header_never_takes_the_place_of_a_field(folder: PipelineFolder) -> None:
    piped(folder, "fields", ", headers={'n': '7'}")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert [record["n"] for record in driver.out("out")] == ["0", "1", "3"]
        assert "the header 'n' has the name of a field" in driver.dead("a")[0].error


def test_a_header_that_a_record_came_with_gives_way_to_its_field(folder: PipelineFolder) -> None:
    module = folder.steps("from papyra_flow import Emit\ndef f(r):\n    return Emit(r, key='k', headers={'h': 'x'})\n")
    folder.pipeline(f"""
        pipeline: t
        stages:
          a: {{from: in, process: [{{run: '{module}:f'}}], to: mid}}
          b: {{from: mid, to: out}}
        streams: {{in: {{}}, out: {{retain: all, format: fields}}}}
        """)
    with drive(folder.file) as driver:
        driver.put("in", {"key": "mine", "n": 1})
        assert driver.out("out") == [{"key": "mine", "n": "1", "h": "x"}]


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text(), max_size=5), st.none() | st.text())
def test_text_that_redis_can_hold_is_carried_as_it_is(headers: dict[str, str], key: str | None) -> None:
    emit = Emit({}, key=key, headers=headers)
    try:
        emit.check()
    except RecordError:
        texts = [*headers, *headers.values(), key or ""]
        odd = any(0xD800 <= ord(char) < 0xE000 for text in texts for char in text)
        assert odd or "" in headers or "data" in headers or (key is not None and headers.get("key", key) != key)
    else:
        found = emit.all_headers() or {}
        assert {k.decode(): v.decode() for k, v in found.items()} == headers | ({} if key is None else {"key": key})
