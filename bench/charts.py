"""The results as pictures: how they are drawn, and those about SQLite."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.ceilings import Comparison as Ceiling
from bench.importing import Comparison as Import
from bench.production import Comparison as Production
from bench.results import Sqlite
from bench.size import LONE, Sizes
from bench.soak import Soak
from bench.workloads import WORKLOADS

CEILING, SERVICE, TEXT, FAINT = "#b8c0cc", "#2563a8", "#222222", "#777777"
_DPI = 130
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.axisbelow": True,
    "legend.frameon": False,
}

Panel = Callable[[Axes], None]


def panels(results: Sqlite) -> list[Panel]:
    """A panel for each kind of figure that was measured."""
    found: list[Panel] = []
    if results.ceilings is not None:
        figures = results.ceilings.figures
        found += [lambda axes: _throughput(axes, figures), lambda axes: _cpu(axes, figures)]
    if results.imports is not None:
        imports = results.imports.figures
        found.append(lambda axes: _import(axes, imports))
    if results.size is not None:
        sizes = results.size.figures
        found.append(lambda axes: draw_sizes(axes, sizes))
    if results.production is not None:
        production = results.production.figures
        found.append(lambda axes: _production(axes, production))
    return found


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write a picture with these panels, at least one."""
    with mpl.rc_context(_STYLE):
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure, grid = plt.subplots(
            rows, columns, figsize=(5.2 * columns, 3.9 * rows), squeeze=False, layout="constrained"
        )
        figure.get_layout_engine().set(hspace=0.08, wspace=0.08)
        for axes, panel in zip(grid.flat, panels, strict=False):
            panel(axes)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, facecolor="white")
    plt.close(figure)


LABELS = {"repeats": "Repeats", "new": "New customers", "mix": "Mix 90/10"}


def per_second(axes: Axes) -> None:
    """Label the axis of a panel about throughput."""
    axes.set_ylabel("requests per second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _throughput(axes: Axes, figures: dict[str, Ceiling]) -> None:
    axes.set_title("Throughput, 32 connections")
    per_second(axes)
    shares = [f"{figures[w].share.median * 100:.0f} %" for w in WORKLOADS]
    beside(
        axes,
        [LABELS[workload] for workload in WORKLOADS],
        Bars("constant answer (ceiling)", [figures[w].ceiling_rate.median for w in WORKLOADS]),
        Bars("service", [figures[w].service_rate.median for w in WORKLOADS], SERVICE, shares),
    )


def _cpu(axes: Axes, figures: dict[str, Ceiling]) -> None:
    axes.set_title("Processor time for a request")
    axes.set_ylabel("microseconds")
    micros = [figures[w].service_cpu.median for w in WORKLOADS]
    beside(
        axes,
        [LABELS[workload] for workload in WORKLOADS],
        Bars("constant answer (ceiling)", [figures[w].ceiling_cpu.median for w in WORKLOADS]),
        Bars("service", micros, SERVICE, [f"{each:.0f}" for each in micros]),
    )


def _import(axes: Axes, figures: Import) -> None:
    axes.set_title(f"Import of {figures.rows:,} rows")
    axes.set_ylabel("seconds")
    names = ["executemany of the\nsame rows (ceiling)", "bitespeed import"]
    seconds = [figures.ceiling.median, figures.imported.median]
    bars = axes.bar(names, seconds, 0.5, color=[CEILING, SERVICE])
    labels = [f"{seconds[0]:.1f} s", f"{seconds[1]:.1f} s\n{figures.ratio.median:.2f} times"]
    for text in axes.bar_label(bars, labels, padding=3, color=FAINT)[1:]:
        text.set(color=SERVICE, fontweight="bold")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(top=max(seconds) * 1.2)


def _production(axes: Axes, figures: dict[str, Production]) -> None:
    axes.set_title("Keys, limits, logs and metrics")
    per_second(axes)
    shares = [f"{of.share.median * 100:.0f} %" for of in figures.values()]
    beside(
        axes,
        [LABELS[workload] for workload in figures],
        Bars("without them", [of.bare_rate.median for of in figures.values()]),
        Bars("with them", [of.whole_rate.median for of in figures.values()], SERVICE, shares),
    )


def draw_sizes(axes: Axes, figures: Sizes) -> None:
    """A panel about two sizes of a database."""
    axes.set_title("Time to an answer, by size of the database")
    axes.set_ylabel("milliseconds, p50 of repeats")
    by = figures.by_connections
    small, big = [t.small.median for t in by.values()], [t.big.median for t in by.values()]
    beside(
        axes,
        ["one connection" if count == LONE else f"{count} connections" for count in by],
        Bars(
            f"{figures.small_contacts:,} contacts",
            small,
            labels=[f"{millis:.2f} ms" for millis in small],
        ),
        Bars(
            f"{figures.big_contacts:,} contacts",
            big,
            SERVICE,
            [f"{t.big.median:.2f} ms\n{t.ratio.median:.2f} times" for t in by.values()],
        ),
    )


class Bars(NamedTuple):
    """One colour of bars; what is ours in a strong one, what it is compared with in a faint one."""

    name: str
    heights: Sequence[float]
    color: str = CEILING
    labels: Sequence[str] = ()


def beside(axes: Axes, groups: Sequence[str], *series: Bars) -> None:
    """Groups of bars, with a legend above them."""
    width = 0.72 / len(series)
    for number, bars in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * width
        places = [place + offset for place in range(len(groups))]
        drawn = axes.bar(places, bars.heights, width, color=bars.color, label=bars.name)
        if bars.labels:
            is_ours = bars.color == SERVICE
            axes.bar_label(
                drawn,
                bars.labels,
                padding=3,
                color=SERVICE if is_ours else FAINT,
                fontweight="bold" if is_ours else "normal",
            )
    axes.set_xticks(list(range(len(groups))), groups)
    axes.tick_params(axis="x", length=0)
    lines = -(-len(series) // 2)  # of the legend, for which there must be room
    axes.set_ylim(top=max(max(bars.heights) for bars in series) * (1.25 + 0.1 * lines))
    axes.legend(loc="upper left", ncols=2, borderaxespad=0, handlelength=1, columnspacing=1.2)


def draw_soak(soak: Soak, path: Path) -> None:
    """Memory over time."""
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
        minutes = [at / 60 for at in soak.seconds]
        axes.axvspan(0, soak.warm_up / 60, color=CEILING, alpha=0.35, linewidth=0)
        axes.plot(minutes, soak.memory, color=SERVICE, linewidth=1.6)
        axes.set_title(f"Memory of the server at {soak.rate:,.0f} requests per second")
        axes.set_xlabel("minutes")
        axes.set_ylabel("MiB of the server's own")
        axes.set_xlim(0, minutes[-1])
        axes.set_ylim(0, max(soak.memory) * 1.25)
        axes.text(soak.warm_up / 60 + 0.01 * minutes[-1], 3, "← warm-up", color=FAINT, va="bottom")
        axes.annotate(
            f"{soak.end:.0f} MiB",
            (minutes[-1], soak.memory[-1]),
            xytext=(-4, 8),
            textcoords="offset points",
            ha="right",
            color=SERVICE,
            fontweight="bold",
        )
        _save(figure, path)
