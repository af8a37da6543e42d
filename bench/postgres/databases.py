"""Databases made for a run on a PostgreSQL server, and dropped at its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from bench import data
from bench.data import Filled
from bench.failure import BenchmarkFailed
from bitespeed.resources import named, text
from bitespeed.stores.postgres.bulk.migrate import migrate

PREFIX = "bitespeed_bench_"  # how the names of all our databases begin
ENTRY = 5  # seconds until the server must have let us in
SHOWN = (
    "server_version",
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
)

_FILL = "fill.sql"

Connection = psycopg.Connection[Any]


class Databases:
    """The databases of a run on the server with a database at ``url``."""

    def __init__(self, url: str, *, keep: bool) -> None:
        """``keep`` leaves a filled database there for the next run."""
        self._url = url
        self._keep = keep
        self.names: list[str] = []  # of those to be dropped

    def version(self) -> str:
        """The version of the server, and the settings that the figures depend on."""
        with connect(self._url) as connection:
            version, *rest = (_setting(connection, name) for name in SHOWN)
        shown = (f"{name} {value}" for name, value in zip(SHOWN[1:], rest, strict=True))
        return f"PostgreSQL {version}, {', '.join(shown)}"

    def fresh(self) -> str:
        """The URL of an empty database of this run."""
        name = f"{PREFIX}{int(time.time())}_{uuid4().hex[:12]}"
        self._administer("create database {}", name)
        self.names.append(name)
        return self.at(name)

    def filled(self, contacts: int) -> Filled:
        """The database of fill.sql with that many contacts: one that was kept, else made now."""
        script = text(__package__, _FILL)
        fingerprint = data.fingerprint("bitespeed.stores.postgres", script)
        kept = f"{PREFIX}contacts_{contacts}_{fingerprint}"
        if self._exists(kept):
            if not self._keep:
                self.names.append(kept)
            return self._measured(kept, contacts)
        fill(self.fresh(), contacts)
        ours = self.names[-1]
        if not self._keep:
            return self._measured(ours, contacts)
        self._administer("alter database {} rename to {}", ours, kept)
        self.names.remove(ours)
        return self._measured(kept, contacts)

    def _measured(self, name: str, contacts: int) -> Filled:
        with connect(self.at(name)) as connection:
            query = "select pg_database_size(current_database())"
            return Filled(self.at(name), contacts, value(connection, query))

    def _exists(self, name: str) -> bool:
        with connect(self._url) as connection:
            query = "select exists (select from pg_database where datname = %s)"
            return value(connection, query, name)

    def drop(self) -> None:
        """Drop all that this run has made, whoever is connected."""
        while self.names:
            self._administer("drop database if exists {} with (force)", self.names.pop())

    def at(self, name: str) -> str:
        """The URL of that database on the server."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))

    def _administer(self, statement: str, *names: str) -> None:
        with connect(self._url) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def databases(url: str, *, keep: bool) -> Iterator[Databases]:
    """Databases on a server, until the block ends. Raises `BenchmarkFailed` without a server."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise BenchmarkFailed("--postgres takes a URL such as postgresql://user@host/name")
    made = Databases(url, keep=keep)
    try:
        made.version()
    except psycopg.Error as error:
        raise BenchmarkFailed(
            f"There is no PostgreSQL server to measure: {str(error).strip()}\n"
            "Start one, name it with --postgres or TEST_DATABASE_URL, or name the parts that"
            " need none: python -m bench ceilings imports size production"
        ) from None
    try:
        yield made
    except psycopg.Error as error:
        raise BenchmarkFailed(f"PostgreSQL refused: {str(error).strip()}") from error
    finally:
        made.drop()


def fill(url: str, contacts: int) -> None:
    """Bring the contacts of fill.sql into an empty database."""
    with connect(url) as connection:
        migrate(connection)
    run(url, _FILL, data.fill_parameters(contacts))


def run(url: str, script: str, parameters: dict[str, str | int]) -> None:
    """Run a script of this folder, then let the server tidy up as it would in time."""
    with connect(url) as connection:
        for statement in named(text(__package__, script)).values():
            connection.execute(statement.encode(), parameters)
        connection.execute("vacuum (analyze)")


def connect(url: str) -> Connection:
    """A connection in which every statement is a transaction."""
    return psycopg.connect(url, autocommit=True, connect_timeout=ENTRY)


def value(connection: Connection, query: str, *parameters: object) -> Any:
    """The one value that a query returns."""
    row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return row[0]


def _setting(connection: Connection, name: str) -> str:
    return value(connection, "select current_setting(%s)", name)
