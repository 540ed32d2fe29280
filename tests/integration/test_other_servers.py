"""Servers besides the pipeline's own: that of a stream that is read or written, and that of a lookup's hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from papyra_flow.errors import ConnectorError, WrongKeyTypeError
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.servers import LocalServer, plain_client

RECORDS = 20_000
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
PIPELINE = """\
    pipeline: p
    defaults: {{retry: {{attempts: 2, backoff: 1ms..1ms}}}}
    stages:
      pull:
        read: {{stream: source, redis: "{source}"}}
        to: s
      price:
        from: s
        process: [{{lookup: {{hash: prices, redis: "{hash}", on: k, as: price}}}}]
        to: t
      push:
        from: t
        write: {{stream: sink, redis: "{sink}"}}
    """


@pytest.fixture
def others(folder: PipelineFolder, local_server: Callable[..., LocalServer]) -> dict[str, LocalServer]:
    """Three servers that lose nothing, with records, a table and room for what comes out, and the pipeline's file."""
    servers = {name: local_server(*DURABLE) for name in ("source", "hash", "sink")}
    with servers["source"].client as source, servers["hash"].client as table:
        pipe = source.pipeline(transaction=False)
        for n in range(RECORDS):
            pipe.xadd("source", {"data": json.dumps({"n": n, "k": "a"})})
        pipe.execute()
        table.hset("prices", "a", "3")
    folder.pipeline(PIPELINE.format(**{name: server.url for name, server in servers.items()}))
    return servers


@pytest.mark.parametrize("victim", ["source", "hash", "sink"])
async def test_another_server_that_goes_away_is_waited_for(
    folder: PipelineFolder, url: str, others: dict[str, LocalServer], victim: str
) -> None:
    harms = 0
    async with Running(folder.topology(), url) as running:
        stages = running.counters.stages
        for part in range(1, 4):
            await until(lambda: stages["push"].written >= part * RECORDS // 5)  # noqa: B023
            others[victim].kill()
            harms += stages["push"].written < RECORDS
            others[victim].start()
        await until(lambda: stages["push"].written >= RECORDS or running.ended)
    assert harms == 3
    assert (stages["price"].dead, stages["price"].retried) == (0, 0)
    with others["sink"].client as sink:
        entries: Any = sink.xrange("sink")
    assert [json.loads(fields[b"data"])["n"] for _, fields in entries] == list(range(RECORDS))


@pytest.mark.parametrize("victim", ["source", "sink"])
async def test_another_server_that_is_not_there_at_the_start_ends_the_run(
    folder: PipelineFolder, url: str, others: dict[str, LocalServer], victim: str
) -> None:
    others[victim].kill()
    with pytest.raises(ConnectorError, match="no server answers"):
        await folder.run(url)


async def test_a_hash_that_is_none_ends_the_run_and_buries_nothing(
    folder: PipelineFolder, url: str, others: dict[str, LocalServer]
) -> None:
    with others["hash"].client as table:
        table.delete("prices")
        table.set("prices", "no hash")
    with pytest.raises(WrongKeyTypeError, match="cannot look up in the hash prices"):
        await folder.run(url)
    with plain_client(url) as server:
        assert server.xlen("{p}:@dead:price") == 0
