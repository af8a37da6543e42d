"""Epochs: times in which answers are cached elsewhere, or in which nobody may do so.

The database says which epoch it is, and a commit that takes it to be another one is refused.
See docs/decisions/0009-cache.md for what this is good for.
"""

import os

import msgspec

from bitespeed.errors import BitespeedError

SUSPENSION = 5.0  # seconds at least in which nobody uses the cache after one could not fence
WITHOUT_CACHE = 30.0  # the same after one who has no cache, an import say, which goes on for longer
LICENCE = 1.0  # seconds that a process relies on what it read of the epoch; 1.25 in the database
MAX_EPOCHS = 3  # that may end while one commit tries to be admitted; each takes seconds


class CacheState(msgspec.Struct, frozen=True):
    """What the database says. ``epoch`` is None until a cache is used for the first time.

    ``wait`` is in seconds until commits are admitted, ``left`` until a suspended cache may
    be resumed. ``secret`` makes the keys of the cache.
    """

    epoch: str | None
    is_suspended: bool
    wait: float
    left: float
    secret: str

    @property
    def in_use(self) -> str | None:
        """The epoch, if the cache may be used in it."""
        return None if self.is_suspended else self.epoch


class Feed(msgspec.Struct, frozen=True):
    """What has changed behind the back of those who use the cache, by tenant and value.

    ``values`` is None when there were too many. ``next`` is where to go on.
    """

    next: str
    state: CacheState
    values: list[tuple[str, str]] | None


class EpochOver(BitespeedError):
    """The epoch is another one than the writer took it to be; nothing was written."""

    def __init__(self, state: CacheState) -> None:
        super().__init__("The cache is in another epoch")
        self.state = state


def fresh_epoch(server: str = "") -> str:
    """A name that no epoch has had, with the id of the cache's server."""
    return f"{server[:12]}-{os.urandom(6).hex()}"


def is_of_server(epoch: str, server: str) -> bool:
    """Whether `fresh_epoch` made the name for that server."""
    return epoch.rpartition("-")[0] == server[:12]
