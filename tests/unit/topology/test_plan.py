"""The plan: desired against actual, from positions that are made up here; the integration tests ask a server."""

from __future__ import annotations

from papyra_flow.streams.groups.snapshot import GroupPosition, StreamPosition, StreamsSnapshot
from papyra_flow.topology.plan import Plan, make_plan
from tests.harness.pipelines import PipelineFolder

PIPELINE = """\
    pipeline: p
    stages:
      a: {read: {jsonl: in}, to: s}
      b: {from: s, to: t, start: latest}
      c: {from: t, write: stdout}
      d: {from: t, write: {stream: k, redis: "redis://other:1"}}
    """


def planned(folder: PipelineFolder, **found: StreamPosition) -> Plan:
    topology = folder.pipeline(PIPELINE).topology()
    streams = {
        stream.key: found.get(stream.name, StreamPosition(stream.key, "none", 0, {}))
        for stream in topology.streams.values()
    }
    return make_plan(topology, StreamsSnapshot(streams, {}), server="x", keys=["{p}:s", "{p}:old", "{p}:@source:a"])


def test_what_is_missing_will_be_created(folder: PipelineFolder) -> None:
    plan = planned(folder)
    assert [(s.name, s.state) for s in plan.streams] == [("s", "create"), ("t", "create")]
    assert [(g.group, g.state, g.at) for g in plan.groups] == [
        ("b", "create", "$"), ("c", "create", "0"), ("d", "create", "0"),
    ]  # fmt: skip
    assert plan.changes == 5


def test_what_is_there_says_where_it_is_and_what_is_foreign(folder: PipelineFolder) -> None:
    groups = {"b": GroupPosition("b", 1, 2, "5-0", 3), "theirs": GroupPosition("theirs", 0, 0, "0-0", 9)}
    plan = planned(folder, s=StreamPosition("{p}:s", "stream", 9, groups))
    assert [(g.group, g.state, g.at, g.pending, g.lag) for g in plan.groups[:2]] == [
        ("b", "exists", "5-0", 2, 3), ("theirs", "foreign", "0-0", 0, 9),
    ]  # fmt: skip


def test_a_key_of_another_type_and_an_unknown_key_are_shown(folder: PipelineFolder) -> None:
    plan = planned(folder, s=StreamPosition("{p}:s", "hash", 0, {}))
    assert plan.streams[0].state == "wrong-type"
    assert plan.unknown_keys == ["{p}:old"]


def test_each_link_states_its_promise_and_why(folder: PipelineFolder) -> None:
    links = {(link.source, link.target): (link.promise, bool(link.because)) for link in planned(folder).links}
    assert links == {
        ("jsonl: in", "s"): ("exactly-once", True),
        ("s", "t"): ("exactly-once", True),
        ("t", "stdout"): ("at-least-once", True),
        ("t", "stream: k"): ("exactly-once", True),
    }
