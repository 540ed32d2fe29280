"""A step that ends or replaces its process, or starts others, does no harm to the run."""

from __future__ import annotations

import json
import signal
import textwrap

import pytest
import redis

from papyra_flow.testing import drive
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder

WAYS_OUT = {
    "os._exit": "os._exit(0)",
    "os._exit, imported": "_exit(0)",
    "os._exit with another code": "os._exit(3)",
    "os.execv": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "os.execlp": "os.execlp('true', 'true')",
    "os.execve": "os.execve(sys.executable, [sys.executable, '-c', ''], os.environ)",
}
CHILDREN = {
    "multiprocessing.Pool": (
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n            assert pool.map(abs, [-1]) == [1]"
    ),
    "ProcessPoolExecutor": (
        "with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('fork')) as pool:\n"
        "            assert pool.submit(abs, -1).result() == 1"
    ),
    "a child that is terminated": (
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,))\n"
        "        child.start(); child.terminate(); child.join()"
    ),
    "a child that ends by os._exit": "child = os.fork() or os._exit(0)\n        assert os.waitpid(child, 0)[1] == 0",
    "a child that is another program": "os.fork() or os.execlp('true', 'true')",
}


def written(folder: PipelineFolder, act: str) -> None:
    module = folder.steps(
        "import concurrent.futures, multiprocessing, os, sys, time\nfrom os import _exit\n"
        + textwrap.dedent(f"""
        def f(r):
            if r["n"] == 2:
                {act.replace(chr(10) + " " * 8, chr(10) + " " * 16)}
            return r
        """)
    )
    folder.pipeline(f"""
        pipeline: t
        stages: {{a: {{from: in, retry: {{attempts: 1}}, process: [{{run: "{module}:f"}}], to: out}}}}
        streams: {{in: {{}}, out: {{retain: all}}}}
        """)


def test_a_step_cannot_leave_with_the_exit_code_of_a_run_that_is_done(folder: PipelineFolder, url: str) -> None:
    written(folder, WAYS_OUT["os._exit"])
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin="".join(f'{{"n": {n}}}\n' for n in range(5)))
    ended = folder.cli("run", "pipeline.yml", "--redis", url, "--drain", "--json", code=3)
    assert ended.json["stages"]["a"]["emitted"] == {"out": 4}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_way_out_of_the_process_is_the_failure_of_its_record(folder: PipelineFolder, way: str) -> None:
    written(folder, WAYS_OUT[way])
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(5)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3, 4]
        (letter,) = driver.dead("a")
        assert "os._exit(" in letter.error or "os.exec" in letter.error


@pytest.mark.parametrize("child", CHILDREN)
async def test_children_of_a_step_do_not_take_the_runs_signals(
    folder: PipelineFolder, url: str, child: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A signal to a child is no signal to the run, and ends the child."""
    written(folder, CHILDREN[child])
    for number in range(5):
        redis_client.xadd("{t}:in", {"data": json.dumps({"n": number})})
    result = await folder.run(url, drain=True)
    assert result.outcome == "drained"
    assert result.counters.stages["a"].emitted == {"out": 5}
    assert "stopping" not in caplog.text


def test_a_first_signal_is_not_taken_for_a_handler_of_a_step(folder: PipelineFolder, url: str) -> None:
    written(folder, "os.kill(os.getpid(), 15)")
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin='{"n": 2}\n')
    running = folder.start("run", "pipeline.yml", "--redis", url)
    _, err = running.communicate(timeout=HANGS_SECONDS)
    assert running.returncode == 0
    assert f"took the handler of {signal.SIGTERM.name}" not in err
