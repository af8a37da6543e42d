"""Tables to adopt, adoptions, and what stands in the database afterwards."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from bitespeed.jobs.check import check
from bitespeed.service.service import Service
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import Adopted, AdoptOptions, adopt
from bitespeed.stores.postgres.bulk.adopt.repairs import Repair
from bitespeed.stores.postgres.store import PostgresStore
from support.published_table import Row, query
from support.warnings_as_errors import IN_ENVIRONMENT

T = TypeVar("T")
HOUR = 3_600_000_000  # microseconds
NEW_YEAR = 1_704_067_200_000_000  # 2024, UTC


def nothing(*_: object) -> None:
    pass


def adopted(url: str, **flags: Any) -> tuple[Adopted, list[Repair]]:
    """Adopt, and see that the result is sound."""
    repairs: list[Repair] = []
    result = adopt(url, Options(), AdoptOptions(**flags), repairs.append, nothing)
    assert result is not None
    if not flags.get("dry_run"):
        assert on_store(url, check) == []
    return result, repairs


def on_store(url: str, work: Callable[[PostgresStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        store = await PostgresStore.open(url, Options(ignore_existing=True))
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def on_service(url: str, work: Callable[[Service], Awaitable[T]]) -> T:
    async def serving(store: PostgresStore) -> T:
        service = Service(store)
        try:
            return await work(service)
        finally:
            await service.drain()

    return on_store(url, serving)


def roles(url: str) -> dict[int, tuple[int | None, str]]:
    return {
        id_: (linked_id, precedence)
        for id_, linked_id, precedence in query(
            url, "select id, linkedid, linkprecedence from contact"
        )
    }


def kinds(repairs: Sequence[Repair]) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for repair in repairs:
        found.setdefault(repair.kind, []).append(repair.contacts)
    return found


ORDERLY = [
    Row(1, "lorraine@hillvalley.edu", "123456"),
    Row(2, "mcfly@hillvalley.edu", "123456", 1, "secondary", created_at=1),
    Row(4, "doc@hillvalley.edu", "888888", created_at=2),
    Row(5, "doc@hillvalley.edu", "999", 4, "secondary", created_at=3, deleted_at=9),
    Row(7, None, "777", created_at=4, updated_at=50),
]
COLUMNS = "id, phonenumber, email, linkedid, linkprecedence, createdat, updatedat, deletedat"
P, S = "primary", "secondary"
LIVELY = [
    Row(1, "a@x", "1"),
    Row(2, "a@x", "2", created_at=1),
    Row(3, " ", "2", 2, S, created_at=2),
    Row(4, "d@x", "n/a", 3, S, created_at=3, deleted_at=5),
]


@contextmanager
def held(url: str, name: str) -> Iterator[None]:
    """Somebody reads the table, and does not come to an end."""
    with psycopg.connect(url) as connection:
        connection.execute(f"lock table {name} in access share mode".encode())
        yield


ORDERS = "create table orders (contact integer references contact(id))"


def waits(url: str, query_: str) -> int:
    """The process in the server that waits for a lock with such a statement."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = query(
            url,
            "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like %s"
            " and datname = current_database()",
            query_,
        )
        if found:
            return found[0][0]
        time.sleep(0.02)
    pytest.fail(f"Nobody waits: {query_}")


def command(*arguments: str | Path, cwd: Path, url: str) -> list[str]:
    return [sys.executable, "-m", "bitespeed", *map(str, arguments), "--database", url]


def bitespeed(*arguments: str | Path, cwd: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, cwd=cwd, url=url),
        cwd=cwd,
        env=environment() | IN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BITESPEED", "DATABASE"))}
    return clean | {"COLUMNS": "200"}


COLUMNS_OF = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation::text
from pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0
order by a.attnum
"""
