"""A pipeline in Python is the same as its twin in a file: the same plan, graph and results, and as clear errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import papyra_flow.cli
from papyra_flow import Dead, Emit, Pipeline
from papyra_flow.config.load import load_pipeline
from papyra_flow.connectors.jsonl.sink import JsonlSink
from papyra_flow.errors import InvalidPipelineError, UsageError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.runtime.process.event_loop import new_loop
from papyra_flow.spec.models import BatchConfig, RetryConfig, Route
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.steps.filter import Filter
from papyra_flow.steps.run import Run
from papyra_flow.streams.groups.snapshot import StreamPosition, StreamsSnapshot
from papyra_flow.testing import drive
from papyra_flow.topology.build import build_topology
from papyra_flow.topology.plan import make_plan

ROOT = Path(__file__).parents[3]
FLIGHTS = ROOT / "pipelines" / "flights.yml"
STARTER = Path(papyra_flow.cli.__file__).parent / "templates" / "orders" / "pipeline.yml"
HERE = __name__
FILTER = Filter.model_validate({"expression": "n > 3"})


def add_total(order: dict[str, float]) -> dict[str, float]:
    return {**order, "total": order["n"] * 2}


async def slowly(order: dict[str, float]) -> dict[str, float]:
    return {**order, "slowly": True}


def twice(order: dict[str, float]) -> Iterator[dict[str, float]]:
    yield order
    yield order


async def twice_more(order: dict[str, float]) -> AsyncIterator[dict[str, float]]:
    yield order
    yield order


def in_batches(orders: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{**order, "of": len(orders)} for order in orders]


class Order(BaseModel):
    n: int


def as_model(order: Order) -> Emit:
    if order.n > 100:
        raise Dead("too many")
    return Emit({"n": order.n}, to="priced")


TWIN = f"""\
pipeline: shop
description: A shop
defaults: {{retry: {{attempts: 2, backoff: 1ms..2ms}}}}
stages:
  price:
    from: orders
    process:
      - filter: n > 3
      - run: {HERE}:add_total
      - {{run: {HERE}:in_batches, batch: true}}
      - {{run: {HERE}:slowly, concurrency: 4}}
    to: [{{stream: large, when: total > 20}}, {{stream: small}}]
    batch: {{size: 7, wait: 20ms}}
    consumers: 2
  export:
    from: large
    write: {{jsonl: out/large.jsonl}}
streams:
  orders: {{retain: 1d, max_backlog: 10}}
tests:
  a large one: {{input: {{orders: [{{n: 30}}]}}, expect: {{large: [{{total: 60}}]}}, partial: true}}
