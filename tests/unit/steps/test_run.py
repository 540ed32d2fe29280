"""`run`: what a user's function may look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from papyra_flow.errors import RecordError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Each, Whole
from papyra_flow.steps.run import Run

HERE = SetupContext(Path(__file__).parent, redis="embedded")


class Order(BaseModel):
    n: int


def sync(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "seen": True}


def with_model(order: Order) -> Order:
    return Order(n=order.n + 1)


def generator(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for i in range(record["n"]):
        yield {"i": i}


async def awaited(record: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    if record["n"] < 0:
        raise ValueError("negative")
    return record


async def streamed(record: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for i in range(record["n"]):
        yield {"i": i}


async def stuck(record: dict[str, Any]) -> None:
    await asyncio.Event().wait()


def whole(records: list[dict[str, Any]]) -> list[Any]:
    return [{"sum": sum(r["n"] for r in records)}, *[None] * (len(records) - 1)]


def whole_models(orders: list[Order]) -> list[Order]:
    return [Order(n=order.n * 2) for order in orders]


def too_short(records: list[dict[str, Any]]) -> list[Any]:
    return []


def nothing() -> None:
    return None


def by_name(*, record: object) -> object:
    return record


def any_names(**record: object) -> object:
    return record


def two(a: Any, b: Any) -> None:
    return None


not_a_function = 3


class Holder:
    @staticmethod
    def method(record: dict[str, Any]) -> dict[str, Any]:
        return record


def run(function: str, **fields: Any) -> Run:
    return Run.model_validate({"function": f"{__name__}:{function}", **fields})


def each(function: str, **fields: Any) -> Each:
    step = run(function, **fields).build(HERE)
    assert isinstance(step, Each)
    return step


async def apply(function: str, records: Sequence[Any], **fields: Any) -> list[Any]:
    step = run(function, **fields).build(HERE)
    assert isinstance(step, Whole)
    return list(await step.apply(records))


def test_sync_functions_generators_and_methods_are_called_record_by_record() -> None:
    assert each("sync").apply({"n": 1}) == {"n": 1, "seen": True}
    made: Any = each("generator").apply({"n": 2})
    assert list(made) == [{"i": 0}, {"i": 1}]
    assert each("Holder.method").apply({"n": 1}) == {"n": 1}


def test_an_annotated_model_is_made_of_the_record_and_refuses_what_does_not_fit() -> None:
    assert each("with_model").apply({"n": "3"}) == Order(n=4)
    with pytest.raises(RecordError, match="the record does not fit Order: n: "):
        each("with_model").apply({"n": "x"})


async def test_async_functions_run_concurrently_and_fail_alone() -> None:
    first, second, third = await apply("awaited", [{"n": 1}, {"n": -1}, {"n": 2}], concurrency=2)
    assert (first, third) == ({"n": 1}, {"n": 2})
    assert isinstance(second, ValueError)
    assert await apply("streamed", [{"n": 2}, {"n": 0}]) == [[{"i": 0}, {"i": 1}], []]


async def test_a_call_that_takes_too_long_fails_by_its_timeout() -> None:
    (result,) = await apply("stuck", [{"n": 1}], timeout="10ms")
    assert isinstance(result, TimeoutError)


async def test_a_blocking_function_runs_in_threads_if_asked() -> None:
    assert await apply("generator", [{"n": 1}], thread=True) == [[{"i": 0}]]


async def test_a_batch_function_gets_the_whole_batch() -> None:
    assert await apply("whole", [{"n": 1}, {"n": 2}], batch=True) == [{"sum": 3}, None]
    good, bad = await apply("whole_models", [{"n": 1}, {"n": "x"}], batch=True)
    assert good == Order(n=2)
    assert isinstance(bad, RecordError)
    with pytest.raises(RecordError, match=r"must return a list of 2 items, not 0 items"):
        await apply("too_short", [{"n": 1}, {"n": 2}], batch=True)


def test_declared_models_are_the_contract() -> None:
    assert run("with_model").accepts(HERE) is Order
    assert run("with_model").returns(HERE) is Order
    assert run("whole_models", batch=True).accepts(HERE) is Order
    assert run("sync").accepts(HERE) is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nosuchmodule:f", "module 'nosuchmodule' not found"),
        (f"{__name__}:nosuch", "has no function 'nosuch'"),
        (f"{__name__}:not_a_function", "is not a function"),
        (f"{__name__}:nothing", "has to take one argument, the record"),
        (f"{__name__}:two", "has to take one argument, the record"),
        (f"{__name__}:by_name", "has to take one argument, the record"),
        (f"{__name__}:any_names", "has to take one argument, the record"),
        ("broken_module:f", "broken_module cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_function_that_cannot_be_used_is_told_in_one_sentence(tmp_path: Path, function: str, message: str) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match=message):
        Run.model_validate({"function": function}).build(SetupContext(tmp_path, redis="embedded"))


def test_a_timeout_needs_something_that_can_be_given_up() -> None:
    with pytest.raises(ValueError, match="needs `thread: true`"):
        run("sync", timeout="1s").build(HERE)
