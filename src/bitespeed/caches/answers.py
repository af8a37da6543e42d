"""Answers kept by identifier, never stale: an answer from here contains every write that was
acknowledged before the request began.

What holds that up, in the order of a request:

- A **hit** is an answer that every identifier of the request has, of one identity at one version.
- A miss takes a **lease** on the missing entries before the store is read, and fills them only
  where the lease is unbroken.
- A writer sets a **fence** on every identifier of what it touches before it commits. That removes
  the answers and breaks the leases; it is taken away after the commit.
- Entries belong to an **epoch**; the database refuses a commit in an epoch that is over. Whoever
  cannot fence, or finds the epoch's mark lost, ends it.
- A process reads only under a **licence**: it has heard of the epoch within a second.

docs/decisions/0009-cache.md has the argument, and what each failure does.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any

import msgspec

from bitespeed.caches.breaker import Breaker
from bitespeed.caches.engine import FENCE, FILL, FORGET, LEASE, RELEASE, Engine, Reply, run
from bitespeed.caches.entries import (
    Unreadable,
    counts_of,
    hit,
    is_kept,
    keys_of,
    mark_of,
    text_of,
    values_of,
    values_touched,
)
from bitespeed.caches.epoch import Epoch
from bitespeed.errors import CacheUnavailable, Conflict, Contention
from bitespeed.model.changes import Changes, Committed
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer, Identity, KeptAnswer, Snapshot
from bitespeed.stores.epochs import MAX_EPOCHS, EpochOver
from bitespeed.stores.protocols import CacheableStore
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.logs import is_enabled, log
from bitespeed.telemetry.metrics import cache_lookups

TTL = 3600  # seconds an answer is kept
LEASE_TTL = 10  # seconds from a miss to its fill; beyond it the request is past its deadline
FENCE_TTL = 120  # seconds; a commit whose outcome is unknown must have ended by then
MAX_FENCES = 4096  # bytes of tokens on one entry: 250 writers at once
TOKEN = 8  # bytes


class Counts(msgspec.Struct):
    """What the cache has done for this process since it told last."""

    hits: int = 0
    misses: int = 0
    away: int = 0
    """Look-ups that the cache did not answer, or that were spared it."""


class LookUp(msgspec.Struct, eq=False):
    """A look-up for a batch, and what may be filled after it."""

    observations: Sequence[Observation]
    values: Sequence[str]
    epoch: str
    begun: float
    until: float
    """When it was asked, on the event loop's clock, and when the licence ends, on the system's."""
    tell: Callable[["LookUp"], None]
    reply: Reply | None = None
    """None until it is there."""
    missing: Sequence[str] = ()
    token: str | None = None
    """Of the lease on what was missing."""

    def on_reply(self, reply: Reply) -> None:
        """Tell that it is there."""
        self.reply = reply
        self.tell(self)


class AnswerCache:
    """The cache for one store; lives on one event loop."""

    def __init__(self, engine: Engine, store: CacheableStore, *, ttl: int = TTL) -> None:
        self.engine = engine
        self._store = store
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._breaker = Breaker(self._loop)
        self._epoch = Epoch(engine, store, self._on_look)
        self._background: set[asyncio.Task[Any]] = set()
        self.counts = Counts()

    # Reading

    def look_up(
        self, tenant: str, observations: Sequence[Observation], tell: Callable[[LookUp], None]
    ) -> LookUp | None:
        """Begin to ask for what is there; None when the cache is not to be asked.

        ``tell`` is called with what is returned, at a later turn of the event loop, once the
        reply is there. It must not raise.
        """
        licence = self._epoch.licence()
        if licence is None or not self._breaker.allows():
            self._count_away(observations)
            return None
        epoch, until = licence
        values = list({value for o in observations for value in values_of(o)})
        keys = [mark_of(epoch), *self._keys(epoch, tenant, values)]
        found = LookUp(observations, values, epoch, self._loop.time(), until, tell)
        self.engine.look_up(keys, found.on_reply)
        return found

    def answers(self, found: LookUp) -> list[KeptAnswer | None]:
        """The answers that are there, once the reply is; without the cache there are none."""
        held = self._held(found)
        if held is None:
            self._count_away(found.observations)
            return [None] * len(found.observations)
        try:
            answers = [hit(observation, held) for observation in found.observations]
        except Unreadable as error:
            failed("cache.unreadable", error)
            self._count_away(found.observations)
            return [None] * len(found.observations)
        misses = answers.count(None)
        hits = len(answers) - misses
        self.counts.hits += hits
        self.counts.misses += misses
        cache_lookups["hit"].add(hits)
        cache_lookups["miss"].add(misses)
        if hits and is_enabled("debug"):
            log.debug("cache.hit", hits=hits, of=len(answers))
        if misses:
            found.missing = [value for value in found.values if held[value] is None]
        return answers

    def _count_away(self, observations: Sequence[Observation]) -> None:
        self.counts.away += len(observations)
        cache_lookups["away"].add(len(observations))

    def _held(self, found: LookUp) -> dict[str, bytes | None] | None:
        """What is under each value; None when that is not to be known, or not to be used."""
        if not isinstance(found.reply, list):
            self._breaker.failed()
            return None
        self._breaker.succeeded()
        mark, *held = found.reply
        if mark is None:
            self._epoch.end_soon(found.epoch)
        if mark is None or monotonic() > found.until:
            return None
        return dict(zip(found.values, held, strict=True))

    async def lease(self, tenant: str, found: LookUp) -> None:
        """Before the store is read, so that no writer since then goes unnoticed."""
        if not found.missing:
            return
        token = os.urandom(TOKEN).hex()
        keys = [mark_of(found.epoch), *self._keys(found.epoch, tenant, found.missing)]
        arguments = [token, LEASE_TTL * 1000]
        try:
            await run(self.engine, LEASE, keys, arguments, self.engine.read_time)
        except CacheUnavailable:
            self._breaker.failed()
        else:
            found.token = token

    def fill_soon(
        self,
        tenant: str,
        found: LookUp,
        snapshot: Snapshot,
        answers: Iterable[tuple[Observation, Answer]],
    ) -> None:
        """Keep answers that show nothing but the snapshot, where the lease is unbroken."""
        if found.token is None:
            return
        texts: dict[str, bytes] = {}
        leased = frozenset(found.missing)
        for observation, answer in answers:
            missing = leased.intersection(values_of(observation)) - texts.keys()
            identity = _holder(snapshot, observation)
            if missing and is_kept(identity):
                texts |= dict.fromkeys(missing, text_of(identity, answer))
        if texts:
            keys = [mark_of(found.epoch), *self._keys(found.epoch, tenant, texts)]
            arguments = [found.token, self._ttl * 1000, *texts.values()]
            self._soon(run(self.engine, FILL, keys, arguments))

    # Writing

    async def commit(
        self, tenant: str, changes: Changes, snapshot: Snapshot, asked: Iterable[str]
    ) -> Committed:
        """Commit to the store so that nobody is answered from here what has been overtaken.

        ``asked`` are the values of the observations. Raises what `Store.commit` raises.
        """
        values = values_touched(snapshot, changes).union(asked)
        for _ in range(MAX_EPOCHS):
            state = await self._epoch.to_write()
            try:
                if state.in_use is None:
                    return await self._store.commit(tenant, changes, state.epoch)
                return await self._commit_fenced(state.in_use, tenant, changes, values)
            except EpochOver as over:
                self._epoch.is_over(over.state)
                await asyncio.sleep(over.state.wait)
        raise Contention("The cache is being taken in and out of use; try again")

    async def _commit_fenced(
        self, epoch: str, tenant: str, changes: Changes, values: Collection[str]
    ) -> Committed:
        token = os.urandom(TOKEN).hex()
        keys = self._keys(epoch, tenant, values)
        if not await self._fence(epoch, keys, token):
            raise EpochOver(await self._epoch.end(epoch))
        try:
            committed = await self._store.commit(tenant, changes, epoch)
        except (Conflict, EpochOver):
            self._release_soon(keys, token)
            raise
        # Any other failure leaves the fence, since the commit may yet happen.
        self._release_soon(keys, token)
        return committed

    async def _fence(self, epoch: str, keys: Sequence[bytes], token: str) -> bool:
        """Whether the keys are fenced; if not, perhaps they are."""
        arguments = [token, FENCE_TTL * 1000, MAX_FENCES]
        try:
            if self.engine.server is None:
                await (
                    self.engine.connected()
                )  # a process that has just begun need not disturb others
            if not self._epoch.is_of_this_server(epoch):
                return False
            fenced = await run(self.engine, FENCE, [mark_of(epoch), *keys], arguments)
        except CacheUnavailable:
            return False
        if fenced == 1:
            self._epoch.is_working()
        return fenced == 1

    def _release_soon(self, keys: Sequence[bytes], token: str) -> None:
        self._soon(run(self.engine, RELEASE, keys, [token]))

    # Operations

    async def stats(self) -> dict[str, str | int | None]:
        """What all processes together have counted in this epoch.

        Raises `CacheUnavailable` and `StoreUnavailable`.
        """
        state = await self._store.cache_state()
        told: dict[str, str | int | None] = {"epoch": state.epoch, "used": state.in_use is not None}
        if state.in_use is not None:
            await self.engine.connected()
            counted = await self.engine.call("HGETALL", counts_of(state.in_use))
            pairs = zip(counted[::2], counted[1::2], strict=True)
            told |= {name.decode(): int(count) for name, count in pairs}
        return told

    async def clear(self) -> None:
        """End the epoch; what was cached in it is never looked at again."""
        state = await self._store.cache_state()
        if state.in_use is not None:
            await self._epoch.end(state.in_use)

    def forget_licence(self) -> None:
        """See `Epoch.forget_licence`."""
        self._epoch.forget_licence()

    async def close(self) -> None:
        """Finish what is under way and let go of the server."""
        await self._epoch.close()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.engine.close()

    async def _on_look(self, epoch: str, changed: list[tuple[str, str]]) -> None:
        """Drop what has changed behind our back, and tell what was counted."""
        keys = [key for tenant, value in changed for key in self._keys(epoch, tenant, [value])]
        if keys:
            await run(self.engine, FORGET, keys)
        counts, self.counts = self.counts, Counts()
        for name, count in msgspec.structs.asdict(counts).items():
            if count:
                counted = "HINCRBY", counts_of(epoch), name, count
                await self.engine.call(*counted)

    def _keys(self, epoch: str, tenant: str, values: Iterable[str]) -> list[bytes]:
        state = self._epoch.state
        assert state is not None  # noqa: S101 - who knows an epoch has heard of it
        return keys_of(state.secret, epoch, tenant, values)

    def _soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Work whose failure costs nothing but speed."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._breaker.failed()


def _holder(snapshot: Snapshot, observation: Observation) -> Identity:
    """The one identity that holds what a settled observation names."""
    email, phone = observation.email, observation.phone
    if email is not None:
        return snapshot.identities[snapshot.emails[email]]
    assert phone is not None  # noqa: S101 - an observation has one of the two
    return snapshot.identities[snapshot.phones[phone]]
