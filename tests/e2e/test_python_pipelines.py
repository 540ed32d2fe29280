"""Pipelines in Python by the command: `shop:pipeline` wherever a verb takes a file."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from papyra_flow import Pipeline, Record
from papyra_flow.errors import EXIT_DEAD_LETTERS, UsageError
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, until

ROOT = Path(__file__).parents[2]
SHOP = """\
from papyra_flow import Pipeline


def add_total(order):
    return {**order, "total": order["n"] * 2}


def made():
    return (
        Pipeline("shop")
        .stage("ingest", read={"jsonl": "orders.jsonl"}, to="orders")
        .stage("price", from_="orders", process=[add_total, lambda order: {**order, "by": "lambda"}], to="priced")
        .stage("export", from_="priced", write={"jsonl": "out.jsonl"})
        .case("doubled", input={"orders": [{"n": 2}]}, expect={"priced": [{"total": 4}]}, partial=True)
    )


pipeline = made()
number = 3
"""


@pytest.fixture
def shop(folder: PipelineFolder) -> PipelineFolder:
    folder.write("shop.py", SHOP)
    folder.records("orders.jsonl", [{"n": number} for number in range(100)])
    return folder


@pytest.mark.parametrize("reference", ["shop:pipeline", "shop.py:pipeline", "shop:made", "./shop.py:made"])
def test_a_pipeline_in_python_is_run_by_its_name(shop: PipelineFolder, url: str, reference: str) -> None:
    found = shop.cli("run", reference, "--redis", url, "--json", "--set", "stages.price.consumers=2").json
    assert found["stages"]["price"]["emitted"] == {"priced": 100}
    assert sorted(record["total"] for record in shop.output("out.jsonl")) == [2 * number for number in range(100)]


def test_several_processes_each_make_the_pipeline(shop: PipelineFolder, url: str) -> None:
    shop.cli("run", "shop:pipeline", "--redis", url, "--processes", "2", "--set", "stages.price.consumers=2")
    assert {record["by"] for record in shop.output("out.jsonl")} == {"lambda"}
    assert len(shop.output("out.jsonl")) == 100


def test_a_file_in_another_folder_has_that_folder(shop: PipelineFolder, url: str) -> None:
    (shop.path / "elsewhere").mkdir()
    elsewhere = PipelineFolder(shop.path / "elsewhere")
    elsewhere.cli("run", "../shop.py:pipeline", "--redis", url)
    assert len(shop.output("out.jsonl")) == 100


def test_verbs_take_it_as_they_take_a_file(shop: PipelineFolder, url: str) -> None:
    assert "valid, 3 stages and 2 streams" in shop.cli("validate", "shop:pipeline").out
    assert "1 passed, 0 failed" in shop.cli("test", "shop:pipeline").out
    assert shop.cli("plan", "shop:pipeline", "--redis", url, "--json").json["pipeline"] == "shop"
    assert "price" in shop.cli("graph", "shop:pipeline").out
    shop.cli("apply", "shop:pipeline", "--redis", url)
    assert shop.cli("status", "shop:pipeline", "--redis", url, "--json").json["pipeline"] == "shop"


def test_a_file_of_that_very_name_comes_first(shop: PipelineFolder) -> None:
    shop.write("shop:pipeline", "pipeline: p\nstages: {a: {read: {jsonl: orders.jsonl}, write: stdout}}\n")
    assert "valid, 1 stage and 0 streams" in shop.cli("validate", "shop:pipeline").out


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("shpo:pipeline", "no file 'shpo' and no module 'shpo' found"),
        ("shpo.py:pipeline", "file not found: shpo.py"),
        ("shop:pipelin", "shop has no 'pipelin' (did you mean pipeline?)"),
        ("shop:number", "neither a Pipeline nor a function without arguments that returns one, but of type int"),
        ("shop:add_total", "neither a Pipeline nor a function without arguments"),
        ("broken:pipeline", "broken cannot be imported: ZeroDivisionError"),
        ("leaving.py:pipeline", "leaving.py cannot be imported: SystemExit"),
        ("needy:pipeline", "needy cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("factory:made", "factory:made() made no pipeline: KeyError: 'TOKEN'"),
        ("wrong:pipeline", "pipeline 'p', stage 'a': a stage needs either `to` or `write`"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(shop: PipelineFolder, reference: str, expected: str) -> None:
    shop.write("broken.py", "1 / 0\n")
    shop.write("leaving.py", "raise SystemExit(3)\n")
    shop.write("needy.py", "import not_there\n")
    shop.write("factory.py", "import os\ndef made():\n    return {}['TOKEN']\n")
    shop.write("wrong.py", "from papyra_flow import Pipeline\npipeline = Pipeline('p').stage('a', from_='s')\n")
    found = shop.cli("validate", reference, code=2)
    assert expected in found.err
    assert "Traceback" not in found.err


def test_a_watched_run_follows_the_module(shop: PipelineFolder, url: str) -> None:
    running = shop.start("run", "shop:pipeline", "--redis", url, "--watch")
    try:
        asyncio.run(until(lambda: _count(shop.path / "out.jsonl") == 100, HANGS_SECONDS))
        shop.write("shop.py", SHOP.replace('order["n"] * 2', 'order["n"] * 3').replace("orders.jsonl", "more.jsonl"))
        shop.records("more.jsonl", [{"n": 7}])
        shop.write("shop.py", SHOP.replace('order["n"] * 2', 'order["n"] * 3').replace("orders.jsonl", "./more.jsonl"))
        asyncio.run(until(lambda: _count(shop.path / "out.jsonl") > 100, HANGS_SECONDS))
    finally:
        running.terminate()
        running.communicate()
    assert shop.output("out.jsonl")[-1]["total"] == 21


def _count(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_the_tests_of_two_pipelines_call_each_ones_own_functions(folder: PipelineFolder) -> None:
    for name in "ab":
        folder.write(f"{name}/steps.py", f"def named(record):\n    return {{**record, 'by': '{name}'}}\n")
        folder.write(
            f"{name}/pipeline.yml",
            f"""\
            pipeline: {name}
            stages: {{a: {{from: s, process: [run: steps:named], to: t}}}}
            streams: {{s: {{}}}}
            tests: {{named: {{input: {{s: [{{n: 1}}]}}, expect: {{t: [{{n: 1, by: {name}}}]}}}}}}
            """,
        )
    assert "2 passed, 0 failed" in folder.cli("test", "a/pipeline.yml", "b/pipeline.yml").out


def double(record: dict[str, int]) -> dict[str, int]:
    return {"n": record["n"] * 2}


def pipeline(folder: PipelineFolder, name: str, url: str) -> Pipeline:
    folder.records(f"{name}.jsonl", [{"n": number} for number in range(10)])
    return (
        Pipeline(name, redis=url, folder=folder.path)
        .stage("read", read={"jsonl": f"{name}.jsonl"}, to="s")
        .stage("write", from_="s", process=[double], write={"jsonl": f"out/{name}.jsonl"})
    )


def state() -> tuple[object, ...]:
    """What a run has no business to leave changed."""
    factory, handlers = logging.getLogRecordFactory(), list(logging.getLogger().handlers)
    return gc.get_threshold(), gc.get_freeze_count(), factory, handlers, logging.getLogger("papyra_flow").filters


def test_a_run_leaves_the_process_as_it_was(folder: PipelineFolder, url: str) -> None:
    made, before = pipeline(folder, "p", url), state()
    result = made.run()
    assert (result.outcome, len(folder.output("out/p.jsonl"))) == ("drained", 10)
    assert state() == before
    broken = pipeline(folder, "q", url).stage("halt", from_="s", process=[lambda r: r["gone"]], on_error="halt", to="t")
    with pytest.raises(Exception, match="halt"):
        broken.run()
    assert state() == before


def test_pipelines_run_in_threads_and_on_a_loop_that_runs_already(folder: PipelineFolder, url: str) -> None:
    before = state()
    made = [pipeline(folder, name, url) for name in ("p", "q", "r")]
    threads = [threading.Thread(target=one.run) for one in made[:2]]
    for thread in threads:
        thread.start()
    result = asyncio.run(made[2].run_async())
    for thread in threads:
        thread.join()
    assert result.counters.stages["write"].written == 10
    assert [len(folder.output(f"out/{name}.jsonl")) for name in ("p", "q", "r")] == [10, 10, 10]
    assert state() == before


def flowing(folder: PipelineFolder, url: str, step: Callable[[Record], object]) -> Pipeline:
    return (
        Pipeline("p", redis=url, folder=folder.path)
        .stage("read", read={"generate": {"rate": 200}}, to="s")
        .stage("write", from_="s", process=[step], write={"jsonl": "out.jsonl"})
    )


async def test_a_run_that_is_cancelled_gives_back_what_it_holds(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    before = asyncio.all_tasks()
    running = asyncio.create_task(flowing(folder, url, lambda record: record).run_async())
    await until(lambda: (folder.path / "out.jsonl").exists() and (folder.path / "out.jsonl").stat().st_size)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    assert [redis_client.hget(f"{{p}}:@{kind}", "owner") for kind in ("source:read", "sink:write")] == [b"", b""]
    with (folder.path / "out.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert redis_client.exists("{p}:@workers") == 0


async def test_a_run_that_is_cancelled_again_ends_at_once(folder: PipelineFolder, url: str) -> None:
    before, begun = asyncio.all_tasks(), asyncio.Event()

    async def stuck(record: Record) -> Record:
        begun.set()
        await asyncio.Event().wait()
        return record

    running = asyncio.create_task(flowing(folder, url, stuck).run_async())
    await begun.wait()
    while not running.done():
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: asyncio.all_tasks() == before)


async def test_run_says_how_it_is_awaited(folder: PipelineFolder, url: str) -> None:
    with pytest.raises(UsageError, match="run_async"):
        pipeline(folder, "p", url).run()


def test_a_function_that_no_other_process_can_import_is_refused_at_once(folder: PipelineFolder, url: str) -> None:
    made = pipeline(folder, "p", url).stage("more", from_="s", process=[lambda record: record], to="t")
    with pytest.raises(UsageError, match="cannot be imported by another process"):
        made.run(processes=2)


def test_processes_import_the_functions_that_have_a_name(folder: PipelineFolder, url: str) -> None:
    assert pipeline(folder, "p", url).run(processes=2).outcome == "drained"
    assert len(folder.output("out/p.jsonl")) == 10


def test_a_plan_is_made_on_the_pipelines_own_server(folder: PipelineFolder) -> None:
    made = pipeline(folder, "p", "embedded")
    assert made.plan().changes > 0
    assert made.run().outcome == "drained"
    assert made.plan().changes == 0


def test_the_example_runs_as_it_is_and_passes_its_own_tests(folder: PipelineFolder) -> None:
    folder.write("shop.py", (ROOT / "examples" / "shop.py").read_text())
    assert "1 passed, 0 failed" in folder.cli("test", "shop.py:pipeline").out
    found = folder.cli("run", "shop.py:pipeline", "--json", code=EXIT_DEAD_LETTERS).json
    written = [*folder.output("out/large.jsonl"), *folder.output("out/small.jsonl")]
    assert found["stages"]["price"]["dead"] == 100
    assert len(written) == 900 - found["stages"]["price"]["dropped"]
    assert all(order["total"] > 5 for order in written)


def test_a_script_runs_its_pipeline(shop: PipelineFolder) -> None:
    import subprocess

    shop.write("shop.py", SHOP + 'if __name__ == "__main__":\n    print(pipeline.run().outcome)\n')
    script = [sys.executable, "shop.py"]
    found = subprocess.run(script, cwd=shop.path, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (found.stdout, found.returncode) == ("drained\n", 0), found.stderr
