"""What the scripts of owned partitions promise (invariants S2, S3), on real servers; and that each promise can fail.

Every promise is a scenario. It holds with the real scripts, and fails with the line taken out that keeps it (`GATES`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from papyra_flow.errors import FencedError, GroupMovedError, ServerError, TryAgainError, WrongKeyTypeError
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.operations import MoveCheckpoint, StateChanges
from papyra_flow.streams.commit.owned_committer import OwnedCommit, OwnedCommitter
from papyra_flow.streams.commit.ownership import Owners, Ownership, PartitionKeys
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from papyra_flow.streams.groups.reading import GroupReader
from tests.integration.test_commit import Gate, contents, take_out

IN, OUT, PROBE, LEDGER, SINK = "{t}:in", "{t}:out", "{t}:@probe", "{t}:@ledger", "{t}:@sink:s"
GROUP = "s"
KEYS = PartitionKeys("{t}:@owner:s", "{t}:@state:s", "{t}:@timers:s", (IN,))
CHANGES = StateChanges(put=[b"k", b"1"], deleted=[b"gone"], timers=[5, b"t"], deleted_timers=[b"off"])


def owners(client: Client, member: str = "one") -> Owners:
    return Owners(client, member=member, group=GROUP, members="{t}:@owners:s", ledger=LEDGER)


def committer(client: Client, ownership: Ownership, target: str = OUT) -> OwnedCommitter:
    return OwnedCommitter(
        client, ownership, group=GROUP, probe=PROBE, ledger=LEDGER, targets=[target], sink_lease=SINK
    )  # fmt: skip


async def filled(client: Client, count: int = 3) -> list[bytes]:
    """Entries in IN that no one has read."""
    await create_groups(client, [GroupSpec(IN, GROUP)], marker="{t}:@applied")
    ids = [await client.call("XADD", IN, "*", "data", b"%d" % number) for number in range(count)]
    return [one for one in ids if isinstance(one, bytes)]


async def taken(client: Client, member: str = "one", silence: float = 60.0) -> Ownership:
    found = await owners(client, member).take(KEYS, silence=silence, batch_size=10)
    assert found is not None
    return found


def forwarding(ids: Sequence[bytes], changes: StateChanges | None = None, *, moves: bool = True) -> OwnedCommit:
    commit = Commit()
    for one in ids:
        commit.forward(one, 0, one)
    return OwnedCommit(commit, IN, ids, moves, changes or StateChanges())


async def left(client: Client) -> list[bytes | None]:
    return [entry.data for entry in await contents(client, OUT)]


async def stands(client: Client) -> bytes:
    reply = await client.call("XINFO", "GROUPS", IN)
    assert isinstance(reply, list)
    found = dict(zip(reply[0][::2], reply[0][1::2], strict=True))[b"last-delivered-id"]
    assert isinstance(found, bytes)
    return found


async def state(client: Client) -> list[object]:
    """The state, the timers."""
    return [
        await client.call("HGETALL", KEYS.state),
        await client.call("ZRANGE", KEYS.timers, 0, -1, "WITHSCORES"),
    ]


# -- the promises -----------------------------------------------------------------------------------------------------


async def a_fenced_owner_commits_nothing(client: Client) -> None:
    ids, old = await filled(client), await taken(client)
    new = await taken(client, "two", silence=0.0)
    with pytest.raises(FencedError):
        await committer(client, old).commit(forwarding(ids, CHANGES))
    assert (await left(client), await stands(client)) == ([], b"0-0")
    await committer(client, new).commit(forwarding(ids))
    assert await left(client) == ids


async def an_epoch_that_came_again_is_told_apart(client: Client) -> None:
    """A failover has lost that the lease was taken; another takes it, with the same epoch."""
    ids, old = await filled(client), await taken(client)
    await client.call("DEL", KEYS.lease, LEDGER)
    new = await taken(client, "two")
    assert old.epoch == new.epoch
    with pytest.raises(FencedError):
        await committer(client, old).commit(forwarding(ids[:1]))
    await committer(client, new).commit(forwarding(ids))
    assert await left(client) == ids


async def a_repeated_commit_does_nothing_twice(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    for _ in range(2):
        own.commits, own.positions[IN] = 0, b"0-0"
        await committer(client, own).commit(forwarding(ids, CHANGES))
    assert await left(client) == ids


async def portions_whose_replies_were_lost_are_done_once(client: Client) -> None:
    ids, own = await filled(client, 600), await taken(client)
    for _ in range(2):
        own.commits, own.positions[IN] = 0, b"0-0"
        await committer(client, own).commit(forwarding(ids))
    assert await left(client) == ids
    assert (own.commits, own.positions[IN]) == (3, ids[-1])


async def a_commit_before_which_one_was_lost_is_refused(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    own.commits = 3
    with pytest.raises(FencedError, match="lost the last commits"):
        await committer(client, own).commit(forwarding(ids, CHANGES))
    assert await left(client) == []


async def a_group_that_stands_elsewhere_is_left_there(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("XGROUP", "SETID", IN, GROUP, ids[1])
    with pytest.raises(GroupMovedError, match=ids[1].decode()):
        await committer(client, own).commit(forwarding(ids, CHANGES))
    assert (await left(client), await stands(client), await state(client)) == ([], ids[1], [[], []])


async def state_and_position_change_together(client: Client) -> None:
    await client.call("HSET", KEYS.state, "gone", "0")
    await client.call("ZADD", KEYS.timers, 1, "off")
    ids, own = await filled(client), await taken(client)
    await committer(client, own).commit(forwarding(ids, CHANGES))
    assert await state(client) == [[b"k", b"1"], [b"t", b"5"]]
    assert (await left(client), await stands(client)) == (ids, ids[-1])


async def a_target_of_another_type_changes_nothing(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("SET", "{t}:text", "x")
    with pytest.raises(WrongKeyTypeError):
        await committer(client, own, "{t}:text").commit(forwarding(ids, CHANGES))
    assert (await stands(client), await state(client)) == (b"0-0", [[], []])
    assert await client.call("HGET", LEDGER, f"acked {IN} {GROUP}") is None


async def timers_of_another_type_change_nothing(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("SET", KEYS.timers, "x")
    with pytest.raises(WrongKeyTypeError):
        await committer(client, own).commit(forwarding(ids, CHANGES))
    assert (await left(client), await stands(client)) == ([], b"0-0")
    assert await client.call("HGETALL", KEYS.state) == []


async def a_target_that_cannot_be_added_to_takes_all_back(client: Client) -> None:
    """Foreseen by no check: the stream's last id is the largest there is."""
    ids, own = await filled(client), await taken(client)
    await client.call("XADD", OUT, f"{2**64 - 1}-{2**64 - 2}", "data", "last but one")
    with pytest.raises(ServerError):
        await committer(client, own).commit(forwarding(ids, CHANGES))
    assert (await left(client), await stands(client)) == ([b"last but one"], b"0-0")
    assert await state(client) == [[], []]
    assert await client.call("HGET", LEDGER, f"acked {IN} {GROUP}") in {None, b"0"}


