"""The epoch of the cache as one process knows it, and its licence to read from the cache.

See `bitespeed.stores.epochs` for the words, and docs/decisions/0009-cache.md for the argument.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

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

EPOCH_POLL_INTERVAL = 0.25  # seconds; four polls in a licence, so one may fail
MAX_SUSPENSION = 60.0  # seconds; each suspension in a row is twice as long as the one before
MARK_TTL = 86_400  # seconds for the mark of an epoch, renewed by each poll
MAX_FEED = 1000  # events in one poll; if there are more, the epoch ends with all its entries

OnPoll = Callable[[str, list[tuple[str, str]]], Awaitable[None]]
"""Called by each poll with the epoch, and with the tenant and value of what was changed without the
cache.
"""


class Epoch:
    """Polls the epoch and the feed of a store, and ends or resumes epochs."""

    def __init__(
        self, engine: Engine, store: CacheableStore, on_poll: OnPoll, *, follows: bool = True
    ) -> None:
        self._engine = engine
        self._store = store
        self._on_poll = on_poll
        self._loop = asyncio.get_running_loop()
        self._licence: tuple[str, float] | None = None  # an epoch, and until when it may be read
        self._next_suspension = SUSPENSION  # seconds
        self._suspension = SUSPENSION  # seconds, of `_suspended`
        self._suspended: str | None = None  # the epoch that this process suspended last
        self._position: str | None = None  # in the feed
        self._ending: dict[str, asyncio.Task[CacheState]] = {}  # by epoch
        self.state: CacheState | None = None
        """The state read last. A writer may use it, since a commit in an old epoch is refused."""
        self._follower = self._loop.create_task(self._follow()) if follows else None

    def licence(self) -> tuple[str, float] | None:
        """The epoch in which the cache may be read, and until when; None if it may not be read.

        The time is by `monotonic`, because the clock of the event loop may stand still while the
        loop runs its callbacks.
        """
        if self._licence is None:
            return None
        epoch, end = self._licence
        return self._licence if monotonic() < end and self.is_of_this_server(epoch) else None

    async def state_for_writing(self) -> CacheState:
        """The state to commit in. It may be over by now; then the commit raises `EpochOver`."""
        return self.state or self._remember(await self._store.cache_state())

    def is_of_this_server(self, epoch: str) -> bool:
        """Whether the epoch began on the connected server, which was not restarted since."""
        server = self._engine.server
        return server is not None and is_of_server(epoch, server)

    def forget_licence(self) -> None:
        """Read no more until the next poll, since this process may have been stopped for long."""
        self._licence = None

    async def on_epoch_over(self, state: CacheState) -> None:
        """Use the state that refused a commit, and return when it admits the next one.

        Begins a suspension where the database was restarted, restored or moved to another server.
        """
        self._licence = None
        self._remember(state)
        if state.epoch is not None and state.is_over:
            state = await self.end(state.epoch)
        await asyncio.sleep(state.wait)

    def on_fenced(self) -> None:
        """Make the next suspension short, since a fence succeeded."""
        self._next_suspension = SUSPENSION

    async def end(self, epoch: str) -> CacheState:
        """Suspend the cache if the epoch is still in use; returns the state after it.

        Concurrent calls suspend once. Each suspension is longer, until a fence succeeds.
        """
        return await asyncio.shield(self._end(epoch))

    def end_soon(self, epoch: str) -> None:
        """`end` in the background, if the licence is for this epoch."""
        if self._licence is not None and self._licence[0] == epoch:
            self._end(epoch)

    def _end(self, epoch: str) -> "asyncio.Task[CacheState]":
        self._licence = None
        if epoch not in self._ending:
            self._ending[epoch] = task = self._loop.create_task(self._suspend(epoch))
            task.add_done_callback(lambda task: self._on_ended(epoch, task))
        return self._ending[epoch]

    async def _suspend(self, epoch: str) -> CacheState:
        if epoch != self._suspended:
            self._suspended = epoch
            self._suspension = self._next_suspension
            self._next_suspension = min(2 * self._suspension, MAX_SUSPENSION)
            cache_suspensions.add()
            log.warning("cache.suspended")
        return self._remember(await self._store.cache_suspend(epoch, self._suspension))

    def _on_ended(self, epoch: str, task: "asyncio.Task[CacheState]") -> None:
        del self._ending[epoch]
        if not task.cancelled():
            task.exception()  # the database is away; the next poll tries again

    def _remember(self, state: CacheState) -> CacheState:
        self.state = state
        return state

    async def _follow(self) -> None:
        while True:
            try:
                await self._poll()
            except (Unavailable, CacheUnavailable):
                pass  # the licence will end
            except Exception as error:  # noqa: BLE001 - logged; the licence will end
                failed("cache.follower_failed", error)
            await asyncio.sleep(EPOCH_POLL_INTERVAL)

    async def _poll(self) -> None:
        """Read the epoch, drop entries that were changed without us, and renew the licence."""
        begun = monotonic()
        feed = await self._store.cache_feed(self._position, MAX_FEED)
        state = self._remember(feed.state)
        epoch = state.in_use
        if state.epoch is not None and state.is_over:
            state = await self.end(state.epoch)
        elif epoch is None:
            self._licence = None
            if self._engine.server is not None and state.left <= 0:
                state = await self._resume(state)
        elif not await self._has_mark(epoch) or feed.values is None:
            state = await self.end(epoch)
        else:
            await self._on_poll(epoch, feed.values)
        self._position = feed.next
        if state.in_use is not None:
            self._licence = state.in_use, begun + LICENCE

    async def _has_mark(self, epoch: str) -> bool:
        """Whether the server has lost no data since the epoch began; renews the mark.

        Raises `CacheUnavailable`.
        """
        if self._engine.server is None:
            raise CacheUnavailable("The cache cannot be reached")
        if not self.is_of_this_server(epoch):
            return False
        renewed = await self._engine.call("EXPIRE", mark_of(epoch), MARK_TTL)
        return renewed == 1

    async def _resume(self, state: CacheState) -> CacheState:
        """Begin an epoch with an empty cache. Its mark is set before any process can read it."""
        fresh = fresh_epoch(self._engine.server or "")
        await self._engine.call("SET", mark_of(fresh), 1, "EX", MARK_TTL)
        state = self._remember(await self._store.cache_resume(state.epoch, fresh))
        if state.epoch == fresh:
            log.info("cache.resumed")
        return state

    async def close(self) -> None:
        """Stop polling."""
        tasks: list[asyncio.Task[Any]] = [*self._ending.values()]
        if self._follower is not None:
            self._follower.cancel()
            tasks.append(self._follower)
        await asyncio.gather(*tasks, return_exceptions=True)
