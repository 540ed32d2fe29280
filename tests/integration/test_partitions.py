"""Streams with partitions in a run: each record in the partition of its key, once and in its key's order."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from typing import Any

import pytest
import redis

from papyra_flow.errors import RefusedError
from papyra_flow.operate.planning import plan_on
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.destroy import carry_out, what_is_there
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.records import STEPS
from tests.harness.servers import plain_client

CUSTOMERS = [f"customer {number}" for number in range(20)]
RECORDS: list[dict[str, Any]] = [{"n": n, "customer": CUSTOMERS[n * 7 % 20], "odd": n % 2} for n in range(2000)]
PIPELINE = """\
    pipeline: p
    defaults: {batch: {size: 100}}
    stages:
      read: {read: {jsonl: in.jsonl}, to: orders}
      keep: {from: orders, process: [{filter: n % 10 != 9}], to: kept}
    streams:
      orders: {partitions: 8, by: customer, retain: all}
      kept: {partitions: 3, by: [odd, customer], retain: all}
    """


def number_of(text: str, partitions: int) -> int:
    return zlib.crc32(text.encode()) % partitions


def entries(url: str, stream: str, partitions: int) -> dict[int, list[dict[str, Any]]]:
    """What is in each partition, in order."""
    with plain_client(url) as client:
        return {
            number: [json.loads(fields[b"data"]) for _, fields in client.xrange(f"{{p/{number}}}:{stream}")]
            for number in range(partitions)
        }


def put(client: redis.Redis, records: list[dict[str, Any]], partitions: int = 8) -> None:
    """Add records as a service does that knows the rule."""
    pipe = client.pipeline(transaction=False)
    for record in records:
        key = f"{{p/{number_of(record['customer'], partitions)}}}:orders"
        pipe.xadd(key, {"data": json.dumps(record)})
    pipe.execute()


async def test_each_record_is_in_the_partition_of_its_key_once_and_in_order(
    folder: PipelineFolder, any_url: str
) -> None:
    folder.records("in.jsonl", RECORDS)
    result = await folder.pipeline(PIPELINE).run(any_url)
    orders, kept = entries(any_url, "orders", 8), entries(any_url, "kept", 3)
    for number, records in orders.items():
        assert records == [record for record in RECORDS if number_of(record["customer"], 8) == number]
    went = [record for record in RECORDS if record["n"] % 10 != 9]
    for number, records in kept.items():
        texts = [json.dumps([record["odd"], record["customer"]], separators=(",", ":")) for record in records]
        assert {number_of(text, 3) for text in texts} <= {number}
    assert Counter(record["n"] for records in kept.values() for record in records) == Counter(r["n"] for r in went)
    for customer in CUSTOMERS:
        for odd in (0, 1):
            found = [
                r["n"] for records in kept.values() for r in records if (r["customer"], r["odd"]) == (customer, odd)
            ]
            assert found == sorted(found)
    assert result.streams["orders"] == {"length": 2000, "backlog": 0}
    assert result.counters.stages["keep"].emitted == {"kept": len(went)}


async def test_what_a_service_puts_into_its_partition_is_read(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    folder.pipeline(PIPELINE.replace("read: {read: {jsonl: in.jsonl}, to: orders}", "other: {from: kept, to: end}"))
    put(redis_client, RECORDS)
    await folder.run(url, drain=True)
    with plain_client(url) as client:
        assert client.xlen("{p}:end") == sum(record["n"] % 10 != 9 for record in RECORDS)


async def test_a_consumer_that_shares_partitions_holds_no_more_than_max_pending(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    module = folder.steps("def never(record):\n    raise ValueError('not today')\n")
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a:
            from: orders
            ordered: false
            process: [{{run: "{module}:never"}}]
            to: t
            batch: {{size: 20}}
            max_pending: 64
            retry: {{attempts: 1000, backoff: 1h}}
        streams: {{orders: {{partitions: 8, by: customer}}}}
        """
    )
    put(redis_client, RECORDS)
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["a"].retried >= 64)
        pending = sum(redis_client.xpending(f"{{p/{number}}}:orders", "a")["pending"] for number in range(8))
        assert pending == running.counters.stages["a"].read == 64


