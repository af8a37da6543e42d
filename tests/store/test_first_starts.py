"""Twenty processes at once on a database that nobody has opened yet, on every store.

TEST_STARTS=50 makes it fifty rounds of each.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from bitespeed.caches import CacheOptions
from bitespeed.model.identifiers import observe
from bitespeed.stores.migrations import of_package
from bitespeed.stores.options import Options
from support.backends import (
    Backend,
    PostgresBackend,
    SqliteBackend,
    cleared,
    of_data_api,
    of_postgres,
    prepared,
    stores,
)
from support.first_starts import (
    PROCESSES,
    TIMEOUT,
    Starters,
    Work,
    begins_epoch,
    creates_key,
    email_of,
    erases,
    starters,
    writes,
)
from support.invariants import assert_clean
from support.pgbouncer import pgbouncer
from support.postgres_server import OwnPostgres, own_server
from support.postgrest import create_roles, postgrest
from support.redis_server import redis_server
from support.stores import service_on

ROUNDS = int(os.environ.get("TEST_STARTS", "3"))
KINDS = ["sqlite", "postgres", "pgbouncer"]


@pytest.fixture(scope="module")
def twenty() -> Iterator[Starters]:
    with starters() as processes:
        yield processes


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A server with Supabase's roles, so that every start grants them something."""
    with own_server(fsync=False) as server:
        create_roles(server.url())
        yield server


@contextmanager
def new_database(kind: str, folder: Path, own: OwnPostgres) -> Iterator[Backend]:
    """A database that nobody has prepared."""
    if kind == "sqlite":
        folder.mkdir()
        yield SqliteBackend(folder / "identities.db")
        return
    with own.fresh_database() as url:
        if kind == "postgres":
            yield of_postgres(url)
            return
        with pgbouncer(url) as by_way_of:
            yield of_postgres(url, by_way_of)


@contextmanager
def served(backend: Backend) -> Iterator[None]:
    """Afterwards all invariants hold, and of what there must be one row there is one."""

    async def check() -> None:
        async with stores(backend) as (store,):
            await assert_clean(store)
            await store.secret()

    yield
    asyncio.run(check())
    package = "bitespeed.stores.sqlite"
    if not isinstance(backend, SqliteBackend):
        package = "bitespeed.stores.postgres"
        for table in ("function_set", "cache"):
            assert backend.query(f"select count(*) from {table}") == [(1,)]
    names = [(migration.name,) for migration in of_package(package)]
    assert backend.query("select name from migration order by name") == names


def all_start(twenty: Starters, backend: Backend, work: Work, *arguments: object) -> None:
    """Every process does the work on a database as its users reach it."""
    if isinstance(backend, SqliteBackend):
        url, options = f"sqlite:///{backend.path}", Options()
    else:
        assert isinstance(backend, PostgresBackend)
        # A busy machine must not look like a server that is away.
        url, options = backend.url, replace(backend.options, timeout=TIMEOUT)
    assert twenty.failures(work, url, options, *arguments) == []


async def write_customers(backend: Backend) -> None:
    """A customer for each process."""
    async with stores(backend) as (store,), service_on(store) as service:
        await service.identify_all([observe(email_of(n), None) for n in range(PROCESSES)])


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_start_at_once_all_write(
    twenty: Starters, kind: str, tmp_path: Path, own: OwnPostgres
) -> None:
    for number in range(ROUNDS):
        with new_database(kind, tmp_path / str(number), own) as backend, served(backend):
            all_start(twenty, backend, writes)
            assert backend.query("select count(*) from contact_record") == [(PROCESSES,)]


@pytest.mark.parametrize("kind", KINDS)
def test_first_keys_created_at_once_are_all_stored(
    twenty: Starters, kind: str, tmp_path: Path, own: OwnPostgres
) -> None:
    for number in range(ROUNDS):
        with new_database(kind, tmp_path / str(number), own) as backend, served(backend):
            all_start(twenty, backend, creates_key)
            assert backend.query("select count(*) from api_key") == [(PROCESSES,)]


@pytest.mark.parametrize("kind", KINDS)
def test_first_erasures_at_once_share_one_key(
    twenty: Starters, kind: str, tmp_path: Path, own: OwnPostgres
) -> None:
    for number in range(ROUNDS):
        with new_database(kind, tmp_path / str(number), own) as backend, served(backend):
            asyncio.run(write_customers(backend))
            all_start(twenty, backend, erases)
            assert_all_erased(backend)


def assert_all_erased(backend: Backend) -> None:
    assert backend.query("select count(*) from erasure_secret") == [(1,)]
    assert backend.query("select count(*) from contact_record") == [(0,)]
    assert backend.query("select count(*) from tombstone") == [(PROCESSES,)]


def test_first_processes_over_the_data_api_write_and_erase(
    twenty: Starters, own: OwnPostgres
) -> None:
    with own.fresh_database() as url:
        prepared(url)
        with postgrest(url) as api:
            backend = of_data_api(url, api)
            for _ in range(ROUNDS):
                with served(backend):
                    all_start(twenty, backend, writes)
                    all_start(twenty, backend, creates_key)
                    all_start(twenty, backend, erases)
                    assert_all_erased(backend)
                cleared(url)


def test_first_epoch_on_postgres_is_shared_by_all_processes(
    twenty: Starters, own: OwnPostgres
) -> None:
    with redis_server() as redis:
        for _ in range(ROUNDS):
            redis.ask("FLUSHALL")
            with own.fresh_database() as url, served(backend := of_postgres(url)):
                all_start(twenty, backend, begins_epoch, CacheOptions(redis.url))
                ((epoch, is_suspended),) = backend.query("select epoch, is_suspended from cache")
                assert epoch is not None
                assert not is_suspended
                assert backend.query("select count(*) from contact_record") == [(PROCESSES,)]
