"""Scans of the PostgreSQL store, and the published view."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from psycopg import sql

from bitespeed.errors import StoreUnavailable
from bitespeed.stores import pages
from bitespeed.stores.postgres.bulk import scan as scanning
from support.backends import (
    connected,
    sessions,
    waits_for_a_lock,
)
from support.database_url import database_of
from support.invariants import assert_clean
from support.postgres_store import (
    MOMENT,
    READS_WAIT,
    execute,
    holding,
    nobody_is_left,
    on,
    terminate,
    until,
)
from support.stores import delete_contact, write
from support.tcp_proxy import proxied


def test_a_scan_whose_connection_is_lost_says_so(url, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 1)
    monkeypatch.setattr(scanning, "FETCH_ROWS", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        async with aclosing(store.scan()) as pages:
            await anext(pages)
            terminate(url)
            with pytest.raises(StoreUnavailable):
                async for _ in pages:
                    pass
        await assert_clean(store)

    on(url, test)


def test_scan_cancelled_while_waiting_leaves_no_connection(url):
    async def test(store):
        async def scan():
            async with aclosing(store.scan()) as pages:
                async for _ in pages:
                    pass

        await write(store, ("a@x", "1"))
        with holding(url, READS_WAIT):
            scanning = asyncio.create_task(scan())
            await waits_for_a_lock(url)
            scanning.cancel()
            await asyncio.sleep(MOMENT)
        with pytest.raises(asyncio.CancelledError):
            await scanning
        await until(lambda: sessions(url) == 1)

    on(url, test)


def test_scan_cancelled_while_connecting_does_not_block_others(url):
    healed = threading.Event()

    def heal():
        line.heal()
        healed.set()

    async def test(store):
        line.stall()
        scan = asyncio.create_task(assert_clean(store))
        await asyncio.sleep(MOMENT)
        timer = threading.Timer(1.0, heal)
        timer.start()
        try:
            scan.cancel()
            await asyncio.sleep(MOMENT)
            assert not healed.is_set()  # others have gone on meanwhile
        finally:
            await asyncio.to_thread(timer.join)
        with pytest.raises(asyncio.CancelledError):
            await scan

    with proxied(url) as (line, by_way_of):
        on(by_way_of, test)
    nobody_is_left(url)


def test_scan_ended_for_a_slow_reader_fails(postgres, monkeypatch):
    monkeypatch.setattr(pages, "PAGE_SIZE", 1)
    monkeypatch.setattr(scanning, "FETCH_ROWS", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        with connected(url) as connection:
            name = sql.Identifier(database_of(url))
            limit = "alter database {} set idle_in_transaction_session_timeout = '50ms'"
            connection.execute(sql.SQL(limit).format(name))
        async with aclosing(store.scan()) as pages:
            await anext(pages)
            await until(lambda: sessions(url) == 1)
            with pytest.raises(StoreUnavailable):
                await anext(pages)

    with postgres.fresh_database() as url:
        on(url, test)


# The published view


def test_contact_view_has_published_columns_and_utc_instants(url):
    async def test(store):
        await write(store, ("a@x", "1"), (None, "1"), ("b@x", "1"))
        await delete_contact(store, 1)
        execute(
            url,
            "update contact_record set created_at = 1700000000123456, updated_at = created_at",
            "update contact_record set deleted_at = 1700000060123456 where id = 1",
        )

    on(url, test)
    with connected(url) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        cursor = connection.execute("select * from contact order by id")
        assert [column.name for column in cursor.description] == [
            "id",
            "phonenumber",
            "email",
            "linkedid",
            "linkprecedence",
            "createdat",
            "updatedat",
            "deletedat",
        ]
        first, second = cursor.fetchall()
    assert first[:5] == (1, "1", "a@x", 2, "secondary")
    assert second[:5] == (2, "1", "b@x", None, "primary")
    assert [str(instant) for instant in (first[5], first[7], second[7])] == [
        "2023-11-14 22:13:20.123456",
        "2023-11-14 22:14:20.123456",
        "None",
    ]
