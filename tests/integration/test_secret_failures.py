"""What a step raises may quote a secret of the file: no dead letter keeps it, and no message shows it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from papyra_flow.error_text import traceback_of
from papyra_flow.errors import PipelineFailedError
from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder

FILE = """\
    pipeline: t
    description: knows ${{file:secret}}
    defaults: {{retry: {{attempts: 1}}, on_error: {on_error}}}
    stages: {{a: {{from: in, process: [{process}], to: out}}}}
    streams: {{in: {{}}, out: {{retain: all{out}}}}}
    """


def piped(folder: PipelineFolder, process: str, *, tables: bool = False, on_error: str = "dead") -> None:
    folder.write("secret", "hunter2-file\n")
    process = f"batch, {process}" if tables else process
    folder.pipeline(FILE.format(process=process, on_error=on_error, out=", format: arrow" if tables else ""))


STEPS = {
    "a step": "def f(r):\n    raise ValueError('no: hunter2-file')\n",
    "a cause": "def f(r):\n    raise ValueError('no') from KeyError('hunter2-file')\n",
    "a note": "def f(r):\n    exc = ValueError('no')\n    exc.add_note('hunter2-file')\n    raise exc\n",
    "a line of its source": "def f(r):\n    raise ValueError('no')  # hunter2-file\n",
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_dead_letter_keeps_no_secret(folder: PipelineFolder, kind: str) -> None:
    piped(folder, f'{{run: "{folder.steps(STEPS[kind])}:f"}}')
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1})
        (letter,) = driver.dead("a")
        told = json.dumps([letter.error, letter.traceback])
        assert "***" in told
        assert "hunter2" not in told


@pytest.mark.parametrize("tables", [False, True])
def test_a_row_that_an_expression_fails_on_keeps_no_secret(folder: PipelineFolder, tables: bool) -> None:
    piped(folder, "{set: {x: \"int(v + '${file:secret}') if n else 1\"}}", tables=tables)
    with drive(folder.file) as driver:
        driver.put("in", {"n": 0, "v": "0"}, {"n": 1, "v": "7"})
        (letter,) = driver.dead("a")
        assert "invalid literal" in letter.error
        assert "hunter2" not in json.dumps([letter.error, letter.traceback])


def test_a_row_of_a_table_that_fails_keeps_no_secret(folder: PipelineFolder) -> None:
    folder.write("secret", "hunter2-file\n")
    folder.pipeline("""\
        pipeline: t
        stages:
          a: {from: in, process: [batch], to: mid}
          b: {from: mid, process: [{set: {x: "int(v + '${file:secret}') if n else 1"}}], to: out}
        streams: {in: {}, mid: {format: arrow}, out: {retain: all}}
        """)
    with drive(folder.file) as driver:
        driver.put("in", {"n": 0, "v": "0"}, {"n": 1, "v": "7"})
        assert [record["n"] for record in driver.out("out")] == [0]
        (letter,) = driver.dead("b")
        assert "invalid literal" in letter.error
        assert "hunter2" not in json.dumps([letter.error, letter.traceback])


async def test_a_stage_that_halts_shows_no_secret(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", [{"n": 1}])
    piped(folder, f'{{run: "{folder.steps(STEPS["a step"])}:f"}}', on_error="halt")
    folder.file.write_text(folder.file.read_text().replace("from: in,", "read: {jsonl: in.jsonl},", 1))
    folder.file.write_text(folder.file.read_text().replace("in: {}, ", ""))
    with pytest.raises(PipelineFailedError, match=r"failed: ValueError: no: \*\*\*"):
        await folder.run(url)


def test_every_part_of_a_traceback_is_looked_through() -> None:
    hide: Callable[[str], str] = lambda text: text.replace("hunter2", "***")  # noqa: E731
    try:
        raise ExceptionGroup("two", [ValueError("hunter2")])
    except ExceptionGroup as exc:
        exc.add_note("hunter2")
        exc.__cause__ = KeyError("hunter2")
        told = traceback_of(exc, hide)
    assert told.count("***") == 4
    assert "hunter2" not in told
