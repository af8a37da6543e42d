"""Caches answers by identifier. A cached answer contains every write that was acknowledged before
the request began.

In the order of a request, these rules ensure it:

- A **hit** is an answer stored under every identifier of the request, of one identity at one
  stamp.
- A miss takes a **lease** on the missing entries before it reads the store, and fills an entry only
  if its lease is unbroken.
- Before a commit, the writer sets a **fence** on every identifier of the identities it changes. A
  fence removes the answer, breaks the lease, and is released after the commit.
- Entries belong to an **epoch**, and the database refuses a commit in an epoch that is over. A
  process that cannot fence, or that misses the epoch's mark, ends the epoch.
- A process reads only under a **licence**: it has read the epoch from the database within a second.

docs/decisions/0009-cache.md has the whole argument, and the effect of each failure.
"""

import asyncio
import math
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
    is_cacheable,
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
from bitespeed.stores.epochs import MAX_EPOCHS, CacheState, EpochOver
from bitespeed.stores.protocols import CacheableStore
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.logs import is_enabled, log
from bitespeed.telemetry.metrics import cache_lookups

TTL = 3600  # seconds that an answer is kept
LEASE_TTL = 10  # seconds from a miss to its fill; later, the request is past its deadline
FENCE_TTL = 120  # seconds; a commit whose outcome is unknown has ended by then
MAX_FENCE_BYTES = 4096  # of tokens on one entry: 250 writers at once
TOKEN_BYTES = 8  # random, so that no two writers share a token


class Counts(msgspec.Struct):
    """Observations looked up by this process since it last sent its counts to the cache."""

    hits: int = 0
    misses: int = 0
    away: int = 0
    """Looked up while the cache did not answer, or was not to be used."""


class Lookup(msgspec.Struct, eq=False):
    """A look-up for a batch: its reply, then the entries that it missed."""

    observations: Sequence[Observation]
    values: Sequence[str]
    epoch: str
    begun: float
    """When it was sent, by the clock of the event loop."""
    licence_end: float
    """Until when its reply may be used, by `monotonic`."""
    on_done: Callable[["Lookup"], None]
    reply: Reply | None = None
    """None until it arrives."""
    missing: Sequence[str] = ()
    """Values without an entry."""
    token: str | None = None
    """Token of the lease on the missing entries; None without a lease."""

    def on_reply(self, reply: Reply) -> None:
        """Store the reply, and call ``on_done``."""
        self.reply = reply
        self.on_done(self)


