"""A run's audits: what others took is told to the entry, once, be it before the run, under it or at its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from papyra_flow.errors import LostEntriesError
from papyra_flow.runtime.process import audit as audits
from papyra_flow.runtime.process.audit import Audit
from papyra_flow.runtime.process.options import RunOptions, RunResult
from papyra_flow.runtime.process.run import apply_topology, run_pipeline
from papyra_flow.streams.commit.ledger import audit, losses
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lifecycle import GroupSpec
from tests.harness.pipelines import PipelineFolder, until
from tests.harness.servers import LocalServer, plain_client

IN, OUT, LEDGER = "{p}:s", "{p}:t", "{p}:@ledger"
PIPELINE = """\
    pipeline: p
    defaults: {batch: {size: 1}, retry: {attempts: 1}}
    stages: {a: {from: s, process: [{filter: n >= 0}], to: t}}
    streams: {s: {}, t: {retain: all}}
    """


@pytest.fixture
def piped(folder: PipelineFolder) -> PipelineFolder:
    return folder.pipeline(PIPELINE)


def add(plain: redis.Redis, count: int) -> list[Any]:
    return [plain.xadd(IN, {"data": json.dumps({"n": n})}) for n in range(count)]


def steal(plain: redis.Redis, count: int) -> None:
    """As a foreign consumer in the group does, which acknowledges what it reads."""
    found: Any = plain.xreadgroup("a", "intruder", {IN: ">"}, count=count)
    plain.xack(IN, "a", *(id_ for _, entries in found for id_, _ in entries))


async def ran(folder: PipelineFolder, url: str, *overrides: str) -> RunResult:
    return await run_pipeline(folder.topology(*overrides), url, RunOptions(drain=True))


# -- whole runs -------------------------------------------------------------------------------------------------------


async def test_what_was_taken_between_two_runs_is_told_by_the_next_one_alone(
    piped: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    assert (await ran(piped, url)).error is None
    add(redis_client, 10)
    steal(redis_client, 3)
    found = await ran(piped, url)
    assert (found.outcome, found.counters.stages["a"].lost) == ("failed", 3)
    assert isinstance(found.error, LostEntriesError)
    assert "lost 3 entries before the pipeline had processed them (a 3); they were acked (XACK)" in str(found.error)
    add(redis_client, 1)
    found = await ran(piped, url)
    assert (found.outcome, found.error, found.counters.lost) == ("drained", None, 0)
    assert redis_client.xlen(OUT) == 8


STEALING = """\
    import redis
    plain = redis.Redis.from_url("{url}")
    def step(record):
        if record["n"] == 2:
            entries = plain.xrange("{{p}}:s", "(" + plain.xinfo_groups("{{p}}:s")[0]["last-delivered-id"].decode())
            plain.xdel("{{p}}:s", *(id_ for id_, _ in entries))
        return record
    """


async def test_what_is_taken_under_a_run_is_told_at_its_end(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    module = folder.steps(STEALING.format(url=url))
    folder.pipeline(PIPELINE.replace("{filter: n >= 0}", f'{{run: "{module}:step"}}'))
    await apply_topology(server := Server(url), folder.topology())
    await server.close()
    add(redis_client, 50)
    found = await ran(folder, url)
    arrived: Any = redis_client.xlen(OUT)
    assert 3 <= arrived < 50
    assert (found.outcome, found.counters.stages["a"].lost) == ("failed", 50 - arrived)
    assert f"lost {50 - arrived:,} entr" in str(found.error)


async def test_what_is_processed_again_because_others_moved_the_group_is_told_once(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    module = folder.steps(
        f"""\
        import redis
        plain = redis.Redis.from_url("{url}")
        def step(record):
            if record["n"] == 7 and not plain.exists("moved"):
                plain.set("moved", 1)
                plain.xgroup_setid("{{p}}:s", "a", "0")
            return record
        """
    )
    folder.pipeline(
        PIPELINE.replace("{filter: n >= 0}", f'{{run: "{module}:step"}}').replace("s: {}", "s: {retain: all}")
    )
    add(redis_client, 10)
    found = await ran(folder, url)
    again = int(redis_client.xlen(OUT)) - 10
    assert again > 0
    assert (found.outcome, found.counters.lost) == ("failed", 0)
    assert f"{again} entries (a {again}) were processed again: the group was moved back (XGROUP SETID)" in str(
        found.error
    )
    assert (await ran(folder, url)).error is None
    redis_client.xgroup_setid(IN, "a", "0")
    assert "10 entries (a 10) were processed again" in str((await ran(folder, url)).error)


async def test_a_group_that_was_created_again_hides_no_loss(
    piped: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    """Its count of what was acked goes on; what it has to be compared with begins again."""
    piped.pipeline(PIPELINE.replace("s: {}", "s: {retain: all}"))
    add(redis_client, 10)
    assert (await ran(piped, url)).error is None
    redis_client.xgroup_destroy(IN, "a")
    server, topology = Server(url), piped.topology()
    await apply_topology(server, topology)
    await server.close()
    add(redis_client, 10)
    steal(redis_client, 4)
    assert (await ran(piped, url)).counters.lost == 4
    assert redis_client.xlen(OUT) == 10 + 16


BY_HAND: dict[str, Callable[[list[str]], tuple[str, ...]]] = {
    "ack": lambda ids: ("ack", "a", ids[2]),
    "delete what is pending": lambda ids: ("delete", "s", ids[2]),
    "delete what is not delivered": lambda ids: ("delete", "s", *ids[4:6]),
    "delete the last one": lambda ids: ("delete", "s", ids[-1]),
    "trim": lambda ids: ("trim", "s", "--keep", "4"),
    "trim all": lambda ids: ("trim", "s", "--keep", "0"),
    "skip": lambda ids: ("reset", "a", "--to", "latest"),
    "skip some": lambda ids: ("reset", "a", "--to", ids[6]),
    "go back": lambda ids: ("reset", "a", "--to", ids[1]),
}


@pytest.mark.parametrize("stolen", [0, 2])
@pytest.mark.parametrize("harm", BY_HAND)
async def test_what_an_operator_does_on_purpose_is_no_loss_and_hides_none(
    piped: PipelineFolder, any_url: str, harm: str, stolen: int
) -> None:
    with plain_client(any_url) as plain:
        assert (await ran(piped, any_url)).error is None
        ids = [id_.decode() for id_ in add(plain, 10)]
        if stolen:
            steal(plain, stolen)
        plain.xreadgroup("a", "gone", {IN: ">"}, count=3 - stolen)
        verb, *arguments = BY_HAND[harm](ids)
        piped.cli(verb, "pipeline.yml", *arguments, "--force", "--redis", any_url)
        claimed_at_once = ("defaults.claim_after=1ms",)
        assert (await ran(piped, any_url, *claimed_at_once)).counters.lost == stolen
        assert (await ran(piped, any_url)).error is None


# -- keys that are gone -----------------------------------------------------------------------------------------------


@pytest.fixture
async def server(local_server: Callable[..., LocalServer], piped: PipelineFolder) -> AsyncIterator[Server]:
    """A server of its own, with the pipeline's groups, and an answered client beside it."""
    found = Server(local_server("--save", "86400 1").url)
    await apply_topology(found, piped.topology())
    yield found
    await found.close()


