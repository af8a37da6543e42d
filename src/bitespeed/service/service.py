"""The service: takes what was gathered through cache, read, rule and commit, and answers it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import zip_longest
from typing import TypeVar, cast

from bitespeed.caches.answers import AnswerCache, LookUp
from bitespeed.errors import (
    BitespeedError,
    Conflict,
    Contention,
    NotFound,
    StoreUnavailable,
)
from bitespeed.model.changes import Changes, Committed, Receipt
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Snapshot
from bitespeed.rules.delete import delete
from bitespeed.rules.erase import (
    Subject,
    SubjectRecords,
    Value,
    erase,
    erasure_of,
    is_erased,
    not_erased,
    pseudonym,
    receipt_of,
    snapshot_of,
    subject_records,
)
from bitespeed.rules.identify import Reply, absorb, identify
from bitespeed.rules.look_up import answer_for_contact, look_up
from bitespeed.service.batching import MAX_BATCH, Gathering, Limits, Load, Outcome, Pending, Work
from bitespeed.stores.protocols import Store
from bitespeed.telemetry import metrics, stages, tracing
from bitespeed.telemetry.events import Asked, changed
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.large_identities import LargeIdentities
from bitespeed.telemetry.requests import Request
from bitespeed.telemetry.stages import stage

T = TypeVar("T")

DEFAULT_TENANT = "default"

MAX_ATTEMPTS = 12  # of a batch that others get in the way of; with the pauses about half a second
FIRST_PAUSE = 0.001  # seconds, doubled with each attempt and drawn at random below that ...
LONGEST_PAUSE = 0.1  # ... so that processes in each other's way part
MAX_LOOKS = 12  # at what is held about a person; each may show values to look for, mostly the first
ERASURE_ID = 16  # bytes
SECRET = 32  # bytes


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
        self._cache = cache
        self._tenant = tenant
        self._loop = asyncio.get_running_loop()
        limits = limits or Limits()
        self._large_identities = LargeIdentities(limits.large_identity)
        self._gathering = Gathering(self._start, limits, load or Load())

    async def identify(self, observation: Observation, request: Request | None = None) -> Answer:
        """Who this is, once everything that had to be written is durable.

        Raises `Unavailable`; the observation may have been written all the same, and
        repeating it adds nothing.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        pending = self._gathering.accept(observation, partial(_settle, answer), request)
        try:
            return await answer
        finally:
            pending.is_settled = True  # also when the caller has given up

    def submit(
        self,
        observation: Observation,
        tell: Callable[[Outcome], None],
        request: Request | None = None,
    ) -> None:
        """`identify`, whose outcome is told at some later turn of the event loop.

        Raises `Unavailable` or `TooManyRequests` when it cannot be accepted. ``tell`` must not
        raise.
        """
        self._gathering.accept(observation, tell, request)

    async def identify_all(
        self,
        observations: Sequence[Observation],
        request: Request | None = None,
        made_at: Sequence[int] = (),
    ) -> list[Answer | BitespeedError]:
        """`identify` for many, one after the other; each is answered or refused on its own.

        With ``made_at``, those that name what was erased since they were made write nothing and
        are `NotFound`.
        """
        self._gathering.admit(len(observations))
        answers = [cast("asyncio.Future[Answer]", self._loop.create_future()) for _ in observations]
        pending = [
            Pending(observation, partial(_settle, answer), self._gathering.deadline(), request, at)
            for observation, answer, at in zip_longest(observations, answers, made_at)
        ]
        self._gathering.begin(pending, self._gathering.task(self._run_in_turn(pending)))
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, Answer | BitespeedError):
                raise outcome
        return cast("list[Answer | BitespeedError]", outcomes)

    async def absorb(
        self, observations: Sequence[Observation], made_at: Sequence[int | None] = ()
    ) -> tuple[Changes, int]:
        """Write what the observations bring, without answers; returns what was new, and how many
        were left out because they name what has been erased since they were made.

        For imports: one read and one commit for all of them, so the caller chooses
        the size of the batch.
        """
        emails, phones = _identifiers(observations)
        for pause in _pauses():
            snapshot = await self._store.read(
                self._tenant, emails=emails, phones=phones, members=False
            )
            # After the read: who is erased from here on has changed since, which is a conflict.
            erased_at = await self._erased_at(observations)
            kept = not_erased(observations, made_at, erased_at)
            changes = absorb(snapshot, kept)
            try:
                if changes:
                    committed = await self._store.commit(self._tenant, changes)
                    self._tell(changes, committed)
            except Conflict:
                await _step_aside(pause)
            else:
                return changes, len(observations) - len(kept)
        raise _contention()

    async def _erased_at(self, observations: Sequence[Observation]) -> Mapping[Value, int]:
        """When values that the observations name were erased, of those that were."""
        secret = (await self._store.tombstones(self._tenant)).secret
        if secret is None:
            return {}
        values = {v for o in observations for v in (o.email, o.phone) if v is not None}
        pseudonyms = {value: pseudonym(secret, self._tenant, value) for value in values}
        known = await self._store.tombstones(self._tenant, pseudonyms.values())
        return {v: known.erased_at[r] for v, r in pseudonyms.items() if r in known.erased_at}

    async def _without_erased(self, waiting: list[Pending]) -> list[Pending]:
        """Those that name nothing erased since they were made; the others are refused."""
        erased_at = await self._erased_at([pending.observation for pending in waiting])
        for pending in waiting:
            if is_erased(pending.observation, pending.made_at, erased_at):
                pending.settle(NotFound("Subject it names was erased after it was made"))
        return [pending for pending in waiting if not pending.is_settled]

    async def look_up(self, email: Email | None, phone: Phone | None) -> Answer:
        """The identity that holds the values, without writing anything. Raises `NotFound`."""
        snapshot = await self._gathering.bounded(
            self._store.read(
                self._tenant,
                emails=[email] if email else [],
                phones=[phone] if phone else [],
            )
        )
        return look_up(snapshot, email, phone)

    async def contact(self, contact_id: int) -> Answer:
        """The identity that a live contact belongs to by now. Raises `NotFound`."""
        snapshot = await self._gathering.bounded(self._store.read(self._tenant, contact=contact_id))
        return answer_for_contact(snapshot, contact_id)

    async def delete(self, contact_id: int, request: Request | None = None) -> None:
        """Delete one contact softly, see `rule.delete`. Raises `NotFound`."""
        await self._gathering.bounded(self._delete(contact_id, request))

    async def _delete(self, contact_id: int, request: Request | None) -> None:
        for pause in _pauses():
            snapshot = await self._store.read(self._tenant, contact=contact_id)
            changes = delete(snapshot, contact_id)
            try:
                await self._commit(changes, snapshot, [(Observation(None, None), request)])
            except Conflict:
                await _step_aside(pause)
            else:
                return
        raise _contention()

    async def erase(self, subject: Subject, request: Request | None = None) -> Receipt:
        """Remove all that is held about a person, for good. Raises `NotFound` when nothing is."""
        return await self._gathering.bounded(self._erase(subject, request))

    async def _erase(self, subject: Subject, request: Request | None) -> Receipt:
        id_ = os.urandom(ERASURE_ID).hex()
        for pause in _pauses():
            person = await self.subject_records(subject)
            known = await self._store.tombstones(self._tenant)
            secret = known.secret or os.urandom(SECRET).hex()
            erasure = erasure_of(self._tenant, person, id_, secret)
            changes, snapshot = erase(person, erasure), snapshot_of(person)
            try:
                committed = await self._commit(
                    changes, snapshot, [(Observation(None, None), request)]
                )
            except Conflict:
                await _step_aside(pause)
            else:
                return receipt_of(person, erasure, committed.at)
        raise _contention()

    async def subject_records(self, subject: Subject) -> SubjectRecords:
        """All that is held about a person, as of one instant. Raises `NotFound`."""
        asked = subject.values()
        for _ in range(MAX_LOOKS):
            found = await self._store.records(self._tenant, asked, subject.contact)
            person = subject_records(found, subject)
            if person.all_values <= asked:
                return person
            asked |= person.all_values
        raise _contention()

    async def ping(self) -> None:
        """Return when the store can answer and requests are accepted."""
        await self._gathering.bounded(self._store.ping())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here or is under way."""
        return self._gathering.is_idle

    async def drain(self) -> None:
        """Refuse new requests and return when those accepted are answered, or past the deadline."""
        await self._gathering.drain()

    # A batch

    def _start(self, batch: list[Pending]) -> Work:
        """Begin to settle what was gathered."""
        found = self._look_up(batch, self._on_found)
        return found or self._gathering.task(self._run_rest(batch, None))

    def _on_found(self, found: LookUp) -> None:
        """Answer at once what was in the cache."""
        batch = self._gathering.batch(found)
        try:
            rest = self._answer_known(batch, found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the store knows the answers too
            failed("cache.answers_failed", error)
            rest = [pending for pending in batch if not pending.is_settled]
        if rest:
            self._gathering.go_on(rest, self._gathering.task(self._run_rest(rest, found)))
        self._gathering.finish(found)

    async def _run(self, batch: list[Pending]) -> None:
        """Answer or refuse every one of the batch, whatever happens."""
        is_found = asyncio.Event()
        found = self._look_up(batch, lambda _: is_found.set())
        if found is not None:
            await is_found.wait()
            batch = self._answer_known(batch, found, in_turn=True)
        await self._run_rest(batch, found)

    def _look_up(self, batch: list[Pending], tell: Callable[[LookUp], None]) -> LookUp | None:
        """Begin with a batch: in the cache, where there is one that may be asked."""
        stages.gathered(len(batch), self._loop.time() - self._gathering.came(batch))
        if self._cache is None:
            return None
        observations = [pending.observation for pending in batch]
        return self._cache.look_up(self._tenant, observations, tell)

    def _answer_known(
        self, batch: list[Pending], found: LookUp, *, in_turn: bool = False
    ) -> list[Pending]:
        """Those to whom the cache has no answer; ``in_turn``, also those behind the first of them,
        since it may bring something that they must show.
        """
        assert self._cache is not None  # noqa: S101 - where else would it have been found
        stages.looked_up(self._loop.time() - found.begun)
        rest: list[Pending] = []
        known: list[Pending] = []
        for pending, answer in zip(batch, self._cache.answers(found), strict=True):
            if answer is None or (in_turn and rest):
                rest.append(pending)
            else:
                pending.settle(answer)
                known.append(pending)
        if known and tracing.is_on():
            with self._traced(known, found):
                pass
        return rest

    def _traced(self, batch: list[Pending], found: LookUp | None) -> AbstractContextManager[None]:
        """The way of a batch as a trace, for those who look at tracing."""
        begun = found and found.begun
        return stages.batch(
            [pending.request for pending in batch], self._gathering.came(batch), begun
        )

    async def _run_rest(self, batch: list[Pending], found: LookUp | None) -> None:
        """`_run` for those to whom the cache has no answer."""
        batch = [pending for pending in batch if not pending.is_settled]
        if not batch:
            return
        try:
            with self._traced(batch, found):
                if self._cache is not None and found is not None:
                    await self._cache.lease(self._tenant, found)
                await self._settle(batch, found)
        except StoreUnavailable as refusal:
            for pending in batch:
                pending.settle(refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, only its own request may fail
            await self._run_halves(batch, error)

    async def _run_in_turn(self, pending: list[Pending]) -> None:
        for start in range(0, len(pending), MAX_BATCH):
            await self._run(pending[start : start + MAX_BATCH])

    async def _run_halves(self, batch: list[Pending], error: Exception) -> None:
        """Find the one that is in the way, so that it harms nobody else."""
        batch = [pending for pending in batch if not pending.is_settled]
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])
        elif batch and isinstance(error, BitespeedError):
            batch[0].settle(error)
        elif batch:
            failed("observation.undecided", error, batch[0].request)
            batch[0].settle(BitespeedError("Internal error"))

    async def _settle(self, batch: list[Pending], found: LookUp | None) -> None:
        """Read, decide, commit; again when somebody else was faster. Raises `Contention`."""
        waiting = batch
        for pause in _pauses() if batch else ():
            snapshot, waiting = await self._read(waiting)
            with stage("rule"):
                changes, replies = identify(snapshot, [p.observation for p in waiting])
            settled: list[tuple[Observation, Answer]] = []
            unsettled: list[tuple[Pending, Reply]] = []
            for pending, reply in zip(waiting, replies, strict=True):
                if not reply.needs_commit:
                    answer = reply.answer()
                    pending.settle(answer)
                    settled.append((pending.observation, answer))
                else:
                    unsettled.append((pending, reply))
            if self._cache is not None and found is not None:
                self._cache.fill_soon(self._tenant, found, snapshot, settled)
            if not unsettled:
                return
            try:
                asked = [(pending.observation, pending.request) for pending, _ in unsettled]
                committed = await self._commit(changes, snapshot, asked)
            except Conflict:
                await _step_aside(pause)
                waiting = [pending for pending, _ in unsettled if not pending.is_settled]
                continue
            for pending, reply in unsettled:
                pending.settle(reply.answer(committed))
            return
        raise _contention()

    async def _read(self, waiting: list[Pending]) -> tuple[Snapshot, list[Pending]]:
        """What the store has for them, and those of them who are to be answered from it."""
        emails, phones = _identifiers([pending.observation for pending in waiting])
        with stage("read"):
            snapshot = await self._store.read(self._tenant, emails=emails, phones=phones)
        if waiting and waiting[0].made_at is not None:  # after the read, as in `absorb`
            waiting = await self._without_erased(waiting)
        return snapshot, waiting

    async def _commit(self, changes: Changes, snapshot: Snapshot, asked: Asked) -> Committed:
        """See `Store.commit`; the cache is made consistent where there is one."""
        with stage("commit"):
            if self._cache is None:
                committed = await self._store.commit(self._tenant, changes)
            else:
                emails, phones = _identifiers([observation for observation, _ in asked])
                values = (*emails, *phones)
                committed = await self._cache.commit(self._tenant, changes, snapshot, values)
        self._tell(changes, committed, asked)
        return committed

    def _tell(self, changes: Changes, committed: Committed, asked: Asked = ()) -> None:
        """Tell of a commit at the next turn of the loop: those who wait for its outcome come first.

        What they are sent leaves at the end of this one.
        """
        self._loop.call_soon(changed, self._tenant, changes, committed, asked)
        self._loop.call_soon(self._large_identities.notice, self._tenant, changes, committed)


def _pauses() -> Iterator[float]:
    """The longest pause after each attempt that others were in the way of."""
    longest = FIRST_PAUSE
    for _ in range(MAX_ATTEMPTS):
        yield longest
        longest = min(2 * longest, LONGEST_PAUSE)


def _settle(answer: asyncio.Future[Answer], outcome: Outcome) -> None:
    if answer.done():
        return  # its caller has given up
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome if isinstance(outcome, Answer) else outcome.answer())


async def _step_aside(longest: float) -> None:
    """Let those who were faster go ahead."""
    from random import uniform  # not at each start of a Lambda function

    metrics.conflicts.add()
    await asyncio.sleep(uniform(0, longest))  # noqa: S311 - no secret


def _contention() -> Contention:
    metrics.contentions.add()
    return Contention("Others keep changing the same identity; try again")


def _identifiers(observations: Sequence[Observation]) -> tuple[list[Email], list[Phone]]:
    return (
        list({o.email for o in observations if o.email is not None}),
        list({o.phone for o in observations if o.phone is not None}),
    )
