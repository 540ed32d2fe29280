"""Whatever others take from a group is found by the ledger's balance, to the entry, and only that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.commit.ledger import Account, audit, losses, reopen, write_off
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from tests.harness.servers import FLAVOURS, plain_client

KEY, GROUP, LEDGER, OUT = "{t}:in", "g", "{t}:@ledger", "{t}:out"
SPEC = GroupSpec(KEY, GROUP)


class Pipeline:
    """A group with one consumer of the pipeline's own, and a plain client that may do anything beside it."""

    def __init__(self, client: Client, others: redis.Redis) -> None:
        self.client = client
        self.others = others
        self.added = 0

    async def start(self, already: int = 0, start: str = "0") -> None:
        self.add(already)
        await create_groups(self.client, [GroupSpec(KEY, GROUP, start)], marker="{t}:@applied")

    def add(self, count: int) -> None:
        for _ in range(count):
            self.others.xadd(KEY, {"data": "{}"})
            self.added += 1

    def read(self, count: int, consumer: str = "ours") -> list[bytes]:
        found: Any = self.others.xreadgroup(GROUP, consumer, {KEY: ">"}, count=count)
        return [id_ for _, entries in found for id_, _ in entries]

    async def commit(self, ids: list[bytes]) -> int:
        commit = Commit()
        commit.extend(ids, [0] * len(ids), [b"{}"] * len(ids))
        committer = Committer(
            self.client, source=KEY, group=GROUP, consumer="ours", probe="{t}:@probe", lease=None, targets=[OUT],
            ledger=LEDGER,
        )  # fmt: skip
        return (await committer.commit(commit)).acked if ids else 0

    async def audit(self) -> Account:
        (account,) = (await audit(self.client, LEDGER, [SPEC], telling=True)).accounts
        return account

    async def finish(self) -> None:
        """Do what is left: what is pending for whomever, and what was not delivered yet."""
        while ids := self.read(100):
            await self.commit(ids)
        pending: Any = self.others.xpending_range(KEY, GROUP, "-", "+", 1000)
        await self.commit([entry["message_id"] for entry in pending])

    @property
    def undelivered(self) -> list[bytes]:
        groups: Any = self.others.xinfo_groups(KEY)
        entries: Any = self.others.xrange(KEY, b"(" + groups[0]["last-delivered-id"])
        return [id_ for id_, _ in entries]


@pytest.fixture
async def pipeline(client: Client, any_url: str) -> Pipeline:
    return Pipeline(client, plain_client(any_url))


def number(reply: Any) -> int:
    return int(reply)


def acks(p: Pipeline, held: list[bytes]) -> int:
    return number(p.others.xack(KEY, GROUP, *held[:3]))


def drops_the_consumer(p: Pipeline, held: list[bytes]) -> int:
    return number(p.others.xgroup_delconsumer(KEY, GROUP, "ours"))


def reads_and_acks(p: Pipeline, held: list[bytes]) -> int:
    ids = p.read(4, "intruder")
    return number(p.others.xack(KEY, GROUP, *ids))


def claims_and_acks(p: Pipeline, held: list[bytes]) -> int:
    first: Any = held[:2]
    ids: Any = p.others.xclaim(KEY, GROUP, "intruder", 0, first, justid=True)
    return number(p.others.xack(KEY, GROUP, *ids))


def deletes_undelivered(p: Pipeline, held: list[bytes]) -> int:
    return number(p.others.xdel(KEY, *p.undelivered[1:3]))


def deletes_the_last(p: Pipeline, held: list[bytes]) -> int:
    return number(p.others.xdel(KEY, p.undelivered[-1]))


def trims_undelivered(p: Pipeline, held: list[bytes]) -> int:
    before = p.undelivered
    p.others.xtrim(KEY, minid=before[4].decode(), approximate=False)
    return len(before) - len(p.undelivered)


def trims_all(p: Pipeline, held: list[bytes]) -> int:
    before = p.undelivered
    p.others.xtrim(KEY, maxlen=0, approximate=False)
    return len(before)


def moves_the_group(p: Pipeline, held: list[bytes]) -> int:
    before = p.undelivered
    p.others.xgroup_setid(KEY, GROUP, before[1])
    return 2


VANDALS: list[Callable[[Pipeline, list[bytes]], int]] = [
    acks, drops_the_consumer, reads_and_acks, claims_and_acks, deletes_undelivered, deletes_the_last,
    trims_undelivered, trims_all, moves_the_group,
]  # fmt: skip


@pytest.mark.parametrize("vandal", VANDALS, ids=lambda vandal: vandal.__name__)
async def test_what_others_take_is_found_to_the_entry(
    pipeline: Pipeline, vandal: Callable[[Pipeline, list[bytes]], int]
) -> None:
    await pipeline.start(already=5)
    await pipeline.audit()
    await pipeline.commit(pipeline.read(3))
    pipeline.add(20)
    held = pipeline.read(6)
    taken = vandal(pipeline, held)
    assert taken > 0, "nothing was taken: the harm did not take place"
    await pipeline.commit(held)
    pipeline.add(4)
    await pipeline.finish()
    found = await pipeline.audit()
    assert (found.lost, found.outstanding) == (taken, 0)
    assert pipeline.others.xlen(OUT) == pipeline.added - taken
    pipeline.add(7)
    await pipeline.audit()
    await pipeline.finish()
    assert (await pipeline.audit()).lost == taken, "told once"
    assert await losses(pipeline.client, LEDGER) == {(KEY, GROUP): taken}


