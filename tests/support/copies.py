"""Stores worth copying, and what is in a store, for the tests of `bitespeed copy`."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any

import psycopg

from bitespeed.jobs.copy import copy
from bitespeed.model.identifiers import observe
from bitespeed.model.records import IdentityRecords
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from bitespeed.stores.pages import PAGE_SIZE
from bitespeed.stores.protocols import AnyStore
from bitespeed.tenant import DEFAULT_TENANT

TIMEOUT = 20.0  # seconds for what takes a moment on an idle machine

PEOPLE = [
    ("Ann@Shop.example ", "(100) 100"),  # raw values differ from canonical ones
    ("ann@work.example", "100100"),  # linked
    ("bob@shop.example", "200"),
    ("ann@work.example", "200"),  # merges Bob into Ann
    ("eve@shop.example", "300"),
    (None, "400"),
    ("eve@shop.example", "400"),  # merges the phone alone into Eve
    ("eve@shop.example", "100100"),  # merges Eve, who is a merge herself, into Ann
    ("jürgen@münchen.example", "+49 89 1"),
    ("漢字@例え.example", None),
    ("\N{GRINNING FACE}@x.example", None),
    ("back\\slash@x.example", "\N{NO-BREAK SPACE}500"),
    ("zoe@shop.example", "600"),
    ("zoe@work.example", "600"),
]
DELETED = ["600", "500"]  # a primary with an heir, and all that a person has
SHOPS = (DEFAULT_TENANT, "other shop", "läden\\N\t")


@asynccontextmanager
async def opened(*urls: str) -> AsyncIterator[list[AnyStore]]:
    found: list[AnyStore] = []
    try:
        for url in urls:
            found += [await open_store(url)]
        yield found
    finally:
        for store in found:
            await store.close()


async def fill(store: AnyStore) -> None:
    """People of several shops; the newest merge is that of the oldest two."""
    for tenant in SHOPS:
        service = Service(store, tenant=tenant)
        for email, phone in PEOPLE:
            await service.identify(observe(email, phone))
        for phone in DELETED:
            await service.delete(
                (await service.look_up(None, observe(None, phone).phone)).primary_id
            )
        await service.drain()
    await identify(store, *[(None, str(n)) for n in range(10_000, 10_000 + 2 * PAGE_SIZE)])
    await identify(store, ("bob@shop.example", "10000"))


async def identify(store: AnyStore, *sent: tuple[str | None, str | None]) -> list[int]:
    """The primary contacts of those sent."""
    service = Service(store)
    answers = [await service.identify(observe(email, phone)) for email, phone in sent]
    await service.drain()
    return [answer.primary_id for answer in answers]


async def everything(store: AnyStore) -> list[IdentityRecords]:
    found: list[IdentityRecords] = []
    async with aclosing(store.scan()) as pages:
        async for page in pages:
            found += page
    for identity in found:
        identity.identifiers.sort()
    return found


def query(url: str, statement: str) -> list[Any]:
    """What a statement returns, or nothing; a change is committed."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            rows = connection.execute(statement).fetchall()
            connection.commit()
            return rows
    with psycopg.connect(url, options="-c search_path=bitespeed") as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def contacts(url: str) -> int:
    return query(url, "select count(*) from contact_record")[0][0]


async def twin(people: str, url: str) -> None:
    async with opened(people, url) as (source, store):
        await copy(source, store)


async def waits_for_a_lock(url: str) -> None:
    """Return when a session of the database waits for a lock."""
    waiting = (
        "select count(*) from pg_stat_activity"
        " where wait_event_type = 'Lock' and datname = current_database()"
    )
    deadline = time.monotonic() + TIMEOUT
    while query(url, waiting) == [(0,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
