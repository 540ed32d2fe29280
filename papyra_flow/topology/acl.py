"""The users that a pipeline needs: one on its own server, one on each other server that it reads or writes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from papyra_flow.streams.admin.permissions import literal, rules
from papyra_flow.streams.connection.addresses import names_cluster, redacted
from papyra_flow.topology.model import Topology


@dataclass(frozen=True, slots=True)
class User:
    """A user on a server (its address without the password), and the rules that make it."""

    server: str
    name: str
    rules: list[str]

    @property
    def command(self) -> str:
        """The command that makes the user; PASSWORD stands for a password of the reader's choice."""
        return " ".join(["ACL SETUSER", self.name, "reset", "on", ">PASSWORD", *self.rules])


def users(topology: Topology, *, name: str | None = None, operate: bool = False) -> list[User]:
    """The user on the pipeline's server first; `operate` allows the operator's verbs too."""
    own = topology.redis
    keys: dict[str, set[str]] = defaultdict(set)
    read_only: dict[str, set[str]] = defaultdict(set)
    keys[own] = {topology.keys.pattern, topology.keys.any_partition("*")}
    keys[own] |= {literal(stream.key) for stream in topology.streams.values() if stream.external}
    for stage in topology.stages.values():
        for component in stage.components:
            for used in component.redis_keys(topology.pipeline, stage.name):
                (keys if used.writes else read_only)[used.server or own].add(literal(used.key))
    return [
        User(
            redacted(server),
            name or topology.pipeline,
            rules(
                keys=keys[server],
                read_only=read_only[server],
                operate=operate and server == own,
                cluster=names_cluster(server),
            ),
        )
        for server in dict.fromkeys([*keys, *read_only])
    ]
