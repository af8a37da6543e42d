"""The metrics in the text format of Prometheus."""

import platform
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from bitespeed import __version__
from bitespeed.telemetry import metrics
from bitespeed.telemetry.metrics import BUILD, COMPUTED, WORKERS
from bitespeed.telemetry.shared_counters import shared_counters


class _Totals(Collector):
    def collect(self) -> Iterator[Metric]:
        sums, alive = shared_counters.totals()
        yield from (_family(metric, sums) for metric in metrics.DECLARED)
        yield GaugeMetricFamily(WORKERS, COMPUTED[WORKERS][2], value=alive)
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily(BUILD.removesuffix("_info"), COMPUTED[BUILD][2], value=build)


def _family(metric: metrics.Declared, sums: Sequence[float]) -> Metric:
    name, help_, labels, series = metric
    family = _FAMILIES[next(iter(series.values())).kind](name, help_, labels=list(labels))
    for key, one in series.items():
        values = [str(value) for value in key]
        if isinstance(one, metrics.Histogram):
            assert isinstance(family, HistogramMetricFamily)  # noqa: S101 - by its kind
            family.add_metric(values, _buckets(one, sums), sums[one.slot])
        else:
            assert not isinstance(family, HistogramMetricFamily)  # noqa: S101 - by its kind
            family.add_metric(values, sums[one.slot])
    return family


_FAMILIES = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _buckets(histogram: metrics.Histogram, sums: Sequence[float]) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus expects them."""
    first = histogram.slot + 1
    counts = accumulate(sums[first : first + len(histogram.bounds) + 1])
    return list(zip([*map(str, map(float, histogram.bounds)), "+Inf"], counts, strict=True))


_registry = CollectorRegistry()
_registry.register(_Totals())


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.encode()


def text() -> bytes:
    """The metrics, summed over all workers."""
    return generate_latest(_registry)
