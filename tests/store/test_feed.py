"""Pages of events, on every store: nothing ever comes between events that were read."""

import asyncio
import time
from contextlib import aclosing

import pytest

from bitespeed.model.records import EventRecord
from bitespeed.stores.feed import START, Position
from bitespeed.stores.protocols import AnyStore
from support.backends import (
    POLL_INTERVAL,
    TIMEOUT,
    Backend,
    PostgresBackend,
    connected,
    on_one_store,
)
from support.stores import decide, delete_contact, write

BY_HAND = """
insert into event_record (tenant, at, kind, identity_id, version)
values ('default', 1, 'contact.corrected', 1, 2)
returning seq
"""


async def follow(
    store: AnyStore, count: int, limit: int = 100, after: Position = START
) -> list[EventRecord]:
    """So many events behind a position, read in pages until others have ended on the server."""
    events: list[EventRecord] = []
    deadline = time.monotonic() + TIMEOUT
    while len(events) < count:
        assert time.monotonic() < deadline, "The events do not come."
        page = await store.events(after, limit)
        assert len(page.events) <= limit
        events += page.events
        after = page.next
        await asyncio.sleep(0 if page.events else POLL_INTERVAL)
    assert await store.events(after, limit) == ([], after)
    return events


async def scanned(store: AnyStore) -> list[EventRecord]:
    async with aclosing(store.scan()) as pages:
        events = [event async for page in pages for identity in page for event in identity.events]
    return sorted(events, key=lambda event: event.seq)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_have_every_event_of_every_tenant_once(backend: Backend, limit: int) -> None:
    async def test(store: AnyStore) -> None:
        await write(store, (" A@x", "1"), ("b@x", "2"), ("a@x", "2"), ("b@x", "1"))
        await store.commit("other", await decide(store, ("a@x", "1"), tenant="other"))
        await delete_contact(store, 2)
        stored = await scanned(store)
        assert {event.kind for event in stored} >= {"pair.seen", "identities.merged"}
        assert await follow(store, len(stored), limit) == stored

    on_one_store(backend, test)


def test_late_commit_is_in_a_later_page(backend: Backend) -> None:
    if not isinstance(backend, PostgresBackend):
        pytest.skip("One transaction writes at a time.")

    async def main() -> None:
        store = await backend.open()
        with connected(backend.direct) as other:
            other.execute("begin")
            ((late,),) = other.execute(BY_HAND).fetchall()
            await write(store, ("a@x", "1"))
            before = await store.events(START, 100)
            other.execute("commit")
        await write(store, ("b@x", "2"))
        after = await follow(store, 3, after=before.next)
        assert before.events == []
        assert [event.seq for event in after] == [late, late + 1, late + 2]
        await store.close()

    asyncio.run(main())


def test_older_transaction_comes_first_whatever_its_number(backend: Backend) -> None:
    if not isinstance(backend, PostgresBackend):
        pytest.skip("One transaction writes at a time.")

    async def main() -> None:
        store = await backend.open()
        with connected(backend.direct) as other:
            other.execute("begin")
            other.execute("select pg_current_xact_id()")
            await write(store, ("a@x", "1"))
            ((late,),) = other.execute(BY_HAND).fetchall()
            other.execute("commit")
        events = await follow(store, 2, limit=1)
        assert [event.seq for event in events] == [late, late - 1]
        await store.close()

    asyncio.run(main())
