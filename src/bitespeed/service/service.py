"""The service: one method for each operation on the identities of a tenant.

A write is `until_committed` over an attempt that reads, decides and commits. `pipeline.py` has the
way of `identify`, which takes what is waiting in batches.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

from bitespeed.caches.answers import AnswerCache
from bitespeed.errors import BitespeedError
from bitespeed.model.changes import Changes, ErasureCounts, Receipt
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Identity, Snapshot
from bitespeed.model.sources import NO_SOURCE, Source
from bitespeed.rules.answer import consolidate
from bitespeed.rules.delete import delete
from bitespeed.rules.look_up import find_contact, identity_of
from bitespeed.service.attempts import until_committed
from bitespeed.service.batching import MAX_BATCH_CONTACTS, Budget, Limits, Load, Outcome, Pending
from bitespeed.service.commits import Commits
from bitespeed.service.large_answers import LARGE_ANSWER, MAX_SMALL, too_large
from bitespeed.service.pipeline import Pipeline
from bitespeed.service.sources import of_request
from bitespeed.stores.protocols import Store
from bitespeed.telemetry.requests import Request
from bitespeed.tenant import DEFAULT_TENANT

if TYPE_CHECKING:
    from bitespeed.model.facts import Happening
    from bitespeed.rules.erase import Subject, SubjectRecords
    from bitespeed.service.explanations import End, Explanations, Why
    from bitespeed.service.merges import MergesPage, WantedMerges


class Service:
    """Identity reconciliation for one tenant on one store; lives on one event loop."""

    def __init__(
        self,
        store: Store,
        *,
        tenant: str = DEFAULT_TENANT,
        limits: Limits | None = None,
        cache: AnswerCache | None = None,
        load: Load | None = None,
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._loop = asyncio.get_running_loop()
        limits = limits or Limits()
        self._commits = Commits(store, cache, tenant, limits.large_identity)
        load = load or Load()
        self._large = load.large_answers
        self._max_answer = limits.max_answer
        self._pipeline = Pipeline(store, cache, self._commits, tenant, limits, load)
        self._batching = self._pipeline.batching

    async def identify(
        self,
        observation: Observation,
        request: Request | None = None,
        source: Source = NO_SOURCE,
    ) -> Answer:
        """The identity of the observation, once everything that had to be written is durable.

        What is new is kept as of ``source``, and of ``request``.

        Raises `Unavailable`; the observation may have been written all the same, and repeating it
        adds nothing.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        on_done = partial(_resolve, answer)
        pending = self._batching.accept(observation, on_done, request, source)
        try:
            return await answer
        finally:
            pending.is_resolved = True  # also when the caller has given up

    def submit(
        self,
        observation: Observation,
        on_done: Callable[[Outcome], None],
        request: Request | None = None,
        source: Source = NO_SOURCE,
    ) -> None:
        """`identify` with a callback, which gets the outcome at a later turn of the event loop.

        ``on_done`` must not raise. Raises `Unavailable` or `TooManyRequests` when the observation
        cannot be accepted.
        """
        self._batching.accept(observation, on_done, request, source)

    async def identify_all(
        self,
        observations: Sequence[Observation],
        request: Request | None = None,
        made_at: Sequence[int] = (),
        source: Source = NO_SOURCE,
    ) -> list[Answer | BitespeedError]:
        """`identify` for many, one after the other: an answer or a refusal for each. It is
        `AnswerTooLarge` where the answers before it leave no room.

        With ``made_at``, an observation that names a value erased since it was made writes nothing
        and gets `NotFound`.
        """
        self._batching.admit(len(observations))
        answers = [cast("asyncio.Future[Answer]", self._loop.create_future()) for _ in observations]
        budget = Budget(MAX_BATCH_CONTACTS)
        deadline = self._batching.deadline()
        pending = [
            Pending(observation, partial(_resolve, answer), deadline, request, at, source, budget)
            for observation, answer, at in zip_longest(observations, answers, made_at)
        ]
        self._batching.begin(pending, self._batching.task(self._pipeline.run_in_turn(pending)))
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, Answer | BitespeedError):
                raise outcome
        return cast("list[Answer | BitespeedError]", outcomes)

    async def absorb(
        self,
        observations: Sequence[Observation],
        made_at: Sequence[int | None] = (),
        rows: Sequence[int] | None = None,
        source: Source = NO_SOURCE,
    ) -> tuple[Changes, int]:
        """Write what the observations bring, without answers; for imports.

        A contact is as old as its observation, which was made at one of ``made_at``, in
        microseconds since 1970; None for as of the commit. Returns what was new, and how many
        observations were left out since they name a value that was erased after they were made.
        With ``rows``, the number of the row that each observation is from, whole rows are left out
        and counted. All of them are one read and one commit, so the caller chooses the size of the
        batch.
        """
        from bitespeed.service.imports import Absorbing  # not at a cold start of a Lambda function

        absorbing = Absorbing(self._store, self._commits, self._tenant, source)
        return await absorbing.absorb(observations, made_at, rows)

    async def look_up(self, email: Email | None, phone: Phone | None) -> Answer:
        """The identity that the values belong to; writes nothing. Raises `NotFound`."""
        emails, phones = [email] if email else [], [phone] if phone else []
        read = partial(self._store.read, self._tenant, emails=emails, phones=phones)
        find = partial(identity_of, email=email, phone=phone)
        return await self._batching.bounded(self._answer_of(read, find, *emails, *phones))

    async def contact(self, contact_id: int) -> Answer:
        """The identity that a live contact belongs to by now. Raises `NotFound`."""
        read = partial(self._store.read, self._tenant, contact=contact_id)

        def find(snapshot: Snapshot) -> Identity:
            identity, _ = find_contact(snapshot, contact_id)
            return identity

        return await self._batching.bounded(self._answer_of(read, find, contact_id))

    async def _answer_of(
        self,
        read: Callable[..., Awaitable[Snapshot]],
        find: Callable[[Snapshot], Identity],
        *values: str | int,
    ) -> Answer:
        """The answer for the identity that ``find`` finds by the values in what ``read`` reads. A
        large one is read in turn.
        """
        if not self._large or self._large.primary_of(self._tenant, values) is None:
            snapshot = await read(max_contacts=MAX_SMALL)
            if all(identity.contacts <= MAX_SMALL for identity in snapshot.identities.values()):
                return await self._consolidated(find(snapshot), *values)
            del snapshot  # perhaps with all contacts, while this waits
        async with self._large.turn:
            return await self._consolidated(find(await read()), *values)

    async def _consolidated(self, identity: Identity, *values: str | int) -> Answer:
        """The answer for an identity that was found by the values. Raises `AnswerTooLarge`."""
        self._large.remember(self._tenant, values, identity.primary_id, identity.contacts)
        if self._max_answer is not None:
            refusal = too_large(self._max_answer, identity.contacts, identity.primary_id)
            if refusal is not None:
                raise refusal
        if identity.contacts < LARGE_ANSWER:
            return consolidate(identity.members)
        make = partial(consolidate, identity.members)
        return await self._large.answer(self._tenant, identity.stamp, make)

    async def why(self, one: "End", other: "End", as_of: int | None = None) -> "Why":
        """See `Explanations.why`."""
        return await self._batching.bounded(self._explanations().why(one, other, as_of))

    async def contact_as_of(self, contact: int, as_of: int) -> Answer:
        """See `Explanations.contact_as_of`."""
        return await self._batching.bounded(self._explanations().contact_as_of(contact, as_of))

    async def history(self, contact: int, after: int, limit: int) -> "list[Happening]":
        """See `Explanations.history`."""
        return await self._batching.bounded(self._explanations().history(contact, after, limit))

    async def merges(self, wanted: "WantedMerges") -> "MergesPage":
        """See `service.merges.read_merges`."""
        from bitespeed.service.merges import read_merges  # as above

        return await self._batching.bounded(read_merges(self._store, self._tenant, wanted))

    def _explanations(self) -> "Explanations":
        from bitespeed.service.explanations import Explanations  # as above

        return Explanations(self._store, self._tenant)

    async def delete(
        self, contact_id: int, request: Request | None = None, source: Source = NO_SOURCE
    ) -> None:
        """Delete one contact softly, see `rules.delete`. Raises `NotFound`."""

        async def attempt() -> None:
            snapshot = await self._store.read(self._tenant, contact=contact_id)
            changes = delete(snapshot, contact_id, of_request(source, request))
            await self._commits.commit(changes, snapshot, request=request)

        await self._batching.bounded(until_committed(attempt))

    async def erase(
        self,
        subject: "Subject",
        request: Request | None = None,
        agreed: ErasureCounts | None = None,
    ) -> Receipt:
        """Remove all records about a person. Raises `NotFound` when there are none.

        With ``agreed``, from `erasure_counts`, raises `InvalidInput` and removes nothing if that is
        no longer exactly how much would be removed.
        """
        from bitespeed.service.erasures import erase_subject  # as above

        return await self._batching.bounded(
            erase_subject(self._store, self._commits, self._tenant, subject, request, agreed)
        )

    async def erasure_counts(self, subject: "Subject") -> ErasureCounts:
        """How much `erase` would remove; writes nothing. Raises `NotFound` when that is nothing."""
        from bitespeed.rules.erase import counts_of  # as above

        return counts_of(await self._batching.bounded(self.subject_records(subject)))

    async def subject_records(self, subject: "Subject") -> "SubjectRecords":
        """All records about a person, as of one instant. Raises `NotFound` when there are none."""
        from bitespeed.service.erasures import read_subject_records  # as above

        return await read_subject_records(self._store, self._tenant, subject)

    async def ping(self) -> None:
        """Return when the store can answer and requests are accepted."""
        await self._batching.bounded(self._store.ping())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or is in flight here."""
        return self._batching.is_idle

    async def drain(self) -> None:
        """Refuse new requests, and return when the accepted ones are answered or overdue."""
        await self._batching.drain()


def _resolve(answer: asyncio.Future[Answer], outcome: Outcome) -> None:
    if answer.done():
        return  # its caller has given up
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome if isinstance(outcome, Answer) else outcome.answer())
