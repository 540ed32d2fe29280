"""Where event times come from, and what is refused because its order says nothing of them."""

from __future__ import annotations

import pytest

from papyra_flow.topology.model import Topology
from tests.harness.pipelines import PipelineFolder

COUNT = "count: {from: in, process: [{aggregate: {by: k, window: 1m, fields: {n: count()}}}], to: out}"
OWN = COUNT.replace("window: 1m", "window: 1m, time: at")
SOURCE = "read: {read: {jsonl: in.jsonl, time: at}, to: raw}"


def assembled(folder: PipelineFolder, stages: str, streams: str = "in: {}") -> Topology:
    lines = "".join(f"  {line}\n" for line in stages.splitlines())
    folder.file.write_text(f"pipeline: p\nstreams: {{{streams}}}\nstages:\n{lines}")
    folder.write("in.jsonl", "")
    return folder.topology()


def refused(folder: PipelineFolder, stages: str, streams: str = "in: {}") -> list[tuple[str, str | None]]:
    lines = "".join(f"  {line}\n" for line in stages.splitlines())
    folder.file.write_text(f"pipeline: p\nstreams: {{{streams}}}\nstages:\n{lines}")
    folder.write("in.jsonl", "")
    return [(found.message, found.hint) for found in folder.problems() if found.code == "event-time"]


@pytest.mark.parametrize(
    ("stages", "streams", "says"),
    [
        (COUNT, "in: {}", {"count": {"in": None}}),
        (COUNT, "in: {time: at}", {"count": {"in": "at"}}),
        (OWN, "in: {}", {}),
        (f"{SOURCE.replace('to: raw', 'to: in')}\n{COUNT}", "in: {}", {"count": {"in": "at"}}),
        (f"{SOURCE.replace('to: raw', 'to: in')}\n{COUNT}", "in: {time: then}", {"count": {"in": "then"}}),
    ],
)
def test_the_stream_says_the_time_or_else_the_source_that_writes_it(
    folder: PipelineFolder, stages: str, streams: str, says: object
) -> None:
    found = assembled(folder, stages, streams)
    assert (found.times, found.carried) == (says, frozenset())


def test_a_stage_in_order_hands_the_time_on(folder: PipelineFolder) -> None:
    between = "clean: {from: raw, ordered: true, process: [{filter: k}], to: in}"
    found = assembled(folder, f"{SOURCE}\n{between}\n{COUNT}")
    assert found.times == {"clean": {"raw": "at"}, "count": {"in": None}}
    assert found.carried == {"in"}
    assert found.hands_on_time(found.stages["clean"])
    assert not found.hands_on_time(found.stages["count"])


@pytest.mark.parametrize("count", [COUNT, OWN])
def test_a_shared_stage_in_between_is_refused_with_what_to_write(folder: PipelineFolder, count: str) -> None:
    between = "clean: {from: raw, process: [{filter: k}], to: in}"
    assert refused(folder, f"{SOURCE}\n{between}\n{count}") == [
        (
            "'count' goes by event time, and 'clean', which writes 'in', does not keep the order of its records",
            "say `ordered: true` for 'clean'",
        )
    ]


def test_a_shared_stage_further_up_is_refused_too(folder: PipelineFolder) -> None:
    between = "first: {from: raw, to: mid}\nclean: {from: mid, ordered: true, to: in}"
    ((message, hint),) = refused(folder, f"{SOURCE}\n{between}\n{COUNT}")
    assert "'first', which writes 'mid'" in message
    assert hint == "say `ordered: true` for 'first'"


def test_several_writers_of_one_stream_are_refused(folder: PipelineFolder) -> None:
    writers = "\n".join(f"{name}: {{read: {{jsonl: in.jsonl, time: at}}, to: in}}" for name in ("a", "b"))
    ((message, hint),) = refused(folder, f"{writers}\n{COUNT}")
    assert message.endswith("need not be equally far: 'a', 'b'")
    assert hint == "let each write a stream of its own, and read all of them: `from: [a, b]`"


def test_the_partitions_of_a_writer_are_several_writers(folder: PipelineFolder) -> None:
    between = "clean: {from: raw, process: [{filter: k}], to: in}"
    ((message, _),) = refused(folder, f"{SOURCE}\n{between}\n{COUNT}", "raw: {partitions: 4, by: k}, in: {}")
    assert "the 4 partitions of 'clean', which writes 'in', need not be equally far" in message


@pytest.mark.parametrize(("kind", "behind"), [("inner", 0), ("left", 60_001), ("outer", 60_001)])
def test_what_leaves_a_join_alone_is_not_late_behind_it(folder: PipelineFolder, kind: str, behind: int) -> None:
    join = f"{{join: {{on: {{a: k, b: k}}, within: 1m, kind: {kind}}}}}"
    stages = (
        f"pair: {{from: [a, b], process: [{join}], to: mid}}\nsame: {{from: mid, ordered: true, to: in}}\n"
        f"{COUNT.replace('by: k', 'by: a.k')}"
    )
    found = assembled(folder, stages, "a: {}, b: {}")
    assert found.disorder == ({"mid": behind, "in": behind} if behind else {})