@pytest.fixture
def plain(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url)


@pytest.fixture
async def looking(server: Server, piped: PipelineFolder, plain: redis.Redis) -> Audit:
    """An audit that has begun on a group with five entries to do."""
    add(plain, 5)
    found = Audit(server.client, piped.topology(), ["a"])
    await found.begin()
    assert found.error is None
    return found


async def test_a_server_that_lost_everything_is_told_by_what_was_outstanding_once(
    looking: Audit, server: Server, piped: PipelineFolder, plain: redis.Redis
) -> None:
    plain.flushall()
    await apply_topology(server, piped.topology())
    for _ in range(2):
        await looking.finish()
        assert (looking.lost, looking.wiped) == ({"a": 5}, [IN, "{p}:a@replay"])
    assert "lost 5 entries" in str(looking.error)
    assert f"{IN}, {{p}}:a@replay was deleted, flushed (FLUSHALL), evicted" in str(looking.error)


async def test_a_ledger_that_alone_is_gone_is_told_as_that(looking: Audit, plain: redis.Redis) -> None:
    """What was outstanding is there still."""
    plain.delete(LEDGER)
    for _ in range(2):
        await looking.finish()
        assert (looking.lost, looking.wiped) == ({}, [LEDGER])
    steal(plain, 2)
    await looking.finish()
    assert looking.lost == {"a": 2}


