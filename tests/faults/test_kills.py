"""Workers killed, stopped and continued at moments of no choosing: nothing lost, nothing twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.workload import RECORDS, Workload, data_of, dies, flows, patiently, retried, wait
from tests.harness.servers import LocalServer

KILLS = 100


def test_workers_killed_a_hundred_times(workload: Workload) -> None:
    """kill -9 at random moments, and a new worker each time, under a new name or the old one."""
    dice, hot, taken_over = workload.dice, 0, 0
    workload.produce(RECORDS // 2 // KILLS)
    workers = [workload.start(name=name) for name in ("old", None)]
    for kill in range(KILLS):
        workload.produce(RECORDS // 2 // KILLS)
        index = dice.randrange(len(workers))
        victim = workers[index]
        patiently(lambda: workload.busy(victim), f"kill {kill}: entries in hand of {victim.pid}")  # noqa: B023
        wait(dice.random() * 0.1)
        in_hand = workload.in_hand_of(victim)
        victim.kill()
        hot += in_hand > 0
        workers[index] = workload.start(name=victim.name if dice.random() < 0.7 else None)
    workload.produce(max(0, RECORDS - workload.produced))
    for document in workload.finish(*workers):
        taken_over += sum(stage["claimed"] for stage in document["stages"].values())
    print(f"{KILLS} kills, {hot} of them with entries in hand, {taken_over} entries taken over by the last workers")
    assert hot >= KILLS // 2, "most kills hit an idle worker: the harm did not take place"
    workload.verify()


def test_one_worker_killed_and_started_again_keeps_the_order(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer], form: str
) -> None:
    """I8: with one consumer a stage, records that were not retried come out in the order in which they went in.

    A table is retried as a whole, with whatever else is in it: so there none is.
    """
    workload = make_workload(local_server().url, calm=form == "arrow")
    dice, kills = workload.dice, 20
    for _ in range(kills):
        workload.produce(RECORDS // 10 // kills)
        worker = workload.start()
        patiently(lambda: workload.in_hand_of(worker), "entries in hand")  # noqa: B023
        wait(dice.random() * 0.2)
        worker.kill()
    workload.drain()
    workload.verify()
    for parity in (0, 1):
        # The two copies of a record follow each other, those of a table are two tables.
        for copies in ((0,), (1,)) if form == "arrow" else ((0, 1),):
            kept = [
                (record["n"], record["copy"])
                for _, record in workload.entries("out")
                if record["n"] % 2 == parity
                and record["copy"] in copies
                and (workload.calm or not retried(record["n"]))
            ]
            assert kept == sorted(kept)
            assert {n for n, _ in kept} == {
                n
                for n in range(workload.produced)
                if n % 2 == parity and flows(n) and (workload.calm or not (dies(n) or retried(n)))
            }


def zombies(workload: Workload, records: int) -> int:
    """SIGSTOP past the claim time, SIGCONT after others have taken over and committed; returns how much was stale."""
    workload.produce(records // 4)
    zombie, heir = workload.start(name="zombie"), workload.start(name="heir")
    for _ in range(10):
        workload.produce(records // 20)
        patiently(lambda: workload.busy(zombie), "entries in hand of the one to be stopped")
        zombie.signal(signal.SIGSTOP)
        if workload.in_hand_of(zombie) == 0:
            zombie.signal(signal.SIGCONT)
            continue
        patiently(lambda: workload.in_hand_of(zombie) == 0, "the heir's taking over")
        zombie.signal(signal.SIGCONT)
    workload.produce(max(0, records - workload.produced))
    documents = workload.finish(zombie, heir)
    return sum(stage["stale"] for document in documents for stage in document["stages"].values())


def test_a_zombie_forwards_nothing(workload: Workload) -> None:
    """I2: whoever commits first wins; what the other one has made of the same entries is discarded, and counted."""
    stale = zombies(workload, RECORDS)
    print(f"{stale} entries had been committed by somebody else when the zombie came back")
    assert stale > 0, "the zombie never came back with something in hand"
    workload.verify()


WITHOUT_GATE = """\
    import hashlib
    from papyra_flow.streams import scripts
    original = scripts.source_of
    def source_of(name):
        text, sha = original(name)
        if name == "commit":
            gate = "local ours = redis.call('XACK', source, group, id) == 1"
            assert text.count(gate) == 1
            text = text.replace(gate, "local ours = redis.call('XACK', source, group, id) < 2")
            sha = hashlib.sha1(text.encode()).hexdigest()
        return text, sha
    scripts.source_of = source_of
    """


def test_the_suite_notices_when_the_gate_is_taken_out(workload: Workload) -> None:
    """The same harm, with workers whose commit forwards whether or not the XACK counted: the oracle must protest."""
    workload.folder.write("site/sitecustomize.py", WITHOUT_GATE)
    workload.environment["PYTHONPATH"] = str(workload.folder.path / "site")
    workload.codes = frozenset({0, 1, 3})  # the workers may find out themselves that records were doubled
    zombies(workload, RECORDS // 10)
    with pytest.raises(AssertionError, match=r"'duplicated': [1-9]"):
        workload.verify()


SLOW = """\
    pipeline: slow
    defaults: {claim_after: 2s, batch: {size: 10}}
    stages:
      a: {from: in, process: [{run: "slow_steps:%s"}], to: out}
    streams: {in: {format: %s}}
    """
SLOW_STEPS = """\
    import asyncio, threading
    def blocks(record):
        threading.Event().wait(record["seconds"])
        return record
    async def waits(record):
        await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=record["seconds"])
        return record
    """


def test_a_long_step_is_never_claimed_away_while_its_worker_lives(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer], form: str
) -> None:
    """Steps that take several claim times, blocking and not, while a second worker has nothing to do but claim."""
    server = local_server()
    for step in ("blocks", "waits"):
        workload = make_workload(server.url, pipeline=SLOW % (step, form))
        workload.folder.write("slow_steps.py", SLOW_STEPS)
        workers = [workload.start(), workload.start()]
        with server.client as plain:
            plain.flushall()
            patiently(lambda: plain.exists("{slow}:in"), "the group")
            plain.xadd("{slow}:in", {"data": data_of(form, {"seconds": 10})})
            patiently(lambda: plain.xlen("{slow}:out") == 1, "the record")
            documents: list[Any] = [worker.stop()["stages"]["a"] for worker in workers]
            assert sum(d["claimed"] for d in documents) == 0
            assert sum(d["read"] for d in documents) == 1
            assert sum(d["stale"] for d in documents) == 0
