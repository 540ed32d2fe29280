"""From a file to its topology: keys, groups, implicit streams, order."""

from __future__ import annotations

import pytest

from tests.harness.pipelines import PipelineFolder

PIPELINE = """\
    pipeline: p
    stages:
      sink: {from: [a, b], write: {jsonl: out}}
      one: {read: {jsonl: in}, to: a}
      two: {read: {jsonl: in}, process: [{filter: x}], to: [{stream: a, when: y}, b]}
      ext: {from: papyra, to: c, group: g, start: latest}
      push: {from: c, write: {stream: elsewhere}}
    streams:
      papyra: {key: "papyra:local:events"}
      b: {retain: 1h, max_backlog: 10}
    """


@pytest.fixture
def built(folder: PipelineFolder) -> PipelineFolder:
    return folder.pipeline(PIPELINE)


def test_keys_carry_the_pipelines_hash_tag_unless_a_stream_names_its_own(built: PipelineFolder) -> None:
    keys = {stream.name: stream.key for stream in built.topology().streams.values()}
    assert keys["a"] == "{p}:a"
    assert keys["papyra"] == "papyra:local:events"
    assert keys["key:elsewhere"] == "elsewhere"


def test_every_stage_that_reads_has_its_group_on_each_stream_and_on_its_replays(built: PipelineFolder) -> None:
    groups = {(spec.key, spec.group, spec.start) for spec in built.topology().groups()}
    assert groups == {
        ("{p}:a", "sink", "0"), ("{p}:b", "sink", "0"), ("{p}:sink@replay", "sink", "0"),
        ("{p}:two@in", "two", "0"), ("{p}:two@replay", "two", "0"),
        ("papyra:local:events", "g", "$"), ("{p}:ext@replay", "g", "$"),
        ("{p}:c", "push", "0"), ("{p}:push@replay", "push", "0"),
    }  # fmt: skip


def test_a_source_without_steps_writes_straight_to_its_stream(built: PipelineFolder) -> None:
    stages = built.topology().stages
    assert (stages["one"].source_to, stages["one"].inputs) == (("a",), ())
    assert stages["two"].source_to == ("two@in",)


def test_stages_come_in_the_order_of_their_records(built: PipelineFolder) -> None:
    assert [stage.name for stage in built.topology().in_order()] == ["one", "two", "sink", "ext", "push"]


def test_a_stream_of_others_is_never_trimmed(built: PipelineFolder) -> None:
    streams = built.topology().streams
    assert streams["papyra"].retain == "all"
    assert streams["a"].retain == "acked"
    assert streams["b"].retain == 3600.0
    assert (streams["b"].max_backlog, streams["key:elsewhere"].max_backlog) == (10, None)


def test_a_pipeline_is_bounded_if_all_its_sources_end(built: PipelineFolder) -> None:
    assert built.topology().bounded
    assert not built.topology("stages.one.read={generate: {rate: 5}}").bounded
