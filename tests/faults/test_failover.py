"""Failover to a replica by real Sentinels, and a server that is a replica for a while."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.faults.test_server_crashes import survivors
from tests.faults.workload import RECORDS, Workload, patiently, wait
from tests.harness.ports import free_port
from tests.harness.servers import VALKEY, LocalServer, plain_client, program_of

SENTINEL = """\
port {port}
bind 127.0.0.1
dir {folder}
logfile {folder}/sentinel.log
sentinel monitor flow 127.0.0.1 {master} 2
sentinel down-after-milliseconds flow 1000
sentinel failover-timeout flow 3000
sentinel parallel-syncs flow 1
"""


class Sentinels:
    """Three sentinels that watch a master."""

    def __init__(self, folder: Path, master: int) -> None:
        self.ports = [free_port() for _ in range(3)]
        self.processes = []
        for port in self.ports:
            place = folder / f"sentinel-{port}"
            place.mkdir()
            file = place / "sentinel.conf"
            file.write_text(SENTINEL.format(port=port, folder=place, master=master))
            self.processes.append(subprocess.Popen([program_of(VALKEY), str(file), "--sentinel"]))
        patiently(
            lambda: all(self.knows(port) for port in self.ports), "sentinels that know each other and the replica"
        )

    def knows(self, port: int) -> bool:
        with plain_client(f"redis://127.0.0.1:{port}") as sentinel:
            facts: Any = sentinel.sentinel_master("flow")
            return bool(facts["num-other-sentinels"] == 2 and facts["num-slaves"] >= 1)

    def master(self) -> int:
        with plain_client(f"redis://127.0.0.1:{self.ports[0]}") as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name("flow")[1])

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/flow"

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


Watched = tuple[Sentinels, dict[int, LocalServer]]


@pytest.fixture
def sentinels(tmp_path: Path, local_server: Callable[..., LocalServer]) -> Iterator[Watched]:
    """A master and a replica under the eyes of three sentinels."""
    servers = {port: local_server("--repl-diskless-sync-delay", "0", port=port) for port in (free_port(), free_port())}
    master, replica = servers
    with servers[replica].client as plain:
        plain.replicaof("127.0.0.1", master)
    patiently(servers[replica].in_step, "a replica in step")
    found = Sentinels(tmp_path, master)
    yield found, servers
    found.end()


def test_failover_by_sentinel(sentinels: Watched, make_workload: Callable[..., Workload]) -> None:
    watched, servers = sentinels

    def find() -> str:
        return f"redis://127.0.0.1:{watched.master()}"

    workload = make_workload(find(), via=watched.url, find=find)

    def follow(old: LocalServer) -> None:
        with old.client as plain:  # sooner than the sentinels would
            plain.replicaof("127.0.0.1", watched.master())

    fail_over(workload, watched.master, servers, follow)


def fail_over(
    workload: Workload,
    master: Callable[[], int],
    servers: dict[int, LocalServer],
    follow: Callable[[LocalServer], None] = lambda _: None,
) -> None:
    """Kill whoever is the master, three times, and have the old one `follow` the new one when it is back."""
    workers = workload.pair_at_work()
    failovers = 0
    workload.produce_through(RECORDS // 4)
    for _ in range(3):
        workload.produce_through(RECORDS // 4)
        patiently(workload.at_work, "work in hand")
        before = master()
        servers[before].kill()
        patiently(lambda: master() != before and servers[master()].is_master(), "a failover")  # noqa: B023
        failovers += 1
        servers[before].start()
        follow(servers[before])
        patiently(servers[before].in_step, "the old master as a replica in step")
    workload.finish(*workers, via=workload.via)
    print(f"{failovers} failovers; {workload.produced - workload.length('in'):,} records were lost with their masters")
    workload.verify(survivors(workload))


def test_a_server_that_is_read_only_for_a_while(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    server = local_server(port=free_port())
    workload = make_workload(server.url)
    worker = workload.start()
    refused = 0
    for _ in range(5):
        workload.produce(RECORDS // 5)
        patiently(workload.at_work, "work in hand")
        with server.client as plain:
            plain.replicaof("127.0.0.1", 1)
            with pytest.raises(redis.ReadOnlyError):
                plain.set("x", "y")
            refused += 1
            wait(1.0)
            plain.replicaof("NO", "ONE")
        produced = workload.length("out")
        patiently(lambda: workload.length("out") > produced or workload.settled(), "going on")  # noqa: B023
    workload.finish(worker)
    assert refused == 5
    workload.verify()