async def test_dead_letters_and_records_put_off_come_back_to_their_partition(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: orders, process: [{{run: "{module}:patient"}}, {{run: "{module}:hopeless"}}], to: done}}}}
        defaults: {{retry: {{attempts: 2, backoff: 1ms..1ms}}}}
        streams: {{orders: {{partitions: 8, by: customer}}, done: {{partitions: 8, by: customer, retain: all}}}}
        """
    )
    put(redis_client, RECORDS[:200])
    await folder.run(url, drain=True)
    dead = redis_client.xlen("{p}:@dead:a")
    assert dead == sum(record["n"] % 10 in {3, 4} for record in RECORDS[:200])
    folder.write(next(folder.path.glob("steps_*.py")).name, "def patient(record): return record\nhopeless = patient\n")
    folder.cli("dead", "replay", "pipeline.yml", "a", "--redis", url)
    folder.cli("run", "pipeline.yml", "--drain", "--redis", url)
    done = entries(url, "done", 8)
    assert Counter(r["n"] for records in done.values() for r in records) == Counter(range(200))
    assert all(number_of(r["customer"], 8) == number for number, records in done.items() for r in records)


# -- a changed file -----------------------------------------------------------------------------------------------


async def refused(folder: PipelineFolder, url: str, old: str, new: str) -> str | None:
    """What a run says to a file in which this is changed, and so does a plan; None if it begins."""
    folder.file.write_text(folder.file.read_text().replace(old, new))
    server = Server(url)
    planned = (await plan_on(server, folder.topology())).repartitioned
    await server.close()
    said = None
    try:
        await folder.run(url, drain=True)
    except RefusedError as exc:
        said = str(exc)
    assert planned == ([said] if said else [])
    return said


@pytest.fixture
async def ran(folder: PipelineFolder, url: str) -> PipelineFolder:
    """A pipeline that has run, of which nothing is left."""
    folder.pipeline(
        """\
        pipeline: p
        stages: {keep: {from: orders, process: [{filter: n >= 0}], to: kept}}
        streams: {orders: {partitions: 8, by: customer}, kept: {}}
        """
    )
    await folder.run(url, drain=True)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "shape"),
    [("partitions: 8", "partitions: 4", "4 partitions by customer"), ("by: customer", "by: n", "8 partitions by n"),
     ("{partitions: 8, by: customer}", "{}", "no partitions")],
)  # fmt: skip
async def test_other_partitions_are_refused_while_there_are_records(
    ran: PipelineFolder, url: str, redis_client: redis.Redis, old: str, new: str, shape: str
) -> None:
    put(redis_client, RECORDS[:2])
    before = ran.file.read_text()
    assert await refused(ran, url, old, new) == (
        f"the stream 'orders' has {shape} in the file, and 8 partitions by customer on the server, with 2 records that "
        "are not processed yet: drain it with the file as it was, or give it a new name"
    )
    ran.file.write_text(before)
    await ran.run(url, drain=True)
    assert await refused(ran, url, old, new) is None


async def test_a_stream_that_had_none_gets_partitions_when_it_is_drained(
    ran: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    redis_client.xadd("{p}:kept", {"data": "{}"})
    told = await refused(ran, url, "kept: {}", "kept: {partitions: 2, by: n}")
    assert told is not None
    assert (
        "'kept' has 2 partitions by n in the file, and no partitions on the server, with 1 record that is not" in told
    )
    redis_client.xtrim("{p}:kept", maxlen=0)
    assert await refused(ran, url, "kept: {}", "kept: {partitions: 2, by: n}") is None


async def test_other_partitions_are_refused_while_there_is_state(
    ran: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    redis_client.hset("{p/7}:@state:keep", "a", "1")
    told = await refused(ran, url, "partitions: 8", "partitions: 9")
    assert told is not None
    assert "with the state of 'keep': drop that state (`papyra-flow reset FILE keep --state`)" in told


async def test_all_partitions_are_removed_with_the_pipeline(
    ran: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    put(redis_client, RECORDS[:50])
    redis_client.set("{p/x}:orders", "another's")
    server = Server(url)
    there = await what_is_there(server, ran.topology())
    assert there.backlog == 50
    await carry_out(server, there)
    await server.close()
    assert redis_client.keys("*") == [b"{p/x}:orders"]
