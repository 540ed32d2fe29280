"""A real cluster of local processes: masters that share the slots, a replica each, slots that can be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from papyra_flow.streams.keys import slot_of
from tests.harness.ports import free_port
from tests.harness.servers import LocalServer, eventually, plain_client, program_of

SLOTS = 16384
MASTERS = 3
FAILOVER_MS, NO_FAILOVER_MS = 2000, 30_000
"""How long a node may say nothing: short where a replica is to take its place, long where nobody could."""


class Cluster:
    """Three masters, each with a replica if `replicas`: `start` it, and `end` it whatever came of that."""

    def __init__(self, flavour: str, folder: Path, *, replicas: bool = False) -> None:
        self._buses = [free_port() for _ in range(MASTERS * (2 if replicas else 1))]
        timeout = FAILOVER_MS if replicas else NO_FAILOVER_MS
        self.nodes: dict[int, LocalServer] = {}
        """By their ports, the first masters first."""
        for bus in self._buses:
            port = free_port()
            options = (
                "--cluster-enabled", "yes", "--cluster-node-timeout", str(timeout), "--appendonly", "yes",
                "--cluster-port", str(bus), "--repl-diskless-sync-delay", "0",
            )  # fmt: skip
            self.nodes[port] = LocalServer(program_of(flavour), folder / str(port), options, port)

    def start(self) -> Cluster:
        """Start the nodes and make a cluster of them."""
        ports = list(self.nodes)
        for node in self.nodes.values():
            node.start()
        for number, port in enumerate(ports[:MASTERS]):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            self.ask(port, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for port in ports[1:]:
            self.ask(port, "CLUSTER", "MEET", "127.0.0.1", ports[0], self._buses[0])
        eventually(lambda: all(self.known(port) == len(ports) for port in ports), "nodes that know each other")
        for master, replica in zip(ports, ports[MASTERS:], strict=False):
            self.ask(replica, "CLUSTER", "REPLICATE", self.id_of(master))
        eventually(lambda: all(self.is_ok(port) for port in ports), "a cluster that is up")
        eventually(lambda: all(self.nodes[port].in_step() for port in ports[MASTERS:]), "replicas in step")
        return self

    @property
    def url(self) -> str:
        """Its address, by all of its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.nodes)

    def ask(self, port: int, *command: str | int) -> Any:
        """A node's answer."""
        with plain_client(f"redis://127.0.0.1:{port}") as node:
            return node.execute_command(*command)

    def id_of(self, port: int) -> str:
        """A node's name of itself."""
        return str(self.ask(port, "CLUSTER", "MYID").decode())

    def known(self, port: int) -> int:
        """How many nodes a node is connected with, itself included."""
        return int(self.ask(port, "CLUSTER", "NODES").split().count(b"connected"))

    def is_ok(self, port: int) -> bool:
        """Whether a node thinks that all slots are served."""
        return b"cluster_state:ok" in self.ask(port, "CLUSTER", "INFO")

    def owner(self, key: str) -> int:
        """The port of the node that has a key's slot, as most of the others see it."""
        votes: list[int] = []
        for port, node in self.nodes.items():
            if node.process is None or node.process.poll() is not None:
                continue
            for first, last, master, *_ in self.ask(port, "CLUSTER", "SLOTS"):
                if first <= slot_of(key) <= last:
                    votes.append(master[1])
        return max(set(votes), key=votes.count)

    def after(self, port: int) -> int:
        """The first masters in turn: the one after this one."""
        masters = list(self.nodes)[:MASTERS]
        return masters[(masters.index(port) + 1) % MASTERS]

    def move(self, key: str, target: int) -> None:
        """Move a key's slot and all that is in it to another node, key by key, as resharding does."""
        slot, source = slot_of(key), self.owner(key)
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            self.ask(source, "MIGRATE", "127.0.0.1", target, "", 0, 60_000, "KEYS", *keys)
        for port in (target, source):  # the others hear of it from them
            self.ask(port, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def end(self) -> None:
        """End all nodes."""
        for node in self.nodes.values():
            node.stop()
