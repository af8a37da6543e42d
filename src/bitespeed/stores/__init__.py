"""Stores: where contacts live. A store reads snapshots and commits changes, and knows nothing
about matching.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Collection
from typing import Protocol

from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.model.api_keys import ApiKey
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Changes, Committed, Snapshot, Tombstones
from bitespeed.model.records import IdentityRecords
from bitespeed.stores.epochs import CacheState, Feed
from bitespeed.stores.options import Options


class Store(Protocol):
    """What every store promises; all of it may raise `StoreUnavailable`."""

    async def read(
        self,
        tenant: str,
        *,
        emails: Collection[Email] = (),
        phones: Collection[Phone] = (),
        contact: int | None = None,
        members: bool = True,
    ) -> Snapshot:
        """Every live identity that one of the identifiers or the contact belongs to, as of one
        instant that includes all commits acknowledged before the call.

        Without ``members`` the identities come without their contacts, which is all that
        deciding needs and answering does not.
        """
        ...

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        """Write all of the changes, durably, or nothing.

        Raises `Conflict` when a touched identity is no longer as it was read or a new
        value has been taken meanwhile. What an erasure removes can no longer be read from the
        files of an embedded store either.
        """
        ...

    async def records(
        self, tenant: str, values: Collection[Email | Phone], contact: int | None = None
    ) -> list[IdentityRecords]:
        """Every identity that has the contact, or one that carries one of the values, live or
        deleted, with all that is stored of it, as of one instant.
        """
        ...

    async def tombstones(self, tenant: str, pseudonyms: Collection[str] = ()) -> Tombstones:
        """Those of the pseudonyms that there are."""
        ...

    async def secret(self) -> str:
        """What nobody knows who does not know the database; the same for all processes on it."""
        ...

    async def ping(self) -> None:
        """Return when the store can answer."""
        ...

    def scan(self) -> AsyncGenerator[list[IdentityRecords]]:
        """All that is stored, every tenant's, in pages of identities, as of one instant.

        Close it (`contextlib.aclosing`) when leaving before its end.
        """
        ...

    async def load(self, pages: AsyncIterable[list[IdentityRecords]]) -> None:
        """Write all that the `scan` of another store gives, ids and all, durably, or nothing.

        New ids follow after the highest one. Raises `InvalidInput` when there is anything here
        already, or when this store cannot do so.
        """
        ...

    async def keys(self, ids: Collection[str] | None = None) -> list[ApiKey]:
        """The API keys with these ids, as far as there are any, or all."""
        ...

    async def put_key(self, key: ApiKey) -> None:
        """Keep an API key; of one that is there already, change until when it is good."""
        ...

    async def size(self) -> int | None:
        """How many contacts there are, or a few more; None where that cannot be told at once."""
        ...

    async def vacuum(self) -> None:
        """Free what old versions of rows take, of those that were erased too; may take minutes.

        Raises `InvalidInput` when this store cannot do so.
        """
        ...

    async def close(self) -> None:
        """Finish what has begun and let go of the database."""
        ...


class CacheableStore(Store, Protocol):
    """A store whose answers may be cached elsewhere, by the epochs of `bitespeed.stores.epochs`."""

    async def commit(self, tenant: str, changes: Changes, epoch: str | None = None) -> Committed:
        """See `Store.commit`. Raises `EpochOver` when the epoch is not the one given; without
        one, an epoch in which others use a cache is ended first.
        """
        ...

    async def cache_state(self) -> CacheState:
        """In which epoch the cache is."""
        ...

    async def cache_resume(self, expected: str | None, fresh: str) -> CacheState:
        """Begin the epoch ``fresh``, in which the cache is used, if it is suspended in
        ``expected`` and may be resumed. The state that came of it, by whomever.
        """
        ...

    async def cache_suspend(self, expected: str, seconds: float) -> CacheState:
        """Begin an epoch in which the cache is not used for so many seconds at least, if it is
        in ``expected``. The state that came of it, by whomever.
        """
        ...

    async def cache_feed(self, since: str | None, most: int) -> Feed:
        """What has changed otherwise than by `commit` since an earlier call returned ``since``."""
        ...


async def open_store(url: str, options: Options | None = None) -> Store:
    """Open the database behind a URL, migrated to this version unless the options say otherwise.

    Raises `InvalidInput` for a URL of no known kind.
    """
    options = options or Options()
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from bitespeed.stores.sqlite import SqliteStore

        return await SqliteStore.open(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return await _open_postgres(url, options)
    if url.startswith(("https://", "http://")):
        return await _open_supabase(url, options)
    raise InvalidInput(
        "The database URL must look like sqlite:///path/to.db, postgresql://user@host/name"
        " or https://project.supabase.co"
    )


async def _open_postgres(url: str, options: Options) -> Store:
    with extra("postgres"):
        from bitespeed.stores.postgres.store import PostgresStore
    return await PostgresStore.open(url, options)


async def _open_supabase(url: str, options: Options) -> Store:
    with extra("supabase"):
        from bitespeed.stores.supabase.store import SupabaseStore
    return await SupabaseStore.open(url, options)


def migration_script() -> str:
    """The SQL that prepares a PostgreSQL database, for those who apply changes by hand."""
    with extra("postgres"):
        from bitespeed.stores.postgres.bulk.migrate import script
    return script()
