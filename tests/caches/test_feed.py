"""Changes that other programs make in the tables reach the cache."""

import asyncio
import time

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.model.identifiers import observe
from bitespeed.stores.postgres.store import PostgresStore
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import connected
from support.cache_processes import (
    MARTY,
    POLL_INTERVAL,
    TIMEOUT,
    process,
    sql,
)
from support.redis_server import RedisServer
from support.stores import write


def test_rows_changed_in_the_tables_leave_the_cache(
    database: str, shared_redis: RedisServer
) -> None:
    async def main() -> None:
        async with process(database, CacheOptions(shared_redis.url)) as one:
            await one.is_in_use()
            for _ in range(2):
                await one.service.identify(MARTY)
                await one.is_filled()
            await one.knows("marty@hillvalley.edu", "111")
            await sql(
                database,
                "begin",
                "update bitespeed.contact_record set email = 'm@x' where id = 1",
                "update bitespeed.identifier set value = 'm@x' where kind = 'email'",
                "update bitespeed.identity set version = version + 1, stamp = default where id = 1",
                "insert into bitespeed.event_record (tenant, at, kind, identity_id, version)"
                " values ('default', 1, 'contact.erased', 1, 2)",
                "commit",
            )
            deadline = time.monotonic() + TIMEOUT
            while (await one.service.identify(observe(None, "111"))).emails != ["m@x"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(POLL_INTERVAL)
            newcomer = await one.service.identify(observe("marty@hillvalley.edu", None))
            assert newcomer.phones == []

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["contact.created", "pair.seen", "of.a_later_release"])
def test_only_identities_changed_by_others_leave_the_cache(
    database: str, shared_redis: RedisServer, kind: str
) -> None:
    async def main() -> None:
        async with process(database, CacheOptions(shared_redis.url)) as one:
            await one.is_in_use()
            for _ in range(2):
                await one.service.identify(MARTY)
                await one.service.identify(observe("doc@hillvalley.edu", None))
                await one.is_filled()
            epoch = one.epoch()
            await sql(
                database,
                "begin",
                "insert into bitespeed.contact_record"
                " (id, tenant, identity_id, email, phone, created_at, updated_at)"
                " values (9, 'default', 1, 'm@x', '111', 9000000000000000, 9000000000000000)",
                "insert into bitespeed.identifier values ('default', 'email', 'm@x', 1)",
                "update bitespeed.identity set version = 2, stamp = default, contacts = 2"
                " where id = 1",
                "insert into bitespeed.event_record (tenant, at, kind, identity_id, version)"
                f" values ('default', 1, '{kind}', 1, 2)",
                "commit",
            )
            deadline = time.monotonic() + TIMEOUT
            while (await one.service.identify(MARTY)).secondary_ids != [9]:
                assert time.monotonic() < deadline
                await asyncio.sleep(POLL_INTERVAL)
            await one.knows("doc@hillvalley.edu", None)
            assert one.epoch() == epoch

    asyncio.run(main())


def test_changes_reach_the_cache_while_a_transaction_is_running(database: str) -> None:
    """They come once more when it has ended."""

    async def main() -> None:
        store = await PostgresStore.open(database)
        try:
            await write(store, ("marty@hillvalley.edu", None))
            values = [(DEFAULT_TENANT, "marty@hillvalley.edu")]
            with connected(database) as other:
                other.execute("begin")
                other.execute("select pg_current_xact_id()")
                await sql(
                    database,
                    "insert into bitespeed.event_record (tenant, at, kind, identity_id, version)"
                    " values ('default', 1, 'contact.adopted', 1, 1)",
                )
                feed = await store.cache_feed(None, 9)
                assert feed.values == values
                assert (await store.cache_feed(feed.next, 9)).values == values
                other.execute("rollback")
        finally:
            await store.close()

    asyncio.run(main())


def test_events_from_before_a_restore_are_ignored(database: str) -> None:
    """The numbers of their transactions are far above those of this server."""

    async def main() -> None:
        store = await PostgresStore.open(database)
        try:
            for number, values in (("'9000000000000'", []), ("default", None)):
                await sql(
                    database,
                    "insert into bitespeed.event_record"
                    " (xact, tenant, at, kind, identity_id, version)"
                    f" values ({number}, 'default', 1, 'contact.adopted', 1, 1)",
                )
                assert (await store.cache_feed(None, 0)).values == values
        finally:
            await store.close()

    asyncio.run(main())
