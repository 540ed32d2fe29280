"""A server's wall clock that goes back keeps nothing from being taken over, and takes nothing from the living."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from papyra_flow.runtime.process.run import apply_topology
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.server import Server
from tests.harness import HANGS_SECONDS
from tests.harness.clock import MovableClock
from tests.harness.pipelines import PipelineFolder, Running, until

HOUR = 3600


@pytest.fixture
def clock(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[MovableClock]:
    found = MovableClock(tmp_path_factory.mktemp("clock"), monkeypatch)
    yield found
    found.server.stop()


@pytest.fixture
def pipeline(folder: PipelineFolder) -> PipelineFolder:
    name = folder.steps("import time\ndef slowly(record):\n    time.sleep(record['wait'])\n    return record\n")
    # The claim time is as long as a busy machine may keep the living from saying that they are.
    return folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{claim_after: 3s}}
        stages: {{a: {{from: s, process: [{{run: "{name}:slowly"}}], to: t}}}}
        streams: {{s: {{}}}}
        """
    )


def test_the_clock_moves(clock: MovableClock) -> None:
    with clock.server.client as plain:
        now: Any = plain.time()
        clock.move(-HOUR)
        after: Any = plain.time()
    assert HOUR - 60 < now[0] - after[0] < HOUR + 60


async def test_what_the_dead_had_is_taken_over_after_the_clock_went_back(
    clock: MovableClock, pipeline: PipelineFolder
) -> None:
    server = Server(clock.server.url)
    await apply_topology(server, pipeline.topology())
    await server.close()
    with clock.server.client as plain:
        for _ in range(5):
            plain.xadd("{p}:s", {"data": '{"wait": 0}'})
        plain.xreadgroup("a", "elsewhere.1.a.0", {"{p}:s": ">"}, count=3)
        clock.move(-HOUR)
        result = await pipeline.run(clock.server.url, drain=True)
        assert plain.xlen("{p}:t") == 5
    assert result.counters.stages["a"].claimed == 3


async def test_the_living_keep_what_they_work_on_when_the_clock_goes_back(
    clock: MovableClock, pipeline: PipelineFolder
) -> None:
    url = clock.server.url
    with clock.server.client as plain:
        async with Running(pipeline.topology(), url, consumer_name="slow") as slow:
            plain.xadd("{p}:s", {"data": '{"wait": 10}'})
            await until(lambda: plain.xpending("{p}:s", "a")["pending"] == 1)
            clock.move(-HOUR)
            quick = await asyncio.to_thread(pipeline.cli, "run", "pipeline.yml", "--drain", "--json", "--redis", url)
            await until(lambda: plain.xlen("{p}:t") == 1)
            assert slow.counters.stages["a"].stale == 0
        assert quick.json["stages"]["a"]["claimed"] == 0


async def test_a_lease_of_the_dead_is_taken_after_the_clock_went_back(clock: MovableClock) -> None:
    server = Server(clock.server.url)
    old, new = Leases(server.client, "old", "{t}:@probe"), Leases(server.client, "new", "{t}:@probe")
    lease = await old.take("{t}:@sink:s")
    assert lease is not None
    clock.move(-HOUR)
    assert await new.take("{t}:@sink:s", wait_for=1.0) is None
    await old.beat(lease)
    async with asyncio.timeout(HANGS_SECONDS):
        while (taken := await new.take("{t}:@sink:s", wait_for=1.0)) is None:
            pass
    assert taken.epoch > lease.epoch
    await server.close()
