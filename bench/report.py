"""The results about SQLite as pages to read."""

from collections.abc import Iterator

from bench.ceilings import Comparison as Ceiling
from bench.figures import FEW
from bench.importing import Comparison as Import
from bench.production import Comparison as Production
from bench.results import Part, Sqlite
from bench.scale import CONNECTIONS
from bench.soak import Soak
from bench.table import (
    NAMES,
    Row,
    lines,
    micros,
    millis,
    percent,
    size_rows,
    spread,
    taken,
    times,
    where,
)
from bench.workloads import WORKLOADS


def rows(results: Sqlite) -> list[Row]:
    """A row for each figure that was measured."""
    found: list[Row] = []
    if results.ceilings is not None:
        found += _ceiling_rows(results.ceilings.figures)
    if results.imports is not None:
        found += _import_rows(results.imports.figures)
    if results.size is not None:
        found += size_rows(results.size.figures, "", "python -m bench size")
    if results.production is not None:
        found += _production_rows(results.production.figures)
    return found


def _ceiling_rows(figures: dict[str, Ceiling]) -> Iterator[Row]:
    command = "python -m bench ceilings"
    for workload in WORKLOADS:
        of = figures[workload]
        yield Row(
            workload,
            f"{NAMES[workload]}: throughput, share of the ceiling's",
            of.share.median,
            percent,
            f"**{percent(of.share.median)}** "
            f"({of.service_rate.median:,.0f}/s beside {of.ceiling_rate.median:,.0f}/s)",
            spread(of.share, percent),
            command,
        )
    for workload in WORKLOADS:
        of = figures[workload]
        yield Row(
            f"{workload}-cpu",
            f"{NAMES[workload]}: the same by processor time for a request",
            of.cpu_share,
            percent,
            f"**{percent(of.cpu_share)}** "
            f"({micros(of.service_cpu.median)} beside {micros(of.ceiling_cpu.median)})",
            spread(of.service_cpu, micros),
            command,
        )
    for key, those in (("p50", figures["mix"].p50), ("p99", figures["mix"].p99)):
        yield Row(
            key,
            f"Mix: time to an answer with {CONNECTIONS} connections, {key}",
            those.median,
            millis,
            f"**{millis(those.median)}** (in the worst round {millis(those.most)})",
            spread(those, millis),
            command,
        )


def _import_rows(of: Import) -> Iterator[Row]:
    command = "python -m bench imports"
    yield Row(
        "import",
        f"Import of {of.rows:,} rows: time, beside `executemany` of the rows it wrote",
        of.ratio.median,
        times,
        f"**{times(of.ratio.median)}** "
        f"({of.imported.median:,.1f} s beside {of.ceiling.median:,.1f} s)",
        spread(of.ratio, times),
        command,
    )
    yield Row(
        "import-cpu",
        "Import: the same by processor time",
        of.cpu_ratio.median,
        times,
        f"**{times(of.cpu_ratio.median)}**",
        spread(of.cpu_ratio, times),
        command,
    )


def _production_rows(figures: dict[str, Production]) -> Iterator[Row]:
    command = "python -m bench production"
    for workload, of in figures.items():
        yield Row(
            f"production-{workload}",
            f"{NAMES[workload]}: throughput with keys, limits, logs and metrics, share of that"
            " without",
            of.share.median,
            percent,
            f"**{percent(of.share.median)}** "
            f"({of.whole_rate.median:,.0f}/s beside {of.bare_rate.median:,.0f}/s)",
            spread(of.share, percent),
            command,
        )
        yield Row(
            f"production-{workload}-cpu",
            f"{NAMES[workload]}: the same by processor time for a request",
            of.cpu_share.median,
            percent,
            f"**{percent(of.cpu_share.median)}** "
            f"({micros(of.whole_cpu.median)} beside {micros(of.bare_cpu.median)})",
            spread(of.cpu_share, percent),
            command,
        )


_PAGE = f"""\
# SQLite, beside the ceilings of the machine

{{taken}}

| What | Target | Measured, median | Spread | Command |
|---|---|---|---|---|
{{rows}}

![Throughput, processor time, import and size beside their ceilings](sqlite.png)

The ceiling of a request is the same HTTP server, run with the same options (`OPTIONS` in
`bitespeed.server.process`),
with an ASGI application that reads the request and answers a constant of
the same length; the service itself answers without ASGI in between. Load comes from wrk with one
thread and {CONNECTIONS} connections. Ceiling and service take turns in short runs, each is compared
with its neighbour alone, and the median of these pairs is reported, so that a machine that changes
its pace harms both alike. Processor time is what the kernel charged the server process for, and
steadier still. Every answer must be a success, or there are no figures.

The ceiling of an import inserts the very rows that the import wrote, ready in memory and in the
same order, with `executemany`, into the same schema with the same settings and as many commits;
only its inserts and commits are timed, whereas the import is timed from start to end, with a
process to start and a file to read.

With keys, limits, logs and metrics, each request has an API key with a rate, and the log goes to a
file, a line for each new customer. The service without them is the same one, with their entry
points replaced before it is served; `bench/bare.py` says by what. The two take turns on a file
each.

The large database is filled with SQL, as the service would have filled it, and requests are drawn
from all of it. The spread is the middle half of the runs, or all where there are fewer than {FEW}.
All figures are in `sqlite.json`. wrk and the server share the machine.
"""


def page(results: Sqlite) -> str:
    """The page about ceilings, import and size."""
    parts = {
        "ceilings": results.ceilings,
        "import": results.imports,
        "size": results.size,
        "production": results.production,
    }
    return _PAGE.format(taken=taken(parts), rows=lines(rows(results)))


_SOAK = """\
# Memory through {minutes:g} minutes of load

{taken}

{line}

![Memory of the server over time](soak.png)

Repeats of 10,000 customers, with a new customer in every tenth request; these grow the database,
not the memory, but for caches of a fixed size, which fill at the beginning. The slope is that of
the line of least squares through a value each second. `python -m bench soak` measures it anew.
"""


def soak_page(part: Part[Soak]) -> str:
    """The page about memory."""
    return _SOAK.format(
        minutes=part.figures.minutes, taken=where(part) + ".", line=soak_line(part.figures)
    )


def soak_line(of: Soak) -> str:
    """The soak in a few sentences."""
    return (
        f"{of.requests:,} requests ({of.rate:,.0f}/s) with {of.new_customers:,} new customers."
        f" Memory of the server's own (RSS without the pages of the file that it reads in place):"
        f" {of.start:.1f} MiB after {of.warm_up:.0f} s of warm-up,"
        f" {of.end:.1f} MiB at the end, {of.most:.1f} MiB at most. Slope since the warm-up"
        f" {of.slope:+.2f} MiB a minute, in the last half {of.late_slope:+.2f} MiB a minute."
    )