class AnswerCache:
    """The cache for one store; lives on one event loop."""

    def __init__(
        self, engine: Engine, store: CacheableStore, *, ttl: int = TTL, follows: bool = True
    ) -> None:
        self.engine = engine
        self._store = store
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._breaker = Breaker(self._loop)
        self._epoch = Epoch(engine, store, self._on_poll, follows=follows)
        self._background: set[asyncio.Task[Any]] = set()
        self.counts = Counts()

    # Reading

    def look_up(
        self, tenant: str, observations: Sequence[Observation], on_done: Callable[[Lookup], None]
    ) -> Lookup | None:
        """Begin to look up a batch; None if the cache must not be used now.

        Calls ``on_done``, which must not raise, with the look-up that is returned, at a later turn
        of the event loop.
        """
        licence = self._epoch.licence()
        if licence is None or not self._breaker.allows():
            self._count_away(observations)
            return None
        epoch, licence_end = licence
        values = list({value for o in observations for value in values_of(o)})
        keys = [mark_of(epoch), *self._keys(epoch, tenant, values)]
        begun = self._loop.time()
        lookup = Lookup(observations, values, epoch, begun, licence_end, on_done)
        self.engine.look_up(keys, lookup.on_reply)
        return lookup

    def answers(self, lookup: Lookup) -> list[KeptAnswer | None]:
        """The answer to each observation of a look-up that is done; None for a miss.

        All are None if the reply may not be used or did not arrive.
        """
        entries = self._entries(lookup)
        if entries is None:
            self._count_away(lookup.observations)
            return [None] * len(lookup.observations)
        try:
            answers = [hit(observation, entries) for observation in lookup.observations]
        except Unreadable as error:
            failed("cache.unreadable", error)
            self._count_away(lookup.observations)
            return [None] * len(lookup.observations)
        misses = answers.count(None)
        hits = len(answers) - misses
        self.counts.hits += hits
        self.counts.misses += misses
        cache_lookups["hit"].add(hits)
        cache_lookups["miss"].add(misses)
        if hits and is_enabled("debug"):
            log.debug("cache.hit", hits=hits, of=len(answers))
        if misses:
            lookup.missing = [value for value in lookup.values if entries[value] is None]
        return answers

    def _count_away(self, observations: Sequence[Observation]) -> None:
        self.counts.away += len(observations)
        cache_lookups["away"].add(len(observations))

    def _entries(self, lookup: Lookup) -> dict[str, bytes | None] | None:
        """The entry of each value; None if there is no reply, or it may not be used."""
        if not isinstance(lookup.reply, list):
            self._breaker.failed()
            return None
        self._breaker.succeeded()
        mark, *entries = lookup.reply
        if mark is None:
            self._epoch.end_soon(lookup.epoch)
        if mark is None or monotonic() > lookup.licence_end:
            return None
        return dict(zip(lookup.values, entries, strict=True))

    async def lease(self, tenant: str, lookup: Lookup) -> None:
        """Lease the missing entries, if the cache answers.

        To be called before the store is read, so that every later writer breaks the lease.
        """
        if not lookup.missing:
            return
        token = os.urandom(TOKEN_BYTES).hex()
        keys = [mark_of(lookup.epoch), *self._keys(lookup.epoch, tenant, lookup.missing)]
        arguments = [token, LEASE_TTL * 1000]
        try:
            await run(self.engine, LEASE, keys, arguments, self.engine.read_timeout)
        except CacheUnavailable:
            self._breaker.failed()
        else:
            lookup.token = token

    def fill_soon(
        self,
        tenant: str,
        lookup: Lookup,
        snapshot: Snapshot,
        answers: Iterable[tuple[Observation, Answer]],
    ) -> None:
        """Begin to store answers that the snapshot alone gives, where the lease is unbroken."""
        if lookup.token is None:
            return
        texts: dict[str, bytes] = {}
        leased = frozenset(lookup.missing)
        for observation, answer in answers:
            missing = leased.intersection(values_of(observation)) - texts.keys()
            identity = _holder(snapshot, observation)
            if missing and is_cacheable(identity):
                texts |= dict.fromkeys(missing, text_of(identity, answer))
        if texts:
            keys = [mark_of(lookup.epoch), *self._keys(lookup.epoch, tenant, texts)]
            arguments = [lookup.token, self._ttl * 1000, *texts.values()]
            self._soon(run(self.engine, FILL, keys, arguments))

    # Writing

    async def commit(
        self, tenant: str, changes: Changes, snapshot: Snapshot, observed: Iterable[str]
    ) -> Committed:
        """Commit to the store; no look-up that begins afterwards gets an older answer.

        ``observed`` are the values of the observations. Raises what `Store.commit` raises.
        """
        values = values_touched(snapshot, changes).union(observed)
        for _ in range(MAX_EPOCHS):
            state = await self._epoch.state_for_writing()
            try:
                if state.in_use is None:
                    return await self._store.commit(tenant, changes, state)
                return await self._commit_fenced(state, state.in_use, tenant, changes, values)
            except EpochOver as over:
                await self._epoch.on_epoch_over(over.state)
        raise Contention(
            "The cache was suspended or resumed several times during this request; try again"
        )

    async def _commit_fenced(
        self,
        state: CacheState,
        epoch: str,
        tenant: str,
        changes: Changes,
        values: Collection[str],
    ) -> Committed:
        token = os.urandom(TOKEN_BYTES).hex()
        keys = self._keys(epoch, tenant, values)
        if not await self._fence(epoch, keys, token):
            raise EpochOver(await self._epoch.end(epoch))
        try:
            committed = await self._store.commit(tenant, changes, state)
        except (Conflict, EpochOver):
            self._release_soon(keys, token)
            raise
        # After any other failure the fence stays, since the commit may still happen.
        self._release_soon(keys, token)
        return committed

    async def _fence(self, epoch: str, keys: Sequence[bytes], token: str) -> bool:
        """True if the keys are fenced; False if perhaps they are not."""
        arguments = [token, FENCE_TTL * 1000, MAX_FENCE_BYTES]
        try:
            if self.engine.server is None:
                # A process that has just started would else suspend the cache for all others.
                await self.engine.wait_until_connected()
            if not self._epoch.is_of_this_server(epoch):
                return False
            fenced = await run(self.engine, FENCE, [mark_of(epoch), *keys], arguments)
        except CacheUnavailable:
            return False
        if fenced == 1:
            self._epoch.on_fenced()
        return fenced == 1

    def _release_soon(self, keys: Sequence[bytes], token: str) -> None:
        self._soon(run(self.engine, RELEASE, keys, [token]))

    # Operations

    async def stats(self) -> dict[str, str | int | None]:
        """The epoch, whether it is in use, and what all processes counted in it; or why not.

        Raises `CacheUnavailable` when an epoch is in use and the cache cannot be reached, and
        `StoreUnavailable`.
        """
        state = await self._store.cache_state()
        is_used = state.in_use is not None
        stats: dict[str, str | int | None] = {"epoch": state.epoch, "used": is_used}
        if state.in_use is None:
            return stats | {"reason": await self._reason_for_disuse(state)}
        await self.engine.wait_until_connected()
        counted = await self.engine.call("HGETALL", counts_of(state.in_use))
        pairs = zip(counted[::2], counted[1::2], strict=True)
        return stats | {name.decode(): int(count) for name, count in pairs}

    async def _reason_for_disuse(self, state: CacheState) -> str:
        """Why no epoch is in use, as a sentence."""
        try:
            await self.engine.wait_until_connected()
            await self.engine.call("SET", mark_of("try"), 1, "EX", 1)  # as a server would begin
        except CacheUnavailable as refusal:
            return str(refusal)
        if state.left > 0:
            return (
                f"It is suspended for {math.ceil(state.left)} s: a server wrote without it, it lost"
                " data, it was cleared, or the database was restarted or restored"
            )
        return "It can be reached from here, but no running server uses it"

    async def clear(self) -> None:
        """End the epoch, so that its entries are never read again."""
        state = await self._store.cache_state()
        if state.in_use is not None:
            await self._epoch.end(state.in_use)

    def forget_licence(self) -> None:
        """See `Epoch.forget_licence`."""
        self._epoch.forget_licence()

    async def close(self) -> None:
        """Finish the work in the background, and close the connection."""
        await self._epoch.close()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.engine.close()

    async def _on_poll(self, epoch: str, changed: list[tuple[str, str]]) -> None:
        """Drop the entries of values that were changed without us, and send the counts."""
        keys = [key for tenant, value in changed for key in self._keys(epoch, tenant, [value])]
        if keys:
            await run(self.engine, FORGET, keys)
        counts, self.counts = self.counts, Counts()
        for name, count in msgspec.structs.asdict(counts).items():
            if count:
                await self.engine.call("HINCRBY", counts_of(epoch), name, count)

    def _keys(self, epoch: str, tenant: str, values: Iterable[str]) -> list[bytes]:
        state = self._epoch.state
        assert state is not None  # noqa: S101 - an epoch is known from a state
        return keys_of(state.secret, epoch, tenant, values)

    def _soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run work in the background; its failure costs nothing but speed."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._breaker.failed()


def _holder(snapshot: Snapshot, observation: Observation) -> Identity:
    """The identity of an observation that brought nothing new."""
    email, phone = observation.email, observation.phone
    if email is not None:
        return snapshot.identities[snapshot.emails[email]]
    assert phone is not None  # noqa: S101 - an observation has one of the two
    return snapshot.identities[snapshot.phones[phone]]
