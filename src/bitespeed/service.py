"""The service: gathers what is waiting into batches, takes each through read, rule and commit.

Work is gathered, not delayed: a lone request is a batch of one at once; under load a batch is
whatever came while the ones before it were under way. There is no timer in the way.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar, cast

import msgspec

from bitespeed import erasing, rule
from bitespeed.caches.answers import AnswerCache, LookUp
from bitespeed.erasing import Held, Whom
from bitespeed.errors import (
    BitespeedError,
    Conflict,
    Contention,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    StoreUnavailable,
    TooManyRequests,
    Unavailable,
)
from bitespeed.growth import LARGE, Growth
from bitespeed.identifiers import Email, Observation, Phone
from bitespeed.identity import Answer, Changes, Committed, KeptAnswer, Receipt, Snapshot
from bitespeed.stores import Store
from bitespeed.watch import metrics, stages, traces
from bitespeed.watch.events import Asked, changed
from bitespeed.watch.failures import failed
from bitespeed.watch.requests import Request
from bitespeed.watch.stages import stage

T = TypeVar("T")

DEFAULT_TENANT = "default"

MAX_BATCH = 256  # observations; more would hold up the first of them without being any cheaper
MAX_IN_FLIGHT = 2  # batches; one is read and decided while the other one's commit reaches the disk
SECOND = 2  # times as many must wait as are under way before another batch begins beside one
MAX_ATTEMPTS = 12  # of a batch that others get in the way of; with the pauses about half a second
FIRST_PAUSE = 0.001  # seconds, doubled with each attempt and drawn at random below that ...
LONGEST_PAUSE = 0.1  # ... so that processes in each other's way part
MAX_LOOKS = 12  # at what is held about a person; each may show values to look for, mostly the first
ERASURE_ID = 16  # bytes
SECRET = 32  # bytes
SWEEP = 0.05  # seconds between looks for requests past their deadline


QUEUE = 10_000  # observations: a second of work or less, so that waiting is worth while
SHARE = 5_000  # of them for one tenant, so that others find room beside whoever sends the most
DEADLINE = 5.0  # seconds; callers give up by then


class Limits(msgspec.Struct, frozen=True):
    """What may wait, and for how long."""

    queue: int = QUEUE
    """Observations waiting or under way; beyond it requests are refused with `Overloaded`."""
    share: int = SHARE
    """The same of one tenant; beyond it, `TooManyRequests`."""
    deadline: float = DEADLINE
    """Seconds until a request is answered with `DeadlineExceeded`."""
    large: int = LARGE
    """Contacts of an identity from which on an alarm is raised."""


class Load:
    """What all services of a process bear together."""

    waiting = 0  # observations and look-ups, waiting or under way
    is_draining = False


Outcome = Answer | KeptAnswer | Exception
Work = LookUp | asyncio.Future[None]
"""What a batch is under way as."""


class _Pending(msgspec.Struct, eq=False):
    """A request that waits for its answer, until ``deadline`` on the event loop's clock."""

    observation: Observation
    tell: Callable[[Outcome], None]
    deadline: float
    request: Request | None
    made_at: int | None = None
    """When it was made, if that was before it came: see `Service.identify_all`."""
    is_settled: bool = False

    def settle(self, outcome: Outcome) -> None:
        """Tell it what came of it; once told, it stays with that."""
        if not self.is_settled:
            self.is_settled = True
            self.tell(outcome)


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
        self._limits = limits or Limits()
        self._load = load or Load()
        self._growth = Growth(self._limits.large)
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._batches: dict[Work, list[_Pending]] = {}
        self._under_way = 0  # in all batches together
        self._gathered: set[Work] = set()  # the batches that came from the queue
        self._is_gathering = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._unheard: set[asyncio.Task[Any]] = set()  # keeps what is under way from being lost
        self._drained: asyncio.Future[None] | None = None  # for whoever waits until nothing waits

    async def identify(self, observation: Observation, request: Request | None = None) -> Answer:
        """Who this is, once everything that had to be written is durable.

        Raises `Unavailable`; the observation may have been written all the same, and
        repeating it adds nothing.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        pending = self._accept(observation, partial(_settle, answer), request)
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
        self._accept(observation, tell, request)

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
        self._admit(len(observations))
        answers = [cast("asyncio.Future[Answer]", self._loop.create_future()) for _ in observations]
        pending = [
            _Pending(observation, partial(_settle, answer), self._deadline(), request, at)
            for observation, answer, at in zip_longest(observations, answers, made_at)
        ]
        self._begin(pending, self._task(self._run_in_turn(pending)))
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
            kept = erasing.not_erased(observations, made_at, erased_at)
            changes = rule.absorb(snapshot, kept)
            try:
                if changes:
                    committed = await self._store.commit(self._tenant, changes)
                    self._tell(changes, committed)
            except Conflict:
                await _step_aside(pause)
            else:
                return changes, len(observations) - len(kept)
        raise _contention()

    async def _erased_at(self, observations: Sequence[Observation]) -> Mapping[erasing.Value, int]:
        """When values that the observations name were erased, of those that were."""
        secret = (await self._store.tombstones(self._tenant)).secret
        if secret is None:
            return {}
        values = {v for o in observations for v in (o.email, o.phone) if v is not None}
        references = {value: erasing.reference(secret, self._tenant, value) for value in values}
        known = await self._store.tombstones(self._tenant, references.values())
        return {v: known.erased_at[r] for v, r in references.items() if r in known.erased_at}

    async def _without_erased(self, waiting: list[_Pending]) -> list[_Pending]:
        """Those that name nothing erased since they were made; the others are refused."""
        erased_at = await self._erased_at([pending.observation for pending in waiting])
        for pending in waiting:
            if erasing.is_erased(pending.observation, pending.made_at, erased_at):
                pending.settle(NotFound("Whom it names was erased after it was made"))
        return [pending for pending in waiting if not pending.is_settled]

    async def look_up(self, email: Email | None, phone: Phone | None) -> Answer:
        """The identity that holds the values, without writing anything. Raises `NotFound`."""
        snapshot = await self._bounded(
            self._store.read(
                self._tenant,
                emails=[email] if email else [],
                phones=[phone] if phone else [],
            )
        )
        return rule.look_up(snapshot, email, phone)

    async def contact(self, contact_id: int) -> Answer:
        """The identity that a live contact belongs to by now. Raises `NotFound`."""
        snapshot = await self._bounded(self._store.read(self._tenant, contact=contact_id))
        return rule.answer_for_contact(snapshot, contact_id)

    async def delete(self, contact_id: int, request: Request | None = None) -> None:
        """Delete one contact softly, see `rule.delete`. Raises `NotFound`."""
        await self._bounded(self._delete(contact_id, request))

    async def _delete(self, contact_id: int, request: Request | None) -> None:
        for pause in _pauses():
            snapshot = await self._store.read(self._tenant, contact=contact_id)
            changes = rule.delete(snapshot, contact_id)
            try:
                await self._commit(changes, snapshot, [(Observation(None, None), request)])
            except Conflict:
                await _step_aside(pause)
            else:
                return
        raise _contention()

    async def erase(self, whom: Whom, request: Request | None = None) -> Receipt:
        """Remove all that is held about a person, for good. Raises `NotFound` when nothing is."""
        return await self._bounded(self._erase(whom, request))

    async def _erase(self, whom: Whom, request: Request | None) -> Receipt:
        id_ = os.urandom(ERASURE_ID).hex()
        for pause in _pauses():
            person = await self.held(whom)
            known = await self._store.tombstones(self._tenant)
            secret = known.secret or os.urandom(SECRET).hex()
            erasure = erasing.erasure(self._tenant, person, id_, secret)
            changes, snapshot = erasing.erase(person, erasure), erasing.snapshot(person)
            try:
                committed = await self._commit(
                    changes, snapshot, [(Observation(None, None), request)]
                )
            except Conflict:
                await _step_aside(pause)
            else:
                return erasing.receipt(person, erasure, committed.at)
        raise _contention()

    async def held(self, whom: Whom) -> Held:
        """All that is held about a person, as of one instant. Raises `NotFound`."""
        asked = whom.values()
        for _ in range(MAX_LOOKS):
            found = await self._store.traces(self._tenant, asked, whom.contact)
            person = erasing.held(found, whom)
            if person.all_values <= asked:
                return person
            asked |= person.all_values
        raise _contention()

    async def ping(self) -> None:
        """Return when the store can answer and requests are accepted."""
        await self._bounded(self._store.ping())

    async def drain(self) -> None:
        """Refuse new requests and return when those accepted are answered, or past the deadline."""
        self._load.is_draining = True
        if self._waiting:
            self._drained = self._drained or self._loop.create_future()
            await asyncio.wait({self._drained}, timeout=self._limits.deadline)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _bounded(self, work: Coroutine[None, None, T]) -> T:
        """Wait until the deadline; work that takes longer goes on to its end unheard."""
        try:
            self._admit(1)
        except BaseException:
            work.close()
            raise
        task = self._loop.create_task(work)
        self._unheard.add(task)
        task.add_done_callback(self._heard)
        done, _ = await asyncio.wait({task}, timeout=self._limits.deadline)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise DeadlineExceeded("The database did not answer in time; try again")
        return task.result()

    def _heard(self, task: asyncio.Task[Any]) -> None:
        self._unheard.discard(task)
        self._load.waiting -= 1
        self._settled()

    # The queue

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here or is under way."""
        return not self._waiting

    @property
    def _waiting(self) -> int:
        """Observations and look-ups, waiting or under way."""
        return len(self._queue) + self._under_way + len(self._unheard)

    def _admit(self, count: int) -> None:
        """Count them as waiting in this process, or refuse them."""
        if self._load.is_draining:
            raise Unavailable("The service is shutting down")
        if self._load.waiting + count > self._limits.queue:
            raise Overloaded("Too many requests are waiting; try again in a moment")
        if self._waiting + count > self._limits.share:
            raise TooManyRequests("Too many of your requests are waiting; try again in a moment")
        self._load.waiting += count

    def _accept(
        self,
        observation: Observation,
        tell: Callable[[Outcome], None],
        request: Request | None,
    ) -> _Pending:
        self._admit(1)
        pending = _Pending(observation, tell, self._deadline(), request)
        self._queue.append(pending)
        self._start_soon()
        return pending

    def _deadline(self) -> float:
        return self._loop.time() + self._limits.deadline

    def _start_soon(self) -> None:
        """Begin a batch, unless enough are under way or the last one has yet to gather.

        Another one beside the first has to be worth it: fewer and larger batches are cheaper,
        but nobody is to wait long behind one that is held up.
        """
        waiting = len(self._queue)
        is_worth_it = waiting >= SECOND * self._under_way - 1
        if (
            waiting
            and is_worth_it
            and not self._is_gathering
            and len(self._gathered) < MAX_IN_FLIGHT
        ):
            self._is_gathering = True
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Take all that the event loop had at hand when the first one came, and settle it."""
        self._is_gathering = False
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
        found = self._look_up(batch, self._on_found)
        work = found or self._task(self._run_rest(batch, None))
        self._gathered.add(work)
        self._begin(batch, work)

    def _on_found(self, found: LookUp) -> None:
        """Answer at once what was in the cache."""
        batch = self._batches[found]
        try:
            rest = self._answer_known(batch, found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the store knows the answers too
            failed("cache.answers_failed", error)
            rest = [pending for pending in batch if not pending.is_settled]
        if rest:
            self._load.waiting += len(rest)  # once more: the end of the look-up takes all away
            work = self._task(self._run_rest(rest, found))
            self._gathered.add(work)
            self._begin(rest, work)
        self._finish(found)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that finishes a batch by its end."""
        task = self._loop.create_task(work)
        task.add_done_callback(self._finish)
        return task

    def _begin(self, batch: list[_Pending], work: Work) -> None:
        self._batches[work] = batch
        self._under_way += len(batch)
        metrics.queue.set(self._load.waiting)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    def _finish(self, work: Work) -> None:
        settled = len(self._batches.pop(work))
        self._under_way -= settled
        self._load.waiting -= settled
        self._gathered.discard(work)
        metrics.queue.set(self._load.waiting)
        self._start_soon()
        self._settled()

    def _settled(self) -> None:
        """Tell whoever waits for it when nothing waits here any more."""
        if self._drained is not None and not self._waiting and not self._drained.done():
            self._drained.set_result(None)

    def _sweep(self) -> None:
        """Refuse what is past its deadline."""
        now = self._loop.time()
        for waiting in (*self._batches.values(), self._queue):
            for pending in waiting:
                if pending.deadline > now:
                    break  # those behind it came later
                pending.settle(DeadlineExceeded("No answer was ready in time; try again"))
        is_busy = bool(self._batches or self._queue)
        self._sweeper = self._loop.call_later(SWEEP, self._sweep) if is_busy else None

    # A batch

    async def _run(self, batch: list[_Pending]) -> None:
        """Answer or refuse every one of the batch, whatever happens."""
        is_found = asyncio.Event()
        found = self._look_up(batch, lambda _: is_found.set())
        if found is not None:
            await is_found.wait()
            batch = self._answer_known(batch, found, in_turn=True)
        await self._run_rest(batch, found)

    def _look_up(self, batch: list[_Pending], tell: Callable[[LookUp], None]) -> LookUp | None:
        """Begin with a batch: in the cache, where there is one that may be asked."""
        stages.gathered(len(batch), self._loop.time() - self._came(batch))
        if self._cache is None:
            return None
        observations = [pending.observation for pending in batch]
        return self._cache.look_up(self._tenant, observations, tell)

    def _answer_known(
        self, batch: list[_Pending], found: LookUp, *, in_turn: bool = False
    ) -> list[_Pending]:
        """Those to whom the cache has no answer; ``in_turn``, also those behind the first of them,
        since it may bring something that they must show.
        """
        assert self._cache is not None  # noqa: S101 - where else would it have been found
        stages.looked_up(self._loop.time() - found.begun)
        rest: list[_Pending] = []
        known: list[_Pending] = []
        for pending, answer in zip(batch, self._cache.answers(found), strict=True):
            if answer is None or (in_turn and rest):
                rest.append(pending)
            else:
                pending.settle(answer)
                known.append(pending)
        if known and traces.is_on():
            with self._traced(known, found):
                pass
        return rest

    def _traced(self, batch: list[_Pending], found: LookUp | None) -> AbstractContextManager[None]:
        """The way of a batch as a trace, for those who look at traces."""
        begun = found and found.begun
        return stages.batch([pending.request for pending in batch], self._came(batch), begun)

    def _came(self, batch: list[_Pending]) -> float:
        """When the first one did, on the event loop's clock."""
        return batch[0].deadline - self._limits.deadline

    async def _run_rest(self, batch: list[_Pending], found: LookUp | None) -> None:
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

    async def _run_in_turn(self, pending: list[_Pending]) -> None:
        for start in range(0, len(pending), MAX_BATCH):
            await self._run(pending[start : start + MAX_BATCH])

    async def _run_halves(self, batch: list[_Pending], error: Exception) -> None:
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

    async def _settle(self, batch: list[_Pending], found: LookUp | None) -> None:
        """Read, decide, commit; again when somebody else was faster. Raises `Contention`."""
        waiting = batch
        for pause in _pauses() if batch else ():
            snapshot, waiting = await self._read(waiting)
            with stage("rule"):
                changes, replies = rule.identify(snapshot, [p.observation for p in waiting])
            settled: list[tuple[Observation, Answer]] = []
            unsettled: list[tuple[_Pending, rule.Reply]] = []
            for pending, reply in zip(waiting, replies, strict=True):
                if reply.is_settled:
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

    async def _read(self, waiting: list[_Pending]) -> tuple[Snapshot, list[_Pending]]:
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
        self._loop.call_soon(self._growth.notice, self._tenant, changes, committed)


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