"""


def shop(folder: Path) -> Pipeline:
    return (
        Pipeline("shop", description="A shop", folder=folder)
        .defaults(retry=RetryConfig(attempts=2, backoff="1ms..2ms"))
        .stage(
            "price",
            from_="orders",
            process=[
                Filter(expression="n > 3"),
                add_total,
                in_batches,
                {"run": slowly, "concurrency": 4},
            ],
            to=[Route(stream="large", when="total > 20"), "small"],
            batch=BatchConfig(size=7, wait="20ms"),
            consumers=2,
        )
        .stage("export", from_="large", write=JsonlSink(path="out/large.jsonl"))
        .stream("orders", retain="1d", max_backlog=10)
        .case("a large one", input={"orders": [{"n": 30}]}, expect={"large": [{"total": 60}]}, partial=True)
    )


def twin(folder: Path, text: str = TWIN) -> Path:
    file = folder / "shop.yml"
    file.write_text(text)
    return file


def plan_of(spec: PipelineSpec) -> dict[str, object]:
    """The plan on an empty server, and what a run depends on."""
    topology = build_topology(spec, existing=frozenset(_keys(spec)))
    keys = [stream.key for stream in topology.streams.values()]
    empty = StreamsSnapshot({key: StreamPosition(key, "none", 0, {}) for key in keys}, {})
    stages = {
        stage.name: (stage.settings, stage.group, [step.describe() for step in stage.steps], stage.routes)
        for stage in topology.stages.values()
    }
    return {**asdict(make_plan(topology, empty, server="here")), "stages": stages, "tests": spec.config.tests}


def _keys(spec: PipelineSpec) -> list[str]:
    return [f"{{{spec.name}}}:{name}" for stage in spec.config.stages.values() for name in stage.from_]


def test_a_pipeline_in_python_has_the_plan_the_graph_and_the_results_of_its_twin(tmp_path: Path) -> None:
    pipeline, file = shop(tmp_path), twin(tmp_path)
    written = Pipeline.from_yaml(file)
    assert plan_of(pipeline.spec()) == plan_of(load_pipeline(file)) == plan_of(written.spec())
    for format_ in ("mermaid", "dot", "ascii", "json"):
        assert pipeline.graph(format_) == written.graph(format_)
    assert "<svg" in pipeline.graph("svg")
    results = []
    for source in (pipeline, file, written):
        with drive(source) as driver:
            driver.put("orders", {"n": 1}, {"n": 5}, {"n": 50})
            results.append((driver.out("small"), driver.out("large"), driver.written("export")))
    assert results[0][0] == [{"n": 5, "total": 10, "of": 2, "slowly": True}]
    assert results[0] == results[1] == results[2]
    assert [verdict.passed for verdict in pipeline.test()] == [True]


def test_to_yaml_is_a_file_that_means_the_same(tmp_path: Path) -> None:
    pipeline = shop(tmp_path)
    assert plan_of(load_pipeline(twin(tmp_path, pipeline.to_yaml()))) == plan_of(pipeline.spec())


@pytest.mark.parametrize("file", [FLIGHTS, STARTER], ids=["flights", "starter"])
def test_a_file_that_is_read_and_written_again_gives_the_same_plan(file: Path, tmp_path: Path) -> None:
    written = Pipeline.from_yaml(file, environment={}).to_yaml()
    assert "${REDIS_URL:-embedded}" in written
    again = file.with_name(f".written-{tmp_path.name}.yml")
    again.write_text(written)
    try:
        assert plan_of(load_pipeline(again, environment={})) == plan_of(load_pipeline(file, environment={}))
        assert Pipeline.from_yaml(again, environment={}).to_yaml() == written
    finally:
        again.unlink()


@pytest.mark.parametrize(
    "text", ["1e3", "on", "007", "${HOME}", "$${x", "null", "a: b", "# c", "é\n\x07", "0", "", " x "]
)
def test_any_text_is_the_same_text_in_the_file(text: str, tmp_path: Path) -> None:
    pipeline = Pipeline("p", description=text, folder=tmp_path).stage("a", from_="s", write="stdout")
    assert load_pipeline(twin(tmp_path, pipeline.to_yaml())).config.description == text


def test_a_secret_of_a_file_is_not_in_what_is_written(tmp_path: Path) -> None:
    text = "pipeline: p\nredis: redis://:${DB_PASSWORD}@host\nstages: {a: {read: {csv: '${PIN_SECRET}'}, to: s}}\n"
    variables = {"DB_PASSWORD": "hunter22", "PIN_SECRET": "12345678"}
    pipeline = Pipeline.from_yaml(twin(tmp_path, text), environment=variables)
    assert pipeline.spec().config.redis == "redis://:hunter22@host"
    written = pipeline.to_yaml()
    assert not [value for value in variables.values() if value in written]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda order: order, "<lambda> cannot be referred to by name: define it at the top level"),
        ({"run": lambda order: order}, "<lambda> cannot be referred to by name"),
        (Run(function=lambda order: order), "<lambda> cannot be referred to by name"),
    ],
)
def test_to_yaml_says_in_one_sentence_which_function_has_no_name(step: object, expected: str, tmp_path: Path) -> None:
    pipeline = Pipeline("shop", folder=tmp_path).stage("price", from_="s", process=[add_total, step], to="t")  # type: ignore[list-item]
    with pytest.raises(UsageError) as caught:
        pipeline.to_yaml()
    assert str(caught.value).startswith("pipeline 'shop', stage 'price', process[1]")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


class Counting:
    """A class that is made once, when its stage starts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, order: dict[str, float]) -> dict[str, float]:
        self.count += 1
        return {**order, "count": self.count}


