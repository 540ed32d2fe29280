"""What the file does not know any more, after a stage or a stream was renamed or removed."""

from __future__ import annotations

import pytest

from papyra_flow.streams.groups.snapshot import GroupPosition, StreamPosition, StreamsSnapshot
from papyra_flow.topology.orphans import Orphan, known_keys, orphans
from tests.harness.pipelines import PipelineFolder

PIPELINE = """\
    pipeline: p
    stages:
      r: {read: {jsonl: in.jsonl}, process: [{set: {x: "1"}}], to: s}
      a: {from: s, process: [{set: {x: "1"}}], to: t}
      b: {from: [t, theirs], write: {jsonl: out.jsonl}}
    streams: {theirs: {key: "shared:x"}}
    """


def found(folder: PipelineFolder, groups: dict[str, list[str]], keys: dict[str, int]) -> list[Orphan]:
    topology = folder.pipeline(PIPELINE).topology()
    streams = {
        key: StreamPosition(key, "stream", 9, {g: GroupPosition(g, 0, 2, "1-0", 3) for g in names})
        for key, names in groups.items()
    }
    streams |= {key: StreamPosition(key, "stream" if length else "none", length, {}) for key, length in keys.items()}
    return orphans(topology, StreamsSnapshot(streams, {}), [*keys, *known_keys(topology)])


def test_what_the_file_knows_is_no_orphan(folder: PipelineFolder) -> None:
    groups = {"{p}:s": ["a"], "{p}:t": ["p.b"], "{p}:a@replay": ["a"], "{p}:b@replay": ["p.b"], "shared:x": ["p.b"]}
    assert found(folder, groups, {}) == []


@pytest.mark.parametrize(
    ("key", "group", "of_others"),
    [("{p}:s", "old", False), ("{p}:a@replay", "old", False), ("shared:x", "p.old", False), ("{p}:s", "q.x", True)],
)
def test_a_group_that_no_stage_has_is_one(folder: PipelineFolder, key: str, group: str, of_others: bool) -> None:
    (orphan,) = found(folder, {key: [group]}, {})
    assert (orphan.key, orphan.group, orphan.length, orphan.pending, orphan.of_others) == (key, group, 3, 2, of_others)
    assert f"{group!r} on {key}" in str(orphan)
    name = {"{p}:s": "s", "shared:x": "theirs"}.get(key, f"'{key}'")
    assert f"drop-group FILE {name} {group}`" in orphan.hint


@pytest.mark.parametrize("group", ["theirs", "q.b", "b"])
def test_groups_of_others_on_their_own_streams_are_none(folder: PipelineFolder, group: str) -> None:
    assert found(folder, {"shared:x": [group]}, {}) == []


@pytest.mark.parametrize(
    ("key", "length", "kind", "holds"),
    [
        ("{p}:gone", 5, "stream", True), ("{p}:gone", 0, "bookkeeping", False), ("{p}:@dead:old", 5, "dead", True),
        ("{p}:@source:old", 0, "bookkeeping", False), ("{p}:@sink:old", 0, "bookkeeping", False),
        ("{p}:old@replay", 1, "stream", True),
    ],
)  # fmt: skip
def test_a_key_that_the_file_does_not_know_is_one(
    folder: PipelineFolder, key: str, length: int, kind: str, holds: bool
) -> None:
    (orphan,) = found(folder, {}, {key: length})
    assert (orphan.kind, orphan.holds_records, orphan.length) == (kind, holds, length)
    assert key in str(orphan)


def test_bookkeeping_of_the_pipeline_as_a_whole_is_none(folder: PipelineFolder) -> None:
    assert found(folder, {}, {"{p}:@something": 0, "{p}:@dead:old": 0}) == []
