"""Stores: where contacts live. A store reads snapshots and commits changes, and knows nothing
about matching.
"""

from collections.abc import AsyncGenerator, Collection
from typing import Protocol

from bitespeed.errors import InvalidInput
from bitespeed.identifiers import Email, Phone
from bitespeed.identity import Changes, Committed, Snapshot
from bitespeed.stores.stored import StoredIdentity


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
        value has been taken meanwhile.
        """
        ...

    async def ping(self) -> None:
        """Return when the store can answer."""
        ...

    def scan(self) -> AsyncGenerator[list[StoredIdentity]]:
        """All that is stored, every tenant's, in pages of identities, as of one instant.

        Close it (`contextlib.aclosing`) when leaving before its end.
        """
        ...

    async def close(self) -> None:
        """Finish what has begun and let go of the database."""
        ...


async def open_store(url: str) -> Store:
    """Open the database behind a URL such as ``sqlite:///path/to.db``, migrated to this version."""
    from bitespeed.stores.sqlite import SqliteStore

    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return await SqliteStore.open(url.removeprefix("sqlite:///"))
    raise InvalidInput("The database URL must look like sqlite:///path/to.db")
