"""Records that a stage has put off take the room of its backlog: a server's memory stays bounded."""

from __future__ import annotations

import asyncio

import redis

from papyra_flow.runtime.services.backpressure import Gate
from papyra_flow.streams.connection.server import Server
from tests.harness import HANGS_SECONDS


async def test_writers_wait_for_records_that_were_put_off(url: str, redis_client: redis.Redis) -> None:
    redis_client.xgroup_create("{p}:s", "b", mkstream=True)
    redis_client.zadd("{p}:@later:b", {f"record {n}": 2**42 for n in range(10)})
    server = Server(url)
    gate = Gate(
        server.client, keys=["{p}:s"], groups=["b"], limit=10, stopping=asyncio.Event(), later=["{p}:@later:b"]
    )  # fmt: skip

    def looks() -> int:
        stats = redis_client.info("commandstats").get("cmdstat_zcard", {"calls": 0})
        return int(stats["calls"])

    before = looks()
    room = asyncio.create_task(gate.room())
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            while not room.done() and looks() < before + 2:  # noqa: ASYNC110 - on a server
                await asyncio.sleep(0.01)
            assert not room.done()
            redis_client.zrem("{p}:@later:b", "record 1")
            await room
        assert gate.open
    finally:
        room.cancel()
        await server.close()
