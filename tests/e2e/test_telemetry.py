"""Traces and metrics by OpenTelemetry, and logs, as others receive them: a collector of our own, and standard error."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from papyra_flow.histograms import SECONDS
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually


class Collector:
    """Takes OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp), and keeps it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: dict[str, Any] = {}
        self.resources: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.take(self.path, body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(resource.resource)
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in scope.metrics}


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


PATIENT: dict[str, Any] = {"NO_PROXY": "127.0.0.1", "OTEL_EXPORTER_OTLP_TIMEOUT": str(HANGS_SECONDS)}


def attributes(of: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in of.attributes}


@pytest.fixture
def chain(folder: PipelineFolder) -> PipelineFolder:
    folder.records("in.jsonl", [{"n": n} for n in range(30)])
    return folder.pipeline(
        """\
        pipeline: p
        defaults: {batch: {size: 10}}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{filter: n != 7}], to: t}
          c: {from: t, process: [{set: {m: n * 2}}], to: u}
        streams: {u: {retain: all}}
        """
    )


def test_a_records_way_can_be_followed_from_batch_to_batch(
    chain: PipelineFolder, url: str, redis_client: redis.Redis, collector: Collector
) -> None:
    chain.cli("run", "pipeline.yml", "--redis", url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **PATIENT)
    by_id = {span.span_id: span for span in collector.spans}
    entries: Any = redis_client.xrange("{p}:u")
    assert len(entries) == 29
    for _, fields in entries:
        version, trace, parent, flags = fields[b"traceparent"].decode().split("-")
        last = by_id[bytes.fromhex(parent)]
        assert (version, last.trace_id.hex(), int(flags, 16) & 1) == ("00", trace, 1)
        assert attributes(last)["papyra_flow.stage"] == "c"
        assert last.links, "the batch of c knows where its records come from"
        for link in last.links:
            before = by_id[link.span_id]
            assert attributes(before)["papyra_flow.stage"] == "b"
            assert before.start_time_unix_nano < last.start_time_unix_nano
    facts = attributes(next(span for span in collector.spans if attributes(span)["papyra_flow.stage"] == "b"))
    assert facts["messaging.system"] == "redis_streams"
    assert facts["messaging.destination.name"] == "{p}:s"
    assert facts["messaging.consumer.group.name"] == "b"
    assert facts["messaging.operation.name"] == "process"
    assert 1 <= facts["messaging.batch.message_count"] <= 10
    assert attributes(collector.resources[0])["service.name"] == "papyra-flow"


def test_metrics_are_exported_under_the_conventions_names(
    chain: PipelineFolder, url: str, collector: Collector
) -> None:
    chain.cli("run", "pipeline.yml", "--redis", url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **PATIENT)
    consumed = {
        attributes(point)["stage"]: point.as_int
        for point in collector.metrics["messaging.client.consumed.messages"].sum.data_points
    }
    assert consumed == {"a": 30, "b": 30, "c": 29}
    dropped = collector.metrics["papyra_flow.records.dropped"].sum.data_points
    assert sum(point.as_int for point in dropped) == 1
    process = collector.metrics["messaging.process.duration"]
    assert process.unit == "s"
    assert sum(point.count for point in process.histogram.data_points) >= 6


def test_what_steps_count_and_measure_is_exported_by_name(
    folder: PipelineFolder, url: str, collector: Collector
) -> None:
    module = folder.steps(
        """\
        def call(record, context):
            context.count("calls")
            context.observe("size", record["n"])
            with context.timer("bank"):
                return record
        """
    )
    folder.records("in.jsonl", [{"n": n} for n in range(30)])
    folder.pipeline(
        f'pipeline: p\nstages: {{a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:call"}}], to: t}}}}'
    )
    folder.cli("run", "pipeline.yml", "--redis", url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **PATIENT)
    (calls,) = collector.metrics["papyra_flow.own"].sum.data_points
    (size,) = collector.metrics["papyra_flow.own.value"].histogram.data_points
    (bank,) = collector.metrics["papyra_flow.own.duration"].histogram.data_points
    assert [attributes(point)["name"] for point in (calls, size, bank)] == ["calls", "size", "bank"]
    assert (calls.as_int, size.count, size.sum, bank.count) == (30, 30, sum(range(30)), 30)
    assert tuple(bank.explicit_bounds) == SECONDS
    sent = collector.metrics["messaging.client.sent.messages"].sum.data_points
    assert sum(point.as_int for point in sent) == 30


def test_what_no_worker_knows_is_exported_by_the_page_that_looks(
    chain: PipelineFolder, url: str, collector: Collector
) -> None:
    chain.cli("run", "pipeline.yml", "--redis", url)
    serve = chain.start(
        "serve", "pipeline.yml", "--redis", url, "--port", "0",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_METRIC_EXPORT_INTERVAL="200", **PATIENT,
    )  # fmt: skip
    try:
        eventually(lambda: "redis.stream.length" in collector.metrics, "the gauges")
        lengths = {
            attributes(point)["stream"]: point.as_int
            for point in collector.metrics["redis.stream.length"].gauge.data_points
        }
        assert lengths["{p}:u"] == 29
        assert {"papyra_flow.backlog", "papyra_flow.dead_letters", "redis.stream.group.lag"} <= collector.metrics.keys()
    finally:
        serve.terminate()
        serve.communicate(timeout=HANGS_SECONDS)


def test_nothing_is_carried_or_imported_when_nobody_asks(
    chain: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    chain.write(
        "steps.py",
        """\
        import sys
        def step(record):
            assert not any(name.startswith("opentelemetry.exporter") for name in sys.modules), "imported"
            return record
        """,
    )
    chain.file.write_text(chain.file.read_text().replace("{set: {m: n * 2}}", "{run: 'steps:step'}"))
    chain.cli("run", "pipeline.yml", "--redis", url)
    entries: Any = redis_client.xrange("{p}:u")
    assert len(entries) == 29
    assert not any(b"traceparent" in fields for _, fields in entries)


def test_logs_are_json_where_there_is_no_terminal_and_know_their_stage(
    folder: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, to: t}}
        streams: {s: {}}
        """
    )
    for n in range(3):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    redis_client.xgroup_create("{p}:s", "a", "0")
    redis_client.xreadgroup("a", "elsewhere.1.a.0", {"{p}:s": ">"})
    entries: Any = redis_client.xrange("{p}:s")
    redis_client.xdel("{p}:s", *(id_ for id_, _ in entries))
    sped_up = ("--set", "defaults.claim_after=1ms")
    finished = folder.cli("run", "pipeline.yml", "--drain", "--redis", url, *sped_up, code=1)
    line, lost = [json.loads(line) for line in finished.err.splitlines() if line.startswith("{")]
    assert lost["event"].startswith("a: lost 3 entries of {p}:s")
    assert line["event"].startswith("a: 3 pending entries of {p}:s were deleted")
    assert (line["level"], line["logger"]) == ("warning", "papyra_flow.stage")
    assert (line["pipeline"], line["stage"]) == ("p", "a")
    assert line["timestamp"].endswith("Z")


def test_telemetry_without_its_packages_is_one_sentence(chain: PipelineFolder, url: str) -> None:
    chain.write("site/sitecustomize.py", "import sys\nsys.modules['opentelemetry.exporter'] = None\n")
    err = chain.cli(
        "run", "pipeline.yml", "--redis", url, code=2,
        PYTHONPATH=str(chain.path / "site"), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    ).err  # fmt: skip
    assert "pip install 'papyra-flow[otel]'" in err
