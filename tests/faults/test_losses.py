"""Others take entries from a pipeline at work: what is missing at the end is told, to the entry, with exit code 1."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from papyra_flow.runtime.process.audit import EVERY_SECONDS
from tests.faults.workload import SEED, patiently, wait
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import FLAVOURS, LocalServer

RECORDS = 6000
BATCH = 100
PIPELINE = """\
    pipeline: v
    redis: redis://nowhere
    defaults: {batch: {size: 100}, claim_after: 2s}
    stages:
      first: {from: in, process: [{run: "held_steps:first"}], to: middle}
      second: {from: middle, process: [{run: "held_steps:second"}], to: out}
    streams: {in: {}, out: {retain: all}}
    """
STEPS = """\
    import asyncio, pathlib, time

    async def held(record, since):
        while record["n"] >= since and not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        time.sleep(0.0005)
        return record

    async def first(record):
        return await held(record, 4000)

    async def second(record):
        return await held(record, 2000)
    """
IN, MIDDLE, OUT = "{v}:in", "{v}:middle", "{v}:out"
GROUPS = {IN: "first", MIDDLE: "second"}
Vandal = Callable[[redis.Redis, str, random.Random], int]


def pending(server: redis.Redis, key: str) -> list[bytes]:
    found: Any = server.xpending_range(key, GROUPS[key], "-", "+", 10_000)
    return [entry["message_id"] for entry in found]


def undelivered(server: redis.Redis, key: str) -> list[bytes]:
    groups: Any = server.xinfo_groups(key)
    entries: Any = server.xrange(key, b"(" + groups[0]["last-delivered-id"])
    return [id_ for id_, _ in entries]


def number(reply: Any) -> int:
    return int(reply)


def acks_what_is_pending(server: redis.Redis, key: str, dice: random.Random) -> int:
    ids = pending(server, key)
    return number(server.xack(key, GROUPS[key], *dice.sample(ids, len(ids) // 2))) if len(ids) > 1 else 0


def deletes_what_is_pending(server: redis.Redis, key: str, dice: random.Random) -> int:
    """What a worker has in hand is forwarded all the same: nothing need be lost."""
    ids = pending(server, key)
    return number(server.xdel(key, *dice.sample(ids, len(ids) // 2))) if len(ids) > 1 else 0


def deletes_what_is_not_delivered(server: redis.Redis, key: str, dice: random.Random) -> int:
    ids = undelivered(server, key)[BATCH:]
    return number(server.xdel(key, *dice.sample(ids, len(ids) // 3))) if len(ids) > 2 else 0


def trims_what_is_not_delivered(server: redis.Redis, key: str, dice: random.Random) -> int:
    return number(server.xtrim(key, maxlen=dice.randrange(1, 50), approximate=False))


def drops_the_consumer(server: redis.Redis, key: str, dice: random.Random) -> int:
    consumers: Any = server.xinfo_consumers(key, GROUPS[key])
    return sum(number(server.xgroup_delconsumer(key, GROUPS[key], found["name"])) for found in consumers)


def claims_away_and_acks(server: redis.Redis, key: str, dice: random.Random) -> int:
    ids: Any = pending(server, key)[-20:]
    taken: Any = server.xclaim(key, GROUPS[key], "intruder", 0, ids, justid=True) if ids else []
    return number(server.xack(key, GROUPS[key], *taken)) if taken else 0


def claims_away_and_keeps(server: redis.Redis, key: str, dice: random.Random) -> int:
    """They are taken over again, or committed by whoever had them: nothing is lost."""
    ids: Any = pending(server, key)[-20:]
    taken: Any = server.xclaim(key, GROUPS[key], "intruder", 0, ids, justid=True) if ids else []
    return len(taken)


def reads_in_the_group_and_acks(server: redis.Redis, key: str, dice: random.Random) -> int:
    found: Any = server.xreadgroup(GROUPS[key], "intruder", {key: ">"}, count=30)
    ids = [id_ for _, entries in found for id_, _ in entries]
    return number(server.xack(key, GROUPS[key], *ids)) if ids else 0


VANDALS: list[Vandal] = [
    acks_what_is_pending, deletes_what_is_pending, deletes_what_is_not_delivered, trims_what_is_not_delivered,
    drops_the_consumer, claims_away_and_acks, claims_away_and_keeps, reads_in_the_group_and_acks,
]  # fmt: skip


@pytest.fixture(params=[flavour for flavour in FLAVOURS if flavour != "redis8"])
def server(request: pytest.FixtureRequest, local_server: Callable[..., LocalServer]) -> LocalServer:
    """A server of its own, of each flavour in turn."""
    return local_server(flavour=request.param)


class Run:
    """A bounded run that is under way on `RECORDS` records: each stage holds its last ones until `go`."""

    def __init__(self, folder: PipelineFolder, server: LocalServer, *arguments: str) -> None:
        folder.pipeline(PIPELINE)
        folder.write("held_steps.py", STEPS)
        self._server = server
        with server.client as plain, plain.pipeline(transaction=False) as pipe:
            for n in range(RECORDS):
                pipe.xadd(IN, {"data": json.dumps({"n": n})})
            pipe.execute()
        self._process = folder.start("run", "pipeline.yml", "--drain", "--json", "--redis", server.url, *arguments)
        self.go = folder.path / "go"
        patiently(lambda: self.arrived.total() > 2 * BATCH, "the first records")

    @property
    def arrived(self) -> Counter[int]:
        with self._server.client as plain:
            entries: Any = plain.xrange(OUT)
        return Counter(json.loads(fields[b"data"])["n"] for _, fields in entries)

    def end(self) -> tuple[int, dict[str, Any], str]:
        """The exit code, the document, and what was told."""
        self.go.touch()
        out, err = self._process.communicate(timeout=HANGS_SECONDS)
        return self._process.returncode, json.loads(out), err


def lost(document: dict[str, Any]) -> int:
    return sum(stage.get("lost", 0) for stage in document["stages"].values())


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("vandal", VANDALS, ids=lambda vandal: vandal.__name__)
def test_what_is_missing_is_told(folder: PipelineFolder, server: LocalServer, vandal: Vandal, processes: str) -> None:
    dice, harm = random.Random(SEED), 0
    run = Run(folder, server, "--processes", processes)
    with server.client as plain:
        for _ in range(3):
            for key in GROUPS:
                harm += vandal(plain, key, dice)
    code, document, err = run.end()
    arrived = run.arrived
    missing = RECORDS - len(arrived)
    print(f"{vandal.__name__}: {harm} entries harmed, {missing} missing")
    assert harm > 0, "nothing was harmed"
    assert arrived.total() == len(arrived), "doubled"
    assert lost(document) == missing
    assert code == (1 if missing else 0), err
    if missing:
        assert f"{missing:,} entr" in err
        assert document["outcome"] == "failed"


def flushes(server: redis.Redis) -> None:
    server.flushall()


def evicts_everything(server: redis.Redis) -> None:
    server.config_set("maxmemory-policy", "allkeys-random")
    server.config_set("maxmemory", 1)
    patiently(lambda: not server.exists(IN), "evictions")
    server.config_set("maxmemory", 0)


def evicts_until_the_output_is_gone(server: redis.Redis) -> None:
    server.config_set("maxmemory-policy", "allkeys-random")

    def gone() -> bool:
        first = first_of(server)
        facts: Any = server.info("memory")
        server.config_set("maxmemory", int(facts["used_memory"] * 0.95))
        server.ping()
        server.config_set("maxmemory", 0)
        return bool(first_of(server) != first)

    patiently(gone, "the eviction of the output")


def first_of(server: redis.Redis) -> Any:
    entries: Any = server.xrange(OUT, count=1)
    return entries[0][0] if entries else None


def deletes_the_stream(server: redis.Redis) -> None:
    server.delete(MIDDLE)


@pytest.mark.parametrize(
    "harm", [flushes, evicts_everything, evicts_until_the_output_is_gone, deletes_the_stream],
    ids=lambda harm: harm.__name__,
)  # fmt: skip
def test_keys_that_are_gone_are_told_with_what_was_in_them(
    folder: PipelineFolder, server: LocalServer, harm: Callable[[redis.Redis], None]
) -> None:
    run = Run(folder, server)
    with server.client as plain:
        patiently(lambda: undelivered(plain, MIDDLE), "a backlog")
        wait(2 * EVERY_SECONDS)  # so that an audit has seen it
        harm(plain)
    code, document, err = run.end()
    assert code == 1, err
    assert document["outcome"] == "failed"
    assert lost(document) > 0
    assert "deleted" in err
