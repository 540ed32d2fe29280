"""Stages with owners, as an operator sees and moves them: their shape, their state by key, resets through the lease."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

import pytest
import redis

from papyra_flow.drawing.picture import picture
from papyra_flow.errors import RefusedError
from papyra_flow.observe.catalogue import samples
from papyra_flow.observe.figures import Figures, put_on
from papyra_flow.streams.connection.server import Server
from tests.harness.pipelines import PipelineFolder, Running, until

PIPELINE = """\
    pipeline: p
    streams:
      orders: {partitions: 4, by: customer, time: at, retain: all}
      minutes: {retain: all}
    stages:
      per_minute:
        from: orders
        process: [aggregate: {by: customer, window: 1m, fields: {n: count()}}]
        to: minutes
    """
RECORDS = [{"customer": f"c{n % 10}", "at": 1_700_000_040 + n} for n in range(200)]


@pytest.fixture
async def counted(folder: PipelineFolder, url: str, redis_client: redis.Redis) -> PipelineFolder:
    """A pipeline that has read all there is and was stopped, with windows that are still open."""
    folder.pipeline(PIPELINE)
    for record in RECORDS:
        number = zlib.crc32(record["customer"].encode()) % 4  # type: ignore[attr-defined]
        redis_client.xadd(f"{{p/{number}}}:orders", {"data": json.dumps(record)})
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["per_minute"].read == len(RECORDS) and not lag(redis_client))
    return folder


def lag(client: redis.Redis) -> int:
    return sum(group["lag"] for n in range(4) for group in client.xinfo_groups(f"{{p/{n}}}:orders"))


def leases(client: redis.Redis, field: str) -> list[bytes | None]:
    return [client.hget(f"{{p/{number}}}:@owner:per_minute", field) for number in range(4)]  # type: ignore[misc]


def state(folder: PipelineFolder, url: str, *arguments: str) -> Any:
    return folder.cli("state", "pipeline.yml", "per_minute", *arguments, "--json", "--redis", url).json


def minutes(client: redis.Redis) -> list[bytes]:
    """What has left, in one order."""
    entries: Any = client.xrange("{p}:minutes")
    return sorted(entry[b"data"] for _, entry in entries)


async def test_state_of_another_shape_is_refused_by_all_until_it_is_dropped(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    assert len(set(leases(redis_client, "shape"))) == 1
    counted.pipeline(PIPELINE.replace("window: 1m", "window: 2m"))
    with pytest.raises(RefusedError, match=r"'per_minute' does not fit .* reset FILE per_minute --state"):
        await counted.run(url, drain=True)
    for verb in ("apply", "run"):
        assert "does not fit" in counted.cli(verb, "pipeline.yml", "--redis", url, code=2).err
    assert any("does not fit" in line for line in counted.cli("plan", "pipeline.yml", "--redis", url).out.splitlines())
    assert "does not fit" in counted.cli("doctor", "pipeline.yml", "--redis", url, code=1).out
    counted.cli("reset", "pipeline.yml", "per_minute", "--state", "--yes", "--redis", url)
    assert not redis_client.keys("*@state*") + redis_client.keys("*@timers*")
    await counted.run(url, drain=True)


async def test_an_owner_takes_no_state_of_another_shape(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    running = Running(counted.topology(), url)
    redis_client.hset("{p/1}:@owner:per_minute", "shape", "another")
    with pytest.raises(RefusedError, match="does not fit"):
        await running.worker.run()
    await running.server.close()
    assert redis_client.hget("{p/1}:@owner:per_minute", "owner") == b""


async def test_state_shows_owners_watermarks_and_open_windows_by_key(counted: PipelineFolder, url: str) -> None:
    shown = state(counted, url)
    assert [one["partition"] for one in shown["partitions"]] == [0, 1, 2, 3]
    assert {one["owner"] for one in shown["partitions"]} == {None}
    assert sum(one["entries"] for one in shown["partitions"]) == len(shown["entries"]) > 0
    assert all(one["timers"] == one["entries"] for one in shown["partitions"])
    assert max(one["watermark"] for one in shown["partitions"] if one["watermark"]) == "2023-11-14T22:17:19+00:00"
    (entry,) = state(counted, url, "c3")["entries"]
    assert (entry["key"], entry["window_start"]) == (["c3"], "2023-11-14T22:17:00+00:00")
    words = counted.cli("state", "pipeline.yml", "per_minute", "c3", "--redis", url).out
    assert "2023-11-14T22:17:00+00:00" in words
    assert state(counted, url, "nobody")["entries"] == []


async def test_state_comes_in_pages_that_lose_nothing(counted: PipelineFolder, url: str) -> None:
    whole, found, place = state(counted, url)["entries"], [], "0:0"
    while place is not None:
        page = state(counted, url, "--count", "1", "--from", place)
        found += page["entries"]
        place = page["next"]
    assert sorted(map(str, found)) == sorted(map(str, whole))
    refused = counted.cli("state", "pipeline.yml", "per_minute", "--from", "x", "--redis", url, code=2)
    assert "is not what a page said" in refused.err


async def test_a_page_of_a_large_state_takes_a_few_short_commands(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    redis_client.hset("{p/0}:@state:per_minute", mapping={f'["x{n}",0]': "[1]" for n in range(50_000)})
    redis_client.config_resetstat()
    page = state(counted, url)
    assert 100 <= len(page["entries"]) < 400
    assert page["next"].startswith("0:")
    stats = redis_client.info("commandstats")
    assert stats["cmdstat_hscan"]["calls"] <= 3
    assert "cmdstat_hkeys" not in stats
    assert "cmdstat_hvals" not in stats


async def test_a_reset_moves_lease_and_group_together_and_gives_the_same_again(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    await counted.run(url, drain=True)
    first = minutes(redis_client)
    redis_client.delete("{p}:minutes")
    told = counted.cli(
        "reset", "pipeline.yml", "per_minute", "--to", "earliest", "--yes", "--json", "--redis", url
    ).json
    assert sum(one["again"] for one in told) == len(RECORDS)
    for number in range(4):
        key = f"{{p/{number}}}:orders"
        assert redis_client.hget(f"{{p/{number}}}:@owner:per_minute", f"at {key}") == b"0-0"
        assert redis_client.xinfo_groups(key)[0]["last-delivered-id"] == b"0-0"
    await counted.run(url, drain=True)
    assert minutes(redis_client) == first


async def test_a_replay_over_state_that_stays_is_refused_without_force(counted: PipelineFolder, url: str) -> None:
    words = ("reset", "pipeline.yml", "per_minute", "--to", "earliest", "--yes", "--redis", url)
    assert "would go into its state a second time" in counted.cli(*words, code=2).err
    counted.cli(*words, "--state")
    assert state(counted, url)["entries"] == []


async def test_a_stage_at_work_is_not_reset_without_force_and_goes_on_with_it(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    async with Running(counted.topology(), url) as running:
        await until(lambda: all(leases(redis_client, "owner")))
        words = ("reset", "pipeline.yml", "per_minute", "--to", "earliest", "--state", "--yes", "--redis", url)
        refused = await asyncio.to_thread(counted.cli, *words, code=2)
        assert "'per_minute' is at work" in refused.err
        assert running.counters.stages["per_minute"].read == 0
        await asyncio.to_thread(counted.cli, *words, "--force")
        await until(lambda: running.counters.stages["per_minute"].read >= len(RECORDS))
    await counted.run(url, drain=True)
    given = [json.loads(data) for data in minutes(redis_client)]
    results = {(one["customer"], one["window_start"]): one["n"] for one in given}
    assert sum(results.values()) == len(RECORDS)
    assert all(one["n"] == results[one["customer"], one["window_start"]] for one in given)


async def test_all_looks_show_partitions_state_and_watermark(counted: PipelineFolder, url: str) -> None:
    one = counted.cli("status", "pipeline.yml", "--json", "--redis", url).json["stages"]["per_minute"]
    assert (one["partitions"], one["owners"], one["consumers"], one["late"]) == (4, [None] * 4, 0, 0)
    assert one["state_entries"] > 0
    assert one["state_bytes"] > 0
    assert one["watermark_delay_ms"] > 0
    assert one["watermark"].startswith("2023-11-14T22:1")
    words = counted.cli("status", "pipeline.yml", "--redis", url).out
    assert "watermark delay ms" in words
    made = counted.cli("plan", "pipeline.yml", "--json", "--redis", url).json
    assert made["stages"] == [
        {"name": "per_minute", "partitions": 4, "keeps": "state by customer, 1m windows", "grows": None,
         "owners": [None] * 4, "state_entries": one["state_entries"], "state_bytes": one["state_bytes"],
         "watermark": one["watermark"]}
    ]  # fmt: skip
    assert made["unknown_keys"] == []
    (link,) = made["links"]
    assert link["because"] == "per_minute: what leaves, state and position are one commit"
    topology = counted.topology()
    server = Server(url)
    snapshot = await Figures(server, topology).look()
    await server.close()
    told = {metric.name: value for metric, _, value in samples(topology, snapshot)}
    assert told["papyra_flow.state.entries"] == one["state_entries"]
    assert (told["papyra_flow.partitions"], told["papyra_flow.partitions.owned"]) == (4, 0)
    assert told["papyra_flow.watermark.delay"] > 0  # type: ignore[operator]
    drawn = picture(topology)
    put_on(drawn, snapshot, topology)
    (node,) = [node for node in drawn.nodes if node.kind == "stage"]
    assert node.figures[1].startswith(f"state {one['state_entries']} · watermark ")


async def test_what_grows_for_ever_is_said_with_its_size(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, process: [dedupe: order], to: t}}\nstreams: {s: {}}\n")
    warnings = folder.cli("plan", "pipeline.yml", "--json", "--redis", url).json["warnings"]
    assert warnings == [
        "the state of 'a' grows: `dedupe` without `within` remembers every key for ever; so far 0 entries, 0 bytes"
    ]


async def test_doctor_names_partitions_without_an_owner_and_state_that_is_gone(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    words = ("doctor", "pipeline.yml", "--redis", url)
    assert "no partition is without an owner" in counted.cli(*words, code=None).out
    report = {"at": redis_client.time()[0] + 5, "started": 0, "stages": {"per_minute": {}}}
    redis_client.hset("{p}:@workers", "w", json.dumps(report))
    lost = redis_client.hlen("{p/1}:@state:per_minute")
    redis_client.delete("{p/1}:@state:per_minute")
    told = counted.cli(*words, code=1).out
    assert "partitions 0, 1, 2, 3 of 'per_minute' without an owner" in told
    assert f"lost {lost} keys of the state of 'per_minute', in partition 1" in " ".join(told.split())


async def test_pending_says_what_owners_have_not_committed(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    words = ("pending", "pipeline.yml", "per_minute", "--json", "--redis", url)
    assert counted.cli(*words).json == []
    id_ = redis_client.xadd("{p/2}:orders", {"data": "{}"})
    (one,) = counted.cli(*words).json
    assert (one["stream"], one["id"], one["partition"], one["lag"]) == ("{p/2}:orders", id_.decode(), 2, 1)  # type: ignore[union-attr]
    assert one["consumer"] is None


async def test_what_a_stage_that_is_gone_kept_is_left_over_and_destroyed(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    counted.pipeline(PIPELINE.replace("per_minute:", "anew:"))
    made = counted.cli("plan", "pipeline.yml", "--json", "--redis", url).json
    assert {key.partition("}:@")[2].partition(":")[0] for key in made["unknown_keys"]} >= {"owner", "state", "timers"}
    told = counted.cli("doctor", "pipeline.yml", "--redis", url, code=None).out
    assert "state of a stage that is not in the file" in " ".join(told.split())
    counted.cli("destroy", "pipeline.yml", "--yes", "--force", "--redis", url)
    assert redis_client.keys("*") == []


async def test_the_printed_user_may_run_and_reset_a_stage_with_owners(
    counted: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    plain: Any = redis_client
    (user,) = counted.cli("acl", "pipeline.yml", "--operate", "--json").json
    plain.execute_command("ACL", "SETUSER", "guest", "reset", "on", ">secret", *user["rules"])
    guest = url.replace("unix://", "unix://guest:secret@")
    try:
        await counted.run(guest, drain=True)
        for verb in (("status",), ("state",), ("reset", "--state", "--to", "earliest", "--yes"), ("pending",)):
            name, *options = verb
            stage = [] if name == "status" else ["per_minute"]
            counted.cli(name, "pipeline.yml", *stage, *options, "--redis", guest)
        told = counted.cli("doctor", "pipeline.yml", "--redis", guest, code=None).out
        assert "the user has the permissions that a run needs" in told
    finally:
        plain.execute_command("ACL", "DELUSER", "guest")
