"""`${VAR}` and `${file:...}`: values, from the file to the step, and what they may be read from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from papyra_flow.config.variables import MAX_FILE_BYTES, VariableError, Variables
from papyra_flow.errors import InvalidPipelineError
from papyra_flow.testing.driver import drive
from tests.harness.pipelines import PipelineFolder

PIPELINE = """
pipeline: p
stages:
  a:
    from: in
    process:
      - filter: name == ${WHO} and n > ${LIMIT}
      - set:
          who: "'<${WHO}>'"
          limit: ${LIMIT}
          code: ${CODE}
    to:
      - {stream: out, when: "name == '${WHO}'"}
streams: {in: {}}
"""


SECRETIVE = """
pipeline: p
stages:
  a:
    from: in
    process:
      - set: {x: "missing + '${PASSWORD}'"}
      - filter: get('${PASSWORD}').y
    to: out
streams: {in: {}}
"""


@pytest.mark.parametrize("who", ["O'Brien", 'say "hi"', "' or True or '", "a\\", "x' #", "{n}", "${n}"])
def test_a_variable_is_a_value_in_every_expression_of_a_file(folder: PipelineFolder, who: str) -> None:
    folder.pipeline(PIPELINE)
    with drive(folder.file, environment={"WHO": who, "LIMIT": "5", "CODE": "007"}) as driver:
        driver.put("in", {"name": who, "n": 6}, {"name": who, "n": 5}, {"name": "x", "n": 9})
        assert driver.dead("a") == []
        assert driver.out("out") == [{"name": who, "n": 6, "who": f"<{who}>", "limit": 5, "code": "007"}]


@pytest.mark.parametrize(
    "place", ["process: [{filter: '${COND}'}], write: stdout", "to: [{stream: out, when: '${COND}'}]"]
)
def test_a_condition_that_a_variable_was_to_bring_is_refused_and_not_true_forever(
    folder: PipelineFolder, place: str
) -> None:
    folder.pipeline(f"pipeline: p\nstages:\n  a: {{from: in, {place}}}\nstreams: {{in: {{}}}}\n")
    with pytest.raises(InvalidPipelineError, match="only a text, so that it always holds"):
        drive(folder.file, environment={"COND": "n > 5"})
    drive(folder.file, environment={"COND": "true"}).close()


def test_a_secret_is_not_in_what_is_told_of_an_expression(folder: PipelineFolder) -> None:
    folder.pipeline(SECRETIVE)
    secret = "pass'wo\"rd\\n1"
    with drive(folder.file, environment={"PASSWORD": secret}) as driver:
        driver.put("in", {}, {"missing": "", secret: 1}, {"missing": secret})
        told = [letter.error + letter.traceback for letter in driver.dead("a")]
        assert len(told) == 3
        assert not [text for text in told if "pass" in text.lower().replace("password", "")]


def test_a_file_is_read_if_it_is_a_regular_one_of_bounded_size(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "large").write_bytes(b"x" * MAX_FILE_BYTES)
    variables = Variables({}, tmp_path)
    assert variables.substitute("${file:secret}${file:link}") == "hunter2hunter2"
    assert len(variables.substitute("${file:large}")) == MAX_FILE_BYTES


@pytest.mark.parametrize("kind", ["fifo", "folder", "/dev/zero", "/dev/null", "larger", "binary", "nothing", "loop"])
def test_what_is_not_a_file_or_too_large_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "larger").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(VariableError, match=rf"^cannot read {kind}: [^\n]+$") as caught:
        Variables({}, tmp_path).substitute(f"${{file:{kind}}}")
    expected = {"fifo": "not a regular file", "folder": "not a regular file", "/dev/zero": "not a regular file",
                "/dev/null": "not a regular file", "larger": "larger than 1 MiB", "binary": "not a text file",
                "nothing": "No such file", "loop": "symbolic links"}  # fmt: skip
    assert expected[kind] in str(caught.value)


def test_a_size_that_grows_while_it_is_read_is_still_bounded() -> None:
    with pytest.raises(VariableError, match="cannot read"):
        Variables({}, Path("/proc/self")).substitute("${file:mem}")


@pytest.mark.parametrize(
    ("expression", "line", "column"),
    [
        ("filter: a > and b", 7, 21),
        ("filter: 'a > and b'", 7, 22),
        ('filter: "a > and b"', 7, 22),
        ("filter: |\n          a > 1\n          and and b", 9, 15),
        ("filter: |\n\n            # why\n            a > 1\n              and (and b)", 11, 20),
        ("filter: |-\n          a > 1\n          and ${A} and and", 9, 24),
        ("filter: ${A} > and b", 7, 24),
        ("set: {x: a > and b}", 7, 22),
        ("set:\n          x: n\n          y: a > and b", 9, 18),
        ("filter: >\n          a > 1\n          and and b", 7, 17),  # folded: only where it begins
        ('filter: "a > 1\\nand and b"', 7, 17),
    ],
)
def test_an_error_in_an_expression_is_told_where_it_stands_in_the_file(
    folder: PipelineFolder, expression: str, line: int, column: int
) -> None:
    folder.file.write_text(
        f"pipeline: p\nstages:\n  a:\n    from: in\n    write: stdout\n    process:\n      - {expression}\n"
    )
    with pytest.raises(InvalidPipelineError) as caught:
        drive(folder.file, environment={"A": "1"})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column), problem
