"""The data that is worked on: customers, files to import, databases of any size."""

import csv
import hashlib
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bench.failure import BenchmarkFailed
from bitespeed.resources import text
from bitespeed.stores.migrations import of_package
from bitespeed.stores.sqlite.database import connect, statements
from bitespeed.stores.sqlite.migrate import migrate
from bitespeed.tenant import DEFAULT_TENANT

FIRST = 10_000_000_000  # customer n is called FIRST + n, as in lua/common.lua
LINKED = 10  # each tenth contact of a filled database was linked to the one before it
BEGAN = 1_700_000_000_000_000  # when the first contact of a filled database came, in microseconds
CACHED = "bitespeed-bench-contacts-"  # how the names of filled databases begin
BYTES = 500  # on disk for each contact, with room to spare

NEW, KNOWN = 0.7, 0.2  # shares of an import; the rest are new emails of known phones

Row = tuple[str, str]


def customer(number: int) -> Row:
    """The email and the phone of a customer of the workloads."""
    return f"c{FIRST + number}@example.com", str(FIRST + number)


def customers(count: int) -> Iterator[Row]:
    """The customers 1, 2, 3 ..."""
    return map(customer, range(1, count + 1))


def mixed_rows(count: int, seed: int) -> Iterator[Row]:
    """New customers, repeats of earlier rows, and new emails of known phones, as in `NEW`.

    Neighbours in the file are not neighbours in any index, as in real life. The same seed
    gives the same rows.
    """
    chance = random.Random(seed)
    known = 0
    for number in range(1, count + 1):
        draw = chance.random()
        if draw < NEW or not known:
            known += 1
            yield _email(known), _phone(known)
        elif draw < NEW + KNOWN:
            again = chance.randint(1, known)
            yield _email(again), _phone(again)
        else:
            yield f"other.{_scattered(number):011x}@example.com", _phone(chance.randint(1, known))


def _email(number: int) -> str:
    return f"{_scattered(number):011x}@example.com"


def _phone(number: int) -> str:
    return str(10**12 + _scattered(number))


def _scattered(number: int) -> int:
    """A number below 2**40, another one for each number below that."""
    return number * 0x9E3779B97F % 2**40


def write_csv(path: Path, rows: Iterator[Row]) -> None:
    """A file for `bitespeed import`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["email", "phoneNumber"])
        writer.writerows(rows)


class Filled(NamedTuple):
    """A database that was filled, at its URL."""

    url: str
    contacts: int
    bytes: int


def url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def filled(folder: Path, contacts: int) -> Filled:
    """The database of bench/fill.sql with that many contacts, made unless it is there already."""
    path = folder / f"{CACHED}{contacts}-{_fingerprint()}.db"
    if not path.exists():
        _require_space(folder, contacts * BYTES)
        unfinished = path.with_suffix(".unfinished")
        remove(unfinished)
        try:
            fill(unfinished, contacts)
            unfinished.rename(path)
        finally:
            remove(unfinished)
    return Filled(url(path), contacts, path.stat().st_size)


def fill(path: Path, contacts: int) -> None:
    """Write a new database, see bench/fill.sql. It is not safe against a crash meanwhile."""
    parameters = fill_parameters(contacts)
    with closing(connect(path)) as connection:
        migrate(connection)
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        for statement in statements(_script()):
            connection.execute(statement, parameters)
        connection.execute("pragma journal_mode = wal")


def fill_parameters(contacts: int) -> dict[str, str | int]:
    """The parameters of the SQL that fills a database with that many contacts."""
    if contacts % 10:
        raise BenchmarkFailed("The number of contacts must be a multiple of ten")
    return {"contacts": contacts, "first": FIRST, "began": BEGAN, "tenant": DEFAULT_TENANT}


def remove(database: Path) -> None:
    """Delete a database with what SQLite keeps beside it; nothing where there is none."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _script() -> str:
    return text("bench", "fill.sql")


def _fingerprint() -> str:
    return fingerprint("bitespeed.stores.sqlite", _script())


def fingerprint(store: str, script: str) -> str:
    """A hash of all that decides what a filled database contains: the store's package, the SQL."""
    texts = [migration.script for migration in of_package(store)]
    return hashlib.sha256("".join([*texts, script]).encode()).hexdigest()[:8]


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise BenchmarkFailed(
            f"{folder} has {free / 1e9:.1f} GB free and {size / 1e9:.1f} GB may be needed:"
            " name another folder with --work-dir, or fewer contacts with --big-contacts"
        )
