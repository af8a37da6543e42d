"""The parts that can be measured: whose figures they are, what they need, how it is done."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import ceilings, data, importing, production, size, soak, wrk
from bench.failure import BenchmarkFailed
from bench.postgres import cache, databases, merge, pgbench, workers
from bench.postgres import ceilings as postgres_ceilings
from bench.postgres.databases import Databases
from bench.results import Part, Postgres, Results, Sqlite, this_machine
from bench.scale import Scale


@dataclass(frozen=True)
class Site:
    """Where it is measured."""

    scale: Scale
    cache: Path
    """A folder for databases that may be kept."""
    server: Databases | None
    """Where one of the parts needs PostgreSQL."""


@dataclass(frozen=True)
class Measurable:
    """A part; ``name`` is that of its figures in the results."""

    kind: type[Results]
    name: str
    measure: Callable[[Site], object]
    needs: tuple[Callable[[], object], ...] = (wrk.require,)
    """Each raises `BenchmarkFailed` when something is not installed."""

    @property
    def needs_server(self) -> bool:
        """Whether it needs a PostgreSQL server."""
        return self.kind is Postgres


PARTS = {
    "ceilings": Measurable(Sqlite, "ceilings", lambda site: ceilings.measure(site.scale)),
    "imports": Measurable(Sqlite, "imports", lambda site: importing.measure(site.scale), ()),
    "size": Measurable(
        Sqlite,
        "size",
        lambda site: _sizes(site, lambda contacts: data.filled(site.cache, contacts)),
    ),
    "production": Measurable(Sqlite, "production", lambda site: production.measure(site.scale)),
    "soak": Measurable(Sqlite, "soak", lambda site: soak.measure(site.scale)),
    "postgres": Measurable(
        Postgres,
        "ceilings",
        lambda site: postgres_ceilings.measure(site.scale, _server(site)),
        (wrk.require, pgbench.require),
    ),
    "postgres-workers": Measurable(
        Postgres, "workers", lambda site: workers.measure(site.scale, _server(site))
    ),
    "postgres-cache": Measurable(
        Postgres,
        "cache",
        lambda site: cache.measure(site.scale, _server(site)),
        (wrk.require, cache.require),
    ),
    "postgres-size": Measurable(Postgres, "size", lambda site: _sizes(site, _server(site).filled)),
    "postgres-merge": Measurable(
        Postgres, "merge", lambda site: merge.measure(site.scale, _server(site)), ()
    ),
}

USUAL = [name for name in PARTS if name != "soak"]


def _sizes(site: Site, filled: Callable[[int], data.Filled]) -> size.Sizes:
    small, big = site.scale.small_contacts, site.scale.big_contacts
    return size.measure(site.scale, filled(small), filled(big))


def _server(site: Site) -> Databases:
    assert site.server is not None
    return site.server


def require(names: Iterable[str]) -> None:
    """Raise `BenchmarkFailed` unless there is all that these parts need, but for a server."""
    for name in names:
        if name not in PARTS:
            raise BenchmarkFailed(f"There is no part {name}; see python -m bench --help")
        for need in PARTS[name].needs:
            need()


@contextmanager
def site(
    names: Iterable[str], scale: Scale, cache: Path, postgres: str, *, keep: bool
) -> Iterator[Site]:
    """What these parts are measured on; what they put on the server is dropped at the end."""
    if not any(PARTS[name].needs_server for name in names):
        yield Site(scale, cache, None)
        return
    with databases.databases(postgres, keep=keep) as server:
        yield Site(scale, cache, server)


def measure(name: str, date: str, at: Site) -> Part[object]:
    """New figures of one part."""
    part = PARTS[name]
    version = _server(at).version() if part.needs_server else None
    return Part(date, this_machine(version), part.measure(at))
