"""What `check` says about the schema of a PostgreSQL database; the rows are in `jobs/`."""

import asyncio
import json
from pathlib import Path

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.store import PostgresStore
from support.backends import connected, prepared
from support.commands import bitespeed
from support.damages import FORWARDING, HARMLESS_SCHEMA, SCHEMA


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


@pytest.mark.parametrize(("statements", "sentence"), SCHEMA.items())
def test_damage_of_the_schema_is_found(url: str, statements: str, sentence: str) -> None:
    execute(url, statements)
    (fault,) = faults(url)
    assert sentence in fault


def test_own_objects_of_an_operator_are_no_faults(url: str) -> None:
    for statement in HARMLESS_SCHEMA:
        execute(url, statement)
    assert faults(url) == []


@pytest.mark.parametrize("statements", FORWARDING)
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
