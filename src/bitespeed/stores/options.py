"""How a store is to be opened."""

from collections.abc import Awaitable, Callable

import msgspec

POOL_SIZE = 10  # to the database; two batches, look-ups and deletions seldom need more
TIMEOUT = 4.0  # seconds for the database to answer; below a request's deadline

Renew = Callable[[], Awaitable[tuple[str, str | None]]]
"""Returns the URL and the key as they are now."""


class Options(msgspec.Struct, frozen=True):
    """Everything but the URL; a store ignores what does not concern it."""

    pool_size: int = POOL_SIZE
    """To a database server, at most, in this process."""
    timeout: float = TIMEOUT
    """Seconds to connect, to wait for a free connection, or for one answer."""
    migrate: bool = True
    """Bring the schema to this version; otherwise the store is refused when it is behind."""
    key: str | None = None
    """Of the Supabase Data API."""
    renew: Renew | None = None
    """Asked when the database refuses the password or the key."""