def test_a_class_is_a_step_that_is_made_once(tmp_path: Path) -> None:
    pipeline = Pipeline("shop", folder=tmp_path).stage("count", from_="orders", process=[Counting], to="counted")
    pipeline.stream("orders")
    assert f"run: {HERE}:Counting" in pipeline.to_yaml()
    with pipeline.driver() as driver:
        driver.put("orders", {"n": 7}).put("orders", {"n": 8})
        assert driver.out("counted") == [{"n": 7, "count": 1}, {"n": 8, "count": 2}]


def test_a_model_that_was_not_made_is_no_step(tmp_path: Path) -> None:
    (told,) = problems(Pipeline("shop", folder=tmp_path).stage("a", from_="s", process=[Filter], to="t"))
    assert told.startswith("pipeline 'shop', stage 'a', process[0]: expected a step")


def test_functions_of_every_kind_are_steps(tmp_path: Path) -> None:
    kinds: list[Callable[..., object]] = [
        add_total,
        slowly,
        twice,
        twice_more,
        in_batches,
        as_model,
        lambda order: order,
    ]
    pipeline = (
        Pipeline("shop", folder=tmp_path).stage("price", from_="orders", process=kinds, to="priced").stream("orders")
    )
    with pipeline.driver() as driver:
        driver.put("orders", {"n": 7}, {"n": 101})
        assert driver.out("priced") == [{"n": 7}] * 4
        assert len(driver.dead("price")) == 1


def problems(pipeline: Pipeline) -> list[str]:
    with pytest.raises(InvalidPipelineError) as caught:
        build_topology(pipeline.spec())
    return [str(problem) for problem in caught.value.problems]


def test_all_that_is_wrong_is_told_at_once_by_the_names_of_the_parts(tmp_path: Path) -> None:
    pipeline = (
        Pipeline("shop", folder=tmp_path)
        .stage("price", from_="orders", process=[{"fliter": "n > 3"}, {"filter": "n >"}], to="t", claim_after="20")
        .stage("export", from_="t", write=Filter(expression="n > 1"))
        .stage("other", from_="t", process=[JsonlSink(path="x")], to="u", batch={"sise": 3})
        .stage("neither", to="v")
    )
    assert sorted(told.partition(": invalid syntax")[0] for told in problems(pipeline)) == sorted(
        [
            "pipeline 'shop', stage 'price', process[0]: unknown step 'fliter' (did you mean filter?)",
            "pipeline 'shop', stage 'price', process[1].filter.expression: not a Python expression",
            "pipeline 'shop', stage 'price', claim_after: expected a duration such as 20ms, 5s or 1h, not '20'",
            "pipeline 'shop', stage 'export', write: Filter is a step, not a sink",
            "pipeline 'shop', stage 'other', process[0]: JsonlSink is a sink, not a step",
            "pipeline 'shop', stage 'other', batch.sise: unknown key 'sise' (did you mean size?)",
            "pipeline 'shop', stage 'neither': a stage needs either `from` or `read`",
        ]
    )


