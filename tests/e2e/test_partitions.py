"""The verbs on a stream with partitions: one stream to look at, each partition where one is named."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.harness.pipelines import Finished, PipelineFolder

Verb = Callable[..., Finished]
RECORDS: list[dict[str, Any]] = [{"n": n, "customer": f"c{n % 7}"} for n in range(50)]


def number_of(customer: str) -> int:
    return zlib.crc32(customer.encode()) % 4


@pytest.fixture
def verb(folder: PipelineFolder, url: str) -> Verb:
    """A verb on a pipeline with 50 records in 4 partitions, that no stage has read."""
    folder.pipeline(
        """\
        pipeline: p
        stages: {work: {from: orders, ordered: false, process: [{filter: n >= 0}], to: done}}
        streams: {orders: {partitions: 4, by: customer}, done: {}}
        """
    )

    def verb(name: str, *arguments: str, **options: Any) -> Finished:
        return folder.cli(name, "pipeline.yml", *arguments, "--redis", url, **options)

    verb("apply")
    verb("add", "orders", stdin="".join(json.dumps(record) + "\n" for record in RECORDS))
    return verb


def test_add_puts_each_record_into_its_partition(verb: Verb, redis_client: redis.Redis) -> None:
    for number in range(4):
        entries: Any = redis_client.xrange(f"{{p/{number}}}:orders")
        found = [json.loads(fields[b"data"]) for _, fields in entries]
        assert found == [record for record in RECORDS if number_of(record["customer"]) == number]
    document = verb("add", "orders", '{"customer": "c1"}', "--json").json
    assert (document["key"], document["added"]) == ("{p/*}:orders", 1)


@pytest.mark.parametrize(
    ("stream", "record", "told"),
    [("orders", '{"n": 1}', "argument 1: the record has no partition of 'orders': the record has no field 'customer'"),
     ("orders", '{"customer": null}', "`customer` is null; 0 records were added before it"),
     ("orders/3", '{"customer": "c1"}', "orders/3 is a partition: add to orders, whose `by` says where a record goes")],
)  # fmt: skip
def test_add_refuses_what_has_no_partition(verb: Verb, stream: str, record: str, told: str) -> None:
    assert told in verb("add", stream, record, code=2).err


def test_tap_merges_partitions_in_the_order_of_ids_or_shows_one(verb: Verb) -> None:
    entries = verb("tap", "orders", "--json").json
    ids = [tuple(map(int, entry["id"].split("-"))) for entry in entries]
    assert ids == sorted(ids)
    assert sorted(entry["data"]["n"] for entry in entries) == list(range(50))
    assert all(entry["partition"] == number_of(entry["data"]["customer"]) for entry in entries)
    one = verb("tap", "orders/1", "--json").json
    assert one == [{"id": e["id"], "data": e["data"]} for e in entries if e["partition"] == 1]
    middle = entries[20]["id"]
    later = verb("tap", "orders", "--from", middle, "-n", "5", "--json").json
    assert later == [e for e in entries if tuple(map(int, e["id"].split("-"))) >= ids[20]][:5]


def test_tap_goes_through_more_than_it_reads_at_once(verb: Verb, redis_client: redis.Redis) -> None:
    pipe = redis_client.pipeline(transaction=False)
    for n in range(3000):
        pipe.xadd(f"{{p/{n % 3}}}:orders", {"data": json.dumps({"n": n})}, id=f"{2**42 + n // 2}-{n % 2}")
    pipe.execute()
    entries = verb("tap", "orders", "--from", f"{2**42}", "--json").json
    assert [entry["data"]["n"] for entry in entries] == list(range(3000))


def test_status_shows_one_stream_with_its_partitions(verb: Verb) -> None:
    document = verb("status", "--json").json
    orders = document["streams"]["orders"]
    assert (orders["key"], orders["length"]) == ("{p/*}:orders", 50)
    assert [part["key"] for part in orders["partitions"]] == [f"{{p/{number}}}:orders" for number in range(4)]
    assert sum(part["length"] for part in orders["partitions"]) == 50
    assert orders["first_id"] == min((p["first_id"] for p in orders["partitions"] if p["first_id"]), key=_id)
    assert (document["stages"]["work"]["stream"], document["stages"]["work"]["lag"]) == ("orders", 50)
    assert "partitions" not in document["streams"]["done"]
    assert "{p/*}:orders" in verb("status").out


def test_plan_and_graph_show_one_stream(verb: Verb) -> None:
    plan = verb("plan", "--json").json
    (orders,) = [stream for stream in plan["streams"] if stream["name"] == "orders"]
    assert (orders["partitions"], orders["by"], orders["length"]) == (4, ["customer"], 50)
    assert [group["stream"] for group in plan["groups"]] == [f"orders/{number}" for number in range(4)]
    assert plan["unknown_keys"] == []
    assert "orders (4 partitions by customer)" in verb("plan").out
    assert "4 partitions by customer" in verb("graph", "--live").out


def test_a_run_says_what_went_to_the_stream(verb: Verb) -> None:
    document = verb("run", "--drain", "--json").json
    assert document["stages"]["work"]["read"] == 50
    assert document["streams"]["orders"] == {"length": 0, "backlog": 0}


def test_groups_and_pending_go_by_key(verb: Verb, redis_client: redis.Redis) -> None:
    rows = verb("groups", "--stream", "orders", "--json").json
    assert [row["stream"] for row in rows] == [f"{{p/{number}}}:orders" for number in range(4)]
    assert sum(row["lag"] for row in rows) == 50
    assert [row["stream"] for row in verb("groups", "--stream", "orders/2", "--json").json] == ["{p/2}:orders"]
    redis_client.xreadgroup("work", "other.1.work.0", {f"{{p/{number}}}:orders": ">" for number in range(4)})
    assert len(verb("pending", "work", "--json").json) == 50
    assert {row["stream"] for row in verb("pending", "work", "--stream", "orders/1", "--json").json} == {"{p/1}:orders"}


def test_an_id_that_two_partitions_have_is_acknowledged_in_the_one_that_is_named(
    verb: Verb, redis_client: redis.Redis
) -> None:
    for number in (1, 3):
        redis_client.xadd(f"{{p/{number}}}:orders", {"data": "{}"}, id=f"{2**42}-0")
    redis_client.xreadgroup("work", "other.1.work.0", {f"{{p/{number}}}:orders": ">" for number in range(4)})
    refused = verb("ack", "work", f"{2**42}-0", "--yes", "--force", code=2)
    assert "is pending in orders/1 and orders/3: say which with --stream" in refused.err
    acked = verb("ack", "work", f"{2**42}-0", "--stream", "orders/3", "--yes", "--force", "--json").json
    assert acked == {"acked": 1}
    assert redis_client.xpending_range("{p/1}:orders", "work", f"{2**42}-0", f"{2**42}-0", 1)
    assert not redis_client.xpending_range("{p/3}:orders", "work", f"{2**42}-0", f"{2**42}-0", 1)


def test_what_goes_by_one_partitions_ids_wants_one_named(verb: Verb) -> None:
    for arguments in (("delete", "orders", "1-1"), ("trim", "orders", "--keep", "3")):
        refused = verb(*arguments, "--yes", code=2)
        assert "'orders' has 4 partitions: name one of them, orders/0 to orders/3" in refused.err


def test_trim_takes_all_partitions(verb: Verb, redis_client: redis.Redis) -> None:
    assert verb("trim", "orders", "--yes", "--json").json == {"trimmed": {f"{{p/{n}}}:orders": 0 for n in range(4)}}
    last = verb("tap", "orders", "--json").json[-1]["id"]
    verb("trim", "orders", "--before", f"{_id(last)[0] + 1}", "--yes", "--force")
    assert sum(redis_client.xlen(f"{{p/{number}}}:orders") for number in range(4)) == 0


def test_a_group_is_dropped_from_all_partitions(verb: Verb, redis_client: redis.Redis) -> None:
    document = verb("drop-group", "orders", "work", "--yes", "--force", "--json").json
    assert (document["dropped"], document["lag"]) == (True, 50)
    assert all(redis_client.xinfo_groups(f"{{p/{number}}}:orders") == [] for number in range(4))


def test_doctor_says_what_keeps_a_run_from_starting(verb: Verb) -> None:
    assert verb("doctor").code == 0
    told = verb("doctor", "--set", "streams.orders.partitions=5", code=1)
    assert "'orders' has 5 partitions by customer in the file, and 4 partitions by customer on the server" in told.out


def test_destroy_leaves_nothing(verb: Verb, redis_client: redis.Redis) -> None:
    verb("destroy", "--yes", "--force")
    assert redis_client.keys("*") == []


def _id(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("-")))
