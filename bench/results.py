"""What was measured, where and when; kept as JSON, so that each part can be measured anew alone."""

import os
import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from bench import ceilings as of_ceilings
from bench import importing
from bench import size as of_size
from bench import soak as of_soak
from bench.scale import Scale

T = TypeVar("T")


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cpu: str
    cores: int
    memory: str
    system: str
    python: str
    sqlite: str


class Part(msgspec.Struct, Generic[T], frozen=True):
    """The figures of one part."""

    date: str
    machine: Machine
    figures: T


class Results(msgspec.Struct):
    """The last figures of each part; None where it was never measured."""

    ceilings: Part[dict[str, of_ceilings.Comparison]] | None = None
    imports: Part[importing.Comparison] | None = None
    size: Part[of_size.Sizes] | None = None
    soak: Part[of_soak.Soak] | None = None


def measure(results: Results, part: str, date: str, scale: Scale, cache: Path) -> None:
    """Replace one part by new figures."""
    measures: dict[str, Callable[[], object]] = {
        "ceilings": lambda: of_ceilings.measure(scale),
        "imports": lambda: importing.measure(scale),
        "size": lambda: of_size.measure(scale, cache),
        "soak": lambda: of_soak.measure(scale),
    }
    setattr(results, part, Part(date, this_machine(), measures[part]()))


def load(path: Path) -> Results:
    """What `save` wrote; empty results where there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else Results()


def save(results: Results, path: Path) -> None:
    """Write all parts."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def this_machine() -> Machine:
    """The machine and the software that run this."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory=f"{memory / 2**30:.0f} GiB",
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "Hardware"}:
            return value.strip()
    return platform.machine()
