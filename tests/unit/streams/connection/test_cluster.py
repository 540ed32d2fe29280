"""Finding a slot's node: whom to ask, and what the answers mean. Clusters themselves are in the integration tests."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as NotConnectedError

from papyra_flow.streams.connection.cluster import Address, Owner

A, B, C = ("a", 1), ("b", 1), ("c", 1)


class Answers:
    """Nodes and what each says to CLUSTER SLOTS; one that is not there does not answer."""

    def __init__(self, **nodes: list[Any]) -> None:
        self.nodes = nodes
        self.asked: list[str] = []

    def make(self, host: str, port: int) -> AbstractConnection:
        return cast(AbstractConnection, _Node(self, host))

    def owner(self, *seeds: Address) -> Owner:
        return Owner(seeds, 5, self.make)


class _Node:
    def __init__(self, answers: Answers, host: str) -> None:
        self._answers = answers
        self._host = host

    async def connect(self) -> None:
        self._answers.asked.append(self._host)
        if self._host not in self._answers.nodes:
            raise NotConnectedError("refused")

    async def send_command(self, *command: str) -> None:
        assert command == ("CLUSTER", "SLOTS")

    async def read_response(self, *, disable_decoding: bool) -> list[Any]:
        return self._answers.nodes[self._host]

    async def disconnect(self, *, nowait: bool) -> None:
        pass


def slots(first: int, last: int, *hosts: str | None) -> list[Any]:
    return [first, last, *([host and host.encode(), 1, b"id"] for host in hosts)]


async def test_the_first_node_of_the_slots_range_has_it() -> None:
    assert await Answers(a=[slots(0, 4, "b"), slots(5, 9, "c", "a")]).owner(A).find() == C


@pytest.mark.parametrize("host", [None, "", "?"])
async def test_a_node_that_does_not_know_its_name_has_that_by_which_it_was_asked(host: str | None) -> None:
    assert await Answers(a=[slots(0, 9, host)]).owner(A).find() == A


async def test_another_node_is_asked_each_time_and_those_that_are_gone_no_more() -> None:
    answers = Answers(a=[slots(0, 9, "b", "c")], b=[slots(0, 9, "b", "c")], c=[slots(0, 9, "b")])
    owner = answers.owner(A)
    for _ in range(3):
        await owner.find()
    assert answers.asked == ["a", "b", "c"], "whoever is wrong is not believed for ever"
    answers.nodes = {host: [slots(0, 9, "b")] for host in "abc"}
    for _ in range(4):
        await owner.find()
    assert answers.asked[3:] == ["a", "b", "a", "b"], "a seed is always asked again, a node that left is not"


async def test_a_slot_that_nobody_has_is_told() -> None:
    with pytest.raises(NotConnectedError, match="no node of the cluster has the slot 5"):
        await Answers(a=[slots(0, 4, "b")]).owner(A).find()


async def test_nodes_that_do_not_answer_are_passed_over() -> None:
    answers = Answers(c=[slots(0, 9, "c")])
    assert await answers.owner(A, B, C).find() == C
    assert answers.asked == ["a", "b", "c"]
