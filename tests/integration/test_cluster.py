"""A pipeline on a cluster: its own slot, streams and hashes in other slots, and addresses that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from papyra_flow.errors import CommandRefusedError, ServerUnreachableError, UsageError
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.commit.operations import Forward, PutState, SetTimer
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from papyra_flow.streams.keys import Keyspace
from papyra_flow.topology.acl import users
from tests.harness.cluster import Cluster
from tests.harness.pipelines import PipelineFolder
from tests.harness.ports import free_port
from tests.harness.servers import VALKEY, LocalServer

SOURCE, TABLE, SINK = "far:source", "our:prices", "our:sink"
PIPELINE = """\
    pipeline: p
    redis: {url}
    stages:
      pull: {{read: {{stream: "far:source", follow: false}}, to: s}}
      price:
        from: s
        process: [{{lookup: {{hash: "our:prices", on: k, as: price}}}}, {{filter: 1 / (n - 3) != 0}}]
        to: t
      push: {{from: t, write: {{stream: "our:sink"}}}}
    """


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(VALKEY, tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.start()
    finally:
        cluster.end()


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """An empty cluster."""
    for port in started.nodes:
        started.ask(port, "FLUSHALL")
    return started


@pytest.fixture
def spread(cluster: Cluster, folder: PipelineFolder) -> redis.RedisCluster:
    """A pipeline with a source, a table and a sink on nodes other than its own, and a client that finds them all."""
    nodes = {cluster.owner(key) for key in (SOURCE, TABLE, SINK, "{p}:s")}
    assert len(nodes) == 3
    found = redis.RedisCluster(host="127.0.0.1", port=next(iter(cluster.nodes)))
    for n in range(100):
        found.xadd(SOURCE, {"data": json.dumps({"n": n, "k": "a"})})
    found.hset(TABLE, "a", "7")
    folder.pipeline(PIPELINE.format(url=cluster.url))
    return found


def test_a_pipeline_reads_looks_up_and_writes_in_other_slots(
    folder: PipelineFolder, spread: redis.RedisCluster
) -> None:
    finished = folder.cli("run", "pipeline.yml", "--json", code=3)
    assert finished.json["stages"]["push"]["written"] == 99
    entries: Any = spread.xrange(SINK)
    records = [json.loads(fields[b"data"]) for _, fields in entries]
    assert records == [{"n": n, "k": "a", "price": 7} for n in range(100) if n != 3]


def test_every_verb_finds_the_pipelines_node_and_that_of_any_stream(
    folder: PipelineFolder, spread: redis.RedisCluster
) -> None:
    folder.cli("run", "pipeline.yml", "--processes", "2", code=3)
    for verb in ("validate", "plan", "apply", "status", "groups", "consumers", "acl"):
        folder.cli(verb, "pipeline.yml")
    assert len(folder.cli("dead", "list", "pipeline.yml", "--json").json) == 1
    spread.xgroup_create(SOURCE, "g", "0")
    spread.xreadgroup("g", "c", {SOURCE: ">"}, count=10)
    group = ("--stream", SOURCE, "--group", "g")
    listed = folder.cli("pending", "pipeline.yml", *group, "--json").json
    first, second = listed[0]["id"], listed[1]["id"]
    assert len(listed) == 10
    assert folder.cli("groups", "pipeline.yml", "--stream", SOURCE, "--json").json[0]["lag"] == 90
    assert folder.cli("claim", "pipeline.yml", *group, first, "--yes", "--json").json == {"claimed": 1}
    assert folder.cli("ack", "pipeline.yml", *group, second, "--force", "--json").json == {"acked": 1}
    assert len(folder.cli("tap", "pipeline.yml", SOURCE, "--json").json) == 100
    folder.cli("add", "pipeline.yml", SOURCE, '{"n": 1}')
    folder.cli("delete", "pipeline.yml", SOURCE, first, "--force")
    folder.cli("reset", "pipeline.yml", *group, "--to", "latest", "--force")
    folder.cli("trim", "pipeline.yml", SOURCE, "--keep", "1", "--force")
    assert spread.xlen(SOURCE) == 1
    folder.cli("destroy", "pipeline.yml", "--force")


def test_a_stream_in_another_slot_is_refused_with_what_to_say_instead(folder: PipelineFolder, cluster: Cluster) -> None:
    folder.pipeline(
        f"""\
        pipeline: p
        redis: {cluster.url}
        stages: {{a: {{from: [in, beside], to: out}}}}
        streams: {{in: {{key: "{SOURCE}"}}, beside: {{key: "{{p}}beside"}}}}
        """
    )
    (problem,) = folder.problems()
    assert (problem.code, problem.line) == ("other-slot", 4)
    assert "`read: {stream: 'far:source'}`" in str(problem)


async def test_a_node_of_a_cluster_is_no_address_of_its_own(cluster: Cluster, folder: PipelineFolder) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    with pytest.raises(UsageError, match=r"is a node of a cluster: give the cluster as redis\+cluster://"):
        await folder.run(f"redis://127.0.0.1:{cluster.owner('{p}:s')}", drain=True)


async def test_a_server_that_is_no_cluster_says_so(url: str, local_server: Callable[..., LocalServer]) -> None:
    single = local_server(port=free_port())
    server = Server(f"redis+cluster://127.0.0.1:{single.port}", key="x")
    with pytest.raises(CommandRefusedError, match="cluster support disabled"):
        await server.client.call("PING")


async def test_a_cluster_of_which_nobody_answers_is_unreachable() -> None:
    server = Server(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}", key="x")
    with pytest.raises(ServerUnreachableError, match="no node of the cluster answers"):
        await server.client.call("PING")


async def test_nodes_that_are_not_there_are_passed_over(cluster: Cluster) -> None:
    one = next(iter(cluster.nodes))
    server = Server(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{one}", key="{p}:s")
    assert await server.client.call("SET", "{p}:s", "x") == b"OK"
    await server.close()


async def test_the_printed_users_may_do_all_that_is_needed_on_a_cluster(
    folder: PipelineFolder, spread: redis.RedisCluster, cluster: Cluster
) -> None:
    (user,) = users(folder.topology())
    for port in cluster.nodes:
        cluster.ask(port, "ACL", "SETUSER", "p", "reset", "on", ">PASSWORD", *user.rules)
    login = cluster.url.replace("://", "://p:PASSWORD@")
    result = await folder.run(login, f"redis={login}")
    assert result.counters.stages["push"].written == 99


async def test_state_and_timers_change_with_a_commit_in_their_slot(cluster: Cluster) -> None:
    keys = Keyspace("p")
    server = Server(cluster.url, key=keys.applied)
    stream, target = keys.stream("s"), keys.stream("t")
    commit = Commit()
    try:
        await create_groups(server.client, [GroupSpec(stream, "a")], marker=keys.applied)
        added = await server.client.call("XADD", stream, "*", "data", "{}")
        await server.client.call("XREADGROUP", "GROUP", "a", "c", "STREAMS", stream, ">")
        assert isinstance(added, bytes)
        commit.add(added, [PutState(0, b"k", b"v"), SetTimer(0, 7, b"t"), Forward(0, (b"data", b"1"))])
        committer = Committer(
            server.client, source=stream, group="a", consumer="c", probe=keys.probe, lease=None, targets=[target],
            ledger=keys.ledger, states=[keys.state("a")], timers=[keys.timers("a")],
        )  # fmt: skip
        assert (await committer.commit(commit)).acked == 1
        assert await server.client.call("HGET", keys.state("a"), "k") == b"v"
        assert await server.client.call("ZRANGE", keys.timers("a"), 0, -1) == [b"t"]
        assert await server.client.call("XLEN", target) == 1
    finally:
        await server.close()
