"""The database behind each of the stores, empty at the start of a test."""

import pytest

from bitespeed.service import attempts
from support.backends import (
    SqliteBackend,
    cleared,
    of_data_api,
    of_postgres,
    prepared,
)
from support.pgbouncer import pgbouncer
from support.postgres_server import own_server
from support.postgrest import create_roles, postgrest


@pytest.fixture(scope="session")
def direct(postgres):
    """A database of the common server."""
    with postgres.fresh_database() as url:
        prepared(url)
        yield of_postgres(url)


@pytest.fixture(scope="session")
def pooled(postgres):
    """A database that stores reach through PgBouncer, two connections for all of them."""
    with postgres.fresh_database() as url:
        prepared(url)
        with pgbouncer(url) as by_way_of:
            yield of_postgres(url, by_way_of)


@pytest.fixture(scope="session")
def over_https():
    """A database behind the Data API; on a server of its own, which knows Supabase's roles."""
    with own_server(fsync=False) as own:
        create_roles(own.url())
        prepared(own.url())
        with postgrest(own.url()) as api:
            yield of_data_api(own.url(), api)


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer", "data api"])
def backend(request, tmp_path):
    """One of the four, empty."""
    if request.param == "sqlite":
        return SqliteBackend(tmp_path / "identities.db")
    fixture = {"postgres": "direct", "pgbouncer": "pooled", "data api": "over_https"}
    chosen = request.getfixturevalue(fixture[request.param])
    cleared(chosen.direct)
    return chosen


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """A service's attempts follow each other at once."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.0)
