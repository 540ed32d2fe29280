"""Streams with partitions: what the planner makes of them, and what it refuses."""

from __future__ import annotations

import pytest

from papyra_flow.drawing.picture import picture
from papyra_flow.streams.groups.snapshot import StreamPosition, StreamsSnapshot
from papyra_flow.streams.keys import Keyspace
from papyra_flow.topology.acl import users
from papyra_flow.topology.model import Topology
from papyra_flow.topology.orphans import known_keys, orphans
from papyra_flow.topology.partitions import uneven
from tests.harness.pipelines import PipelineFolder

STAGES = """\
    pipeline: shop
    redis: {redis}
    stages:
      read: {{read: stdin, to: orders}}
      work: {{from: orders, to: done}}
    streams: {{ {streams} }}
    """


def topology(folder: PipelineFolder, streams: str, redis: str = "embedded") -> Topology:
    return folder.pipeline(STAGES.format(streams=streams, redis=redis)).topology()


def test_each_partition_is_a_stream_in_redis_with_a_hash_tag_of_its_own(folder: PipelineFolder) -> None:
    found = topology(folder, "orders: {partitions: 3, by: customer}")
    parts = [found.streams[f"orders/{number}"] for number in range(3)]
    assert [part.key for part in parts] == ["{shop/0}:orders", "{shop/1}:orders", "{shop/2}:orders"]
    assert [(part.of, part.number, part.total) for part in parts] == [("orders", number, 3) for number in range(3)]
    assert all((part.writers, part.readers) == (["read"], ["work"]) for part in parts)
    assert "orders" not in found.streams


def test_a_stage_reads_all_partitions_and_names_the_stream_that_it_writes(folder: PipelineFolder) -> None:
    found = topology(folder, "orders: {partitions: 2, by: customer}, done: {partitions: 2, by: customer}")
    work = found.stages["work"]
    assert work.inputs == ("orders/0", "orders/1", "work@replay/0", "work@replay/1")
    assert work.partitions == (("orders/0", "work@replay/0"), ("orders/1", "work@replay/1"))
    assert (work.outputs, found.stages["read"].source_to) == (("done",), ("orders",))
    assert [stream.name for stream in found.outputs(work)] == ["done/0", "done/1"]
    assert [spec.key for spec in found.groups([work])] == [
        "{shop/0}:orders", "{shop/1}:orders", "{shop/0}:work@replay", "{shop/1}:work@replay"
    ]  # fmt: skip


def test_a_stage_that_shares_its_partitions_has_one_stream_for_replays(folder: PipelineFolder) -> None:
    streams = "orders: {partitions: 2, by: customer}"
    text = STAGES.format(streams=streams, redis="embedded").replace("work: {", "work: {ordered: false, ")
    work = folder.pipeline(text).topology().stages["work"]
    assert (work.owned, work.partitions) == (False, (("orders/0", "work@replay"), ("orders/1",)))


@pytest.mark.parametrize(
    ("settings", "partitions"),
    [("{by: customer}", 16), ("{by: [customer, n % 2], partitions: 4}", 4), ("{by: customer, partitions: 1}", None),
     ("{partitions: 1}", None), ("{}", None)],
)  # fmt: skip
def test_by_alone_makes_sixteen_and_one_partition_is_none(
    folder: PipelineFolder, settings: str, partitions: int | None
) -> None:
    orders = topology(folder, f"orders: {settings}").named["orders"]
    assert orders.partitions == partitions
    assert orders.key == ("{shop}:orders" if partitions is None else "{shop/*}:orders")


