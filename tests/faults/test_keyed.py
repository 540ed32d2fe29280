"""Stages with state under harm: no record lost or counted twice, every sum exact."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.keyed import Keyed
from tests.faults.workload import RECORDS, Workload, patiently, wait
from tests.harness.servers import LocalServer

KILLS = 100


@pytest.fixture
def form() -> str:
    """Tables keep no state."""
    return "json"


@pytest.fixture
def keyed(workload: Workload) -> Keyed:
    return Keyed(workload)


def test_nothing_is_lost_or_doubled_without_harm(keyed: Keyed) -> None:
    keyed.feed(RECORDS // 20)
    keyed.workload.drain()
    keyed.verify()


def test_workers_killed_a_hundred_times_while_others_come_and_go(keyed: Keyed) -> None:
    """kill -9 at random moments, and now and then one lets go of its own accord, or one more comes."""
    workload, dice, hot = keyed.workload, keyed.workload.dice, 0
    workers = [workload.start(name=name) for name in ("old", None, None)]
    for kill in range(KILLS):
        keyed.feed((kill + 1) * RECORDS // KILLS)
        patiently(keyed.behind, "something to do")
        wait(dice.random() * 0.3)
        hot += keyed.behind() > 0
        index = dice.randrange(len(workers))
        if dice.random() < 0.1:
            workers[index].stop()
        else:
            workers[index].kill()
        workers[index] = workload.start(name=workers[index].name if dice.random() < 0.7 else None)
        if kill % 20 == 10:
            workers.append(workload.start())
        elif kill % 20 == 19:
            workers.pop(0).stop()
    keyed.finish()
    print(f"{KILLS} kills, {hot} of them with work at hand")
    assert hot >= KILLS // 2, "most kills hit idle workers: the harm did not take place"
    keyed.verify()


def zombies(keyed: Keyed, records: int, rounds: int = 8) -> None:
    """SIGSTOP past the lease, SIGCONT after others have taken over."""
    workload, returned = keyed.workload, 0
    zombie, heir = workload.start(name="zombie"), workload.start(name="heir")
    for number in range(rounds):
        patiently(lambda: any(b"zombie" in owner for owner in keyed.owners("count")), "a partition of its own")
        keyed.feed((number + 1) * records // rounds)
        patiently(keyed.behind, "something to do")
        zombie.signal(signal.SIGSTOP)
        if any(b"zombie" in owner for stage in ("order", "count") for owner in keyed.owners(stage)):
            patiently(
                lambda: not any(b"zombie" in owner for owner in keyed.owners("count")), "the heir's taking over"
            )  # fmt: skip
            returned += 1
        zombie.signal(signal.SIGCONT)
    assert heir.runs
    assert returned
    keyed.finish()


def test_a_zombie_commits_nothing(keyed: Keyed) -> None:
    """S3: two owners never both commit."""
    zombies(keyed, RECORDS // 5)
    keyed.verify()


def test_a_server_that_is_killed_loses_nothing_that_it_confirmed(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    from tests.harness.ports import free_port

    server = local_server("--appendonly", "yes", "--appendfsync", "always", port=free_port())
    keyed = Keyed(make_workload(server.url))
    crashes, hot = 8, 0
    for _ in range(2):
        keyed.workload.start()
    patiently(lambda: len(set(keyed.owners("count"))) == 2, "two owners")
    for crash in range(crashes):
        keyed.feed((crash + 1) * RECORDS // 5 // crashes)
        patiently(keyed.behind, "something to do")
        wait(keyed.workload.dice.random() * 0.3)
        hot += keyed.behind() > 0
        server.kill()
        server.start()
    keyed.finish()
    assert hot >= crashes // 2
    keyed.verify()
