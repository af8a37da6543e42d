"""Copying one store into another: all of it or nothing, ids kept."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bitespeed.errors import InvalidInput, StoreUnavailable
from bitespeed.jobs.copy import CopyCounts, compare, copy
from bitespeed.model.api_keys import ApiKey
from bitespeed.model.records import IdentityRecords
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.pages import PAGE_SIZE
from bitespeed.stores.postgres.bulk import load as postgres_load
from bitespeed.stores.protocols import AnyStore
from support.copies import (
    SHOPS,
    TIMEOUT,
    contacts,
    everything,
    identify,
    opened,
    waits_for_a_lock,
)
from support.invariants import assert_clean
from support.postgrest import create_roles, postgrest


def test_copy_to_postgres_and_back_keeps_everything(
    people: str, database: str, tmp_path: Path
) -> None:
    create_roles(database)

    async def test() -> None:
        async with opened(people, database, f"sqlite:///{tmp_path}/back.db") as (
            file,
            server,
            back,
        ):
            expected = await everything(file)
            for source, target in ((file, server), (server, back)):
                copied = await copy(source, target)
                assert (await compare(source, target, copied)).is_equal
                assert await everything(target) == expected
                await assert_clean(target)
                assert copied == CopyCounts(
                    identities=len(expected),
                    contacts=sum(len(identity.contacts) for identity in expected),
                    events=sum(len(identity.events) for identity in expected),
                    last_event=max(e.seq for identity in expected for e in identity.events),
                )

    asyncio.run(test())


def test_people_of_these_tests_have_every_kind_of_row(people: str) -> None:
    """Else the test above would prove little."""

    async def test() -> list[IdentityRecords]:
        async with opened(people) as (store,):
            return await everything(store)

    found = asyncio.run(test())
    assert len(found) > 2 * PAGE_SIZE
    assert max(len(identity.heads) for identity in found) > 3
    rows = [contact for identity in found for contact in identity.contacts]
    assert {contact.tenant for contact in rows} == set(SHOPS)
    for field in ("email", "phone", "raw_email", "raw_phone", "deleted_at"):
        assert {getattr(row, field) is None for row in rows} == {True, False}, field
    heads = [head for identity in found for head in identity.heads]
    assert {head.primary_id is None for head in heads} == {True, False}
    kinds = {event.kind for identity in found for event in identity.events}
    assert kinds == {"contact.created", "contact.deleted", "identities.merged"}


def test_new_ids_follow_after_the_copied_ones(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await copy(source, store)
            stored = await everything(store)
            last = max(contact.id for identity in stored for contact in identity.contacts)
            last_event = max(event.seq for identity in stored for event in identity.events)
            fresh, merged = await identify(
                store, ("new@x.example", "999"), ("bob@shop.example", "10001")
            )
            assert fresh > last
            assert merged == 1
            await Service(store).delete(1)
            await assert_clean(store)
            seqs = {event.seq for identity in await everything(store) for event in identity.events}
            assert min(seqs - set(range(last_event + 1))) > last_event
            assert len([seq for seq in seqs if seq > last_event]) == 3

    asyncio.run(test())


def test_empty_store_can_be_copied(target: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(f"sqlite:///{tmp_path}/empty.db", target) as (source, store):
            assert await source.size() == 0
            copied = await copy(source, store)
            assert copied == CopyCounts()
            assert (await compare(source, store, copied)).is_equal
            assert await identify(store, ("first@x.example", None)) == [1]

    asyncio.run(test())


def test_size_is_the_number_of_contacts(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await copy(source, store)
            assert await source.size() == await store.size() == contacts(people)

    asyncio.run(test())


def test_copy_from_the_data_api_keeps_everything(
    people: str, database: str, tmp_path: Path
) -> None:
    create_roles(database)

    async def test() -> None:
        async with opened(people, database, f"sqlite:///{tmp_path}/back.db") as (
            file,
            server,
            back,
        ):
            await copy(file, server)
            with postgrest(database) as api:
                far = await open_store(api.url, Options(key=api.service_key))
                try:
                    copied = await copy(far, back)
                    assert (await compare(far, back, copied)).is_equal
                finally:
                    await far.close()
            assert await everything(back) == await everything(file)

    asyncio.run(test())


# All or nothing


def test_target_that_is_not_empty_is_refused(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await identify(store, ("somebody@x.example", None))
            before = await everything(store)
            with pytest.raises(InvalidInput, match="not empty"):
                await copy(source, store)
            assert await everything(store) == before

    asyncio.run(test())


class Halfway:
    """A source that ends, fails or waits after its first page."""

    def __init__(self, store: AnyStore, then: Callable[[], Any]) -> None:
        self._store = store
        self._then = then

    async def keys(self) -> list[ApiKey]:
        return await self._store.keys()

    async def scan(self) -> AsyncIterator[list[IdentityRecords]]:
        async with aclosing(self._store.scan()) as pages:
            async for page in pages:
                yield page
                await self._then()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is sent on its own."""
    monkeypatch.setattr(postgres_load, "BATCH_CONTACTS", 1)


@pytest.mark.usefixtures("at_once")
def test_failing_source_leaves_the_target_empty(people: str, target: str) -> None:
    async def fail() -> None:
        raise StoreUnavailable("The source is away")

    async def test() -> None:
        async with opened(people, target) as (source, store):
            with pytest.raises(StoreUnavailable, match="The source is away"):
                await copy(Halfway(source, fail), store)
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


@pytest.mark.usefixtures("at_once")
def test_cancelled_copy_leaves_the_target_empty(people: str, target: str) -> None:
    async def test() -> None:
        is_halfway = asyncio.Event()

        async def wait() -> None:
            is_halfway.set()
            await asyncio.Event().wait()

        async with opened(people, target) as (source, store):
            task = asyncio.create_task(copy(Halfway(source, wait), store))
            await asyncio.wait_for(is_halfway.wait(), TIMEOUT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


KILLED = """
import asyncio, sys
from bitespeed.jobs.copy import copy
from bitespeed.stores import open_store
from bitespeed.stores.postgres.bulk import load

async def main():
    load.CONTACTS = 1
    source, target = [await open_store(url) for url in sys.argv[1:]]
    class Halfway:
        async def keys(self):
            return await source.keys()
        async def scan(self):
            async for page in source.scan():
                yield page
                print("halfway", flush=True)
                await asyncio.Event().wait()
    await copy(Halfway(), target)

asyncio.run(main())
"""


def test_killed_copy_leaves_the_target_empty(people: str, target: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, people, target], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        process.kill()

    async def test() -> None:
        async with opened(people, target) as (source, store):
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


def test_write_to_the_target_waits_for_the_copy(people: str, database: str) -> None:
    """It waits for the copy, and is then decided in the light of it."""

    async def test() -> None:
        async with opened(people, database) as (source, store):
            writing: list[asyncio.Task[list[int]]] = []

            async def write() -> None:
                if not writing:
                    writing.append(asyncio.create_task(identify(store, ("ann@work.example", "7"))))
                    await waits_for_a_lock(database)

            await copy(Halfway(source, write), store)
            assert await writing[0] == [1]
            await assert_clean(store)

    asyncio.run(test())
