"""Classes that a file names by where they stand: found, checked when they are loaded, and told apart."""

from __future__ import annotations

import pickle
from pathlib import Path

import jsonschema
import pytest

from papyra_flow.config.schema import pipeline_schema
from papyra_flow.spec.beside import NotUsableError, load_beside
from papyra_flow.spec.components import SINKS, STEPS
from tests.harness.pipelines import PipelineFolder

GOOD = """\
from pydantic import Field
from papyra_flow import Sink, Step

class Good(Sink):
    '''Write.'''
    main = "path"
    because = "of the keys"
    path: str = Field(description="Where to.")
    most: int = Field(5, ge=1, description="How many.")
    def write(self, records, keys):
        return None
"""
PIPELINE = """\
    pipeline: p
    stages:
      a:
        from: s
        write: {./mine.py:Good: %s}
    streams: {s: {}}
    """


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("    '''Write.'''\n", ""), "has no docstring"),
        (GOOD.replace('    because = "of the keys"\n', ""), "does not say why its promise holds: set `because`"),
        (GOOD.replace("because =", 'promise = "maybe"\n    because ='), "promises 'maybe', which is none of"),
        (GOOD.replace('(5, ge=1, description="How many.")', "(5)"), "has no description of its field 'most'"),
        (GOOD.replace('main = "path"', 'main = "paht"'), "has no field 'paht', which `main` names"),
        (GOOD.replace("def write", "def wrote"), "does not define `write`"),
        (GOOD.replace("return None", "yield 1"), "has a `yield` in `write`, which would never run"),
        (GOOD.replace("def write", "async def write").replace("return None", "yield 1"), "has a `yield` in `write`"),
        (f"{GOOD}    async def committed(self): pass", "has an async `committed`, which would never be awaited"),
        (f"{GOOD}    def __init__(self, path): pass", "has an `__init__`: its fields are what a file may set"),
        (
            GOOD.replace("(Sink)", "(Step)").replace('    because = "of the keys"\n', ""),
            "is not a sink: make it a subclass of papyra_fl",
        ),
        ("class Good: pass", "is not a sink: make it a subclass of papyra_flow.Sink"),
        ("Good = 3", "is not a sink"),
        ("", "mine.py has no class 'Good'"),
        ("1 / 0", "mine.py cannot be imported: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "mine.py cannot be imported: SystemExit"),
    ],
)
def test_what_a_class_lacks_is_said_in_one_sentence_at_its_place(
    folder: PipelineFolder, text: str, message: str
) -> None:
    folder.write("mine.py", text)
    (problem,) = folder.pipeline(PIPELINE % "{path: out}").problems()
    assert message in problem.message
    assert problem.line == 5


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ("{path: out, most: 0}", "greater than or equal to 1", None),
        ("{path: out, mots: 2}", "unknown key 'mots'", "did you mean most?"),
        ("{most: 2}", "needs the key 'path'", None),
    ],
)
def test_its_fields_are_checked_like_those_of_installed_components(
    folder: PipelineFolder, fields: str, message: str, hint: str | None
) -> None:
    folder.write("mine.py", GOOD)
    text = PIPELINE % fields
    (problem,) = folder.pipeline(text).problems()
    assert message in problem.message
    assert problem.hint == hint
    assert (problem.line, (problem.column or 0) > 25) == (5, True)


def test_all_forms_of_it_are_understood_and_fit_the_schema(folder: PipelineFolder) -> None:
    folder.write("mine.py", GOOD)
    validator = jsonschema.Draft202012Validator(pipeline_schema())
    for written in ("{./mine.py:Good: out}", "{./mine.py:Good: {path: out}}", "{mine:Good: out, most: 2}"):
        folder.pipeline(PIPELINE.replace("{./mine.py:Good: %s}", written))
        sink = folder.topology().stages["a"].sink
        assert sink is not None
        assert sink.describe() == "Good: out"
        assert sink.calls_code
    tree = {"pipeline": "p", "stages": {"a": {"from": "s", "write": {"./mine.py:Good": {"path": "out"}}}}}
    assert [error.message for error in validator.iter_errors(tree)] == []
    tree["stages"]["a"]["write"] = {"mine.Good": {}}  # type: ignore[index]
    assert list(validator.iter_errors(tree))


def test_what_is_not_there_is_said(folder: PipelineFolder) -> None:
    for written, message in (
        ("./nowhere.py:Good", "file not found: ./nowhere.py"),
        ("nowhere_at_all:Good", "module 'nowhere_at_all' not found"),
        ("nowhere", "unknown sink 'nowhere'"),
    ):
        (problem,) = folder.pipeline(PIPELINE.replace("{./mine.py:Good: %s}", written)).problems()
        assert message in problem.message


def test_files_of_one_name_in_two_folders_are_two_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(GOOD.replace("Write.", f"Write {name}."))
    a, b = (load_beside("./mine.py:Good", SINKS, tmp_path / name) for name in ("a", "b"))
    assert (a.__doc__, b.__doc__) == ("Write a.", "Write b.")
    assert load_beside("./mine.py:Good", SINKS, tmp_path / "a") is a


def test_another_process_finds_it_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    sink = load_beside("./mine.py:Good", SINKS, tmp_path).model_validate({"path": "out", "most": 2})
    assert pickle.loads(pickle.dumps(sink)) == sink
    with pytest.raises(NotUsableError, match="is not a step: make it a subclass of"):
        load_beside("./mine.py:Good", STEPS, tmp_path)
