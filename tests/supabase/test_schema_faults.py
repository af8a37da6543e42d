"""`check` sees over the Data API what it sees over a connection; the faults are in `postgres/`."""

import asyncio
from collections.abc import Iterator

import pytest

from bitespeed.errors import InvalidInput
from support.backends import PostgresBackend, connected, of_data_api, of_postgres, prepared, stores
from support.postgres_server import own_server
from support.postgrest import create_roles, postgrest

DAMAGES = (
    "drop index identity_root",
    "drop view contact",
    "drop function set_id_step",
    "create or replace function put_key(key jsonb) returns json language plpgsql as 'begin end'",
    "insert into tombstone values ('elsewhere', 'p', 1, 'e')",
    "update pg_index set indisvalid = false where indexrelid = 'event_identity'::regclass",
)
FORWARDING = (
    "drop function bitespeed.keys",
    "create function bitespeed.keys(float8) returns void language internal as 'pg_sleep'",
)


@pytest.fixture
def ways() -> Iterator[tuple[PostgresBackend, PostgresBackend]]:
    """One database, over a connection and over the Data API."""
    with own_server(fsync=False) as own:
        create_roles(own.url())
        prepared(own.url())
        with postgrest(own.url()) as api:
            yield of_postgres(own.url()), of_data_api(own.url(), api)


def faults(backend: PostgresBackend) -> list[str]:
    async def main() -> list[str]:
        async with stores(backend) as (store,):
            return await store.faults()

    return asyncio.run(main())


def test_data_api_shows_faults_of_the_schema(
    ways: tuple[PostgresBackend, PostgresBackend],
) -> None:
    over_connection, over_data_api = ways
    assert faults(over_data_api) == []
    with connected(over_connection.direct) as connection:
        for statement in DAMAGES:
            connection.execute(statement.encode())
    found = faults(over_data_api)
    assert len(found) == len(DAMAGES)
    assert found == faults(over_connection)
    with connected(over_connection.direct) as connection:
        for statement in FORWARDING:
            connection.execute(statement.encode())
    with pytest.raises(InvalidInput, match="check on each of those"):
        faults(over_data_api)
