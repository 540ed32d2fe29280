"""Whatever a step does ends with that record: the others arrive, and the run goes on to its end."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import textwrap

import pytest

from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_pipeline
from papyra_flow.testing import drive
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, line_of

RAISED = {
    "exit": "sys.exit(0)",
    "interrupt": "raise KeyboardInterrupt",
    "cancelled": "raise asyncio.CancelledError",
    "generator exit": "raise GeneratorExit",
    "stop": "raise StopIteration(1)",
    "group": "raise BaseExceptionGroup('two', [SystemExit(0), ValueError('x')])",
    "unshowable": "raise Unshowable",
    "server": "from papyra_flow.errors import TryAgainError; raise TryAgainError('not yours')",
    "fork": "_ = os.fork() or sys.exit(3); raise ValueError('the parent')",
}
"""What is raised, for the record 2."""

FUNCTIONS = {
    "sync": """
        def f(r):
            bad(r)
            return r
        """,
    "generator": """
        def f(r):
            bad(r)
            yield r
        """,
    "async": """
        async def f(r):
            await asyncio.sleep(0)
            bad(r)
            return r
        """,
    "async generator": """
        async def f(r):
            bad(r)
            yield r
        """,
    "batch": """
        def f(rs):
            [bad(r) for r in rs]
            return rs
        """,
    "async batch": """
        async def f(rs):
            await asyncio.sleep(0)
            [bad(r) for r in rs]
            return rs
        """,
    "thread": """
        def f(r):
            bad(r)
            return r
        """,
    "batch in a thread": """
        def f(rs):
            [bad(r) for r in rs]
            return rs
        """,
    "validator": """
        from pydantic import BaseModel, field_validator
        class M(BaseModel):
            n: int
            @field_validator("n")
            @classmethod
            def check(cls, n):
                bad({"n": n})
                return n
        def f(r: M) -> M:
            return r
        """,
    "own task": """
        async def child(r):
            bad(r)
        async def f(r):
            await asyncio.create_task(child(r))
            return r
        """,
    "table": """
        import pyarrow as pa
        def f(t: pa.Table):
            [bad(r) for r in t.to_pylist()]
            return t
        """,
    "async table": """
        import pyarrow as pa
        async def f(t: pa.Table):
            [bad(r) for r in t.to_pylist()]
            return t
        """,
    "table generator": """
        import pyarrow as pa
        def f(t: pa.Table):
            [bad(r) for r in t.to_pylist()]
            yield t
        """,
}
OPTIONS = {
    "batch": "batch: true", "async batch": "batch: true", "thread": "thread: true",
    "batch in a thread": "batch: true, thread: true",
}  # fmt: skip


def written(folder: PipelineFolder, body: str, options: str, *, tables: bool = False) -> PipelineFolder:
    module = folder.steps("import asyncio, os, sys\nfrom papyra_flow import Emit, Retry\n" + textwrap.dedent(body))
    step = f'{{function: "{module}:f"{options and ", "}{options}}}'
    folder.pipeline(f"""
        pipeline: t
        stages:
          a: {{from: in, process: [{"batch, " if tables else ""}{{run: {step}}}], to: out}}
        defaults: {{retry: {{attempts: 1}}}}
        streams: {{in: {{}}, out: {{retain: all{", format: arrow" if tables else ""}}}}}
        """)
    return folder


BAD = """
class Unshowable(BaseException):
    def __str__(self):
        raise SystemExit(0)
def bad(r):
    if r["n"] == 2:
        {}
