"""What was measured, where and when; kept as JSON, so that each part can be measured anew alone."""

import os
import platform
import sqlite3
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from bench.ceilings import Comparison as BesideConstant
from bench.importing import Comparison as Import
from bench.postgres.cache import Cached
from bench.postgres.ceilings import Comparison as BesidePgbench
from bench.postgres.merge import Merge
from bench.postgres.workers import Scaling
from bench.production import Comparison as BesideBare
from bench.size import Sizes
from bench.soak import Soak

T = TypeVar("T")


class Machine(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where it was measured."""

    cpu: str
    cores: int
    memory: str
    system: str
    python: str
    sqlite: str
    postgres: str | None = None
    """The server, where one was measured."""


class Part(msgspec.Struct, Generic[T], frozen=True):
    """The figures of one part."""

    date: str
    machine: Machine
    figures: T


class Sqlite(msgspec.Struct):
    """The last figures of each part; None where it was never measured."""

    ceilings: Part[dict[str, BesideConstant]] | None = None
    imports: Part[Import] | None = None
    size: Part[Sizes] | None = None
    soak: Part[Soak] | None = None
    production: Part[dict[str, BesideBare]] | None = None


class Postgres(msgspec.Struct):
    """The same for PostgreSQL."""

    ceilings: Part[dict[str, BesidePgbench]] | None = None
    workers: Part[dict[str, Scaling]] | None = None
    size: Part[Sizes] | None = None
    merge: Part[Merge] | None = None
    cache: Part[Cached] | None = None


Results = Sqlite | Postgres

R = TypeVar("R", Sqlite, Postgres)


def load(path: Path, kind: type[R]) -> R:
    """What `save` wrote; empty results where there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else kind()


def save(results: Results, path: Path) -> None:
    """Write all parts."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def this_machine(postgres: str | None = None) -> Machine:
    """The machine and the software that run this, and the server if one is measured."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory=f"{memory / 2**30:.0f} GiB",
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        postgres=postgres,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "Hardware"}:
            return value.strip()
    return platform.machine()
