"""OpenTelemetry: a span for each batch, linked to those that its records come from, and the metrics of this process.

Configured by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, ...:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/); nothing is imported or paid without
them. A record carries the span that it left as `traceparent` (https://www.w3.org/TR/trace-context/) to the next stage,
whose batch links to it: so its way can be followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from papyra_flow.errors import UsageError
from papyra_flow.histograms import Histogram
from papyra_flow.observe.catalogue import (
    BATCH,
    END_TO_END,
    LATENCY,
    METRICS,
    OPERATION,
    OTEL_NAMES,
    OWN_DURATION,
    OWN_VALUE,
    PROCESS,
    SYSTEM,
    Labels,
    Metric,
    of_worker,
    samples,
)
from papyra_flow.observe.counters import RunCounters
from papyra_flow.observe.figures import Snapshot
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import headers_of
from papyra_flow.topology.model import StageSpec, Topology

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span

TRACEPARENT = b"traceparent"
MOST_LINKS = 128
"""Maximum links of a span, as OpenTelemetry limits them."""

_VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_HISTOGRAMS = {
    "batch": BATCH, "process": PROCESS, "commit": OPERATION, "latency": LATENCY, "end_to_end": END_TO_END,
    "own_durations": OWN_DURATION, "own_values": OWN_VALUE,
}  # fmt: skip


def configured() -> bool:
    """Whether telemetry is asked for."""
    wanted = any(os.environ.get(name) for name in _VARIABLES)
    return wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


class Telemetry:
    """Spans and metrics of one process; `close` sends what is left."""

    def __init__(self, tracing: TracerProvider, metering: MeterProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracing = tracing
        self._metering = metering
        self._tracer = tracing.get_tracer("papyra_flow")
        self._propagator = TraceContextTextMapPropagator()
        self._histograms: dict[str, Any] = {}  # their SDK class is private

    # -- spans ------------------------------------------------------------------------------------------------

    def begin(self, stage: StageSpec, batch: Batch) -> Span:
        """A span for a batch, with a link to each span that one of its records left."""
        from opentelemetry.trace import SpanKind

        attributes: dict[str, str | int] = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": batch.key,
            "messaging.consumer.group.name": stage.group,
            "messaging.batch.message_count": len(batch),
            "papyra_flow.stage": stage.name,
        }
        return self._tracer.start_span(
            f"process {batch.key}", kind=SpanKind.CONSUMER, attributes=attributes, links=list(self._links(batch))
        )

    def traceparent(self, span: Span) -> bytes | None:
        """What records carry away from a span; None if it is not sampled."""
        from opentelemetry.trace import set_span_in_context

        if not span.get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier["traceparent"].encode()

    def _links(self, batch: Batch) -> Iterator[Link]:
        from opentelemetry.trace import Link, get_current_span

        if batch.plain() is not None:
            return
        seen: set[bytes] = set()
        for fields in batch.fields:
            carried = headers_of(fields).get(TRACEPARENT)
            if carried is None or carried in seen or len(seen) >= MOST_LINKS:
                continue
            seen.add(carried)
            context = get_current_span(
                self._propagator.extract({"traceparent": carried.decode(errors="replace")})
            ).get_span_context()
            if context.is_valid:
                yield Link(context)

    # -- metrics ----------------------------------------------------------------------------------------------

    def export(self, topology: Topology, worker: str, counters: RunCounters) -> None:
        """Have the counts of this process exported, again and again."""
        meter = self._metering.get_meter("papyra_flow")
        for metric in METRICS:
            if metric.kind == "counter" and "worker" in metric.labels:
                self._count(meter, metric, topology, worker, counters)
        for name, metric in _HISTOGRAMS.items():
            self._histograms[name] = meter.create_histogram(
                metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=metric.bounds
            )

    def _count(self, meter: Meter, metric: Metric, topology: Topology, worker: str, counters: RunCounters) -> None:
        from opentelemetry.metrics import Observation

        def observed(_: CallbackOptions) -> Iterable[Observation]:
            for name, one in counters.stages.items():
                for sampled, labels, value in of_worker(topology, topology.stages[name], worker, one):
                    if sampled is metric and not isinstance(value, Histogram):
                        yield Observation(value, _attributes(labels))

        meter.create_observable_counter(metric.name, [observed], metric.unit, metric.help)

    def export_looks(self, topology: Topology, latest: Callable[[], Snapshot | None]) -> None:
        """Have the gauges of the latest look at the server exported: what no worker knows, such as pending and lag."""
        meter = self._metering.get_meter("papyra_flow")
        for metric in METRICS:
            if metric.kind == "gauge":
                self._gauge(meter, metric, topology, latest)

    def _gauge(self, meter: Meter, metric: Metric, topology: Topology, latest: Callable[[], Snapshot | None]) -> None:
        from opentelemetry.metrics import Observation

        def observed(_: CallbackOptions) -> Iterable[Observation]:
            snapshot = latest()
            for sampled, labels, value in samples(topology, snapshot) if snapshot is not None else ():
                if sampled is metric and not isinstance(value, Histogram):
                    yield Observation(value, _attributes(labels))

        meter.create_observable_gauge(metric.name, [observed], metric.unit, metric.help)

    def record(self, name: str, value: float, stage: str, own: str | None = None) -> None:
        """A value of a distribution, by its name in `Timings`; of those of steps, with the name of their `own`."""
        if (histogram := self._histograms.get(name)) is not None:
            histogram.record(value, {"stage": stage} if own is None else {"stage": stage, "name": own})

    def close(self) -> None:
        """Send what is left, and end."""
        self._tracing.shutdown()
        self._metering.shutdown()


def _attributes(labels: Labels) -> dict[str, str]:
    """Labels under OpenTelemetry's names for them."""
    return {OTEL_NAMES.get(name, name): value for name, value in labels.items()}


def open_telemetry() -> Telemetry:
    """Telemetry as the environment says; raises UsageError where the packages for it are missing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"telemetry is configured, but {exc.name} is not installed: pip install 'papyra-flow[otel]'"
        ) from exc
    service = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "papyra-flow")}
    resource = Resource.create(service)
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return Telemetry(tracing, MeterProvider([reader], resource=resource, shutdown_on_exit=False))
