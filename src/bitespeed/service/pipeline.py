"""The way of a batch: cache, read, rule, commit, answers."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from bitespeed.caches.answers import AnswerCache, Lookup
from bitespeed.errors import BitespeedError, NotFound, StoreUnavailable, Unexpected
from bitespeed.model.identifiers import Observation, emails_and_phones
from bitespeed.model.identity import Answer, Snapshot
from bitespeed.rules.identify import Reply, identify
from bitespeed.service.attempts import until_committed
from bitespeed.service.batching import MAX_BATCH, Batching, Limits, Load, Pending, Work
from bitespeed.service.commits import Commits
from bitespeed.stores.protocols import Store
from bitespeed.telemetry import stages, tracing
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.stages import stage


class Pipeline:
    """Answers the batches of one tenant; lives on one event loop."""

    def __init__(
        self,
        store: Store,
        cache: AnswerCache | None,
        commits: Commits,
        tenant: str,
        limits: Limits,
        load: Load,
    ) -> None:
        self._store = store
        self._cache = cache
        self._commits = commits
        self._tenant = tenant
        self._loop = asyncio.get_running_loop()
        self.batching = Batching(self._start, limits, load)

    async def run_in_turn(self, pending: list[Pending]) -> None:
        """Answer or refuse all of them, in their order, `MAX_BATCH` at a time."""
        for start in range(0, len(pending), MAX_BATCH):
            await self._run(pending[start : start + MAX_BATCH])

    def _start(self, batch: list[Pending]) -> Work:
        """Begin to answer a batch; returns what it is in flight under."""
        lookup = self._look_up(batch, self._on_lookup)
        return lookup or self.batching.task(self._run_rest(batch, None))

    def _on_lookup(self, lookup: Lookup) -> None:
        """Answer from the cache at once, and go on with the rest of the batch."""
        batch = self.batching.batch(lookup)
        try:
            rest = self._answer_cached(batch, lookup)
        except Exception as error:  # noqa: BLE001 - whatever it is, the store knows the answers too
            failed("cache.answers_failed", error)
            rest = [pending for pending in batch if not pending.is_resolved]
        if rest:
            self.batching.continue_with(rest, self.batching.task(self._run_rest(rest, lookup)))
        self.batching.finish(lookup)

    async def _run(self, batch: list[Pending]) -> None:
        """Answer or refuse all of the batch, whatever happens."""
        is_there = asyncio.Event()
        lookup = self._look_up(batch, lambda _: is_there.set())
        if lookup is not None:
            await is_there.wait()
            batch = self._answer_cached(batch, lookup, in_turn=True)
        await self._run_rest(batch, lookup)

    def _look_up(self, batch: list[Pending], on_lookup: Callable[[Lookup], None]) -> Lookup | None:
        """Begin to look a batch up in the cache; None if there is none to use."""
        stages.gathered(len(batch), self._loop.time() - self.batching.first_arrival(batch))
        if self._cache is None:
            return None
        observations = [pending.observation for pending in batch]
        return self._cache.look_up(self._tenant, observations, on_lookup)

    def _answer_cached(
        self, batch: list[Pending], lookup: Lookup, *, in_turn: bool = False
    ) -> list[Pending]:
        """Answer what the cache has an answer for, and return the rest.

        ``in_turn``, the rest includes everything behind the first miss, since the miss may bring
        something that later answers must show.
        """
        assert self._cache is not None  # noqa: S101 - it has made the look-up
        stages.record_lookup(self._loop.time() - lookup.begun)
        rest: list[Pending] = []
        hits: list[Pending] = []
        for pending, answer in zip(batch, self._cache.answers(lookup), strict=True):
            if answer is None or (in_turn and rest):
                rest.append(pending)
            else:
                pending.resolve(answer)
                hits.append(pending)
        if hits and tracing.is_on():
            with self._traced(hits, lookup):
                pass
        return rest

    def _traced(self, batch: list[Pending], lookup: Lookup | None) -> AbstractContextManager[None]:
        """A span for the batch, where tracing is on."""
        begun = lookup and lookup.begun
        return stages.batch(
            [pending.request for pending in batch], self.batching.first_arrival(batch), begun
        )

    async def _run_rest(self, batch: list[Pending], lookup: Lookup | None) -> None:
        """Answer or refuse what the cache has no answer for, whatever happens."""
        batch = [pending for pending in batch if not pending.is_resolved]
        if not batch:
            return
        try:
            with self._traced(batch, lookup):
                if self._cache is not None and lookup is not None:
                    await self._cache.lease(self._tenant, lookup)
                await until_committed(partial(self._decide_and_commit, batch, lookup))
        except StoreUnavailable as refusal:
            for pending in batch:
                pending.resolve(refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, only its own request may fail
            await self._run_halves(batch, error)

    async def _run_halves(self, batch: list[Pending], error: Exception) -> None:
        """Try halves of a batch that failed, so that one bad observation fails alone."""
        batch = [pending for pending in batch if not pending.is_resolved]
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])
        elif batch and isinstance(error, BitespeedError):
            batch[0].resolve(error)
        elif batch:
            failed("observation.undecided", error, batch[0].request)
            batch[0].resolve(Unexpected())

    async def _decide_and_commit(self, batch: list[Pending], lookup: Lookup | None) -> None:
        """One attempt to answer what is unanswered of a batch. Raises `Conflict`."""
        waiting = [pending for pending in batch if not pending.is_resolved]
        if not waiting:
            return
        snapshot, waiting = await self._read(waiting)
        with stage("rule"):
            changes, replies = identify(snapshot, [p.observation for p in waiting])
        uncommitted = self._answer_from_snapshot(waiting, replies, snapshot, lookup)
        if not uncommitted:
            return
        origins = [(pending.observation, pending.request) for pending, _ in uncommitted]
        committed = await self._commits.commit(changes, snapshot, origins)
        for pending, reply in uncommitted:
            pending.resolve(reply.answer(committed))

    def _answer_from_snapshot(
        self,
        waiting: list[Pending],
        replies: list[Reply],
        snapshot: Snapshot,
        lookup: Lookup | None,
    ) -> list[tuple[Pending, Reply]]:
        """Send the replies that need no commit, cache their answers, and return the others."""
        answers: list[tuple[Observation, Answer]] = []
        uncommitted: list[tuple[Pending, Reply]] = []
        for pending, reply in zip(waiting, replies, strict=True):
            if reply.needs_commit:
                uncommitted.append((pending, reply))
            else:
                answer = reply.answer()
                pending.resolve(answer)
                answers.append((pending.observation, answer))
        if self._cache is not None and lookup is not None:
            self._cache.fill_soon(self._tenant, lookup, snapshot, answers)
        return uncommitted

    async def _read(self, waiting: list[Pending]) -> tuple[Snapshot, list[Pending]]:
        """The store's snapshot, and those of ``waiting`` that may be decided on it."""
        emails, phones = emails_and_phones([pending.observation for pending in waiting])
        with stage("read"):
            snapshot = await self._store.read(self._tenant, emails=emails, phones=phones)
        # Look up tombstones after the read. If an erasure commits later, it has changed an identity
        # that we read, so our commit conflicts and we decide again.
        if waiting[0].made_at is not None:
            waiting = await self._refuse_erased(waiting)
        return snapshot, waiting

    async def _refuse_erased(self, waiting: list[Pending]) -> list[Pending]:
        """Refuse what names a value erased after the observation was made; return the rest."""
        # Only what waited in a queue comes here: not at a cold start of a Lambda function.
        from bitespeed.rules.erase import is_erased
        from bitespeed.service.erasures import read_erasures

        observations = [pending.observation for pending in waiting]
        erased_at = await read_erasures(self._store, self._tenant, observations)
        for pending in waiting:
            if is_erased(pending.observation, pending.made_at, erased_at):
                pending.resolve(NotFound("The person was erased after this observation was made"))
        return [pending for pending in waiting if not pending.is_resolved]
