"""Stores: where identities are kept. A store reads snapshots and commits changes, and knows nothing
about matching. What each kind of store promises is in `protocols.py`.
"""

from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.stores.options import Options
from bitespeed.stores.protocols import AnyStore


async def open_store(url: str, options: Options | None = None) -> AnyStore:
    """Open the database behind a URL, migrated to this version unless the options say otherwise.

    Raises `InvalidInput` for a URL of no known kind, and `NotAdopted` for a database with contacts
    of another program, unless the options ignore them.
    """
    options = options or Options()
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from bitespeed.stores.sqlite import SqliteStore

        return await SqliteStore.open(url.removeprefix("sqlite:///"), creates=options.creates)
    if url.startswith(("postgresql://", "postgres://")):
        return await _open_postgres(url, options)
    if url.startswith(("https://", "http://")):
        return await _open_supabase(url, options)
    raise InvalidInput(
        "The database URL must look like sqlite:///path/to.db, postgresql://user@host/name"
        " or https://project.supabase.co"
    )


async def _open_postgres(url: str, options: Options) -> AnyStore:
    with extra("postgres"):
        from bitespeed.stores.postgres.store import PostgresStore
    return await PostgresStore.open(url, options)


async def _open_supabase(url: str, options: Options) -> AnyStore:
    with extra("supabase"):
        from bitespeed.stores.supabase.store import SupabaseStore
    return await SupabaseStore.open(url, options)


def migration_script() -> str:
    """The SQL that prepares a PostgreSQL database, for people who apply changes by hand."""
    with extra("postgres"):
        from bitespeed.stores.postgres.bulk.migrate import script
    return script()
