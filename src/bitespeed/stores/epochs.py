"""Epochs: times in which answers may be cached elsewhere, or in which nobody may use a cache.

The database knows the present epoch and refuses a commit that expects another one. Why, is in
docs/decisions/0009-cache.md.
"""

import os

import msgspec

from bitespeed.errors import BitespeedError

SUSPENSION = 5.0  # seconds at least without the cache after a writer could not fence in it
UNCACHED_SUSPENSION = 30.0  # seconds after a writer without a cache, such as an import, which lasts
LICENCE = 1.0  # seconds that a process may rely on the epoch it has read; 1.25 in the database
MAX_EPOCHS = 3  # that may end while one commit tries to be admitted; each takes seconds


class CacheState(msgspec.Struct, frozen=True):
    """The epoch according to the database. ``epoch`` is None until a cache is used the first time.

    An epoch that ``is_over`` began before the database was restarted, restored or moved to another
    server: no commit is admitted, and the cache is not used, until somebody suspends it. Else
    commits are admitted after ``wait`` seconds, and a suspended cache may be resumed after ``left``
    seconds. The keys of the cache are made with ``secret``.
    """

    epoch: str | None
    is_suspended: bool
    is_over: bool
    wait: float
    left: float
    secret: str

    @property
    def in_use(self) -> str | None:
        """The epoch if the cache may be used in it, else None."""
        return None if self.is_suspended or self.is_over else self.epoch


class Feed(msgspec.Struct, frozen=True):
    """Values that were changed by writers without the cache, as pairs of tenant and value.

    ``values`` is None when there were too many. The next call continues at ``next``.
    """

    next: str
    state: CacheState
    values: list[tuple[str, str]] | None


class EpochOver(BitespeedError):
    """The database is in another epoch than the writer expected; nothing was written."""

    def __init__(self, state: CacheState) -> None:
        super().__init__("The cache is in another epoch")
        self.state = state


def fresh_epoch(server: str = "") -> str:
    """A new name for an epoch, which begins with the first characters of the server's name."""
    return f"{server[:12]}-{os.urandom(6).hex()}"


def is_of_server(epoch: str, server: str) -> bool:
    """Whether `fresh_epoch` made the name for that server."""
    return epoch.rpartition("-")[0] == server[:12]
