"""I5: a record that ends the process that runs it takes down only itself. And steps that hang, and clocks that jump."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.faults.workload import Workload, rows_of
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

KILLERS = """\
    import ctypes, os, resource, signal
    HARM = {
        1234: os.abort,
        4321: lambda: ctypes.string_at(0),                    # a segmentation fault
        5000: lambda: os.kill(os.getpid(), signal.SIGKILL),   # as the kernel does when memory runs out
        7777: lambda: exhaust(),
    }
    def exhaust():
        resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
        hoard = []
        while True:
            hoard.append(bytearray(2**24))
    def step(record):
        if record["n"] in HARM:
            HARM[record["n"]]()
        return record
    """


def pipeline(folder: PipelineFolder, form: str, count: int, module: str, more: str = "", *, size: int = 100) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(count)])
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{batch: {{size: {size}}}, retry: {{attempts: 3, backoff: 1ms..5ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:step"{more}}}], consumers: 2, to: t}}
        streams: {{s: {{format: {form}}}, t: {{format: {form}}}}}
        """
    )


def arrived(url: str) -> Counter[int]:
    with plain_client(url) as server:
        return Counter(row["n"] for _, fields in server.xrange("{p}:t") for row in rows_of(fields))


def dead(letters: list[dict[str, Any]]) -> list[int]:
    """The numbers in dead letters, as the command shows them."""
    found = [json.loads(letter["fields"]["data"]) for letter in letters]
    return [row["n"] for rows in found for row in (rows if isinstance(rows, list) else [rows])]


def test_killer_records_among_ten_thousand_end_in_the_dead_letters_alone(
    folder: PipelineFolder, url: str, form: str
) -> None:
    """Under supervision, in one command: the processes die, and are started again."""
    pipeline(folder, form, 10_000, folder.steps(KILLERS))
    finished = folder.cli("run", "pipeline.yml", "--processes", "2", "--json", "--redis", url, code=3)
    killers = {1234, 4321, 5000, 7777}
    assert arrived(url) == Counter(n for n in range(10_000) if n not in killers)
    letters = folder.cli("dead", "list", "pipeline.yml", "--json", "--redis", url).json
    assert sorted(dead(letters)) == sorted(killers)
    deaths = finished.err.count("restarting it")
    print(f"{deaths} processes died of {len(killers)} records")
    assert deaths >= 3 * 3  # the abort, the fault and the kill; running out of memory may be an exception, too
    assert any("without completing" in letter["error"] for letter in letters)


def test_without_supervision_whoever_starts_the_run_again_gets_past_the_killers(
    folder: PipelineFolder, url: str, form: str
) -> None:
    pipeline(folder, form, 2000, folder.steps(KILLERS))
    deaths = 0
    while (finished := folder.cli("run", "pipeline.yml", "--redis", url, code=None)).code not in {0, 3}:
        deaths += 1
        assert deaths < (20 if form == "json" else 60), finished.err
    assert deaths >= 3
    assert arrived(url) == Counter(n for n in range(2000) if n != 1234)


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_a_step_that_hangs_is_given_up_after_its_timeout(
    folder: PipelineFolder, url: str, kind: str, form: str
) -> None:
    """More of them than a pool has threads, so that one that is stuck for ever must not take a place away."""
    body = "await asyncio.Event().wait()" if kind == "async" else "threading.Event().wait()"
    module = folder.steps(
        f"""\
        import asyncio, threading
        {"async " if kind == "async" else ""}def step(record):
            if record["n"] % 10 == 7:
                {body}
            return record
        """
    )
    more = ", timeout: 100ms" + (", thread: true" if kind == "thread" else "")
    count = 500 if form == "json" else 100  # of a table, each of its halves is waited for anew
    pipeline(folder, form, count, module, more, size=count // 5)
    folder.cli("run", "pipeline.yml", "--redis", url, code=3)
    assert arrived(url) == Counter(n for n in range(count) if n % 10 != 7)
    letters = folder.cli("dead", "list", "pipeline.yml", "--json", "--redis", url).json
    assert {letter["error"].partition(":")[0] for letter in letters} == {"TimeoutError"}
    assert sorted(dead(letters)) == [n for n in range(count) if n % 10 == 7]


JUMPING = """\
    import time
    real, jumps = time.time, []
    def step(record):
        if record["n"] % 100 == 0:
            jumps.append(1)
            shift = 86400.0 if len(jumps) % 2 else -86400.0
            time.time = lambda: real() + shift
        return record
    """


def test_the_clock_may_jump(workload: Workload, folder: PipelineFolder) -> None:
    """What we time ourselves goes by monotonic clocks, idleness by the server's: a day back and forth does nothing."""
    module = folder.steps(JUMPING)
    folder.records("in.jsonl", [{"n": n} for n in range(20_000)])
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{claim_after: 500ms, retry: {{backoff: 1ms..5ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:step"}}], to: t}}
          c: {{from: t, write: {{jsonl: out.jsonl}}}}
        streams: {{s: {{retain: 1h, format: {workload.form}}}, t: {{format: {workload.form}}}}}
        """
    )
    first = folder.cli("run", "pipeline.yml", "--json", "--redis", workload.url).json
    assert first["stages"]["b"]["claimed"] == 0
    assert Counter(record["n"] for record in folder.output("out.jsonl")) == Counter(range(20_000))
    with workload.server as server:
        kept = sum(len(rows_of(fields)) for _, fields in server.xrange("{p}:s"))
        assert kept == 20_000  # an hour has not passed, whatever our clock says
