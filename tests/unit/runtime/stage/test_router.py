"""Routing: a batch's items become the arguments of the commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from papyra_flow.errors import UnknownTargetError
from papyra_flow.records.batch import Batch
from papyra_flow.records.emit import Emit
from papyra_flow.records.entries import Entry, decode_fields
from papyra_flow.records.rows import Rows
from papyra_flow.runtime.commit.delivery import put
from papyra_flow.runtime.stage.decoding import Decoder
from papyra_flow.runtime.stage.processing import Processed, Processor
from papyra_flow.runtime.stage.records import RecordProgram
from papyra_flow.runtime.stage.router import Router
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.steps.base import Each
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.topology.model import RouteSpec
from papyra_flow.topology.streams import StreamSpec


@dataclass
class Result:
    """What a batch became: records a target, entries that became nothing, failures, the script's arguments."""

    counts: list[int]
    dropped: int
    failures: dict[int, Exception]
    arguments: list[Any]


def entries(*records: dict[str, Any], **headers: str) -> list[Entry]:
    extra = [part.encode() for pair in headers.items() for part in pair]
    return [Entry("k", b"%d-0" % n, [b"data", orjson.dumps(r), *extra]) for n, r in enumerate(records, start=1)]


async def routed(
    given: list[Entry],
    *routes: RouteSpec,
    match: Any = "first",
    steps: Any = (),
    formats: Any = None,
    max_record: int = 1000,
) -> Result:
    targets = [
        StreamSpec(r.stream, r.stream, StreamConfig(format=(formats or {}).get(r.stream, "json"))) for r in routes
    ]
    router = Router(routes, match, targets, "json", max_record)
    decoder = Decoder([StreamSpec("k", "k", StreamConfig())], max_record)
    processor = Processor([Each(step) for step in steps], decoder if steps or router.needs_value else None)
    batch = Batch.of(given)
    outcome = await RecordProgram(processor, router).run(batch)
    left = outcome.tally(batch.ids)
    commit = Commit()
    commit.extend(outcome.ids, outcome.targets, outcome.data)
    for place, became in outcome.became.items():
        put(commit, batch.ids[place], became.emitted)
    arguments = [argument for portion in commit.seal() for argument in portion.arguments]
    return Result([left.records[n] for n in range(len(routes))], left.dropped, outcome.failures, arguments)


S, T = RouteSpec("s"), RouteSpec("t")


async def test_untouched_records_are_passed_on_byte_by_byte() -> None:
    given = [Entry("k", b"1-0", [b"data", b'{"n":  1.0}'])]
    result = await routed(given, S)
    assert result.arguments == [1, b"1-0", b"4", b'{"n":  1.0}']
    assert result.counts == [1]


async def test_the_first_route_that_fits_wins_and_all_copies() -> None:
    given = entries({"n": 1}, {"n": 9}, {"n": -1})
    routes = (RouteSpec("s", "n > 5"), RouteSpec("t", "n > 0"))
    first = await routed(given, *routes)
    assert (first.counts, first.dropped) == ([1, 1], 1)
    both = await routed(given, *routes, match="all")
    assert (both.counts, both.dropped) == ([1, 2], 1)


async def test_headers_are_kept_and_added_to() -> None:
    def keyed(record: Any) -> Any:
        return Emit(record, key="k1", headers={"trace": "t"})

    result = await routed(entries({"n": 1}, trace="old", other="o"), S, steps=[keyed])
    assert result.arguments[4:] == [4, 8, b"data", b'{"n":1}', b"trace", b"t", b"other", b"o", b"key", b"k1"]


async def test_emit_names_its_stream_and_an_unknown_one_is_the_records_failure() -> None:
    def choose(record: Any) -> Any:
        return Emit(record, to=record["to"])

    result = await routed(entries({"to": "t"}, {"to": "nowhere"}), S, T, steps=[choose])
    assert result.counts == [0, 1]
    (failure,) = result.failures.values()
    assert isinstance(failure, UnknownTargetError)


