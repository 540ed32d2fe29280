"""YAML with positions: what is refused, and where it says that it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from papyra_flow.config.documents import Document, read_document, resolve_scalar
from papyra_flow.config.variables import Variables
from papyra_flow.spec.positions import Place


def read(text: str, **environment: str) -> Document:
    return read_document(text, "p.yml", Variables(environment, Path()))


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("on", "on"), ("yes", "yes"), ("2013-01-01", "2013-01-01"), ("12:30", "12:30"), ("0x10", "0x10"),
        ("null", None), ("~", None), ("", None), ("true", True), ("False", False),
        ("50_000", 50_000), ("-7", -7), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_words_mean_what_the_core_schema_says(word: str, meaning: object) -> None:
    assert resolve_scalar(word) == meaning


def test_places_are_those_of_keys_and_values() -> None:
    document = read("a:\n  b: [x, y]\n")
    assert document.tree == {"a": {"b": ["x", "y"]}}
    assert document.places["a", "b"] == Place((2, 3), (2, 6))
    assert document.places["a", "b", 1] == Place((2, 10), (2, 10))


def test_a_duplicate_key_is_refused_and_names_the_first() -> None:
    (problem,) = read("a: 1\nb: 2\na: 3\n").problems
    assert (problem.line, problem.column, problem.code) == (3, 1, "duplicate-key")
    assert "first in line 1" in problem.message
    assert problem.excerpt == "a: 3"


def test_anchors_and_merge_keys_work_and_what_stands_here_wins() -> None:
    document = read("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: [{<<: [*b, {z: 4}]}]\n")
    assert document.tree == {
        "base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2, "z": 4}],
    }  # fmt: skip
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: !!python/object/apply:os.system [ls]", "yaml-tag"),
        ("a: !secret x", "yaml-tag"),
        ("a: &x [*x]", "yaml-recursive"),
        ("? [a, b]\n: 1", "yaml-key"),
        ("a: {<<: 3}", "yaml-merge"),
        ("a: [1", "yaml-syntax"),
        ("a: 1\n---\nb: 2", "yaml-syntax"),
        ("a: \x00", "yaml-syntax"),
        ("", "empty-file"),
        ("a: " + "[" * 100 + "]" * 100, "yaml-too-large"),
    ],
)
def test_what_no_pipeline_needs_is_refused(text: str, code: str) -> None:
    assert [problem.code for problem in read(text).problems] == [code]


def test_aliases_that_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert [problem.code for problem in read("\n".join(lines)).problems] == ["yaml-too-large"]


def test_variables_are_substituted_before_a_word_gets_its_type() -> None:
    document = read('a: ${N}\nb: "${N}"\nc: ${MISSING:-7}\nd: x-${N}-y\ne: $${N}\n', N="5")
    assert document.tree == {"a": 5, "b": "5", "c": 7, "d": "x-5-y", "e": "${N}"}


def test_an_unset_variable_is_a_problem_with_its_place() -> None:
    (problem,) = read("a: 1\nb: ${NOPE}\n").problems
    assert (problem.line, problem.column, problem.code) == (2, 4, "variable")
    assert "NOPE" in problem.message


def test_a_secret_is_read_from_a_file_and_remembered_as_one(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    variables = Variables({}, tmp_path)
    assert read_document("a: ${file:secret}", "p.yml", variables).tree == {"a": "hunter2"}
    assert variables.secrets.values == {"hunter2"}


def test_a_secret_that_is_not_there_is_a_problem() -> None:
    (problem,) = read("a: ${file:/nowhere/x}").problems
    assert "cannot read /nowhere/x: No such file or directory" in problem.message
