"""Metrics in Prometheus' text format, by prometheus-client.

https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from papyra_flow.histograms import Histogram
from papyra_flow.observe.catalogue import Labels, Metric, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Taken(Collector):
    """Samples that were taken, as families of metrics."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples: dict[Metric, list[tuple[Labels, float | Histogram]]] = defaultdict(list)
        for metric, labels, value in samples:
            self._samples[metric].append((labels, value))

    def collect(self) -> Iterator[Family]:
        """The families."""
        for metric, values in self._samples.items():
            yield _family(metric, values)


def _family(metric: Metric, values: Iterable[tuple[Labels, float | Histogram]]) -> Family:
    if metric.kind == "histogram":
        histograms = HistogramMetricFamily(metric.prometheus, metric.help, labels=metric.labels)
        for labels, value in values:
            if isinstance(value, Histogram):
                histograms.add_metric([labels[name] for name in metric.labels], _buckets(value), value.sum)
        return histograms
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = make(metric.prometheus, metric.help, labels=metric.labels)
    for labels, value in values:
        if not isinstance(value, Histogram):
            family.add_metric([labels[name] for name in metric.labels], value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulated counts by upper bound."""
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def exposition(samples: Iterable[Sample]) -> bytes:
    """Samples as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Taken(samples))
    return generate_latest(registry)
