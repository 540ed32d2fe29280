"""Live figures: what workers report, what a look at the server makes of it, and how it gets into pictures."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from papyra_flow.drawing.picture import picture
from papyra_flow.histograms import Histogram
from papyra_flow.observe.catalogue import samples
from papyra_flow.observe.figures import Figures, Snapshot, alarming, put_on
from papyra_flow.observe.prometheus import exposition
from papyra_flow.observe.reports import read_reports
from papyra_flow.streams.connection.server import Server
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, Running, until

CHAIN = """\
    pipeline: p
    stages:
      a: {from: s, process: [{set: {m: 6 // n}}], to: t}
      b: {from: t, to: u}
      c: {from: u, to: v}
    streams: {s: {}, v: {retain: all}}
    """


def send(server: redis.Redis, *numbers: int) -> None:
    for n in numbers:
        server.xadd("{p}:s", {"data": json.dumps({"n": n})})


async def test_a_worker_reports_while_it_runs_and_takes_it_back_at_the_end(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(CHAIN)
    server = Server(url)
    async with Running(folder.topology(), url, drain=False):
        await until(lambda: redis_client.hlen("{p}:@workers") == 1)
        send(redis_client, 1, 2, 0)

        deadline, report = time.monotonic() + HANGS_SECONDS, None
        while report is None or report.counters.stages["c"].read < 2:
            assert time.monotonic() < deadline
            # None where this process stood still for so long that its report is taken for that of one that is gone.
            report = next(iter(await read_reports(server.client, "{p}:@workers")), None)
        assert report.counters.stages["a"].dead == 1
        assert report.counters.stages["a"].timings.batch.count >= 1
        assert report.age < HANGS_SECONDS
    assert redis_client.hlen("{p}:@workers") == 0
    await server.close()


async def test_a_report_of_a_process_that_is_gone_is_not_counted(redis_client: redis.Redis, url: str) -> None:
    server = Server(url)
    old = {"at": time.time() - 3600, "started": 0, "stages": {}}
    redis_client.hset(
        "{p}:@workers", mapping={"old": json.dumps(old), "junk": "junk", "other": json.dumps({"at": "x"})}
    )
    assert await read_reports(server.client, "{p}:@workers") == []
    await server.close()


async def test_latency_is_known_from_end_to_end_of_a_record_a_second(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    module = folder.steps(
        "import threading\n\ndef slow(record):\n    threading.Event().wait(0.001)\n    return record\n"
    )
    folder.pipeline(CHAIN.replace("b: {from: t, to: u}", f'b: {{from: t, process: [{{run: "{module}:slow"}}], to: u}}'))
    async with Running(folder.topology(), url, drain=False) as running:
        await until(lambda: running.worker._context.clock.known)
        send(redis_client, *range(1, 200))
        await until(lambda: redis_client.xlen("{p}:v") == 199)
        await until(lambda: running.counters.stages["c"].timings.end_to_end.count >= 1)
        timings = running.counters.stages["c"].timings
        assert 0 < timings.end_to_end.sum / timings.end_to_end.count < HANGS_SECONDS
        assert running.counters.stages["b"].timings.end_to_end.count == 0
    entries: Any = redis_client.xrange("{p}:v")
    stamped = [fields for _, fields in entries if b"added" in fields]
    assert 1 <= len(stamped) <= 100, "one record a second carries it, not all"
    assert sorted(json.loads(fields[b"data"])["n"] for _, fields in entries) == list(range(1, 200))


async def looked(server: Server, folder: PipelineFolder) -> Snapshot:
    return await Figures(server, folder.topology()).look()


async def test_a_backlog_without_consumers_and_entries_that_nobody_works_on_are_alarming(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(CHAIN.replace("stages:", "defaults: {claim_after: 1ms}\n    stages:"))
    topology, server = folder.topology(), Server(url)
    redis_client.xgroup_create("{p}:s", "a", "0", mkstream=True)
    send(redis_client, 1, 2)
    snapshot = await looked(server, folder)
    assert (snapshot.stages["a"].lag, snapshot.stages["a"].backlog) == (2, 2)
    assert alarming(topology.stages["a"], snapshot.stages["a"]) == "a backlog, and no consumers"
    redis_client.xreadgroup("a", "elsewhere.1.a.0", {"{p}:s": ">"}, count=1)

    def old() -> bool:
        pending: Any = redis_client.xpending_range("{p}:s", "a", "-", "+", 1)
        return bool(pending[0]["time_since_delivered"] > 10)

    await until(old)
    snapshot = await looked(server, folder)
    assert (snapshot.stages["a"].pending, snapshot.stages["a"].consumers) == (1, 1)
    assert "no consumer works on it" in (alarming(topology.stages["a"], snapshot.stages["a"]) or "")
    drawn = picture(topology)
    put_on(drawn, snapshot, topology)
    node = next(node for node in drawn.nodes if node.id == "stage:a")
    assert node.alarming
    assert node.figures[0] == "lag 1 · pending 1"
    await server.close()


async def test_rates_are_those_between_two_looks(folder: PipelineFolder, redis_client: redis.Redis, url: str) -> None:
    folder.pipeline(CHAIN)
    server, moments = Server(url), iter([100.0, 102.0])
    redis_client.xgroup_create("{p}:s", "a", "0", mkstream=True)
    figures = Figures(server, folder.topology(), lambda: next(moments))
    first = await figures.look()
    assert first.stages["a"].rate_in is None
    send(redis_client, *range(1, 11))
    redis_client.xreadgroup("a", "x", {"{p}:s": ">"}, count=6)
    second = await figures.look()
    assert (second.stages["a"].rate_in, second.streams["s"].rate) == (3.0, 5.0)
    await server.close()


async def test_every_metric_is_exposed_and_counts_what_happened(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(CHAIN)
    topology, server = folder.topology(), Server(url)
    async with Running(topology, url, drain=False):
        send(redis_client, *range(5))
        figures = Figures(server, topology)
        deadline = time.monotonic() + HANGS_SECONDS
        while (snapshot := await figures.look()).stages["c"].counters.read < 4:
            assert time.monotonic() < deadline
        text = exposition(samples(topology, snapshot)).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert any(line.startswith("messaging_client_consumed_messages_total{") and line.endswith(" 5.0") for line in lines)
    assert any(line.startswith('papyra_flow_dead_letters{pipeline="p",stage="a"} 1.0') for line in lines)
    assert any("messaging_process_duration_seconds_bucket" in line and 'le="+Inf"' in line for line in lines)
    await server.close()


def test_a_histograms_quantiles_lie_where_its_values_do() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    for value in (0.5, 1.5, 1.6, 3.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [1, 2, 1, 1]
    assert 1.0 <= (histogram.quantile(0.5) or 0) <= 2.0
    assert histogram.quantile(1.0) == 4.0


def test_the_live_picture_is_drawn_by_the_command(folder: PipelineFolder, url: str, redis_client: redis.Redis) -> None:
    folder.pipeline(CHAIN)
    folder.cli("apply", "pipeline.yml", "--redis", url)
    send(redis_client, 1, 2, 3)
    drawn = folder.cli("graph", "pipeline.yml", "--live", "--json", "--redis", url).json
    nodes = {node["id"]: node for node in drawn["nodes"]}
    assert nodes["stage:a"]["figures"][0].startswith("lag 3 · pending 0")
    assert nodes["stage:a"]["alarming"]
    assert nodes["stream:s"]["figures"][0].startswith("3 entries")
    assert "lag 3" in folder.cli("graph", "pipeline.yml", "--live", "-f", "svg", "--redis", url).out
