"""`bench`: a pipeline on generated load, on a server of its own; its rate, its latencies, and what a record costs.

Its own steps and routes run; sources are replaced by a sample that is repeated, sinks by one that forgets, so that
nothing outside is touched.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace

from papyra_flow.connectors.base import BadRecord, SourceItem, fields_of
from papyra_flow.connectors.load import ForgetfulSink, SampleSource
from papyra_flow.errors import UsageError
from papyra_flow.records.entries import DATA
from papyra_flow.records.json_codec import read_json
from papyra_flow.runtime.process.options import RunOptions, RunResult
from papyra_flow.runtime.process.run import apply_topology, run_async, run_pipeline
from papyra_flow.runtime.stage.partitioner import keyed_entries
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream

SAMPLE = 1000
SAMPLE_SECONDS = 10.0
PORTION = 500


@dataclass(frozen=True, slots=True)
class Bench:
    """What came of it; CPU is microseconds a record that went in."""

    records: int
    result: RunResult
    client_us: float
    server_us: float

    @property
    def rate(self) -> float:
        """Records a second, from the first to the last stage."""
        return self.records / self.result.seconds


def measure(topology: Topology, url: str, *, count: int, processes: int, sample: Sequence[bytes] | None) -> Bench:
    """Run the pipeline over `count` records of each source on the server at `url`, which has to be empty.

    Records come from `sample` (JSON), else from the pipeline's own sources. Raises UsageError where there are none.
    """
    replaced = run_async(_with_load(topology, count, sample))
    fed = [
        stream
        for stream in replaced.named.values()
        if stream.spec.declared and stream.spec.readers and not stream.spec.writers and not stream.spec.internal
    ]
    if fed and sample is None:
        raise UsageError(
            f"the stream {fed[0].name!r} is written by other programs: pass example records with --sample FILE"
        )
    server_before = run_async(_filled(replaced, url, fed, count, sample or ()))
    before = _cpu()
    result = run_async(run_pipeline(replaced, url, RunOptions(processes=processes, drain=True)))
    client, server = _cpu() - before, run_async(_server_cpu(url)) - server_before
    sources = sum(stage.source is not None for stage in replaced.stages.values())
    records = count * max(1, sources + len(fed))
    return Bench(records, result, client / records * 1e6, server / records * 1e6)


async def _with_load(topology: Topology, count: int, sample: Sequence[bytes] | None) -> Topology:
    stages: dict[str, StageSpec] = {}
    for stage in topology.stages.values():
        source, sink = stage.source, stage.sink
        if source is not None:
            taken = list(sample) if sample is not None else await _sampled(topology, stage)
            source = SampleSource(sample=taken, count=count)
        stages[stage.name] = replace(stage, source=source, sink=ForgetfulSink() if sink is not None else None)
    return replace(topology, stages=stages)


async def _sampled(topology: Topology, stage: StageSpec) -> list[bytes]:
    """The first records of a stage's own source."""
    if stage.source is None:
        return []
    source = stage.source.open(topology.connector_context(stage.name))
    found: list[bytes] = []
    try:
        async with asyncio.timeout(SAMPLE_SECONDS):
            await source.start("")
            while len(found) < SAMPLE:
                portion = await source.read(SAMPLE - len(found))
                found += [item for item in map(_as_json, portion.items) if item is not None]
                if portion.done:
                    break
    except TimeoutError:
        pass  # what came until then is enough, if anything did
    finally:
        await source.close()
    if not found:
        raise UsageError(f"the source of {stage.name!r} has no records to measure with: pass some with --sample FILE")
    return found


def _as_json(item: SourceItem) -> bytes | None:
    if isinstance(item, bytes):
        return item
    if isinstance(item, BadRecord):
        return None
    fields = fields_of(item)
    return fields[fields.index(DATA) + 1] if DATA in fields[::2] else None


async def _filled(
    topology: Topology, url: str, streams: Sequence[NamedStream], count: int, sample: Sequence[bytes]
) -> float:
    """Fill streams that others would fill; returns the server's CPU seconds so far."""
    server = Server(url, key=topology.keys.applied)
    try:
        await apply_topology(server, topology)
        for stream in streams:
            for start in range(0, count, PORTION):
                texts = [sample[number % len(sample)] for number in range(start, min(start + PORTION, count))]
                entries = keyed_entries([read_json(text) for text in texts], stream.parts)
                await server.client.call_many([("XADD", key, "*", *fields) for key, fields in entries])
    finally:
        await server.close()
    return await _server_cpu(url)


async def _server_cpu(url: str) -> float:
    server = Server(url)
    try:
        reply = await server.client.call("INFO", "cpu")
    finally:
        await server.close()
    lines = reply.decode().splitlines() if isinstance(reply, bytes) else []
    return sum(float(line.partition(":")[2]) for line in lines if line.startswith(("used_cpu_user:", "used_cpu_sys:")))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
