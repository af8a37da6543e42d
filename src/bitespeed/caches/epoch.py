"""In which epoch the cache is, as one process knows it, and its licence to read from it.

See `bitespeed.stores.epochs` for the words, and docs/decisions/0009-cache.md for the argument.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from bitespeed.caches.engine import Engine
from bitespeed.caches.entries import mark_of
from bitespeed.errors import CacheUnavailable, Unavailable
from bitespeed.stores.epochs import (
    LICENCE,
    SUSPENSION,
    CacheState,
    fresh_epoch,
    is_of_server,
)
from bitespeed.stores.protocols import CacheableStore
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.logs import log
from bitespeed.telemetry.metrics import cache_suspensions

LOOK = 0.25  # seconds between looks at the epoch and the feed; four in a licence, so one may fail
LONGEST_SUSPENSION = 60.0  # seconds; each one in a row is twice as long as the one before
MARK_TTL = 86_400  # seconds for the mark of an epoch, renewed with each look
MAX_FEED = 1000  # events in one look; beyond, all of the cache is dropped at once

OnLook = Callable[[str, list[tuple[str, str]]], Awaitable[None]]
"""Told with each look: the epoch, and by tenant the values of which nobody else has told."""


class Epoch:
    """Follows the epochs of a store on a server."""

    def __init__(self, engine: Engine, store: CacheableStore, on_look: OnLook) -> None:
        self._engine = engine
        self._store = store
        self._on_look = on_look
        self._loop = asyncio.get_running_loop()
        self._licence: tuple[str, float] | None = None  # to read in an epoch, until an instant
        self._suspension = SUSPENSION  # how long the next one is to last ...
        self._seconds = SUSPENSION  # ... and the last one, of this epoch
        self._suspended: str | None = None
        self._position: str | None = None  # in the feed
        self._ending: dict[str, asyncio.Task[CacheState]] = {}  # by epoch
        self.state: CacheState | None = None
        """What was heard last, by whatever way. Good for writing: a commit finds out."""
        self._follower = self._loop.create_task(self._follow())

    def licence(self) -> tuple[str, float] | None:
        """The epoch in which the cache may be read, and until when by `monotonic`: the event
        loop's clock may stand still while it works off what has come.
        """
        if self._licence is None:
            return None
        epoch, until = self._licence
        return self._licence if monotonic() < until and self.is_of_this_server(epoch) else None

    async def to_write(self) -> CacheState:
        """The state to write in, which may be over by now."""
        return self.state or self._note(await self._store.cache_state())

    def is_of_this_server(self, epoch: str) -> bool:
        """Whether the epoch began on the server behind the connection, as it runs now."""
        server = self._engine.server
        return server is not None and is_of_server(epoch, server)

    def forget_licence(self) -> None:
        """Read no more until the next look: who was stopped cannot tell for how long."""
        self._licence = None

    def is_over(self, state: CacheState) -> None:
        """Take note that the epoch is another one."""
        self._licence = None
        self._note(state)

    def is_working(self) -> None:
        """Take note that a fence succeeded, so that the next suspension is short."""
        self._suspension = SUSPENSION

    async def end(self, epoch: str) -> CacheState:
        """Suspend the cache, once for all who find out, for longer each time until it works again.
        The state that came of it, by whomever.
        """
        return await asyncio.shield(self._end(epoch))

    def end_soon(self, epoch: str) -> None:
        """`end`, for whoever does not wait for it."""
        if self._licence is not None and self._licence[0] == epoch:
            self._end(epoch)

    def _end(self, epoch: str) -> "asyncio.Task[CacheState]":
        self._licence = None
        if epoch not in self._ending:
            self._ending[epoch] = task = self._loop.create_task(self._suspend(epoch))
            task.add_done_callback(lambda task: self._ended(epoch, task))
        return self._ending[epoch]

    async def _suspend(self, epoch: str) -> CacheState:
        if epoch != self._suspended:
            self._suspended = epoch
            self._seconds = self._suspension
            self._suspension = min(2 * self._suspension, LONGEST_SUSPENSION)
            cache_suspensions.add()
            log.warning("cache.suspended")
        return self._note(await self._store.cache_suspend(epoch, self._seconds))

    def _ended(self, epoch: str, task: "asyncio.Task[CacheState]") -> None:
        del self._ending[epoch]
        if not task.cancelled():
            task.exception()  # the database is away; the next look tries again

    def _note(self, state: CacheState) -> CacheState:
        self.state = state
        return state

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except (Unavailable, CacheUnavailable):
                pass  # the licence lapses
            except Exception as error:  # noqa: BLE001 - told; the licence lapses here as well
                failed("cache.follower_failed", error)
            await asyncio.sleep(LOOK)

    async def _look(self) -> None:
        """Hear of the epoch and of what others have changed, and renew the licence."""
        begun = monotonic()
        feed = await self._store.cache_feed(self._position, MAX_FEED)
        state = self._note(feed.state)
        epoch = state.in_use
        if epoch is None:
            self._licence = None
            if self._engine.server is not None and state.left <= 0:
                state = await self._resume(state)
        elif not await self._has_kept(epoch) or feed.values is None:
            state = await self.end(epoch)
        else:
            await self._on_look(epoch, feed.values)
        self._position = feed.next
        if state.in_use is not None:
            self._licence = state.in_use, begun + LICENCE

    async def _has_kept(self, epoch: str) -> bool:
        """Whether the server still has what it was given in this epoch.

        Raises `CacheUnavailable` when that is not to be known now.
        """
        if self._engine.server is None:
            raise CacheUnavailable("The cache cannot be reached")
        if not self.is_of_this_server(epoch):
            return False
        kept = await self._engine.call("EXPIRE", mark_of(epoch), MARK_TTL)
        return kept == 1

    async def _resume(self, state: CacheState) -> CacheState:
        """Begin an epoch with an empty cache; its mark stands before anybody hears of it."""
        fresh = fresh_epoch(self._engine.server or "")
        await self._engine.call("SET", mark_of(fresh), 1, "EX", MARK_TTL)
        state = self._note(await self._store.cache_resume(state.epoch, fresh))
        if state.epoch == fresh:
            log.info("cache.resumed")
        return state

    async def close(self) -> None:
        """Stop following."""
        self._follower.cancel()
        await asyncio.gather(self._follower, *self._ending.values(), return_exceptions=True)