async def pending_once(client: Client) -> list[bytes]:
    """Entries that a consumer of a shared stage has read, and not acknowledged."""
    ids = await filled(client, 6)
    await GroupReader(client, client, keys=[IN], group=GROUP, consumer="old").read(6, block=1)
    return ids


async def what_another_has_acknowledged_is_not_done_again(client: Client) -> None:
    ids = await pending_once(client)
    own = await taken(client)
    await client.call("XACK", IN, GROUP, ids[1])
    assert await committer(client, own).commit(forwarding(ids, CHANGES, moves=False)) == {ids[1]}
    assert (await left(client), await state(client)) == ([], [[], []])


async def what_is_still_pending_stays(client: Client) -> None:
    """A batch of which only the first were done: the owner's other entries do not go with its name."""
    ids = await pending_once(client)
    await client.call("XCLAIM", IN, GROUP, "owner", 0, *ids)
    own = await taken(client)
    await committer(client, own).commit(forwarding(ids[:2], moves=False))
    reply = await client.call("XPENDING", IN, GROUP)
    assert isinstance(reply, list)
    assert reply[0] == 4
    await committer(client, own).commit(forwarding(ids[2:], moves=False))
    assert await left(client) == ids


async def a_sink_that_stands_elsewhere_moves_no_position(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("HSET", SINK, "epoch", 1, "checkpoint", "7")
    with pytest.raises(FencedError):
        await committer(client, own).commit(forwarding(ids), MoveCheckpoint(SINK, 1, "5", "6"))
    assert (await stands(client), await left(client)) == (b"0-0", [])


async def a_fenced_sink_moves_no_position(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("HSET", SINK, "epoch", 2, "checkpoint", "5")
    with pytest.raises(FencedError):
        await committer(client, own).commit(forwarding(ids), MoveCheckpoint(SINK, 1, "5", "6"))
    assert (await stands(client), await client.call("HGET", SINK, "checkpoint")) == (b"0-0", b"5")


async def an_owner_that_lives_keeps_its_partition(client: Client) -> None:
    await filled(client)
    await taken(client)
    assert await owners(client, "two").take(KEYS, silence=60.0, batch_size=10) is None


async def of_two_that_find_an_owner_gone_one_takes_over(client: Client) -> None:
    await filled(client)
    await taken(client)
    one, two = owners(client, "two"), owners(client, "three")
    seen = (await one.share([KEYS], {}, 60.0)).holders[0]
    first = await one.take(KEYS, silence=60.0, batch_size=10, gone=seen)
    while (await client.call("HGET", KEYS.lease, "beat")) == b"%d" % seen.beat:  # within the same millisecond
        assert first is not None
        await one.share([KEYS], {0: first}, 60.0)
    assert first is not None
    assert await two.take(KEYS, silence=60.0, batch_size=10, gone=seen) is None


async def one_that_was_fenced_cannot_let_go_for_another(client: Client) -> None:
    await filled(client)
    old = await taken(client)
    await taken(client, "two", silence=0.0)
    with pytest.raises(FencedError):
        await owners(client).release(old)
    assert await client.call("HGET", KEYS.lease, "owner") == b"two"


async def a_lease_lost_alone_lets_in_no_former_owner(client: Client) -> None:
    ids, old = await filled(client), await taken(client)
    await client.call("DEL", KEYS.lease)
    await taken(client)
    with pytest.raises(FencedError):
        await committer(client, old).commit(forwarding(ids))
    assert await left(client) == []


async def a_look_tells_what_an_idle_owner_would_miss(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await committer(client, own).commit(forwarding(ids))
    assert (await owners(client).share([KEYS], {0: own}, 60.0)).holders[0].ours
    await client.call("XGROUP", "SETID", IN, GROUP, ids[0])
    assert not (await owners(client).share([KEYS], {0: own}, 60.0)).holders[0].ours
    await client.call("XGROUP", "DESTROY", IN, GROUP)
    assert not (await owners(client).share([KEYS], {0: own}, 60.0)).holders[0].ours


EPOCH = "if (held[1] or '') .. ' ' .. (held[3] or '') ~= epoch then"
KIND = "if kind ~= wanted and kind ~= 'none' and not (k == 7 and ARGV[7] == '') then"
OWN = "own_commit"
GATES = [
    Gate(OWN, EPOCH, "if false then", a_fenced_owner_commits_nothing),
    Gate(OWN, "(held[3] or '') ~= epoch", "epoch:match(' (.*)') ~= epoch", an_epoch_that_came_again_is_told_apart),
    Gate(OWN, "if commits >= number then", "if false then", a_repeated_commit_does_nothing_twice),
    Gate(OWN, "if commits >= number then", "if commits == number then", portions_whose_replies_were_lost_are_done_once),
    Gate(OWN, "if commits < number - 1 then", "if false then", a_commit_before_which_one_was_lost_is_refused),
    Gate(OWN, "if at['last-delivered-id'] ~= ARGV[4] then", "if false then",
         a_group_that_stands_elsewhere_is_left_there),
    Gate(OWN, "{'ZADD', timers}, ", "{'ZREM', timers}, ", state_and_position_change_together),
    Gate(OWN, "{'HSET', state}, ", "{'HDEL', state}, ", state_and_position_change_together),
    Gate(OWN, "redis.call('XGROUP', 'SETID', source, group, ARGV[5], 'ENTRIESREAD', read)", "local _ = 0",
         state_and_position_change_together),
    Gate(OWN, KIND, "if false then", a_target_of_another_type_changes_nothing),
    Gate(OWN, KIND, "if false then", timers_of_another_type_change_nothing),
    Gate(OWN, "redis.call('XDEL', entry[1], entry[2])", "local _ = 0", a_target_that_cannot_be_added_to_takes_all_back),
    Gate(OWN, "if #missing > 1 then", "if false then", what_another_has_acknowledged_is_not_done_again),
    Gate(OWN, " and #redis.call('XPENDING', source, group, '-', '+', 1, 'owner') == 0", "",
         what_is_still_pending_stays),
    Gate(OWN, "if written ~= ARGV[8] and written ~= ARGV[9] then", "if false then",
         a_sink_that_stands_elsewhere_moves_no_position),
    Gate(OWN, "if sink[1] ~= ARGV[7] then", "if false then", a_fenced_sink_moves_no_position),
    Gate("own_take", "and alive then", "and false then", an_owner_that_lives_keeps_its_partition),
    Gate("own_take", "beat ~= ARGV[3]", "ARGV[3] == ''", of_two_that_find_an_owner_gone_one_takes_over),
    Gate("own_take", "if before and not held['epoch'] then", "if false then",
         a_lease_lost_alone_lets_in_no_former_owner),
    Gate("own_release", "then return 0 end", "then end", one_that_was_fenced_cannot_let_go_for_another),
    Gate("own_share", "if not stands(", "if false and not stands(", a_look_tells_what_an_idle_owner_would_miss),
]  # fmt: skip


@pytest.mark.parametrize("gate", GATES, ids=str)
async def test_promise_holds(gate: Gate, client: Client) -> None:
    await gate.scenario(client)


@pytest.mark.parametrize("gate", GATES, ids=str)
async def test_promise_breaks_without_its_gate(gate: Gate, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out(gate, monkeypatch)
    if gate.script == OWN:
        monkeypatch.setattr("papyra_flow.streams.commit.owned_committer.source_of", _of_monkey)
    with pytest.raises((AssertionError, pytest.fail.Exception, ServerError, FencedError, GroupMovedError)):
        await gate.scenario(client)


def _of_monkey(name: str) -> tuple[str, str]:
    from papyra_flow.streams import scripts

    return scripts.source_of(name)


# -- what the server refuses ------------------------------------------------------------------------------------------


async def test_a_server_out_of_memory_refuses_the_whole_commit(client: Client) -> None:
    ids, own = await filled(client), await taken(client)
    await client.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(TryAgainError, match="OOM"):
        await committer(client, own).commit(forwarding(ids, CHANGES))
    await client.call("CONFIG", "SET", "maxmemory", 0)
    assert (await left(client), await stands(client), await state(client)) == ([], b"0-0", [[], []])
    await committer(client, own).commit(forwarding(ids, CHANGES))
    assert (await left(client), await stands(client)) == (ids, ids[-1])


@pytest.mark.parametrize("command", ["hdel", "zadd", "zrem", "xgroup", "xadd", "hset", "hincrby", "xinfo"])
async def test_a_user_who_may_not_do_all_of_it_does_nothing_of_it(client: Client, command: str) -> None:
    """A script that did half its work is the worst there can be."""
    ids, own = await filled(client), await taken(client)
    await client.call("ACL", "SETUSER", "default", f"-{command}")
    try:
        with pytest.raises(ServerError):
            await committer(client, own).commit(forwarding(ids, CHANGES))
    finally:
        await client.call("ACL", "SETUSER", "default", f"+{command}")
    assert (await left(client), await stands(client), await state(client)) == ([], b"0-0", [[], []])
    assert await client.call("HGET", LEDGER, f"acked {IN} {GROUP}") in {None, b"0"}
    await committer(client, own).commit(forwarding(ids, CHANGES))
    assert await left(client) == ids


async def test_the_lag_is_known_as_far_as_the_server_knows_it(client: Client) -> None:
    ids, own = await filled(client, 10), await taken(client)
    await committer(client, own).commit(forwarding(ids[:4]))
    reply = await client.call("XINFO", "GROUPS", IN)
    assert isinstance(reply, list)
    facts = dict(zip(reply[0][::2], reply[0][1::2], strict=True))
    assert (facts[b"entries-read"], facts[b"lag"], facts[b"pending"]) == (4, 6, 0)
