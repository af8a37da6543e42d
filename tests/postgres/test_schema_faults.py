"""What `check` says about the schema of a PostgreSQL database; the rows are in `jobs/`."""

import asyncio
import json
from pathlib import Path

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.store import PostgresStore
from support.backends import connected, prepared
from support.commands import bitespeed

DAMAGES = {
    "drop index identity_root": "identity_root is missing",
    "drop view contact": "contact is missing",
    "drop function set_id_step": "function set_id_step is missing",
    "delete from cache": "cache has no row",
    "insert into tombstone values ('default', 'p', 1, 'e')": "erasure_secret has no row",
    "drop function keys; create function keys(x jsonb) returns int language sql return 1": (
        "function keys is not the one of this version"
    ),
    "drop function keys; create function keys(x jsonb) returns int language sql as 'select 1'": (
        "function keys is not the one of this version"
    ),
    "update pg_index set indisvalid = false where indexrelid = 'identity_root'::regclass": (
        "index identity_root is not valid"
    ),
}
HARMLESS = (
    "create index theirs on event (at)",
    "create function theirs() returns int language sql return 1",
    "create table note (text text)",
)
FOREIGN_TABLE = "create foreign table elsewhere () server s"
PROXIES = [
    "drop function keys; create function keys(float8) returns void language internal as 'pg_sleep'",
    "create foreign data wrapper a; create server s foreign data wrapper a; " + FOREIGN_TABLE,
]


def faults(url: str) -> list[str]:
    async def main() -> list[str]:
        store = await PostgresStore.open(url)
        try:
            return await store.faults()
        finally:
            await store.close()

    return asyncio.run(main())


def execute(url: str, statements: str) -> None:
    with connected(url) as connection:
        connection.execute("set search_path = bitespeed")
        for statement in statements.split("; "):
            connection.execute(statement.encode())


@pytest.fixture
def url(database: str) -> str:
    prepared(database)
    return database


@pytest.mark.parametrize(("statements", "sentence"), DAMAGES.items())
def test_damage_of_the_schema_is_found(url: str, statements: str, sentence: str) -> None:
    execute(url, statements)
    (fault,) = faults(url)
    assert sentence in fault


def test_own_objects_of_an_operator_are_no_faults(url: str) -> None:
    for statement in HARMLESS:
        execute(url, statement)
    assert faults(url) == []


@pytest.mark.parametrize("statements", PROXIES)
def test_functions_that_forward_to_servers_are_refused(url: str, statements: str) -> None:
    execute(url, statements)
    with pytest.raises(InvalidInput, match="check on each of those"):
        faults(url)


def test_command_shows_faults_of_the_schema(url: str, tmp_path: Path) -> None:
    assert bitespeed("check", "--database", url, cwd=tmp_path).returncode == 0
    execute(url, "drop view contact")
    done = bitespeed("check", "--json", "--database", url, cwd=tmp_path)
    assert done.returncode == 1
    (violation,) = json.loads(done.stdout)["violations"]
    assert violation["invariant"] == "I12"
