"""The partition of a record: the same for all who write it, found for a batch at once or one by one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.connectors.base import BadRecord, Portion
from papyra_flow.errors import RecordError
from papyra_flow.records.batch import Batch
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.source.ingest import Ingest, Ingested
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.runtime.stage.partitioner import Partitioner
from papyra_flow.runtime.stage.processing import Processor
from papyra_flow.runtime.stage.records import RecordProgram
from papyra_flow.runtime.stage.router import Router
from papyra_flow.runtime.stage.targets import Targets
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.steps.base import Each
from papyra_flow.topology.model import RouteSpec
from papyra_flow.topology.streams import StreamSpec
from tests.harness.pipelines import PipelineFolder

CUSTOMERS = {"c1": 1, "c2": 3, "c3": 5, "Zoë": 2}
"""CRC-32 (zlib's) of the UTF-8, modulo 8: computed by Perl."""


def parts(name: str, total: int = 8, by: str | list[str] = "customer", form: Any = "json") -> list[StreamSpec]:
    config = StreamConfig.model_validate({"partitions": total, "by": by, "format": form})
    return [StreamSpec(f"{name}/{number}", f"{{p/{number}}}:{name}", config, number=number) for number in range(total)]


def one(name: str) -> list[StreamSpec]:
    return [StreamSpec(name, f"{{p}}:{name}", StreamConfig())]


@pytest.mark.parametrize(("customer", "number"), CUSTOMERS.items())
def test_a_text_is_its_utf8_and_its_partition_the_checksum_of_that(customer: str, number: int) -> None:
    partitioner = Partitioner("orders", ["customer"], 8)
    assert partitioner.one({"customer": customer}) == number
    assert partitioner.over([{"customer": customer}]) == [number]


json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.tuples(json_values, json_values), min_size=1), st.booleans())
def test_a_batch_at_once_and_one_by_one_agree(keys: list[tuple[Any, Any]], both: bool) -> None:
    partitioner = Partitioner("orders", ["a", "b"] if both else ["a"], 8)
    records = [{"a": a, "b": b} for a, b in keys]
    assert partitioner.over(records) == [partitioner.one(record) for record in records]


def test_a_record_that_was_written_has_the_partition_that_it_was_put_into() -> None:
    partitioner = Partitioner("orders", ["at", "n"], 8)
    record = {"at": datetime(2026, 1, 2, tzinfo=UTC), "n": 2**70}
    assert partitioner.one(record) == partitioner.one({"at": "2026-01-02T00:00:00+00:00", "n": 2**70})


@pytest.mark.parametrize(
    ("record", "reason"),
    [({}, "the record has no field 'customer' (in `customer`)"), ({"customer": None}, "`customer` is null"),
     ({"customer": "\ud800"}, "the key is text with a lone surrogate, which is not Unicode")],
)  # fmt: skip
def test_a_record_without_a_partition_is_a_failure_that_says_so(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        Partitioner("orders", ["customer"], 8).one(record)
    assert str(caught.value) == f"the record has no partition of 'orders': {reason}"


def test_one_part_that_is_null_fails_the_record() -> None:
    with pytest.raises(RecordError, match="`b` is null"):
        Partitioner("orders", ["a", "b"], 8).one({"a": 1, "b": None})


# -- routing ------------------------------------------------------------------------------------------------------


async def routed(
    records: list[dict[str, Any]], *routes: RouteSpec, step: Any = None, match: Any = "first", **headers: str
) -> tuple[list[tuple[str, Any]], Outcome]:
    """Where each record goes, by the stream's key; the streams are `orders` with 8 partitions, and `plain`."""
    names = dict.fromkeys(route.stream for route in routes)
    targets = [part for name in names for part in (parts(name) if name == "orders" else one(name))]
    router = Router(routes, match, targets, "json", 10_000)
    steps = [Each(step)] if step is not None else []
    decoder = Decoder([StreamSpec("k", "k", StreamConfig())], 10_000)
    extra = [part.encode() for pair in headers.items() for part in pair]
    batch = Batch.of(
        [Entry("k", b"%d-0" % n, [b"data", json.dumps(r).encode(), *extra]) for n, r in enumerate(records)]
    )
    outcome = await RecordProgram(Processor(steps, decoder if steps or router.needs_value else None), router).run(batch)
    went = [(targets[n].key, json.loads(data)) for n, data in zip(outcome.targets, outcome.data, strict=True) if n >= 0]
    for became in outcome.became.values():
        went += [(targets[n].key, json.loads(fields[1])) for n, fields in became.emitted]
    return went, outcome


ORDERS, PLAIN = RouteSpec("orders"), RouteSpec("plain")
RECORDS: list[dict[str, Any]] = [{"customer": name, "n": n} for n, name in enumerate(list(CUSTOMERS) * 3)]


def placed(records: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"{{p/{CUSTOMERS[record['customer']]}}}:orders", record) for record in records]


