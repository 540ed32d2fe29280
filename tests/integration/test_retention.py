"""Retention over all ids that there are: nothing that a group has not acked is trimmed, all else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from papyra_flow.records.entries import id_after, parse_id
from papyra_flow.streams.admin.repair import id_at_length
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.retention import trim_acked
from tests.harness.servers import plain_client

KEY = "{r}:s"
LARGEST = 2**64 - 1
Id = tuple[int, int]

NEAR = [0, 1, 9, 10, 99, 2**53 - 1, 2**53, 10**16 - 1, 2**63 - 1, 2**63, LARGEST - 3]
PART = st.one_of(
    st.builds(lambda base, more: min(base + more, LARGEST), st.sampled_from(NEAR), st.integers(0, 3)),
    st.integers(0, LARGEST),
)
IDS = st.sets(st.tuples(PART, PART), min_size=1, max_size=12).map(lambda ids: sorted(ids - {(0, 0)}))


def text(id_: Id) -> str:
    return f"{id_[0]}-{id_[1]}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=IDS.filter(bool),
    groups=st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(0, 11))), min_size=1, max_size=3),
)
@example(ids=[(5, 2**60 + n) for n in range(4)], groups=[(4, set()), (1, set())])
@example(ids=[(2**60 + n, 7) for n in range(4)], groups=[(4, set()), (3, {1})])
@example(ids=[(5, LARGEST), (6, 0)], groups=[(1, set())])
@example(ids=[(LARGEST, LARGEST)], groups=[(1, set())])
def test_what_no_group_has_left_to_do_is_trimmed_and_nothing_else(
    any_url: str, ids: list[Id], groups: list[tuple[int, set[int]]]
) -> None:
    """Each group has read its first entries, and acked all of them but some."""
    with plain_client(any_url) as plain:
        plain.flushall()
        for id_ in ids:
            plain.xadd(KEY, {"data": "x"}, id=text(id_))
        kept = min(_read(plain, f"g{number}", ids, *group) for number, group in enumerate(groups))
        asyncio.run(_trimmed(any_url))
        there: Any = plain.xrange(KEY)
        left = [parse_id(id_) for id_, _ in there]
        expected = [id_ for id_ in ids if id_ >= kept]
        # There is no id after the largest to trim before: that one entry stays.
        assert left == expected or (ids[-1] == (LARGEST, LARGEST) and left == [ids[-1]] and not expected)


def _read(plain: redis.Redis, group: str, ids: list[Id], read: int, pending: set[int]) -> Id:
    """Have a group read and ack; returns the first id that it has left to do."""
    plain.xgroup_create(KEY, group, "0")
    if read:
        plain.xreadgroup(group, "c", {KEY: ">"}, count=read)
    acked = [text(id_) for number, id_ in enumerate(ids[:read]) if number not in pending]
    if acked:
        plain.xack(KEY, group, *acked)
    left = [id_ for number, id_ in enumerate(ids) if number >= read or number in pending]
    return min(left, default=(LARGEST + 1, 0))


async def _trimmed(url: str) -> None:
    server = Server(url)
    try:
        await trim_acked(server.client, KEY, exact=True)
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("id_", "after"),
    [("5-0", "5-1"), (f"5-{2**53}", f"5-{2**53 + 1}"), (f"5-{LARGEST}", "6-0"), (f"{LARGEST}-{LARGEST}",) * 2],
)
async def test_a_trim_to_nothing_takes_the_last_entry_too(any_url: str, id_: str, after: str) -> None:
    assert id_after(id_) == after
    with plain_client(any_url) as plain:
        plain.xadd(KEY, {"data": "x"}, id=id_)
    server = Server(any_url)
    assert await id_at_length(server.client, KEY, 0) == after
    await server.close()