def test_what_does_not_fit_together_is_told_as_for_a_file(tmp_path: Path) -> None:
    pipeline = (
        Pipeline("shop", folder=tmp_path).stage("a", from_="ordres", to="t").stage("b", from_="t", write="stdout")
    )
    (told,) = problems(pipeline)
    assert told.startswith("pipeline 'shop', stage 'a', from[0]: no stage writes the stream 'ordres' that 'a' reads")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"form_": "orders"}, "unknown argument 'form_' (did you mean from_?)"),
        ({"from": "orders"}, "unknown argument 'from' (did you mean from_?)"),
        ({"proces": []}, "unknown argument 'proces' (did you mean process?)"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline("shop").stage("price", **arguments)  # type: ignore[arg-type]
    assert str(caught.value) == f"pipeline 'shop', stage 'price': {expected}"


def test_a_stage_cannot_be_said_twice() -> None:
    with pytest.raises(UsageError, match="the stage already exists"):
        Pipeline("shop").stage("a", from_="s", to="t").stage("a", from_="s", to="t")


def test_neither_a_streams_settings_nor_a_test_are_replaced_without_a_word() -> None:
    pipeline = Pipeline("p").stream("s", retain="1d").case("one", input={"s": [{"n": 1}]})
    with pytest.raises(UsageError, match="stream 's': the stream already has settings"):
        pipeline.stream("s", retain="2d")
    with pytest.raises(UsageError, match="test 'one': the test already exists"):
        pipeline.case("one", input={"s": []})


@pytest.mark.parametrize("process", [dict, "filter", {"filter": "n > 3"}, FILTER, None])
def test_what_is_no_list_of_steps_is_refused(process: Any) -> None:
    with pytest.raises(UsageError, match=r"stage 'a': process must be a list of steps, even for one: process=\[...\]"):
        Pipeline("p").stage("a", from_="s", process=process)


def test_the_folder_is_that_of_the_calling_module() -> None:
    spec = Pipeline("shop").stage("a", from_="s", to="t").spec()
    assert (spec.folder, spec.file) == (Path(__file__).parent, Path(__file__))


def test_overrides_apply_as_they_do_to_a_file(tmp_path: Path) -> None:
    spec = shop(tmp_path).spec(overrides=["stages.price.consumers=4", "defaults.retry.attempts=3"], redis="redis://x")
    assert (spec.config.settings("price").consumers, spec.config.settings("price").attempts) == (4, 3)
    assert spec.config.redis == "redis://x"
    assert shop(tmp_path).spec().config.settings("price").consumers == 2


def test_a_file_may_be_added_to(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(twin(tmp_path)).stage("print", from_="small", process=[add_total], write="stdout")
    assert list(build_topology(pipeline.spec()).stages) == ["price", "export", "print"]
    pipeline.stage("wrong", from_="small", write={"jsnl": "x"})
    (told,) = problems(pipeline)
    assert told.endswith("unknown sink 'jsnl' (did you mean jsonl?)")


def test_a_graph_has_only_the_formats_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'gif'"):
        shop(tmp_path).graph("gif")  # type: ignore[arg-type]


def test_plan_test_and_drive_work_where_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    pipeline = Pipeline("p", folder=tmp_path).stage("a", from_="s", process=[slowly], to="t").stream("s")
    pipeline.case("one", input={"s": [{"n": 1}]}, expect={"t": [{"n": 1, "slowly": True}]})

    async def inside() -> None:
        assert [stream.name for stream in pipeline.plan().streams] == ["s", "t"]
        assert all(verdict.passed for verdict in pipeline.test())
        with drive(pipeline) as driver:
            driver.put("s", {"n": 2})
            assert driver.out("t") == [{"n": 2, "slowly": True}]

    asyncio.run(inside())


def test_a_runs_loop_refuses_to_run_inside_another_one_and_does_not_try_for_ever() -> None:
    loop = new_loop()

    async def inside() -> None:
        with pytest.raises(UsageError, match="called inside a running event loop"):
            loop.run_until_complete(loop.create_future())

    try:
        asyncio.run(inside())
    finally:
        loop.close()


def test_a_results_counts_can_be_read_where_they_are_printed() -> None:
    told = repr(StageCounters(read=3, written=3))
    assert "read=3" in told
    assert "Histogram" not in told