Step = tuple[str, int]
ORDINARY = st.lists(
    st.tuples(st.sampled_from(["add", "read", "commit", "claim", "trim", "audit", "retire"]), st.integers(1, 9)),
    max_size=40,
)


@pytest.mark.parametrize("flavour", [flavour for flavour in FLAVOURS if flavour != "redis8"])
@given(steps=ORDINARY, already=st.integers(0, 5), start=st.sampled_from(["0", "$"]))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_a_pipeline_does_by_itself_is_no_loss(
    flavour: str, shared_servers: Callable[[str], str], steps: list[Step], already: int, start: str
) -> None:
    url = shared_servers(flavour)
    server = Server(url)
    with plain_client(url) as others:
        others.flushall()
        p = Pipeline(server.client, others)
        await p.start(already, start)
        held: list[bytes] = []
        for what, count in steps:
            if what == "add":
                p.add(count)
            elif what == "read":
                held += p.read(count)
            elif what == "commit":
                await p.commit(held[:count])
                held = held[count:]
            elif what == "claim":  # a slow consumer's entries are committed by another, and then by itself
                await p.commit(held[:count])
            elif what == "trim" and not held:
                groups: Any = others.xinfo_groups(KEY)
                others.xtrim(KEY, minid=_next(groups[0]["last-delivered-id"]), approximate=False)
            elif what == "retire":  # entries that are acked may be deleted by hand
                entries: Any = others.xrange(KEY)
                if acked := [id_ for id_, _ in entries if id_ not in held and id_ not in p.undelivered]:
                    others.xdel(KEY, *acked[:count])
            else:
                assert (await p.audit()).lost == 0
        assert (await p.audit()).lost == 0
        await p.finish()
        assert await p.audit() == Account(there=True, outstanding=0, lost=0, untold=0)
    await server.close()


def _next(id_: bytes) -> str:
    milliseconds, sequence = id_.decode().split("-")
    return f"{milliseconds}-{int(sequence) + 1}"


async def test_a_group_that_was_moved_on_purpose_has_lost_nothing(pipeline: Pipeline) -> None:
    await pipeline.start(already=10)
    await pipeline.audit()
    pipeline.others.xgroup_setid(KEY, GROUP, "$")
    await reopen(pipeline.client, LEDGER, [SPEC])
    assert (await pipeline.audit()).lost == 0
    pipeline.others.xgroup_setid(KEY, GROUP, "0")
    await reopen(pipeline.client, LEDGER, [SPEC])
    await pipeline.finish()
    assert (await pipeline.audit()).lost == 0


async def test_a_ledger_that_is_gone_has_another_name(pipeline: Pipeline) -> None:
    await pipeline.start(already=1)
    before = (await audit(pipeline.client, LEDGER, [SPEC], telling=True)).name
    assert (await audit(pipeline.client, LEDGER, [SPEC], telling=True)).name == before
    pipeline.others.delete(LEDGER)
    await pipeline.commit(pipeline.read(1))
    after = await audit(pipeline.client, LEDGER, [SPEC], telling=True)
    assert after.name != before
    assert after.accounts[0].lost == 0


async def test_a_group_that_others_moved_back_is_counted_once_and_hides_no_later_loss(pipeline: Pipeline) -> None:
    """What came again is acked twice, so that the balance falls by as much."""
    await pipeline.start(already=10)
    await pipeline.audit()
    await pipeline.commit(pipeline.read(7))
    pipeline.others.xgroup_setid(KEY, GROUP, "0")
    assert (await audit(pipeline.client, LEDGER, [SPEC], telling=False)).accounts[0].again == 0, "seen at rest"
    await pipeline.finish()
    for _ in range(2):
        assert (await audit(pipeline.client, LEDGER, [SPEC], telling=False)).accounts[0].again == 7, "not told yet"
    assert await pipeline.audit() == Account(there=True, outstanding=0, lost=0, untold=0, again=7)
    assert (await pipeline.audit()).again == 0
    pipeline.add(6)
    assert reads_and_acks(pipeline, []) == 4
    await pipeline.finish()
    assert (await pipeline.audit()).lost == 4


async def test_a_stream_that_begins_again_with_its_group_was_not_processed_twice(pipeline: Pipeline) -> None:
    await pipeline.start(already=10)
    await pipeline.finish()
    await pipeline.audit()
    pipeline.others.delete(KEY)
    await pipeline.start(already=3)
    await pipeline.finish()
    assert (await pipeline.audit()).again == 0


async def test_what_is_committed_while_it_is_written_off_was_not_processed_twice(pipeline: Pipeline) -> None:
    await pipeline.start(already=10)
    await pipeline.audit()
    held = pipeline.read(4)

    async def taken_too_late() -> None:
        await pipeline.commit(held)

    await write_off(pipeline.client, LEDGER, {SPEC: 4}, taken_too_late())
    await pipeline.finish()
    assert await pipeline.audit() == Account(there=True, outstanding=0, lost=0, untold=0)
    pipeline.others.xgroup_setid(KEY, GROUP, "0")
    await pipeline.finish()
    assert (await pipeline.audit()).again == 10
