"""The results about PostgreSQL as a page to read."""

from collections.abc import Iterator

from bench.figures import FEW, Summary
from bench.postgres.cache import Cached
from bench.postgres.ceilings import CONSTANT, PGBENCH, PREPARED, Comparison
from bench.postgres.merge import Merge
from bench.postgres.workers import WORKERS, Scaling
from bench.results import Postgres
from bench.scale import CONNECTIONS
from bench.table import (
    NAMES,
    Format,
    Row,
    kilobytes,
    lines,
    micros,
    millis,
    percent,
    size_rows,
    spread,
    taken,
    times,
)
from bench.workloads import WORKLOADS

_SUFFIXES = {PGBENCH: "", PREPARED: "-prepared", CONSTANT: "-constant"}
_STATEMENTS = {
    "repeats": "one indexed SELECT",
    "new": "one INSERT, two indexes",
    "mix": "the two as 9 to 1",
}


def rows(results: Postgres) -> list[Row]:
    """A row for each figure that was measured."""
    found: list[Row] = []
    if results.ceilings is not None:
        found += _ceiling_rows(results.ceilings.figures)
    if results.workers is not None:
        found += _worker_rows(results.workers.figures)
    if results.cache is not None:
        found += _cache_rows(results.cache.figures)
    if results.size is not None:
        figures = results.size.figures
        found += size_rows(figures, "postgres-", "python -m bench postgres-size")
    if results.merge is not None:
        found += _merge_rows(results.merge.figures)
    return found


def _ceiling_rows(figures: dict[str, Comparison]) -> Iterator[Row]:
    command = "python -m bench postgres"
    for ceiling, suffix in _SUFFIXES.items():
        for workload in WORKLOADS:
            of = figures[workload]
            beside = of.ceilings[ceiling]
            yield Row(
                f"postgres-{workload}{suffix}",
                f"{NAMES[workload]}: throughput, share of {_ceiling(ceiling, workload)}",
                beside.share.median,
                percent,
                f"**{percent(beside.share.median)}** "
                f"({of.rate.median:,.0f}/s beside {beside.rate.median:,.0f}/s)",
                spread(beside.share, percent),
                command,
            )
    for workload in WORKLOADS:
        yield _plain(
            f"postgres-{workload}-cpu",
            f"{NAMES[workload]}: processor time of the worker for a request",
            figures[workload].cpu,
            micros,
            command,
        )
    for key, those in (("p50", figures["mix"].p50), ("p99", figures["mix"].p99)):
        what = f"Mix: time to an answer with {CONNECTIONS} connections, {key}"
        yield _plain(f"postgres-{key}", what, those, millis, command)


def _ceiling(name: str, workload: str) -> str:
    if name == CONSTANT:
        return "uvicorn's with a constant answer"
    return f"`{name} -c {CONNECTIONS}`'s ({_STATEMENTS[workload]})"


def _worker_rows(figures: dict[str, Scaling]) -> Iterator[Row]:
    alone, *several = WORKERS
    for workload in WORKLOADS:
        of = figures[workload]
        for workers in several:
            yield Row(
                f"postgres-{workload}-{workers}",
                f"{NAMES[workload]}: throughput of {workers} workers, beside that of one",
                of.ratio[workers].median,
                times,
                f"**{times(of.ratio[workers].median)}** "
                f"({of.rate[workers].median:,.0f}/s beside {of.rate[alone].median:,.0f}/s)",
                spread(of.ratio[workers], times),
                "python -m bench postgres-workers",
            )


def _cache_rows(of: Cached) -> Iterator[Row]:
    command = "python -m bench postgres-cache"
    for key, what, ratio, rate in (
        ("cached", "Repeats with a cache", of.gain, of.cached),
        ("cache-away", "Repeats with a cache that is away", of.loss, of.away),
    ):
        yield Row(
            f"postgres-{key}",
            f"{what}: throughput, beside that without one",
            ratio.median,
            times,
            f"**{times(ratio.median)}** ({rate.median:,.0f}/s beside {of.without.median:,.0f}/s)",
            spread(ratio, times),
            command,
        )
    yield Row(
        "postgres-cached-lone",
        "A lone repeat from the cache: p50, beside a GET and a constant answer together",
        of.lone_ratio.median,
        times,
        f"**{times(of.lone_ratio.median)}** "
        f"({millis(of.lone.median)} beside {millis(of.parts.median)})",
        spread(of.lone_ratio, times),
        command,
    )


def _merge_rows(of: Merge) -> Iterator[Row]:
    command = "python -m bench postgres-merge"
    merge = f"Merge of {of.contacts:,} contacts under an older one"
    whole = f"{merge}: the request over HTTP, with its answer of {of.answer_bytes / 1e6:.1f} MB"
    yield _plain("postgres-merge", whole, of.whole, millis, command)
    repeat = "The same request once more, which writes nothing"
    yield _plain("postgres-merge-repeat", repeat, of.repeat, millis, command)
    yield _plain("postgres-merge-wal", f"{merge}: WAL", of.wal, kilobytes, command)
    for step, those in of.steps.items():
        what = f"{merge}: of it, to {step}"
        yield _plain(f"postgres-merge-{step}", what, those, millis, command)


def _plain(key: str, what: str, of: Summary, show: Format, command: str) -> Row:
    """A figure that is not compared with another one."""
    measured = f"**{show(of.median)}** (at worst {show(of.most)})"
    return Row(key, what, of.median, show, measured, spread(of, show), command)


_PAGE = f"""\
# PostgreSQL, beside what it answers to pgbench

{{taken}}

| What | Target | Measured, median | Spread | Command |
|---|---|---|---|---|
{{rows}}

![Throughput, workers, size and merge, beside their ceilings](postgres.png)

PostgreSQL, the service, pgbench and wrk share the machine. The service has one worker unless a row
says otherwise; wrk sends requests by HTTP with one thread, {CONNECTIONS} connections. The
ceilings are `pgbench -c {CONNECTIONS}` on the same server over TCP, one transaction for each
request: for repeats a SELECT by the unique column of a table of as many customers as the service
knows, for new customers an INSERT of one row into a table with two indexes, for the mix nine of
those for one of these. pgbench sends statements as text, so that the server parses and plans each
anew, and once more with `-M prepared`, which spares it that. Beside them stands the HTTP server of
the service with an ASGI application that answers a constant; the service itself answers without
ASGI in between. All take turns in short runs, the service is compared with those of its own turn
alone, and the median is reported. Every request and every transaction must succeed, or there are
no figures.

Several workers take turns with one on the same database. The large database is filled with SQL, as
the service would have filled it, and requests are drawn from all of it. How much of it stays in
memory decides that figure, see [postgres.md](../postgres.md).

A merge comes right after a checkpoint, when every page that changes goes into the WAL as a whole.
Over HTTP it is timed from the request to the last byte of the answer, which lists every contact.
The steps are those of the service in one process without HTTP, with merges of their own: to read
both identities, to decide, to commit, which is all that writes, and to make the answer. WAL is
what the whole server wrote meanwhile.

With a cache, a Redis server of its own stands beside; a lone request is compared with the median
GET of a plain socket and the constant answer of the HTTP server, added up.

The spread is the middle half of the runs, or all where there are fewer than {FEW}. All figures are
in `postgres.json`.
"""


def page(results: Postgres) -> str:
    """The page about all of it."""
    parts = {
        "ceilings": results.ceilings,
        "workers": results.workers,
        "size": results.size,
        "merge": results.merge,
        "cache": results.cache,
    }
    return _PAGE.format(taken=taken(parts), rows=lines(rows(results)))
