"""The results about PostgreSQL as pictures."""

from matplotlib.axes import Axes

from bench.charts import (
    CEILING,
    FAINT,
    LABELS,
    SERVICE,
    Bars,
    Panel,
    beside,
    draw_sizes,
    per_second,
)
from bench.postgres.cache import Cached
from bench.postgres.ceilings import CONSTANT, PGBENCH, PREPARED, Comparison
from bench.postgres.merge import Merge
from bench.postgres.workers import WORKERS, Scaling
from bench.results import Postgres
from bench.workloads import WORKLOADS

_CEILINGS = {PGBENCH: CEILING, PREPARED: "#d9dee6", CONSTANT: "#e3d3b8"}
_WORKERS = {1: CEILING, 2: "#7ba3d0", 4: SERVICE}


def panels(results: Postgres) -> list[Panel]:
    """A panel for each part that was measured."""
    found: list[Panel] = []
    if results.ceilings is not None:
        ceilings = results.ceilings.figures
        found.append(lambda axes: _throughput(axes, ceilings))
    if results.workers is not None:
        workers = results.workers.figures
        found.append(lambda axes: _workers(axes, workers))
    if results.size is not None:
        sizes = results.size.figures
        found.append(lambda axes: draw_sizes(axes, sizes))
    if results.merge is not None:
        merge = results.merge.figures
        found.append(lambda axes: _merge(axes, merge))
    if results.cache is not None:
        cached = results.cache.figures
        found.append(lambda axes: _cache(axes, cached))
    return found


def _throughput(axes: Axes, figures: dict[str, Comparison]) -> None:
    axes.set_title("Throughput, 32 connections; share of pgbench's")
    per_second(axes)
    shares = [f"{figures[w].ceilings[PGBENCH].share.median * 100:.0f} %" for w in WORKLOADS]
    beside(
        axes,
        [LABELS[workload] for workload in WORKLOADS],
        *(
            Bars(name, [figures[w].ceilings[name].rate.median for w in WORKLOADS], color)
            for name, color in _CEILINGS.items()
        ),
        Bars("service", [figures[w].rate.median for w in WORKLOADS], SERVICE, shares),
    )


def _workers(axes: Axes, figures: dict[str, Scaling]) -> None:
    axes.set_title("Throughput by workers; beside one")
    per_second(axes)
    beside(
        axes,
        [LABELS[workload] for workload in WORKLOADS],
        *(
            Bars(
                "1 worker" if workers == 1 else f"{workers} workers",
                [figures[w].rate[workers].median for w in WORKLOADS],
                _WORKERS[workers],
                [f"{figures[w].ratio[workers].median:.2f}" for w in WORKLOADS],
            )
            for workers in WORKERS
        ),
    )


def _merge(axes: Axes, figures: Merge) -> None:
    axes.set_title(f"Merge of {figures.contacts:,} contacts under an older one")
    axes.set_ylabel("milliseconds")
    names = ["whole,\nHTTP", "repeat,\nHTTP", *(f"to\n{step}" for step in figures.steps)]
    each = [figures.whole, figures.repeat, *figures.steps.values()]
    heights = [of.median for of in each]
    colors = [SERVICE, SERVICE, *[CEILING] * len(figures.steps)]
    bars = axes.bar(names, heights, 0.6, color=colors)
    axes.bar_label(bars, [f"{height:.1f}" for height in heights], padding=3, color=FAINT)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(top=max(heights) * 1.2)


def _cache(axes: Axes, figures: Cached) -> None:
    axes.set_title("Repeats with a cache, and with one that is away")
    per_second(axes)
    rates = [figures.without.median, figures.cached.median, figures.away.median]
    ratio = ["", f"{figures.gain.median:.2f}", f"{figures.loss.median:.2f}"]
    bars = axes.bar(["none", "cache", "away"], rates, 0.6, color=[CEILING, SERVICE, CEILING])
    axes.bar_label(bars, ratio, padding=3, color=FAINT)
    axes.tick_params(axis="x", length=0)
