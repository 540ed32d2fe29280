"""What is wrong with the server's address is said of the file, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.errors import InvalidPipelineError, Problem, UsageError
from papyra_flow.topology.build import build_topology

MISTAKES = [
    "localhost", "localhost:6379", "http://127.0.0.1", "redis://127.0.0.1:abc", "redis://127.0.0.1:99999", "redis:/x",
    "redis:host:6379",     "redis+sentinel://127.0.0.1", "redis+cluster://127.0.0.1/3", "redis://:hunter2/x@127.0.0.1", "redis://:hunter2#@h",
]  # fmt: skip


def problems(folder: Path, address: str, redis: str | None = None) -> list[Problem]:
    file = folder / "p.yml"
    file.write_text(f"pipeline: p\nredis: {address!r}\nstages: {{a: {{from: s, to: t}}}}\nstreams: {{s: {{}}}}\n")
    try:
        build_topology(load_pipeline(file, redis=redis, environment={}))
    except InvalidPipelineError as exc:
        return exc.problems
    return []


@pytest.mark.parametrize("address", MISTAKES)
def test_a_wrong_address_is_a_problem_with_its_place_and_without_its_password(tmp_path: Path, address: str) -> None:
    (problem,) = problems(tmp_path, address)
    assert (problem.line, problem.column, problem.code) == (2, 8, "address")
    assert "hunter2" not in str(problem)
    assert problem.excerpt is None


OTHERS = {
    "a source": "a: {read: {stream: k, redis: %r}, to: t}",
    "a sink": "a: {from: s, write: {stream: k, redis: %r}}",
    "a lookup": "a: {from: s, process: [{lookup: {hash: k, on: n, as: m, redis: %r}}], to: t}",
}


@pytest.mark.parametrize("address", [*MISTAKES, "embedded"])
@pytest.mark.parametrize("who", OTHERS)
def test_so_is_that_of_another_server(tmp_path: Path, who: str, address: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(f"pipeline: p\nstages:\n  {OTHERS[who] % address}\nstreams: {{s: {{}}}}\n".replace(
        "streams: {s: {}}\n", "" if who == "a source" else "streams: {s: {}}\n"))  # fmt: skip
    with pytest.raises(InvalidPipelineError) as caught:
        build_topology(load_pipeline(file, environment={}))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.code) == (3, 3 + OTHERS[who].index("%r"), "address")
    assert "hunter2" not in str(problem)
    assert problem.excerpt is None


@pytest.mark.parametrize("address", MISTAKES)
def test_an_address_on_the_command_line_is_not_the_files_fault(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="is not a server address") as caught:
        problems(tmp_path, "embedded", redis=address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["embedded", "redis://h", "rediss://u:p@h:1/2", "unix:///s.sock", "redis+sentinel://h/m", "redis+cluster://h,i:7"],
)
def test_an_address_that_may_answer_is_no_problem(tmp_path: Path, address: str) -> None:
    assert problems(tmp_path, address) == []
