"""How to open a store."""

from collections.abc import Awaitable, Callable

import msgspec

POOL_SIZE = 10  # connections; two batches, look-ups and deletions rarely need more
TIMEOUT = 4.0  # seconds for the database to respond; below a request's deadline

Renew = Callable[[], Awaitable[tuple[str, str | None]]]
"""Returns the present URL and key."""


class Options(msgspec.Struct, frozen=True):
    """Everything but the URL. A store ignores the options that it does not need."""

    pool_size: int = POOL_SIZE
    """Maximum number of connections of this process to a database server."""
    timeout: float = TIMEOUT
    """Seconds to connect, to wait for a free connection, or to wait for a response."""
    migrate: bool = True
    """Bring the schema to this version; if False, refuse a schema of an earlier version."""
    creates: bool = True
    """Create a missing SQLite file, and bring its schema to this version; if False, refuse."""
    ignore_existing: bool = False
    """Work beside contacts of `public.contact` that are not adopted; if False, refuse to."""
    key: str | None = None
    """The secret key for the Supabase Data API."""
    renew: Renew | None = None
    """Called when the database refuses the password or the key."""
