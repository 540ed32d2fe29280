"""Stages with state under harm: no record lost or counted twice, every sum exact."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.keyed import Keyed
from tests.faults.test_cluster import KEY, make_cluster, on  # noqa: F401 - a fixture
from tests.faults.test_failover import Watched, sentinels  # noqa: F401 - a fixture
from tests.faults.test_server_crashes import cut_off
from tests.faults.workload import PIPELINE, RECORDS, Workload, patiently, wait
from tests.harness.cluster import Cluster
from tests.harness.ports import free_port
from tests.harness.servers import VALKEY, LocalServer

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


def test_processes_that_share_the_partitions_are_killed_one_by_one(keyed: Keyed) -> None:
    workload = keyed.workload
    run = workload.start("--processes", "3")

    owning: set[int] = set()
    killed: set[int] = set()

    def at_work() -> bool:
        """Whether three processes own a partition each, none of them one that may still be dying."""
        owning.clear()
        owning.update(int(owner.rsplit(b".", 3)[1]) for owner in keyed.owners("count") if owner)
        return len(owning) == 3 and not owning & killed and all(lives(pid) for pid in owning)

    for kill in range(10):
        patiently(at_work, f"kill {kill}: three owners")
        keyed.feed((kill + 1) * RECORDS // 200)
        wait(workload.dice.random() * 0.1)
        victim = workload.dice.choice(sorted(owning))
        killed.add(victim)
        os.kill(victim, signal.SIGKILL)
        assert run.runs
    keyed.finish()
    keyed.verify()


def lives(pid: int) -> bool:
    """Whether a process is there, and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def test_a_zombie_commits_nothing(keyed: Keyed) -> None:
    """S3: two owners never both commit."""
    zombies(keyed, RECORDS // 5)
    keyed.finish()
    keyed.verify()


def test_a_server_that_is_killed_loses_nothing_that_it_confirmed(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    server = local_server("--appendonly", "yes", "--appendfsync", "always", port=free_port())
    keyed = Keyed(make_workload(server.url))
    crashes, hot = 8, 0
    keyed.pair_at_work()
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


def cut_anywhere(keyed: Keyed, server: LocalServer) -> None:
    keyed.workload.dice.seed(2)
    lost = 0
    keyed.pair_at_work()
    for crash in range(6):
        keyed.feed((crash + 1) * RECORDS // 8 // 6)
        patiently(keyed.behind, "something to do")
        wait(keyed.workload.dice.random() * 0.5)
        server.kill()
        lost += cut_off(server.folder, keyed.workload.dice.randrange(1, 1_000_000))
        server.start()
    assert lost > 0
    keyed.feed(RECORDS // 8)


def test_what_everysec_loses_of_state_is_lost_whole(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    """Owners are told by the server that it is behind what they remember, also those with nothing to commit."""
    server = local_server("--appendonly", "yes", "--appendfsync", "everysec", port=free_port())
    keyed = Keyed(make_workload(server.url))
    cut_anywhere(keyed, server)
    keyed.finish()
    keyed.verify()


def fail_over(
    keyed: Keyed, master: Callable[[], int], servers: dict[int, LocalServer], follow: Callable[..., None]
) -> None:
    """Kill whoever is the master, twice, while replicas may lack its last commits."""
    keyed.pair_at_work()
    for number in range(2):
        keyed.feed((number + 1) * RECORDS // 10 // 3)
        patiently(keyed.behind, "something to do")
        before = master()
        servers[before].kill()
        patiently(lambda: master() != before and servers[master()].is_master(), "a failover")  # noqa: B023
        servers[before].start()
        follow(servers[before])
        patiently(servers[before].in_step, "the old master as a replica in step")
    keyed.feed(RECORDS // 10)
    keyed.done()
    for worker in keyed.workload.workers:
        worker.stop()
    keyed.feed(RECORDS // 10)  # on a busy machine there may be one more failover, which loses the last of them
    keyed.workload.drain(via=keyed.workload.via)
    keyed.verify()


def test_failover_by_sentinel(sentinels: Watched, make_workload: Callable[..., Workload]) -> None:  # noqa: F811
    watched, servers = sentinels

    def find() -> str:
        return f"redis://127.0.0.1:{watched.master()}"

    def follow(old: LocalServer) -> None:
        with old.client as plain:
            plain.replicaof("127.0.0.1", watched.master())

    fail_over(Keyed(make_workload(find(), via=watched.url, find=find)), watched.master, servers, follow)


def test_failover_of_a_clusters_slot(
    make_cluster: Callable[..., Cluster],  # noqa: F811
    make_workload: Callable[..., Workload],
) -> None:
    """On a cluster a stream has one partition."""
    cluster = make_cluster(VALKEY, replicas=True)
    keyed = Keyed(on(cluster, make_workload), partitions=1)
    fail_over(keyed, lambda: cluster.owner(KEY), cluster.nodes, lambda _: None)


def test_owners_and_consumers_of_two_versions_work_side_by_side(workload: Workload) -> None:
    """A stage becomes `ordered: true`, and shared again, worker by worker and under load."""
    shared, owned = PIPELINE, PIPELINE.replace("collect:\n", "collect:\n        ordered: true\n")
    owned = owned.replace("check:\n", "check:\n        ordered: true\n")
    assert owned.count("ordered") == 2
    workers = [workload.start() for _ in range(2)]
    patiently(lambda: workload.length("in") >= 0 and workload.at_work(), "work in hand")
    producing = workload.in_background(RECORDS // 20, chunk=100)
    for text in (owned, shared, owned, shared):
        workload.folder.pipeline(text)
        for index, worker in enumerate(workers):
            workload.produce(RECORDS // 200)
            wait(workload.dice.random() * 0.5)
            if workload.dice.random() < 0.5:
                worker.stop()
            else:
                worker.kill()
            workers[index] = workload.start()
            wait(0.5)  # of both kinds at once
    producing.join()
    workload.finish(*workers)
    workload.verify()


# -- and the suite notices --------------------------------------------------------------------------------------------

WITHOUT_FENCES = """\
    import hashlib
    from papyra_flow.streams import scripts
    original = scripts.source_of
    GATES = (
        "if (held[1] or '') .. ' ' .. (held[3] or '') ~= epoch then",
        "if commits >= number then",
        "if commits < number - 1 then",
        "if at['last-delivered-id'] ~= ARGV[4] then",
    )
    def source_of(name):
        text, sha = original(name)
        if name == "own_commit":
            for gate in GATES:
                assert text.count(gate) == 1
                text = text.replace(gate, "if false then")
            sha = hashlib.sha1(text.encode()).hexdigest()
        return text, sha
    scripts.source_of = source_of
    """
WITHOUT_ATOMICITY = """\
    import asyncio
    from papyra_flow.streams.commit import owned_committer
    from papyra_flow.streams.commit.operations import StateChanges
    original = owned_committer.OwnedCommitter.commit
    async def commit(self, owned, checkpoint=None):
        changes, owned.changes = owned.changes, StateChanges()
        missing = await original(self, owned, checkpoint)
        await asyncio.sleep(0.1)
        keys = self._ownership.keys
        for command, key, given in (
            ("HSET", keys.state, changes.put), ("HDEL", keys.state, changes.deleted),
            ("ZADD", keys.timers, changes.timers), ("ZREM", keys.timers, changes.deleted_timers),
        ):
            if given:
                await self._client.call(command, key, *given)
        return missing
    owned_committer.OwnedCommitter.commit = commit
    """


def without(keyed: Keyed, what: str) -> None:
    """Have workers that start from now on do without something."""
    keyed.workload.folder.write("site/sitecustomize.py", what)
    keyed.workload.environment["PYTHONPATH"] = str(keyed.workload.folder.path / "site")


def protests(keyed: Keyed) -> None:
    """Whether the oracle does, after workers who lack nothing have done what is left."""
    for worker in keyed.workload.workers:
        if worker.runs:
            worker.kill()
    # It may say itself that state was lost.
    keyed.workload.folder.cli("run", "pipeline.yml", "--drain", "--redis", keyed.workload.url, code=None)
    with pytest.raises(AssertionError, match="'windows'"):
        keyed.verify()


def test_the_suite_notices_when_owners_are_not_fenced(keyed: Keyed) -> None:
    """Epoch, number and position each keep a zombie out (`test_own_commit` takes out each by itself)."""
    without(keyed, WITHOUT_FENCES)
    zombies(keyed, RECORDS // 20, rounds=4)
    protests(keyed)


def test_the_suite_notices_when_state_is_written_after_the_commit(keyed: Keyed) -> None:
    without(keyed, WITHOUT_ATOMICITY)
    for kill in range(4):
        worker = keyed.workload.start()
        patiently(lambda: any(b".%d." % worker.pid in owner for owner in keyed.owners("count")), "an owner")  # noqa: B023
        keyed.feed((kill + 1) * 2000)
        patiently(lambda: keyed.read("parts", "count") > kill * 1500 + 200, "a commit")  # noqa: B023
        worker.kill()
    protests(keyed)