async def test_a_condition_that_fails_is_the_records_failure_and_names_itself() -> None:
    result = await routed(entries({"n": 1}, {"x": 1}), RouteSpec("s", "n > 0"))
    assert result.counts == [1]
    assert [str(exc) for exc in result.failures.values()] == ["the record has no field 'n' (in `n > 0`)"]


async def test_if_one_of_an_entrys_records_fails_nothing_of_it_is_forwarded() -> None:
    def two(record: Any) -> Any:
        return [record, Emit(record, to="nowhere")]

    result = await routed(entries({"n": 1}), S, steps=[two])
    assert (result.counts, result.arguments, len(result.failures)) == ([0], [], 1)


async def test_formats_are_converted_on_the_way() -> None:
    result = await routed(entries({"n": 1, "s": "x", "o": {"a": 1}, "z": None}), S, formats={"s": "fields"})
    assert result.arguments[4:] == [4, 8, b"n", b"1", b"s", b"x", b"o", b'{"a":1}', b"z", b""]
    assert decode_fields([b"n", b"1"]) == {"n": "1"}


async def test_fan_out_stays_one_commit_of_its_entry() -> None:
    result = await routed(
        entries({"n": 1}, {"n": 2}), S, steps=[lambda record: [dict(record) for _ in range(record["n"])]]
    )
    assert result.counts == [3]
    assert result.arguments[:7] == [2, b"1-0", b"4", b'{"n":1}', b"2-0", b"*", 2]


def test_rows_of_failed_entries_are_left_out() -> None:
    processed = Processed(Rows([{"n": 1}, {"n": 2}], [0, 1]), {0: ValueError()}, raw=True)
    assert processed.rows is not None
    assert processed.rows.records == [{"n": 2}]


@pytest.mark.parametrize("returned", [3, "text", [3], [None, "x"], object()])
async def test_what_is_no_record_is_the_records_failure(returned: object) -> None:
    result = await routed(entries({"n": 1}), S, steps=[lambda _: returned])
    assert (list(result.failures), result.arguments) == ([0], [])


ODD_ONES: dict[str, Any] = {
    "one has a header": (entries({"n": 1}) + entries({"n": 9}, {"n": 8}, key="k")[1:], {}),
    "one becomes two": (entries({"n": 1}, {"n": 9}), {"steps": [lambda r: [r, r] if r["n"] == 1 else r]}),
    "one is emitted": (entries({"n": 1}, {"n": 9}), {"steps": [lambda r: Emit(r) if r["n"] == 1 else r]}),
    "one has a key that is a number": (entries({"n": 1}, {"n": 9}), {"steps": [lambda r: {**r, r["n"]: 0}]}),
    "one fails": (entries({"n": 1}, {"x": 1}, {"n": 9}), {"steps": [lambda r: {"n": r["n"]}]}),
    "one is dropped": (entries({"n": 1}, {"n": 9}), {"steps": [lambda r: r if r["n"] > 1 else None]}),
}


@pytest.mark.parametrize("case", ODD_ONES)
@pytest.mark.parametrize("routes", [(S,), (RouteSpec("s", "n > 5"), T), (RouteSpec("s", "n > 5"),)], ids=len)
async def test_an_odd_record_in_a_batch_changes_nothing_for_the_others(case: str, routes: Any) -> None:
    given, options = ODD_ONES[case]
    together = await routed(given, *routes, **options)
    alone = [await routed([entry], *routes, **options) for entry in given]
    assert together.counts == [sum(counts) for counts in zip(*(result.counts for result in alone), strict=True)]
    assert together.dropped == sum(result.dropped for result in alone)
    assert list(together.failures) == [place for place, result in enumerate(alone) if result.failures]
    simple = [result.arguments[1:4] for result in alone if result.arguments]
    behind = [argument for result in alone for argument in result.arguments[4:]]
    assert together.arguments == [len(simple), *(argument for triple in simple for argument in triple), *behind]


async def test_a_record_that_became_too_large_is_that_records_failure() -> None:
    result = await routed(entries({"n": 1}, {"n": 2000}), S, steps=[lambda r: {"text": "x" * r["n"]}])
    assert (result.counts, list(result.failures)) == ([1], [1])