@pytest.mark.parametrize("headers", [{}, {"trace": "t"}], ids=["in columns", "one by one"])
async def test_records_go_to_the_partition_of_their_key(headers: dict[str, str]) -> None:
    went, outcome = await routed(RECORDS, ORDERS, **headers)
    assert went == placed(RECORDS)
    assert bool(outcome.ids) is not bool(headers), "the other way through the router"


@pytest.mark.parametrize("headers", [{}, {"trace": "t"}], ids=["in columns", "one by one"])
async def test_routes_choose_a_stream_and_the_key_its_partition(headers: dict[str, str]) -> None:
    went, _ = await routed(RECORDS, RouteSpec("plain", "n % 2"), ORDERS, **headers)
    odd = [("{p}:plain", record) for record in RECORDS if record["n"] % 2]
    assert sorted(map(str, went)) == sorted(map(str, odd + placed([r for r in RECORDS if r["n"] % 2 == 0])))


async def test_copies_and_what_names_its_stream_go_to_the_partition_of_their_key() -> None:
    went, _ = await routed(RECORDS, ORDERS, PLAIN, match="all")
    assert sorted(map(str, went)) == sorted(map(str, placed(RECORDS) + [("{p}:plain", r) for r in RECORDS]))
    went, _ = await routed(RECORDS, PLAIN, ORDERS, step=lambda record: Emit(record, to="orders"), match="all")
    assert went == placed(RECORDS)


async def test_the_key_is_that_of_the_record_as_it_leaves() -> None:
    went, _ = await routed([{"customer": "c1"}], ORDERS, step=lambda _: [{"customer": "c2"}, {"customer": "c3"}])
    assert went == placed([{"customer": "c2"}, {"customer": "c3"}])


async def test_only_the_record_without_a_partition_fails() -> None:
    went, outcome = await routed([RECORDS[0], {"n": 1}, RECORDS[1]], ORDERS)
    assert went == placed(RECORDS[:2])
    assert [(place, str(exc)) for place, exc in outcome.failures.items()] == [
        (1, "the record has no partition of 'orders': the record has no field 'customer' (in `customer`)")
    ]


async def test_a_copy_without_a_partition_takes_its_record_with_it() -> None:
    went, outcome = await routed([{"n": 1}], PLAIN, ORDERS, match="all")
    assert went == []
    assert list(outcome.failures) == [0]


# -- sources ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ingested(folder: PipelineFolder) -> Any:
    spec = folder.pipeline("pipeline: p\nstages: {a: {read: stdin, to: s}}").topology().stages["a"]
    assert spec.source is not None

    def ingested(items: list[Any], *streams: StreamSpec) -> tuple[Ingested, Targets]:
        targets = Targets(streams, spec.dead_key)
        assert spec.source is not None
        return Ingest(spec, spec.source, targets).entries(Portion(items, "c")), targets

    return ingested


def by_key(found: Ingested, targets: Targets) -> list[tuple[str, Any]]:
    alive = [(number, fields) for number, fields in found.entries if number != targets.dead]
    return [(targets.keys[number], json.loads(fields[1])) for number, fields in alive]


@pytest.mark.parametrize(
    "item", [lambda r: json.dumps(r).encode(), dict, lambda r: Emit(r, headers={"h": "1"}),
             lambda r: [b"data", json.dumps(r).encode(), b"h", b"1"]],
    ids=["json", "dict", "Emit", "entry"],
)  # fmt: skip
def test_a_sources_items_go_to_the_partition_of_their_key(ingested: Any, item: Any) -> None:
    found, targets = ingested([item(record) for record in RECORDS], *parts("orders"))
    assert by_key(found, targets) == placed(RECORDS)


def test_a_source_copies_to_streams_with_partitions_and_without(ingested: Any) -> None:
    found, targets = ingested([json.dumps(RECORDS[0]).encode()], *one("plain"), *parts("orders"))
    assert by_key(found, targets) == [("{p}:plain", RECORDS[0]), *placed(RECORDS[:1])]
    assert targets.by_name(found.for_each()) == {"plain": 1, "orders": 1}


def test_only_the_item_without_a_partition_is_dead_and_goes_nowhere_else(ingested: Any) -> None:
    good, bad = json.dumps(RECORDS[0]).encode(), b'{"n": 1}'
    found, targets = ingested([good, bad, BadRecord(b"{", "no JSON", "o", "p"), good], *one("plain"), *parts("orders"))
    assert by_key(found, targets) == 2 * [("{p}:plain", RECORDS[0]), *placed(RECORDS[:1])]
    assert (found.good, found.dead) == (2, 2)


def test_fields_are_the_record_that_is_asked(ingested: Any) -> None:
    found, _ = ingested([{"customer": "c1", "n": 1}, [b"customer", b"c2"]], *parts("orders", form="fields"))
    assert found.entries == [
        (CUSTOMERS["c1"], [b"customer", b"c1", b"n", b"1"]),
        (CUSTOMERS["c2"], [b"customer", b"c2"]),
    ]
