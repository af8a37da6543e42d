"""The way of a batch: cache, read, rule, commit, answers."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from bitespeed.caches.answers import AnswerCache, Lookup
from bitespeed.caches.entries import values_of
from bitespeed.errors import (
    AnswerTooLarge,
    BitespeedError,
    NotFound,
    StoreUnavailable,
    Unexpected,
)
from bitespeed.model.changes import Committed
from bitespeed.model.identifiers import Observation, emails_and_phones
from bitespeed.model.identity import Answer, KeptAnswer, Snapshot
from bitespeed.model.sources import Source
from bitespeed.rules.draft import Reply
from bitespeed.rules.identify import identify
from bitespeed.service.attempts import until_committed
from bitespeed.service.batching import MAX_BATCH, Batching, Limits, Load, Pending, Work
from bitespeed.service.commits import Commits
from bitespeed.service.large_answers import (
    LARGE_ANSWER,
    MAX_SMALL,
    MetLarge,
    batch_too_large,
    too_large,
)
from bitespeed.service.sources import of_request
from bitespeed.stores.protocols import Store
from bitespeed.telemetry import stages, tracing
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.stages import stage


class _Sources:
    """The source of each observation of a batch, made when one is asked for."""

    def __init__(self, batch: list[Pending]) -> None:
        self._batch = batch

    def __getitem__(self, place: int, /) -> Source:
        pending = self._batch[place]
        return of_request(pending.source, pending.request)


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
        self._large = load.large_answers
        self._max_answer = limits.max_answer
        self._max_simple = min(LARGE_ANSWER - 1, limits.max_answer or LARGE_ANSWER)
        self.batching = Batching(self._start, self._set_aside, limits, load)

    async def run_in_turn(self, pending: list[Pending]) -> None:
        """Answer or refuse all of them, in their order, `MAX_BATCH` at a time."""
        for start in range(0, len(pending), MAX_BATCH):
            batch = pending[start : start + MAX_BATCH]
            if not self._are_large(batch):
                await self._run(batch)
                continue
            await self._find_large(batch)
            for part in self._parts(batch):
                await self._run_large(part, self._run)

    async def _find_large(self, batch: list[Pending]) -> None:
        """Remember all large identities of a batch that has one, so that its parts are few."""
        others = [p.observation for p in batch if self._large_identity(p) is None]
        if others:
            emails, phones = emails_and_phones(others)
            try:
                snapshot = await self._store.read(
                    self._tenant, emails=emails, phones=phones, members=False
                )
            except Exception:  # noqa: BLE001 - the next read fails too, or all is well
                return
            self._large.remember_read(self._tenant, snapshot)

    def _parts(self, batch: list[Pending]) -> Iterator[list[Pending]]:
        """Parts of the batch, in its order, each with one large identity at most."""
        part: list[Pending] = []
        identity: int | None = None
        for pending in batch:
            other = self._large_identity(pending)
            if other is not None and identity is not None and other != identity:
                yield part
                part = []
            part.append(pending)
            identity = other or identity
        yield part

    def _set_aside(self, batch: list[Pending], *, is_in_flight: bool = False) -> list[Pending]:
        """Begin to answer those with a large identity, one after the other; return the others."""
        if not self._are_large(batch):
            return batch
        by_identity: defaultdict[int | None, list[Pending]] = defaultdict(list)
        for pending in batch:
            by_identity[self._large_identity(pending)].append(pending)
        others = by_identity.pop(None, [])
        large = [pending for part in by_identity.values() for pending in part]
        if large:
            task = self.batching.task(self._run_each([*by_identity.values()]))
            self.batching.begin(large, task, again=is_in_flight)
        return others

    async def _run_each(self, batches: list[list[Pending]]) -> None:
        for batch in batches:
            await self._run_large(batch, partial(self._run_rest, lookup=None))

    async def _run_large(
        self, batch: list[Pending], run: Callable[[list[Pending]], Awaitable[None]]
    ) -> None:
        """Run a batch with a large identity when it is its turn."""
        for pending in batch:
            pending.is_set_aside = True
        async with self._large.turn:
            await run(batch)

    def _are_large(self, batch: list[Pending]) -> bool:
        """Whether any of the batch is known to have a large identity."""
        return bool(self._large) and any(self._large_identity(p) is not None for p in batch)

    def _large_identity(self, pending: Pending) -> int | None:
        """What is remembered of the values' large identity; None if nothing is."""
        return self._large.primary_of(self._tenant, values_of(pending.observation))

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
                pending.resolve(self._refused_kept(answer) or answer)
                hits.append(pending)
        if hits and tracing.is_on():
            with self._traced(hits, lookup):
                pass
        return rest

    def _refused_kept(self, answer: KeptAnswer) -> AnswerTooLarge | None:
        """The refusal of an answer that the cache has, if it is too large."""
        if self._max_answer is None:
            return None
        ids = bytes(answer.secondary_ids)
        contacts = 1 + ids.count(b",") + (ids != b"[]")
        return too_large(self._max_answer, contacts, answer.primary_id)

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
        has_met_large = False
        try:
            with self._traced(batch, lookup):
                if self._cache is not None and lookup is not None:
                    await self._cache.lease(self._tenant, lookup)
                await until_committed(partial(self._decide_and_commit, batch, lookup))
        except MetLarge:
            has_met_large = True
        except StoreUnavailable as refusal:
            for pending in batch:
                pending.resolve(refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, only its own request may fail
            await self._run_halves(batch, error)
        if has_met_large:  # no longer while the exception is handled, which holds what was read
            await self._run_in_turn_at_last(batch)

    async def _run_in_turn_at_last(self, batch: list[Pending]) -> None:
        """Begin anew with a batch that has turned out to have a large identity."""
        batch = [pending for pending in batch if not pending.is_resolved]
        if not batch:
            return
        if batch[0].budget is None:
            await self._run_rest(self._set_aside(batch, is_in_flight=True), None)
        else:
            await self.run_in_turn(batch)

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
            observations = [pending.observation for pending in waiting]
            changes, replies = identify(snapshot, observations, _Sources(waiting))
        certain: list[tuple[Pending, Reply]] = []
        uncommitted: list[tuple[Pending, Reply]] = []
        for pending, reply in zip(waiting, replies, strict=True):
            if reply.needs_commit:
                uncommitted.append((pending, reply))
            else:
                certain.append((pending, reply))
        answers = await self._answer(certain) if certain else []
        if self._cache is not None and lookup is not None:
            self._cache.fill_soon(self._tenant, lookup, snapshot, answers)
        if not uncommitted:
            return
        origins = [(pending.observation, pending.request) for pending, _ in uncommitted]
        committed = await self._commits.commit(changes, snapshot, origins)
        await self._answer(uncommitted, committed)

    async def _answer(
        self, decided: list[tuple[Pending, Reply]], committed: Committed | None = None
    ) -> list[tuple[Observation, Answer]]:
        """Send the replies to observations that are decided, and return the answers that the cache
        may keep: not those of a commit, which has fenced them.

        Small ones are sent at once. The others follow one by one, each unless it is too large.
        """
        answers: list[tuple[Observation, Answer]] = []
        rest: list[tuple[Pending, Reply]] = []
        limit = self._max_simple
        for pending, reply in decided:
            if reply.contacts <= limit and pending.budget is None and not pending.is_set_aside:
                answer = reply.answer(committed)
                pending.resolve(answer)
                if committed is None:
                    answers.append((pending.observation, answer))
            else:
                rest.append((pending, reply))
        if rest:
            answers += await self._answer_bounded(rest, committed)
        return answers

    async def _answer_bounded(
        self, decided: list[tuple[Pending, Reply]], committed: Committed | None
    ) -> list[tuple[Observation, Answer]]:
        """`_answer` for what may be large: equal replies together, then their answer is let go."""
        answers: list[tuple[Observation, Answer]] = []
        equal: defaultdict[int, list[tuple[Pending, Reply]]] = defaultdict(list)
        for pending, reply in decided:
            equal[id(reply)].append((pending, reply))
        for pairs in equal.values():
            for pending, reply in pairs:
                if pending.is_resolved:
                    continue
                primary_id = reply.primary_id(committed)
                values = values_of(pending.observation)
                self._large.remember(self._tenant, values, primary_id, reply.contacts)
                refusal = self._refused(pending, reply, primary_id)
                if refusal is not None:
                    pending.resolve(refusal)
                    continue
                is_large = reply.contacts >= LARGE_ANSWER
                if is_large and reply.last_answer is None:
                    make = partial(reply.answer, committed)
                    reply.last_answer = await self._large.answer(self._tenant, reply.stamp, make)
                answer = reply.answer(committed)
                pending.resolve(answer)
                if not is_large:  # the cache keeps no large ones
                    answers.append((pending.observation, answer))
            pairs[0][1].last_answer = None
        return answers

    def _refused(self, pending: Pending, reply: Reply, primary_id: int) -> AnswerTooLarge | None:
        """The refusal of an answer that is too large, alone or together with others."""
        if self._max_answer is not None:
            refusal = too_large(self._max_answer, reply.contacts, primary_id)
            if refusal is not None:
                return refusal
        if pending.budget is None or reply.last_answer is not None:
            return None
        return None if pending.budget.take(reply.contacts) else batch_too_large(primary_id)

    async def _read(self, waiting: list[Pending]) -> tuple[Snapshot, list[Pending]]:
        """The store's snapshot, and those of ``waiting`` that may be decided on it. Raises
        `MetLarge` if an identity is large and it is not its turn.
        """
        emails, phones = emails_and_phones([pending.observation for pending in waiting])
        limit = None if waiting[0].is_set_aside else MAX_SMALL
        with stage("read"):
            snapshot = await self._store.read(
                self._tenant, emails=emails, phones=phones, max_contacts=limit
            )
        if limit is not None and self._large.remember_read(self._tenant, snapshot):
            raise MetLarge
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