"""


@pytest.mark.parametrize(("kind", "raised"), list(itertools.product(FUNCTIONS, RAISED)))
def test_whatever_a_step_raises_is_the_failure_of_its_record(folder: PipelineFolder, kind: str, raised: str) -> None:
    written(
        folder,
        BAD.format(RAISED[raised]) + textwrap.dedent(FUNCTIONS[kind]),
        OPTIONS.get(kind, ""),
        tables="table" in kind,
    )
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(5)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3, 4]
        (letter,) = driver.dead("a")
        assert letter.error


MULTIPLIED = {
    "one dict for all": "D = {}\ndef f(r):\n    D['n'] = r['n']\n    return D\n",
    "one list for all": "L = []\ndef f(r):\n    L.append(r)\n    return L\n",
    "appended again": (
        "def f(r):\n    out, d = [], {}\n    for i in range(3):\n        d['n'] = i\n"
        "        out.append(d)\n    return out\n"
    ),
    "times": "def f(r):\n    return [r] * 3\n",
    "in an Emit": "D = {}\ndef f(r):\n    D['n'] = r['n']\n    return Emit(D)\n",
    "in lists": "D = {}\ndef f(r):\n    D['n'] = r['n']\n    return [D]\n",
    "async": "D = {}\nasync def f(r):\n    D['n'] = r['n']\n    return D\n",
    "model": (
        "from pydantic import BaseModel\nclass M(BaseModel):\n    n: int = 0\nD = M()\n"
        "def f(r):\n    D.n = r['n']\n    return D\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MULTIPLIED)
def test_one_object_for_several_records_is_a_failure_that_says_so(folder: PipelineFolder, kind: str) -> None:
    written(folder, MULTIPLIED[kind], "")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert driver.out("out") == []
        assert {"the same object" in letter.error for letter in driver.dead("a")} == {True}
        assert len(driver.dead("a")) == 4


@pytest.mark.parametrize(("prefix", "options"), [("", ""), ("", "thread: true"), ("async ", "")])
def test_a_generator_may_change_what_it_has_yielded(folder: PipelineFolder, prefix: str, options: str) -> None:
    written(folder, f"{prefix}def f(r):\n    for i in range(3):\n        r['i'] = i\n        yield r\n", options)
    with drive(folder.file) as driver:
        driver.put("in", {"n": 1}, {"n": 2})
        assert [(r["n"], r["i"]) for r in driver.out("out")] == [(n, i) for n in (1, 2) for i in range(3)]


def test_an_endless_generator_ends_as_a_failure(folder: PipelineFolder) -> None:
    written(folder, "import itertools\ndef f(r):\n    return itertools.repeat(None) if r['n'] == 2 else r\n", "")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3]
        assert "more than 1,000,000" in driver.dead("a")[0].error


@pytest.mark.parametrize("after", ["-1", "float('nan')", "float('inf')", "1e300", "'1h'", "True", "[]", "10**400"])
def test_a_wait_that_is_none_is_told(folder: PipelineFolder, after: str) -> None:
    written(folder, f"def f(r):\n    if r['n'] == 2:\n        raise Retry(after={after})\n    return r\n", "")
    with drive(folder.file) as driver:
        driver.put("in", *({"n": n} for n in range(4)))
        assert [record["n"] for record in driver.out("out")] == [0, 1, 3]
        assert "Retry: `after`" in driver.dead("a")[0].error


UNRULY = {
    "a task of its own exits": """
        async def gone():
            sys.exit(0)
        async def f(r):
            if r["n"] == 2:
                asyncio.create_task(gone())
            await asyncio.sleep(0)
            return r
        """,
    "the loop is stopped": """
        async def f(r):
            if r["n"] == 2:
                asyncio.get_running_loop().stop()
            return r
        """,
    "a callback exits": """
        async def f(r):
            if r["n"] == 2:
                asyncio.get_running_loop().call_soon(sys.exit)
            await asyncio.sleep(0)
            return r
        """,
    "a thread that never ends": """
        import threading
        def f(r):
            if r["n"] == 2:
                threading.Thread(target=threading.Event().wait).start()
            return r
        """,
    "a thread of the loop's that never ends": """
        import threading
        async def f(r):
            if r["n"] == 2:
                asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
            return r
        """,
    "standard output is closed": """
        def f(r):
            if r["n"] == 2:
                sys.stdout.close()
                os.close(1)
            return r
        """,
    "everything is closed": """
        def f(r):
            if r["n"] == 2:
                sys.stdout.close(); sys.stderr.close(); sys.stdin.close()
                for n in range(3):
                    os.close(n)
            return r
        """,
    "standard output is redirected": """
        def f(r):
            if r["n"] == 2:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.stdout = sys.stderr = None
            return r
        """,
    "the log is switched off": """
        import logging.config
        def f(r):
            if r["n"] == 2:
                logging.disable(logging.CRITICAL)
                logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
            return r
        """,
    "the recursion limit is low": """
        def f(r):
            if r["n"] == 2:
                sys.setrecursionlimit(120)
            return r
        """,
    "the working directory is gone": """
        import tempfile
        def f(r):
            if r["n"] == 2:
                os.chdir(tempfile.mkdtemp())
                os.rmdir(os.getcwd())
            return r
        """,
    "a child": """
        def f(r):
            if r["n"] == 2:
                os.fork()
            return r
        """,
    "a child in a thread": """
        import threading
        def f(r):
            if r["n"] == 2:
                thread = threading.Thread(target=os.fork)
                thread.start()
                thread.join()
            return r
        """,
}


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("kind", UNRULY)
def test_a_run_outlives_what_a_step_leaves_behind(folder: PipelineFolder, url: str, kind: str, processes: str) -> None:
    written(folder, UNRULY[kind], "")
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin="".join(f'{{"n": {n}}}\n' for n in range(5)))
    document = folder.cli("run", "pipeline.yml", "--redis", url, "--drain", "--json", "--processes", processes).json
    assert document["outcome"] == "drained"
    assert document["stages"]["a"]["emitted"] == {"out": 5}


def test_a_step_that_takes_the_handlers_does_not_keep_a_run_from_stopping(folder: PipelineFolder, url: str) -> None:
    body = """
        import signal
        def f(r):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            return r
        """
    written(folder, body, "")
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin='{"n": 1}\n')
    running = folder.start("run", "pipeline.yml", "--redis", url, "--json")
    line_of(running, "took the handler of SIG")
    running.terminate()
    out, _ = running.communicate(timeout=HANGS_SECONDS)
    assert (running.returncode, json.loads(out)["outcome"]) == (0, "stopped")


def test_a_process_that_was_forked_before_may_run_a_pipeline_itself(folder: PipelineFolder, url: str) -> None:
    """As servers that fork their workers do, after they have imported everything."""
    module = folder.steps("def step(record):\n    return record\n")
    folder.pipeline(
        f"""\
        pipeline: t
        stages: {{a: {{read: {{generate: {{count: 3}}}}, process: [{{run: "{module}:step"}}], to: out}}}}
        streams: {{out: {{retain: all}}}}
        """
    )
    topology = folder.topology()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if asyncio.run(run_pipeline(topology, url, RunOptions())).outcome == "drained" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
