"""Every metric of papyra-flow, declared once: the exporters, the documentation, dashboards and alerts come from here.

Names are those of the field: OpenTelemetry's messaging conventions
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/), redis_exporter's for what it exports of
streams (https://github.com/oliver006/redis_exporter), and `papyra_flow.*` where neither has one. In Prometheus dots are
underscores, and units and `_total` are added (https://prometheus.io/docs/practices/naming/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from papyra_flow.histograms import RECORDS, SECONDS, VALUES, Histogram
from papyra_flow.observe.counters import StageCounters
from papyra_flow.observe.figures import Snapshot
from papyra_flow.streams.admin.partitions import PartitionsSnapshot
from papyra_flow.topology.model import StageSpec, Topology

Labels: TypeAlias = dict[str, str]
SYSTEM = "redis_streams"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its name in OpenTelemetry, what it is, its unit (UCUM) and its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    unit: str = ""
    bounds: tuple[float, ...] = SECONDS
    """Of a histogram's buckets."""

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, without the suffixes of its kind."""
        suffix = {"s": "_seconds", "By": "_bytes"}.get(self.unit, "")
        name = self.name.replace(".", "_")
        return name if name.endswith(suffix) else name + suffix


OTEL_NAMES = {
    "messaging_consumer_group_name": "messaging.consumer.group.name",
    "messaging_destination_name": "messaging.destination.name",
    "messaging_operation_name": "messaging.operation.name",
    "messaging_system": "messaging.system",
}
"""Labels that are attributes of OpenTelemetry's messaging conventions; Prometheus' names have no dots."""

STAGE = ("pipeline", "stage")
WORKED = (*STAGE, "worker")
MESSAGING = ("messaging_system", "messaging_consumer_group_name", "messaging_destination_name")

CONSUMED = Metric("messaging.client.consumed.messages", "counter", "Records that a stage read.", (*WORKED, *MESSAGING))
SENT = Metric(
    "messaging.client.sent.messages", "counter", "Records that a stage forwarded, by stream.", (*WORKED, *MESSAGING)
)
PROCESS = Metric(
    "messaging.process.duration", "histogram", "Time that a batch took in a stage's steps.", (*WORKED, *MESSAGING), "s"
)
OPERATION = Metric(
    "messaging.client.operation.duration", "histogram", "Time that a batch's commit took (operation name `commit`).",
    (*WORKED, *MESSAGING, "messaging_operation_name"), "s",
)  # fmt: skip
WRITTEN = Metric("papyra_flow.records.written", "counter", "Records that a stage wrote to its sink.", WORKED)
DROPPED = Metric("papyra_flow.records.dropped", "counter", "Records that a stage dropped.", WORKED)
DEAD = Metric("papyra_flow.records.dead", "counter", "Records that a stage sent to its dead letters.", WORKED)
RETRIED = Metric("papyra_flow.records.retried", "counter", "Failed attempts that were retried.", WORKED)
CLAIMED = Metric("papyra_flow.records.claimed", "counter", "Entries taken over from consumers that are gone.", WORKED)
STALE = Metric("papyra_flow.records.stale", "counter", "Entries that another consumer had committed first.", WORKED)
LATE = Metric("papyra_flow.records.late", "counter", "Records whose window had closed.", WORKED)
OWN = Metric("papyra_flow.own", "counter", "What step functions counted (`Context.count`), by name.", (*WORKED, "name"))
OWN_DURATION = Metric(
    "papyra_flow.own.duration", "histogram", "What step functions timed (`Context.timer`), by name.",
    (*WORKED, "name"), "s",
)  # fmt: skip
OWN_VALUE = Metric(
    "papyra_flow.own.value", "histogram", "What step functions measured (`Context.observe`), by name.",
    (*WORKED, "name"), bounds=VALUES,
)  # fmt: skip
LOST = Metric(
    "papyra_flow.records.lost", "counter",
    "Entries that were acked, deleted, trimmed or taken by others before the stage had processed them.", STAGE,
)  # fmt: skip
BATCH = Metric("papyra_flow.batch.size", "histogram", "Entries in a batch.", WORKED, bounds=RECORDS)
LATENCY = Metric(
    "papyra_flow.record.latency", "histogram", "Time from the XADD of a batch's oldest entry to its ack.", WORKED, "s"
)
END_TO_END = Metric(
    "papyra_flow.end_to_end.latency", "histogram",
    "Time from the first stage's entry to the last stage's ack, of one record per second.", WORKED, "s",
)  # fmt: skip
BACKLOG = Metric("papyra_flow.backlog", "gauge", "Entries that a stage has yet to process: lag and pending.", STAGE)
OLDEST = Metric("papyra_flow.oldest_pending", "gauge", "Idle time of a stage's oldest pending entry.", STAGE, "s")
LETTERS = Metric("papyra_flow.dead_letters", "gauge", "Dead letters of a stage, now.", STAGE)
PARTITIONS = Metric("papyra_flow.partitions", "gauge", "Partitions of a stage that has owners.", STAGE)
OWNED = Metric("papyra_flow.partitions.owned", "gauge", "Partitions of a stage whose owner is alive.", STAGE)
STATE_ENTRIES = Metric("papyra_flow.state.entries", "gauge", "Entries of a stage's state.", STAGE)
STATE_MEMORY = Metric(
    "papyra_flow.state.memory_usage", "gauge", "Memory of a stage's state and timers (MEMORY USAGE).", STAGE, "By"
)
TIMERS = Metric("papyra_flow.timers", "gauge", "Timers of a stage that wait for the watermark.", STAGE)
DELAY = Metric(
    "papyra_flow.watermark.delay", "gauge", "How far a stage's watermark is behind the server's clock.", STAGE, "s"
)
WORKERS = Metric("papyra_flow.workers", "gauge", "Processes that work on the pipeline.", ("pipeline",))
LENGTH = Metric("redis.stream.length", "gauge", "Entries of a stream.", ("pipeline", "stream"))
MEMORY = Metric("redis.key.memory_usage", "gauge", "Memory of a stream (MEMORY USAGE).", ("pipeline", "key"), "By")
CONSUMERS = Metric("redis.stream.group.consumers", "gauge", "Consumers of a group.", ("pipeline", "stream", "group"))
PENDING = Metric(
    "redis.stream.group.messages_pending", "gauge", "Pending entries of a group.", ("pipeline", "stream", "group")
)
LAG = Metric(
    "redis.stream.group.lag",
    "gauge",
    "Entries not delivered to a group yet, or the stream's length if deletions make the lag unknown.",
    ("pipeline", "stream", "group"),
)
METRICS: tuple[Metric, ...] = (
    CONSUMED, SENT, PROCESS, OPERATION, WRITTEN, DROPPED, DEAD, RETRIED, CLAIMED, STALE, LATE, OWN, OWN_DURATION,
    OWN_VALUE, LOST, BATCH, LATENCY, END_TO_END, BACKLOG, OLDEST, LETTERS, PARTITIONS, OWNED, STATE_ENTRIES,
    STATE_MEMORY, TIMERS, DELAY, WORKERS, LENGTH, MEMORY, CONSUMERS, PENDING, LAG,
)  # fmt: skip
NUMBERS = {
    "written": WRITTEN, "dropped": DROPPED, "dead": DEAD, "retried": RETRIED, "claimed": CLAIMED, "stale": STALE,
    "late": LATE,
}  # fmt: skip

Sample: TypeAlias = tuple[Metric, Labels, float | Histogram]


def of_worker(topology: Topology, stage: StageSpec, worker: str, counters: StageCounters) -> Iterator[Sample]:
    """What one process has counted for one stage."""
    base = {"pipeline": topology.pipeline, "stage": stage.name, "worker": worker}
    named = topology.named
    sources = [named[name].key for name in topology.reads(stage)]
    reads = {
        "messaging_system": SYSTEM,
        "messaging_consumer_group_name": stage.group if stage.inputs else "",
        "messaging_destination_name": ",".join(sources),
    }
    yield CONSUMED, {**base, **reads}, counters.read
    for name, count in sorted(counters.emitted.items()):
        target = named[name].key if name in named else name
        yield SENT, {**base, **reads, "messaging_destination_name": target}, count
    for number, metric in NUMBERS.items():
        yield metric, base, getattr(counters, number)
    for name, count in sorted(counters.own.items()):
        yield OWN, {**base, "name": name}, count
    for metric, own in ((OWN_DURATION, counters.own_durations), (OWN_VALUE, counters.own_values)):
        for name, histogram in sorted(own.items()):
            yield metric, {**base, "name": name}, histogram
    timings = counters.timings
    yield PROCESS, {**base, **reads}, timings.process
    yield OPERATION, {**base, **reads, "messaging_operation_name": "commit"}, timings.commit
    for metric, histogram in ((BATCH, timings.batch), (LATENCY, timings.latency), (END_TO_END, timings.end_to_end)):
        yield metric, base, histogram


def _partitions(stage: StageSpec, there: PartitionsSnapshot, labels: Labels) -> Iterator[Sample]:
    yield PARTITIONS, labels, len(there.partitions)
    yield OWNED, labels, there.owned
    if stage.keyed_step is not None:
        yield from ((STATE_ENTRIES, labels, there.entries), (STATE_MEMORY, labels, there.bytes))
        yield TIMERS, labels, there.timers
        if (delay := there.delay_ms) is not None:
            yield DELAY, labels, delay / 1000


def samples(topology: Topology, snapshot: Snapshot) -> Iterator[Sample]:
    """Everything that a look at the server tells."""
    pipeline = {"pipeline": topology.pipeline}
    yield WORKERS, pipeline, len(snapshot.workers)
    for report in snapshot.workers:
        for name, counters in report.counters.stages.items():
            if name in topology.stages:
                yield from of_worker(topology, topology.stages[name], report.worker, counters)
    for name, figures in snapshot.stages.items():
        labels = {**pipeline, "stage": name}
        yield LETTERS, labels, figures.dead
        if topology.stages[name].inputs:
            yield BACKLOG, labels, figures.backlog
            yield OLDEST, labels, figures.oldest_pending or 0.0
            yield LOST, labels, figures.lost
        if figures.partitions is not None:
            yield from _partitions(topology.stages[name], figures.partitions, labels)
        for key, group in figures.groups.items():
            of = {**pipeline, "stream": key, "group": group.name}
            yield from ((CONSUMERS, of, group.consumers), (PENDING, of, group.pending), (LAG, of, group.lag))
    for stream in snapshot.streams.values():
        for key, part in stream.partitions.items():
            yield LENGTH, {**pipeline, "stream": key}, part.length
            yield MEMORY, {**pipeline, "key": key}, part.bytes
