"""The results as pages to read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.asked import ASKED
from bench.ceilings import WORKLOADS
from bench.ceilings import Comparison as Ceiling
from bench.figures import FEW, Summary
from bench.importing import Comparison as Import
from bench.results import Part, Results
from bench.scale import CONNECTIONS
from bench.size import LONE, Sizes
from bench.soak import Soak

Format = Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``key`` names it in `bench.asked`, ``command`` measures it anew."""

    key: str
    what: str
    value: float
    show: Format
    measured: str
    spread: str
    command: str

    def line(self) -> str:
        """The row in Markdown."""
        cells = self.what, self.asked(), self.measured, self.spread, f"`{self.command}`"
        return f"| {' | '.join(cells)} |"

    def asked(self) -> str:
        """What is asked, and whether it is met; nothing where nothing is."""
        asked = ASKED.get(self.key)
        if asked is None:
            return ""
        bound = "at least" if asked.at_least else "at most"
        met = "" if asked.is_met(self.value) else " (missed)"
        return f"{bound} {self.show(asked.bound)}{met}"


def rows(results: Results) -> list[Row]:
    """A row for each figure that was measured."""
    found: list[Row] = []
    if results.ceilings is not None:
        found += _ceiling_rows(results.ceilings.figures)
    if results.imports is not None:
        found += _import_rows(results.imports.figures)
    if results.size is not None:
        found += _size_rows(results.size.figures)
    return found


_NAMES = {"repeats": "Repeats", "new": "New customers", "mix": "Mix, 90 % repeats and 10 % new"}


def _ceiling_rows(figures: dict[str, Ceiling]) -> Iterator[Row]:
    command = "python -m bench ceilings"
    for workload in WORKLOADS:
        of = figures[workload]
        yield Row(
            workload,
            f"{_NAMES[workload]}: throughput, share of the ceiling's",
            of.share.median,
            _percent,
            f"**{_percent(of.share.median)}** "
            f"({of.service_rate.median:,.0f}/s beside {of.ceiling_rate.median:,.0f}/s)",
            _spread(of.share, _percent),
            command,
        )
    for workload in WORKLOADS:
        of = figures[workload]
        yield Row(
            f"{workload}-cpu",
            f"{_NAMES[workload]}: the same by processor time for a request",
            of.cpu_share,
            _percent,
            f"**{_percent(of.cpu_share)}** "
            f"({_micros(of.service_cpu.median)} beside {_micros(of.ceiling_cpu.median)})",
            _spread(of.service_cpu, _micros),
            command,
        )
    for key, times in (("p50", figures["mix"].p50), ("p99", figures["mix"].p99)):
        yield Row(
            key,
            f"Mix: time to an answer with {CONNECTIONS} connections, {key}",
            times.median,
            _millis,
            f"**{_millis(times.median)}** (in the worst round {_millis(times.most)})",
            _spread(times, _millis),
            command,
        )


def _import_rows(of: Import) -> Iterator[Row]:
    command = "python -m bench imports"
    yield Row(
        "import",
        f"Import of {of.rows:,} rows: time, beside `executemany` of the rows it wrote",
        of.ratio.median,
        _times,
        f"**{_times(of.ratio.median)}** "
        f"({of.imported.median:,.1f} s beside {of.ceiling.median:,.1f} s)",
        _spread(of.ratio, _times),
        command,
    )
    yield Row(
        "import-cpu",
        "Import: the same by processor time",
        of.cpu_ratio.median,
        _times,
        f"**{_times(of.cpu_ratio.median)}**",
        _spread(of.cpu_ratio, _times),
        command,
    )


def _size_rows(of: Sizes) -> Iterator[Row]:
    for connections, times in of.by_connections.items():
        load = "one after the other" if connections == LONE else f"{connections} connections"
        yield Row(
            f"size-{connections}",
            f"Repeats, {load}: p50 with {of.big_contacts:,} contacts, "
            f"beside that with {of.small_contacts:,}",
            times.ratio.median,
            _times,
            f"**{_times(times.ratio.median)}** "
            f"({_millis(times.big.median)} beside {_millis(times.small.median)})",
            _spread(times.ratio, _times),
            "python -m bench size",
        )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times"


def _micros(micros: float) -> str:
    return f"{micros:.1f} µs"


def _millis(millis: float) -> str:
    return f"{millis:.2f} ms" if millis < 1 else f"{millis:.1f} ms"


def _spread(of: Summary, show: Format) -> str:
    return f"{show(of.low)} to {show(of.high)}" if of.count > 1 else "one run"


_PAGE = f"""\
# SQLite, beside the ceilings of the machine

{{taken}}

| What | Asked | Measured, median | Spread | Command |
|---|---|---|---|---|
{{rows}}

![Throughput, processor time, import and size beside their ceilings](sqlite.png)

The ceiling of a request is the same HTTP server, run with the same options (`OPTIONS` in
`bitespeed.http.server`), which reads the request and answers a constant of the same length: what
is left when the service does nothing at all. Load comes from wrk with one thread and
{CONNECTIONS} connections. Ceiling and service take turns in short runs, each is compared with its
neighbour alone, and the median of these pairs is reported, so that a machine that changes its
pace harms both alike. Processor time is what the kernel charged the server process for, and
steadier still. Every answer must be a success, or there are no figures.

The ceiling of an import inserts the very rows that the import wrote, ready in memory and in the
same order, with `executemany`, into the same schema with the same settings and as many commits;
only its inserts and commits are timed, whereas the import is timed from start to end, with a
process to start and a file to read.

The large database is filled with SQL, as the service would have filled it, and requests are drawn
from all of it. The spread is the middle half of the runs, or all where there are fewer than {FEW}.
All figures are in `sqlite.json`. wrk and the server share the machine.
"""


def page(results: Results) -> str:
    """The page about ceilings, import and size."""
    parts = {
        "ceilings": results.ceilings,
        "import": results.imports,
        "size": results.size,
    }
    lines = "\n".join(row.line() for row in rows(results))
    return _PAGE.format(taken=_taken(parts), rows=lines)


def _taken(parts: dict[str, Part[object] | None]) -> str:
    """Where and when; once, where that is the same for all."""
    said: dict[str, list[str]] = {}
    for name, part in parts.items():
        if part is not None:
            said.setdefault(_where(part), []).append(name)
    if len(said) == 1:
        return next(iter(said)) + "."
    return "\n".join(f"- {', '.join(names)}: {where}." for where, names in said.items())


def _where(part: Part[object]) -> str:
    on = part.machine
    return (
        f"{part.date}, {on.cpu}, {on.cores} cores, {on.memory}, {on.system}, Python {on.python},"
        f" SQLite {on.sqlite}"
    )


_SOAK = """\
# Memory through {minutes:g} minutes of load

{taken}

{line}

![Memory of the server over time](soak.png)

Repeats of 10,000 customers, with a new customer in every tenth request; these grow the database,
not the memory, but for caches of a fixed size, which fill at the beginning. The slope is that of
the line of least squares through a look each second. `python -m bench soak` measures it anew.
"""


def soak_page(part: Part[Soak]) -> str:
    """The page about memory."""
    return _SOAK.format(
        minutes=part.figures.minutes, taken=_where(part) + ".", line=soak_line(part.figures)
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
