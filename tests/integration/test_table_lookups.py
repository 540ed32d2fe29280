"""`lookup` in a table that another stage keeps: what is in its state, asked on a real server."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from papyra_flow.errors import MissingKeyError, RecordError
from papyra_flow.records.entries import Entry
from papyra_flow.records.headers import Headers
from papyra_flow.spec.components import SetupContext
from papyra_flow.spec.tables import KeptTable, TableRef
from papyra_flow.state.fields import key_text, partition_of
from papyra_flow.steps.base import Whole
from papyra_flow.steps.context import Context
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client
from tests.unit.state.partition import Partition, Row, keyed, made

KEYS = ["c1", "c2", "é", 7, True, 2**70]


def kept_by(url: str, table: dict[str, Any], rows: list[Row], hashes: tuple[str, ...]) -> SetupContext:
    """Let a `table` step keep rows, as the owners of its partitions would; a context that knows of it."""
    step = {"table": table}
    kept = made(step).kept_table()
    assert kept is not None
    for number, name in enumerate(hashes):
        mine = [row for row in rows if partition_of(key_text(row.record["k"]), len(hashes)) == number]
        partition = Partition(keyed(step)).run(mine).advance(100_000)
        if partition.hash:
            with plain_client(url) as client:
                client.hset(name, mapping=partition.hash)
    tables = {"customers": TableRef(hashes, kept), "orders": None}
    return SetupContext(Path(), "shop", "named", url, tables=tables)


async def found(context: SetupContext, fields: dict[str, Any], given: list[Any]) -> list[Any]:
    """What a lookup makes of records."""
    step = made({"lookup": {"table": "customers", "on": "c", "as": "who", **fields}}).build(context)
    assert isinstance(step, Whole)
    await step.start()
    try:
        return list(await step.apply(given))
    finally:
        await step.close()


@pytest.mark.parametrize("partitions", [1, 3])
async def test_it_finds_what_the_stage_has_committed_in_every_partition(url: str, partitions: int) -> None:
    hashes = tuple(f"{{shop/{number}}}:@state:customers" for number in range(partitions))
    rows = [Row({"k": key, "n": n, "big": 2**70}, n) for n, key in enumerate(KEYS)]
    context = kept_by(url, {"key": "k"}, rows, hashes)
    records = [{"c": key, "o": n} for n, key in enumerate([*KEYS, 7.0, "none", None])]
    results = await found(context, {"missing": "null"}, records)
    assert [result["who"] for result in results[: len(KEYS)]] == [row.record for row in rows]
    assert results[len(KEYS)]["who"] == rows[3].record
    assert [result["who"] for result in results[-2:]] == [None, None]


async def test_each_record_gets_a_row_of_its_own_beside_its_fields_or_only_some_of_it(url: str) -> None:
    context = kept_by(url, {"key": "k"}, [Row({"k": "c1", "n": 5, "tags": ["x"]})], ("{shop}:@state:customers",))
    first, second = await found(context, {}, [{"c": "c1"}, {"c": "c1"}])
    first["who"]["tags"].append("changed")
    assert second["who"]["tags"] == ["x"]
    plain = {"as": None, "fields": ["n", "none"]}
    assert await found(context, plain, [{"c": "c1"}]) == [{"c": "c1", "n": 5, "none": None}]


async def test_a_record_without_a_row_or_a_key_fails_alone(url: str) -> None:
    context = kept_by(url, {"key": "k"}, [Row({"k": "c1"})], ("{shop}:@state:customers",))
    results = await found(context, {}, [{"c": "no"}, {}, {"c": float("nan")}, {"c": "c1"}])
    assert [type(result) for result in results[:1]] == [MissingKeyError]
    assert all(isinstance(result, RecordError) for result in results[:3])
    assert results[3] == {"c": "c1", "who": {"k": "c1"}}


async def test_a_key_of_several_parts_is_asked_for_as_a_list(url: str) -> None:
    context = kept_by(url, {"key": ["k", "shop"]}, [Row({"k": "c1", "shop": 2})], ("{shop}:@state:customers",))
    fields = {"on": "[c, s]", "missing": "null"}
    good, other = await found(context, fields, [{"c": "c1", "s": 2}, {"c": "c1", "s": None}])
    assert (good["who"], other["who"]) == ({"k": "c1", "shop": 2}, None)
    (failure,) = await found(context, {**fields, "on": "c"}, [{"c": "c1"}])
    assert "a list of 2 values" in str(failure)


async def test_as_of_asks_for_what_held_then(url: str) -> None:
    rows = [
        Row({"k": "c1", "gone": gone, "n": n}, time * 1000)
        for n, (time, gone) in enumerate([(10, 0), (20, 0), (30, 1)])
    ]
    table = {"key": "k", "history": "1h", "delete": "gone", "grace": "1h"}
    context = kept_by(url, table, rows, ("{shop}:@state:customers",))
    records = [{"c": "c1", "at": at} for at in (9.999, 10, "1970-01-01T00:00:19.999Z", 20, 29, 30, 99, "soon")]
    results = await found(context, {"as_of": "at", "missing": "null"}, records)
    numbers = [(result["who"] or {}).get("n") for result in results[:-1]]
    assert numbers == [None, 0, 0, 1, 1, None, None]
    assert isinstance(results[-1], RecordError)


async def test_as_of_time_is_the_record_s_event_time(url: str) -> None:
    rows = [Row({"k": "c1", "n": n}, time) for n, time in enumerate((1000, 2000))]
    context = kept_by(url, {"key": "k", "history": "1h"}, rows, ("{shop}:@state:customers",))
    step = made({"lookup": {"table": "customers", "on": "c", "as_of": "time"}}).build(context)
    assert step.context is context
    pairs = []
    for milliseconds in (1000, 1999, 2000):
        entry = Entry("s", f"{milliseconds}-0".encode(), [])
        about = Context(context, entry, lambda: Headers({}))
        assert about.time == datetime.fromtimestamp(milliseconds / 1000, UTC)
        pairs.append(({"c": "c1"}, about))
    assert [result["who"]["n"] for result in await found(context, {"as_of": "time"}, pairs)] == [0, 0, 1]


@pytest.mark.parametrize("streams", ["{}", "{changes: {partitions: 4, by: customer}}"])
async def test_a_run_finds_what_a_run_before_has_kept(folder: PipelineFolder, url: str, streams: str) -> None:
    folder.records("changes.jsonl", [{"customer": f"c{n % 20}", "n": n} for n in range(100)])
    folder.records("orders.jsonl", [])
    folder.pipeline(
        f"""\
        pipeline: shop
        streams: {streams}
        stages:
          change: {{read: {{jsonl: changes.jsonl}}, to: changes}}
          customers: {{from: changes, process: [{{table: customer}}], to: changed}}
          order: {{read: {{jsonl: orders.jsonl}}, to: orders}}
          named:
            from: orders
            process: [{{lookup: {{table: customers, on: customer, as: who, missing: "null"}}}}]
            write: {{jsonl: named.jsonl}}
        """
    )
    await folder.run(url)
    folder.records("orders.jsonl", [{"customer": f"c{n}"} for n in range(21)])
    await folder.run(url)
    found = {record["customer"]: record["who"] for record in folder.output("named.jsonl")}
    assert found == {f"c{n}": {"customer": f"c{n}", "n": 80 + n} for n in range(20)} | {"c20": None}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"table": "custmers"}, "there is no stage 'custmers': did you mean customers?"),
        ({"table": "orders"}, "the stage 'orders' keeps no table"),
        ({"as_of": "at"}, "has no `history`"),
    ],
)
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], told: str) -> None:
    context = SetupContext(
        Path(), redis="embedded", tables={"customers": TableRef(("h",), KeptTable(1)), "orders": None}
    )
    step = made({"lookup": {"table": "customers", "on": "c", **fields}})
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        step.build(context)
    assert dataclasses.replace(context, tables={}) == context
