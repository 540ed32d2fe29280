"""Workers killed while streams have partitions: nothing lost, nothing twice, and a key's records in order."""

from __future__ import annotations

import json
import os
import signal
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.workload import PARTITIONED, RECORDS, Workload, dies, flows, patiently, retried, wait
from tests.harness.processes import children
from tests.harness.servers import LocalServer

KILLS = 30


@pytest.fixture
def form() -> str:
    """Tables have no partitions."""
    return "json"


@pytest.fixture
def partitioned(make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]) -> Workload:
    """The workload with partitions between its stages, on an empty Valkey of its own."""
    return make_workload(local_server().url, pipeline=PARTITIONED, partitions={"parts": 8, "even": 3})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the children in /proc")
def test_processes_killed_one_by_one_lose_and_double_nothing(partitioned: Workload) -> None:
    """kill -9 of one of three processes that share the partitions, again and again; the supervisor starts another."""
    partitioned.produce(RECORDS // 10)
    run = partitioned.start("--processes", "3")
    for kill in range(KILLS):
        partitioned.produce(RECORDS // 4 // KILLS)
        victim = 0

        def found() -> bool:
            """Whether one of them has entries in hand: one that dies before that counts as a start that failed."""
            nonlocal victim
            busy = [pid for pid in children(run.pid) if partitioned.in_hand(f".{pid}.")]
            victim = partitioned.dice.choice(busy) if busy else 0
            return partitioned.or_more_to_do(len(busy))

        patiently(found, f"kill {kill}: entries in hand")
        wait(partitioned.dice.random() * 0.1)
        os.kill(victim, signal.SIGKILL)
    partitioned.finish(run)
    assert run.process.returncode in {0, 3}
    partitioned.verify()
    with partitioned.server as server:
        for number in range(8):
            entries: Any = server.xrange(f"{{f/{number}}}:parts")
            keys = {json.loads(fields[b"data"])["n"] % 10 for _, fields in entries}
            assert keys == {key for key in range(10) if zlib.crc32(b"%d" % key) % 8 == number}


def test_one_worker_killed_and_started_again_keeps_the_order_of_each_key(partitioned: Workload) -> None:
    """I8: with one consumer a stage, records of one partition that were not retried leave in their order."""
    kills = 15
    for _ in range(kills):
        partitioned.produce(RECORDS // 20 // kills)
        worker = partitioned.start()
        patiently(lambda: partitioned.busy(worker), "entries in hand")  # noqa: B023
        wait(partitioned.dice.random() * 0.2)
        worker.kill()
    partitioned.drain()
    partitioned.verify()
    calm = [n for n in range(partitioned.produced) if flows(n) and not (dies(n) or retried(n))]
    for key in range(10):
        kept = [
            (record["n"], record["copy"])
            for _, record in partitioned.entries("out")
            if record["n"] % 10 == key and not retried(record["n"])
        ]
        assert kept == [(n, copy) for n in calm if n % 10 == key for copy in (0, 1)]
