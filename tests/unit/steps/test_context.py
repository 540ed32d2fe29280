"""What a step function is told of its record, if it asks; and classes that are set up before they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from papyra_flow.errors import SetupError
from papyra_flow.records.entries import DATA, Entry, Origin
from papyra_flow.records.headers import Headers
from papyra_flow.records.rows import Note, Rows
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, Whole
from papyra_flow.steps.context import Context, contexts_of
from papyra_flow.steps.run import Run
from papyra_flow.testing.driver import drive
from tests.harness.pipelines import PipelineFolder

HERE = SetupContext(Path(__file__).parent, "shop", "price")


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return record


def annotated(record: dict[str, Any], about: Context) -> dict[str, Any]:
    return {**record, "key": about.idempotency_key}


def by_name(record, context):  # type: ignore[no-untyped-def]
    return {**record, "key": context.idempotency_key}


def by_keyword(record: dict[str, Any], *, more: int = 0, context: Context) -> dict[str, Any]:
    return {**record, "key": context.idempotency_key}


async def awaited(record: dict[str, Any], context: Context) -> dict[str, Any]:
    return {**record, "key": context.idempotency_key}


def batched(records: list[dict[str, Any]], contexts: Sequence[Context]) -> list[dict[str, Any]]:
    return [{**record, "key": context.idempotency_key} for record, context in zip(records, contexts, strict=True)]


def another_default(record: dict[str, Any], more: int = 3) -> dict[str, Any]:
    return {**record, "more": more}


def built(function: str, **options: Any) -> Each | Whole:
    return Run.model_validate({"function": f"{__name__}:{function}", **options}).build(HERE)


def context(**fields: bytes) -> Context:
    flat = [DATA, b"{}", *(part for name, value in fields.items() for part in (name.encode(), value))]
    entry = Entry("{shop}:orders", b"1700000000000-3", flat, 2)
    headers = Headers.of({name.encode(): value for name, value in fields.items()})
    return Context(HERE, entry, lambda: headers, 1)


async def test_only_functions_that_ask_get_a_context() -> None:
    step = built("plain")
    assert isinstance(step, Each)
    assert step.context is None
    assert step.apply is plain, "nothing is done for each record"
    assert built("another_default").context is None
    given = ({"n": 1}, context())
    key = "price/{shop}:orders/1700000000000-3/1"
    for name in ("annotated", "by_name", "by_keyword"):
        step = built(name)
        assert isinstance(step, Each)
        assert step.context is HERE
        assert step.apply(given) == {"n": 1, "key": key}
    for name, options in (("awaited", {}), ("annotated", {"thread": True}), ("batched", {"batch": True})):
        whole = built(name, **options)
        assert isinstance(whole, Whole)
        assert await whole.apply([given]) == [{"n": 1, "key": key}]


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("annotated", {"batch": True}, r"a context for each record is `about: list\[Context\]`"),
        ("batched", {}, "takes one record: its context is `contexts: Context`"),
    ],
)
def test_a_context_of_the_wrong_number_is_told(function: str, options: dict[str, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(function, **options)


def test_a_context_says_where_a_record_is_from() -> None:
    found = context(ts=b"1600000000500", key=b"k")
    assert (found.pipeline, found.stage, found.stream, found.id) == (
        "shop",
        "price",
        "{shop}:orders",
        "1700000000000-3",
    )
    assert (found.attempt, found.index, dict(found.headers)["key"]) == (2, 1, "k")
    assert found.logger.name == "papyra_flow.stage.price"


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"1600000000500", datetime(2020, 9, 13, 12, 26, 40, 500000, tzinfo=UTC)),
        (b"2020-09-13T12:26:40+00:00", datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)),
        (b"2020-09-13T12:26:40", datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)),
        (b"yesterday", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (b"nan", datetime.max.replace(tzinfo=UTC)),
        (b"9" * 30, datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_the_time_is_the_header_or_the_entrys(stamp: bytes, expected: datetime) -> None:
    assert context(ts=stamp).time == expected
    assert context().time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_a_key_is_of_the_origin_and_each_of_several_records_of_an_entry_has_its_own() -> None:
    entry = Entry("{shop}:@replay", b"9-9", [DATA, b"{}"], 4, Origin("{shop}:orders", b"1-0", 3))
    rows = Rows([{"n": 1}, {"n": 2}], [0, 0], [None, Note(None, {b"h": b"2"})])
    first, second = contexts_of(HERE, rows, lambda _: entry, lambda _: Headers({"h": "1"}))
    assert first.idempotency_key == "price/{shop}:orders/1-0/0"
    assert second.idempotency_key == "price/{shop}:orders/1-0/1"
    assert (first.headers, second.headers) == ({"h": "1"}, {"h": "2"})


SERVICE = """
told = []

class Service:
    def __init__(self):
        told.append("made")
    def setup(self):
        told.append("setup")
        if refuse:
            raise OSError("no pool")
    def __call__(self, record, context):
        return {**record, "stage": context.stage, "attempt": context.attempt}
    async def teardown(self):
        told.append("teardown")
        raise OSError("the pool is gone")

refuse = False
"""


@pytest.fixture
def service(folder: PipelineFolder) -> Any:
    name = folder.steps(SERVICE)
    folder.pipeline(
        f"""\
        pipeline: shop
        stages:
          price: {{from: s, process: [{{run: "{name}:Service"}}], to: t}}
        streams: {{s: {{}}}}
        """
    )
    folder.topology()
    return sys.modules[name]


def test_a_class_is_made_when_its_stage_starts_and_not_when_the_file_is_checked(
    folder: PipelineFolder, service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert service.told == []
    with drive(folder.file) as driver:
        driver.put("s", {"n": 1})
        driver.put("s", {"n": 2})
        assert service.told == ["made", "setup"]
        assert [record["stage"] for record in driver.out("t")] == ["price", "price"]
    assert service.told == ["made", "setup", "teardown"]
    assert "the pool is gone" in caplog.text


def test_a_setup_that_fails_is_told_in_one_sentence(folder: PipelineFolder, service: Any) -> None:
    service.refuse = True
    with (
        drive(folder.file) as driver,
        pytest.raises(SetupError, match="of 'price' could not be set up: OSError"),
    ):
        driver.put("s", {"n": 1})
    assert service.told == ["made", "setup", "teardown"]


def test_a_function_of_tables_gets_the_context_of_the_tables_entry(folder: PipelineFolder) -> None:
    name = folder.steps(
        """
        import pyarrow as pa
        from papyra_flow import Context

        def keyed(table: pa.Table, context: Context) -> pa.Table:
            return table.append_column("key", pa.array([context.idempotency_key] * table.num_rows))
        """
    )
    folder.pipeline(
        f"""\
        pipeline: shop
        stages:
          tables: {{from: s, process: [{{run: "{name}:keyed"}}], to: t}}
          merged: {{from: r, process: [batch, {{run: "{name}:keyed"}}], to: u}}
        streams: {{s: {{format: arrow}}, t: {{format: arrow}}, r: {{}}, u: {{format: arrow}}}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("s", {"n": 1}, {"n": 2})
        driver.put("r", {"n": 1}, {"n": 2})
        assert [record["key"] for record in driver.out("t")] == ["tables/{shop}:s/0-1/0"] * 2
        assert {str(record["key"]).partition("/")[0] for record in driver.out("u")} == {"merged"}