@pytest.mark.parametrize(
    ("streams", "redis", "place", "message", "hint"),
    [
        ("orders: {partitions: 8}", "embedded", "partitions: 8",
         "'orders' has 8 partitions, and nothing says which of them a record goes to",
         "add `by: FIELD`: records with the same value of it are in one partition"),
        ("orders: {by: customer, format: arrow}", "embedded", "by: customer",
         "'orders' holds tables, whose rows would have to go to different partitions",
         "use `format: json`, or leave `by` out"),
        ('orders: {by: customer, key: "others"}', "embedded", "by: customer",
         "'orders' has a `key`: a stream of others is one key, and has no partitions", None),
        ("orders: {by: \"headers['key']\"}", "embedded", "by: \"headers",
         "`by` is asked of the record, and cannot use its headers", "put what is in the header into a field"),
        ("orders: {by: customer}", "redis+cluster://host:1", "by: customer",
         "'orders' has 16 partitions, which a cluster would have in several slots",
         "a commit reaches one slot: say `partitions: 1`, or run on a single server"),
    ],
)  # fmt: skip
def test_what_cannot_have_partitions_is_refused_with_its_place(
    folder: PipelineFolder, streams: str, redis: str, place: str, message: str, hint: str | None
) -> None:
    folder.pipeline(STAGES.format(streams=streams, redis=redis))
    (problem,) = [found for found in folder.problems() if found.code == "partitions"]
    assert (problem.message, problem.hint) == (message, hint)
    line = folder.file.read_text().splitlines()[(problem.line or 0) - 1]
    assert line[(problem.column or 0) - 1 :].startswith(place.partition(": ")[2])


def test_by_has_to_be_an_expression(folder: PipelineFolder) -> None:
    folder.pipeline(STAGES.format(streams="orders: {by: customer +}", redis="embedded"))
    assert [problem.code for problem in folder.problems()] == ["wrong-value"]


def test_on_a_cluster_one_partition_is_fine(folder: PipelineFolder) -> None:
    assert topology(folder, "orders: {by: customer, partitions: 1}", "redis+cluster://host:1").stages


@pytest.mark.parametrize(("payments", "found"), [(2, True), (3, False)])
def test_inputs_with_different_partitions_are_told(folder: PipelineFolder, payments: int, found: bool) -> None:
    folder.pipeline(
        f"""\
        pipeline: shop
        stages: {{a: {{from: [orders, payments], to: t}}}}
        streams: {{orders: {{partitions: 3, by: c}}, payments: {{partitions: {payments}, by: c}}}}
        """
    )
    made = folder.topology()
    findings = list(uneven(made, made.stages["a"]))
    assert bool(findings) is found
    assert all("'orders' 3, 'payments' 2" in message for _, _, message, _ in findings)


def test_a_picture_has_one_node_for_a_stream(folder: PipelineFolder) -> None:
    drawn = picture(topology(folder, "orders: {partitions: 8, by: customer}"))
    (node,) = [node for node in drawn.nodes if node.id.startswith("stream:orders")]
    assert (node.label, node.lines) == ("orders", ["8 partitions by customer"])
    assert [edge.target for edge in drawn.edges if edge.source == "stream:orders"] == ["stage:work"]


def test_a_user_may_use_the_keys_of_all_partitions(folder: PipelineFolder) -> None:
    (user,) = users(topology(folder, "orders: {partitions: 8, by: customer}"))
    assert [rule for rule in user.rules if rule.startswith("~")] == ["~{shop/*}:*", "~{shop}:*"]


@pytest.mark.parametrize(
    ("key", "owned"),
    [("{shop}:orders", True), ("{shop/3}:orders", True), ("{shop/12}:@state:a", True), ("{shop/x}:orders", False),
     ("{shopping}:orders", False), ("{shop/3", False), ("shop:orders", False)],
)  # fmt: skip
def test_keys_of_partitions_are_the_pipelines_own(key: str, owned: bool) -> None:
    assert Keyspace("shop").owns(key) is owned


def test_partitions_that_the_file_does_not_have_are_orphans(folder: PipelineFolder) -> None:
    made = topology(folder, "orders: {partitions: 2, by: customer}")
    keys = {"{shop/1}:orders": 1, "{shop/2}:orders": 3}
    streams = {key: StreamPosition(key, "stream", length, {}) for key, length in keys.items()}
    (orphan,) = orphans(made, StreamsSnapshot(streams, {}), [*keys, *known_keys(made)])
    assert (orphan.kind, orphan.key, orphan.length) == ("stream", "{shop/2}:orders", 3)
