"""What stores promise, in parts, so that callers name the part that they need.

    Store             the service: identities, commits, erasures
    KeyStore          API keys
    ScannableStore    everything, page by page
    AnyStore          all three: what every kind of store has
    BulkStore         AnyStore that a copy can fill, with its size and `vacuum`; not the Data API
    CacheableStore    Store whose answers may be cached elsewhere; not SQLite

Every method may raise `StoreUnavailable`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bitespeed.model.api_keys import ApiKey
from bitespeed.model.changes import Changes, Committed, Tombstones
from bitespeed.model.facts import Fact, Happening, Value
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Snapshot
from bitespeed.stores.epochs import CacheState, Feed

if TYPE_CHECKING:
    from bitespeed.model.records import IdentityRecords, SequenceRecord
    from bitespeed.stores.feed import EventPage, Position


class Store(Protocol):
    """The identities of all tenants. A store knows nothing about matching."""

    async def read(
        self,
        tenant: str,
        *,
        emails: Collection[Email] = (),
        phones: Collection[Phone] = (),
        contact: int | None = None,
        members: bool = True,
        max_contacts: int | None = None,
    ) -> Snapshot:
        """Every live identity that one of the identifiers or the contact belongs to, as of one
        instant that includes all commits acknowledged before the call.

        Without ``members`` the identities come without their contacts, which deciding does not
        need and answering does. An identity of more than ``max_contacts`` may come without them,
        so that a caller who expects no large one does not wait for it.
        """
        ...

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        """Write all of the changes, durably, or nothing.

        Raises `Conflict` when a touched identity has changed since it was read or a new value
        belongs to another identity by now. Erased values are also gone from the files of a SQLite
        database.
        """
        ...

    async def records(
        self, tenant: str, values: Collection[Email | Phone], contact: int | None = None
    ) -> "list[IdentityRecords]":
        """All records of each identity that has the contact or a contact with one of the values,
        live or deleted, as of one instant.
        """
        ...

    async def tombstones(self, tenant: str, pseudonyms: Collection[str] = ()) -> Tombstones:
        """The tombstones with these pseudonyms, as far as they exist."""
        ...

    async def secret(self) -> str:
        """A secret that only this database has; the same for all processes that use it."""
        ...

    async def facts(
        self,
        tenant: str,
        values: Collection[Value],
        *,
        contacts: Collection[int] = (),
        as_of: int | None = None,
        limit: int,
    ) -> list[Fact] | None:
        """The facts about the values and of the contacts, in no order; None, and nothing is read,
        where there are more than ``limit`` by now.

        With ``as_of``, in microseconds since 1970, those committed by that instant, with values
        that were given up later as somebody's.
        """
        ...

    async def history(
        self, tenant: str, contact: int, *, after: int, limit: int
    ) -> list[Happening]:
        """The events of the identity that a contact, live or deleted, belongs to by now, whose
        numbers are above ``after``, in their order.
        """
        ...

    async def merges(self, tenant: str, *, before: int, since: int, limit: int) -> list[Happening]:
        """The merges with numbers below ``before`` that were not before the instant ``since``,
        newest first.
        """
        ...

    async def partners(self, tenant: str, values: Sequence[Value], *, limit: int) -> list[int]:
        """With how many others each of the values was seen together, in their order, each counted
        up to ``limit``. A value that somebody had and nobody has any more does not count.
        """
        ...

    async def events(self, after: "Position", limit: int) -> "EventPage":
        """The events of every tenant behind a position, at most ``limit``, in an order in which no
        event ever comes between those that were read: what commits late is in a later page.
        """
        ...

    async def ping(self) -> None:
        """Return when the store can answer."""
        ...

    async def close(self) -> None:
        """Finish commits that have begun, then close all connections. May be called twice."""
        ...


class KeyStore(Protocol):
    """The API keys of all tenants."""

    async def keys(self, ids: Collection[str] | None = None) -> list[ApiKey]:
        """The API keys with these ids, as far as they exist, or all keys."""
        ...

    async def put_key(self, key: ApiKey) -> None:
        """Add an API key. Of a key that exists, change when it expires and was revoked, no more."""
        ...


class ScannableStore(Protocol):
    """A store that can be read as a whole."""

    def scan(self) -> "AsyncGenerator[list[IdentityRecords]]":
        """All records of every tenant, in pages of identities, as of one instant.

        A caller that leaves before the end has to close it (`contextlib.aclosing`).
        """
        ...

    async def faults(self) -> list[str]:
        """What the schema lacks, and what is damaged below it, a sentence each.

        Raises `InvalidInput` where the functions only forward to other servers.
        """
        ...

    async def sequences(self) -> "list[SequenceRecord]":
        """The sequences of contact ids and of event numbers."""
        ...


class AnyStore(Store, KeyStore, ScannableStore, Protocol):
    """What every kind of store has, and `open_store` returns."""


@runtime_checkable
class BulkStore(AnyStore, Protocol):
    """A store that can be filled from another one."""

    async def load(self, pages: "AsyncIterable[list[IdentityRecords]]") -> None:
        """Write all pages of another store's `scan`, ids included, durably, or nothing.

        New ids follow the highest one. Raises `InvalidInput` when this store is not empty.
        """
        ...

    async def size(self) -> int:
        """The number of contacts, or an estimate slightly above it."""
        ...

    async def vacuum(self) -> None:
        """Free the space of old row versions, erased rows included; may take minutes."""
        ...


@runtime_checkable
class CacheableStore(Store, Protocol):
    """A store whose answers may be cached elsewhere, by the epochs of `bitespeed.stores.epochs`."""

    async def commit(
        self, tenant: str, changes: Changes, state: CacheState | None = None
    ) -> Committed:
        """See `Store.commit`. Raises `EpochOver` when the database is in another epoch than that of
        ``state``. Without a state, an epoch in which other processes use a cache is ended first.
        """
        ...

    async def cache_state(self) -> CacheState:
        """The present epoch."""
        ...

    async def cache_resume(self, expected: str | None, fresh: str) -> CacheState:
        """Begin the epoch ``fresh``, in which the cache is used, if the cache is suspended in
        ``expected`` and may be resumed. Returns the state afterwards, whoever caused it.
        """
        ...

    async def cache_suspend(self, expected: str, seconds: float) -> CacheState:
        """Begin an epoch in which the cache is not used for at least ``seconds``, if the database
        is in ``expected``. Returns the state afterwards, whoever caused it.
        """
        ...

    async def cache_feed(self, since: str | None, limit: int) -> Feed:
        """What changed otherwise than by `commit` since an earlier call returned ``since``.

        More than ``limit`` values are not listed.
        """
        ...