async def test_a_stream_that_is_gone_is_told_by_what_was_outstanding_once(looking: Audit, plain: redis.Redis) -> None:
    plain.delete(IN)
    for _ in range(2):
        await looking.finish()
        assert (looking.lost, looking.wiped) == ({"a": 5}, [IN])


async def test_a_stream_that_others_replaced_is_as_good_as_gone(looking: Audit, plain: redis.Redis) -> None:
    plain.delete(IN)
    plain.set(IN, "theirs")
    await looking.finish()
    assert (looking.lost, looking.wiped) == ({"a": 5}, [IN])


async def test_keys_that_are_gone_with_nothing_in_them_end_the_run_as_well(
    server: Server, piped: PipelineFolder, plain: redis.Redis
) -> None:
    found = Audit(server.client, piped.topology(), ["a"])
    await found.begin()
    plain.delete(IN)
    await found.finish()
    assert found.lost.total() == 0
    assert IN in str(found.error)


async def test_a_group_that_is_not_there_yet_has_lost_nothing(
    server: Server, piped: PipelineFolder, plain: redis.Redis
) -> None:
    plain.flushall()
    found = Audit(server.client, piped.topology(), ["a"])
    await found.begin()
    await apply_topology(server, piped.topology())
    add(plain, 2)
    await found.finish()
    assert (found.error, found.wiped) == (None, [])


async def test_what_is_outstanding_is_no_more_than_is_there(looking: Audit, server: Server, plain: redis.Redis) -> None:
    """The server's own lag counts what was trimmed."""
    steal(plain, 1)
    plain.xtrim(IN, maxlen=2, approximate=False)
    groups: Any = plain.xinfo_groups(IN)
    assert groups[0]["lag"] == 4
    (account,) = (await audit(server.client, LEDGER, [GroupSpec(IN, "a")], telling=True)).accounts
    assert account.outstanding == 2


# -- an output that is read by no stage -------------------------------------------------------------------------------


def evict(plain: redis.Redis) -> None:
    plain.config_set("maxmemory-policy", "allkeys-random")
    plain.config_set("maxmemory", 1)
    while plain.dbsize():
        plain.ping()
    plain.config_set("maxmemory", 0)


def output(plain: redis.Redis) -> None:
    for _ in range(7):
        plain.xadd(OUT, {"data": "{}"})


async def test_an_output_that_was_evicted_is_told_with_what_was_in_it(
    server: Server, piped: PipelineFolder, plain: redis.Redis
) -> None:
    output(plain)
    found = Audit(server.client, piped.topology(), ["a"])
    await found.begin()
    evict(plain)
    await apply_topology(server, piped.topology())
    await found.finish()
    assert OUT in found.wiped
    assert found.lost["a"] == 7


async def test_an_output_that_its_readers_trim_is_no_loss(
    server: Server, piped: PipelineFolder, plain: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where keys were evicted before the run, or others' are evicted while it goes on."""
    output(plain)
    plain.set("another", "x")
    evict(plain)
    await apply_topology(server, piped.topology())
    output(plain)
    found = Audit(server.client, piped.topology(), ["a"])
    await found.begin()
    plain.xtrim(OUT, maxlen=3, approximate=False)
    await found.finish()
    assert (found.error, found.wiped) == (None, [])
    found._evicted = -1
    await found.finish()
    assert (found.error, found.wiped) == (None, []), "it begins where it began"
    assert caplog.records == []


# -- beside the work --------------------------------------------------------------------------------------------------


async def test_losses_are_told_while_the_run_goes_on_whatever_the_server_does_meanwhile(
    server: Server,
    looking: Audit,
    plain: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(audits, "EVERY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING, "papyra_flow.audit")
    task = asyncio.create_task(looking.run())
    try:
        steal(plain, 2)
        await until(lambda: looking.lost["a"] == 2)
        assert "a: lost 2 entries of {p}:s: they were acked (XACK)" in caplog.text
        plain.config_set("requirepass", "x")
        plain.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: "errorstat_NOAUTH" in plain.info("errorstats"))
        plain.config_set("requirepass", "")
        steal(plain, 1)
        await until(lambda: looking.lost["a"] == 3)
        assert not task.done()
    finally:
        task.cancel()
    assert await losses(server.client, LEDGER) == {(IN, "a"): 3}
