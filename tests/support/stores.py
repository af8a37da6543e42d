"""Stores and services on real files, opened for one test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bitespeed.model.changes import Changes, Committed, Tombstones
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer, Snapshot
from bitespeed.model.records import IdentityRecords, SequenceRecord
from bitespeed.rules.delete import delete
from bitespeed.rules.identify import absorb
from bitespeed.rules.look_up import look_up
from bitespeed.service.batching import Limits
from bitespeed.service.service import Service
from bitespeed.stores.protocols import AnyStore
from bitespeed.stores.sqlite import SqliteStore
from bitespeed.tenant import DEFAULT_TENANT

Hook = Callable[[], Awaitable[None]]


@asynccontextmanager
async def store_at(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(str(path))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def service_on(store: AnyStore, limits: Limits | None = None) -> AsyncIterator[Service]:
    service = Service(store, limits=limits)
    try:
        yield service
    finally:
        await service.drain()


async def decide(
    store: AnyStore, *sent: tuple[str | None, str | None], tenant: str = DEFAULT_TENANT
) -> Changes:
    """What the store's present state makes of the observations; nothing is written yet."""
    observations = [observe(email, phone) for email, phone in sent]
    return absorb(await snapshot_for(store, observations, tenant), observations)


async def write(store: AnyStore, *sent: tuple[str | None, str | None]) -> Committed:
    """Commit the observations, one commit for each."""
    ids: list[int] = []
    created_at: list[int] = []
    for one in sent:
        committed = await store.commit(DEFAULT_TENANT, await decide(store, one))
        ids += committed.ids
        created_at += committed.created_at
    return Committed(ids, created_at)


async def snapshot_for(
    store: AnyStore, observations: list[Observation], tenant: str = DEFAULT_TENANT
) -> Snapshot:
    return await store.read(
        tenant,
        emails={o.email for o in observations if o.email},
        phones={o.phone for o in observations if o.phone},
    )


async def who(store: AnyStore, email: str | None = None, phone: str | None = None) -> Answer:
    """The answer that the store's present state gives."""
    observation = observe(email, phone)
    snapshot = await snapshot_for(store, [observation])
    return look_up(snapshot, observation.email, observation.phone)


async def delete_contact(store: AnyStore, contact: int) -> None:
    """Delete a contact, in one attempt."""
    snapshot = await store.read(DEFAULT_TENANT, contact=contact)
    await store.commit(DEFAULT_TENANT, delete(snapshot, contact))


async def another_attaches(store: AnyStore) -> None:
    """Another writer attaches a contact to the identity of a@x."""
    await write(store, ("a@x", "9"))


async def another_takes_the_value(store: AnyStore) -> None:
    """Another writer creates an identity with new@x."""
    await write(store, ("new@x", "8"))


async def another_merges(store: AnyStore) -> None:
    """Another writer merges the identities of a@x and b@x."""
    await write(store, ("b@x", "1"))


async def another_deletes(store: AnyStore) -> None:
    """Another writer deletes contact 1."""
    await delete_contact(store, 1)


class Watched:
    """A store that counts its calls and can be stopped, or made to fail, at both doors.

    A call that comes while a door is shut waits there; ``has_come`` is set when one does.
    """

    def __init__(self, store: AnyStore) -> None:
        self._store = store
        self.reads: list[set[str]] = []
        self.commits: list[Changes] = []
        self.reading = Door()
        self.committing = Door()

    async def read(self, tenant: str, **wanted: Any) -> Snapshot:
        self.reads.append({*wanted.get("emails", ()), *wanted.get("phones", ())})
        await self.reading.pass_through()
        return await self._store.read(tenant, **wanted)

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        self.commits.append(changes)
        await self.committing.pass_through()
        return await self._store.commit(tenant, changes)

    async def tombstones(self, tenant: str, pseudonyms: Collection[str] = ()) -> Tombstones:
        return await self._store.tombstones(tenant, pseudonyms)

    async def records(self, *wanted: Any) -> list[IdentityRecords]:
        return await self._store.records(*wanted)

    async def ping(self) -> None:
        await self._store.ping()

    def scan(self) -> AsyncIterator[Any]:
        return self._store.scan()

    async def sequences(self) -> list[SequenceRecord]:
        return await self._store.sequences()

    async def faults(self) -> list[str]:
        return await self._store.faults()

    async def close(self) -> None:
        await self._store.close()


class Door:
    """Open at first; ``hooks`` are run one for each arrival, before the door."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.has_come = asyncio.Event()
        self.hooks: list[Hook] = []

    def shut(self) -> None:
        self._open.clear()
        self.has_come.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.has_come.set()
        if self.hooks:
            await self.hooks.pop(0)()
        await self._open.wait()


@asynccontextmanager
async def watched(
    path: Path, limits: Limits | None = None
) -> AsyncIterator[tuple[Watched, Service]]:
    """A service on a watched store; doors still shut at the end are opened."""
    async with store_at(path) as store:
        watched_store = Watched(store)
        async with service_on(watched_store, limits) as service:
            try:
                yield watched_store, service
            finally:
                watched_store.reading.open()
                watched_store.committing.open()


def failing(error: Exception) -> Hook:
    async def fail() -> None:
        raise error

    return fail
