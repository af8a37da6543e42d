"""The service: gathers what is waiting into batches, takes each through read, rule and commit.

Work is gathered, not delayed: a lone request is a batch of one at once; under load a batch is
whatever came while the ones before it were under way. There is no timer in the way.
"""

import asyncio
import logging
import random
import traceback
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from bitespeed import rule
from bitespeed.caches.answers import AnswerCache, LookUp
from bitespeed.errors import (
    BitespeedError,
    Conflict,
    Contention,
    DeadlineExceeded,
    Overloaded,
    StoreUnavailable,
    Unavailable,
)
from bitespeed.identifiers import Email, Observation, Phone
from bitespeed.identity import Answer, Changes, Committed, Snapshot
from bitespeed.stores import Store

T = TypeVar("T")

log = logging.getLogger(__name__)

_CONTENTION = "Others keep changing the same identity; try again"

DEFAULT_TENANT = "default"

MAX_BATCH = 256  # observations; more would hold up the first of them without being any cheaper
MAX_IN_FLIGHT = 2  # batches; one is read and decided while the other one's commit reaches the disk
SECOND = 2  # times as many must wait as are under way before another batch begins beside one
MAX_ATTEMPTS = 12  # of a batch that others get in the way of; with the pauses about half a second
FIRST_PAUSE = 0.001  # seconds, doubled with each attempt and drawn at random below that ...
LONGEST_PAUSE = 0.1  # ... so that processes in each other's way part
SWEEP = 0.05  # seconds between looks for requests past their deadline


QUEUE = 10_000  # observations: a second of work or less, so that waiting is worth while
DEADLINE = 5.0  # seconds; callers give up by then


@dataclass(frozen=True)
class Limits:
    """What may wait, and for how long."""

    queue: int = QUEUE
    """Observations waiting or under way; beyond it requests are refused with `Overloaded`."""
    deadline: float = DEADLINE
    """Seconds until a request is answered with `DeadlineExceeded`."""


class _Pending(msgspec.Struct, eq=False):
    """A request that waits for its answer, until ``deadline`` on the event loop's clock."""

    observation: Observation
    answer: asyncio.Future[Answer]
    deadline: float

    def succeed(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Service:
    """Identity reconciliation for one tenant on one store; lives on one event loop."""

    def __init__(
        self,
        store: Store,
        *,
        tenant: str = DEFAULT_TENANT,
        limits: Limits | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._tenant = tenant
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._batches: dict[asyncio.Task[None], list[_Pending]] = {}
        self._waiting = 0  # in the queue or in a batch
        self._in_flight = 0  # batches gathered from the queue
        self._is_gathering = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._unheard: set[asyncio.Task[Any]] = set()  # keeps what is under way from being lost

    async def identify(self, observation: Observation) -> Answer:
        """Who this is, once everything that had to be written is durable.

        Raises `Unavailable`; the observation may have been written all the same, and
        repeating it adds nothing.
        """
        return await self.submit(observation)

    def submit(self, observation: Observation) -> asyncio.Future[Answer]:
        """`identify`, to be waited for. Raises `Unavailable` when it cannot be accepted."""
        self._admit(1)
        pending = self._pending(observation)
        self._queue.append(pending)
        self._start_soon()
        return pending.answer

    async def identify_all(
        self, observations: Sequence[Observation]
    ) -> list[Answer | BitespeedError]:
        """`identify` for many, one after the other; each is answered or refused on its own."""
        self._admit(len(observations))
        pending = [self._pending(observation) for observation in observations]
        self._begin(pending, self._run_in_turn(pending))
        outcomes = await asyncio.gather(*[p.answer for p in pending], return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, Answer | BitespeedError):
                raise outcome
        return cast("list[Answer | BitespeedError]", outcomes)

    async def absorb(self, observations: Sequence[Observation]) -> Changes:
        """Write what the observations bring, without answers; returns what was new.

        For imports: one read and one commit for all of them, so the caller chooses
        the size of the batch.
        """
        emails, phones = _identifiers(observations)
        for pause in _pauses():
            snapshot = await self._store.read(
                self._tenant, emails=emails, phones=phones, members=False
            )
            changes = rule.absorb(snapshot, observations)
            try:
                if changes:
                    await self._store.commit(self._tenant, changes)
            except Conflict:
                await asyncio.sleep(pause)
            else:
                return changes
        raise Contention(_CONTENTION)

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

    async def delete(self, contact_id: int) -> None:
        """Delete one contact softly, see `rule.delete`. Raises `NotFound`."""
        await self._bounded(self._delete(contact_id))

    async def _delete(self, contact_id: int) -> None:
        for pause in _pauses():
            snapshot = await self._store.read(self._tenant, contact=contact_id)
            try:
                await self._commit(rule.delete(snapshot, contact_id), snapshot, [])
            except Conflict:
                await asyncio.sleep(pause)
            else:
                return
        raise Contention(_CONTENTION)

    async def ping(self) -> None:
        """Return when the store can answer and requests are accepted."""
        if self._is_draining:
            raise Unavailable("The service is shutting down")
        await self._bounded(self._store.ping())

    async def drain(self) -> None:
        """Refuse new requests and return when those accepted are answered, or past the deadline."""
        self._is_draining = True
        end = self._loop.time() + self._limits.deadline
        while (work := {*self._batches, *self._unheard}) and (left := end - self._loop.time()) > 0:
            await asyncio.wait(work, timeout=left)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _bounded(self, work: Coroutine[None, None, T]) -> T:
        """Wait until the deadline; work that takes longer goes on to its end unheard."""
        task = self._loop.create_task(work)
        self._unheard.add(task)
        task.add_done_callback(self._unheard.discard)
        done, _ = await asyncio.wait({task}, timeout=self._limits.deadline)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise DeadlineExceeded("The database did not answer in time; try again")
        return task.result()

    # The queue

    def _admit(self, count: int) -> None:
        if self._is_draining:
            raise Unavailable("The service is shutting down")
        if self._waiting + count > self._limits.queue:
            raise Overloaded("Too many requests are waiting; try again in a moment")
        self._waiting += count

    def _pending(self, observation: Observation) -> _Pending:
        deadline = self._loop.time() + self._limits.deadline
        return _Pending(observation, self._loop.create_future(), deadline)

    def _start_soon(self) -> None:
        """Begin a batch, unless enough are under way or the last one has yet to gather.

        Another one beside the first has to be worth it: fewer and larger batches are cheaper,
        but nobody is to wait long behind one that is held up.
        """
        waiting = len(self._queue)
        is_worth_it = waiting >= SECOND * (self._waiting - waiting) - 1
        if waiting and is_worth_it and not self._is_gathering and self._in_flight < MAX_IN_FLIGHT:
            self._is_gathering = True
            self._in_flight += 1
            batch: list[_Pending] = []
            self._begin(batch, self._gather(batch))

    async def _gather(self, batch: list[_Pending]) -> None:
        """Take all that the event loop had at hand when the first one came, and settle it."""
        self._is_gathering = False
        batch.extend(self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH)))
        await self._run(batch)
        self._in_flight -= 1

    def _begin(
        self, batch: list[_Pending], work: Coroutine[None, None, None]
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._batches[task] = batch
        task.add_done_callback(self._finish)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._waiting -= len(self._batches.pop(task))
        self._start_soon()

    def _sweep(self) -> None:
        """Refuse what is past its deadline."""
        now = self._loop.time()
        for waiting in (*self._batches.values(), self._queue):
            for pending in waiting:
                if pending.deadline > now:
                    break  # those behind it came later
                pending.fail(DeadlineExceeded("No answer was ready in time; try again"))
        is_busy = bool(self._batches or self._queue)
        self._sweeper = self._loop.call_later(SWEEP, self._sweep) if is_busy else None

    # A batch

    async def _run(self, batch: list[_Pending]) -> None:
        """Answer or refuse every one of the batch, whatever happens."""
        batch = [pending for pending in batch if not pending.answer.done()]
        try:
            if self._cache is None:
                await self._settle(batch)
            else:
                await self._settle_unknown(batch, self._cache)
        except StoreUnavailable as refusal:
            for pending in batch:
                pending.fail(refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, only its own request may fail
            await self._run_halves(batch, error)

    async def _run_in_turn(self, pending: list[_Pending]) -> None:
        for start in range(0, len(pending), MAX_BATCH):
            await self._run(pending[start : start + MAX_BATCH])

    async def _run_halves(self, batch: list[_Pending], error: Exception) -> None:
        """Find the one that is in the way, so that it harms nobody else."""
        batch = [pending for pending in batch if not pending.answer.done()]
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._run(batch[:middle])
            await self._run(batch[middle:])
        elif batch and isinstance(error, BitespeedError):
            batch[0].fail(error)
        elif batch:
            # The text of a foreign error may quote a value; its type and place do not.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("No decision for one observation: %s\n%s", type(error).__name__, place)
            batch[0].fail(BitespeedError("Internal error"))

    async def _settle_unknown(self, batch: list[_Pending], cache: AnswerCache) -> None:
        """Answer from the cache what it knows, and settle the rest."""
        found = await cache.look_up(self._tenant, [pending.observation for pending in batch])
        rest: list[_Pending] = []
        for pending, answer in zip(batch, found.answers, strict=True):
            if answer is None:
                rest.append(pending)
            else:
                pending.succeed(answer)
        await self._settle(rest, found)

    async def _settle(self, batch: list[_Pending], found: LookUp | None = None) -> None:
        """Read, decide, commit; again when somebody else was faster. Raises `Contention`."""
        waiting = batch
        for pause in _pauses() if batch else ():
            observations = [pending.observation for pending in waiting]
            emails, phones = _identifiers(observations)
            snapshot = await self._store.read(self._tenant, emails=emails, phones=phones)
            changes, replies = rule.identify(snapshot, observations)
            settled: list[tuple[Observation, Answer]] = []
            unsettled: list[tuple[_Pending, rule.Reply]] = []
            for pending, reply in zip(waiting, replies, strict=True):
                if reply.is_settled:
                    answer = reply.answer()
                    pending.succeed(answer)
                    settled.append((pending.observation, answer))
                else:
                    unsettled.append((pending, reply))
            if self._cache is not None and found is not None:
                self._cache.fill_soon(self._tenant, found, snapshot, settled)
            if not unsettled:
                return
            try:
                asked = [pending.observation for pending, _ in unsettled]
                committed = await self._commit(changes, snapshot, asked)
            except Conflict:
                await asyncio.sleep(pause)
                waiting = [pending for pending, _ in unsettled if not pending.answer.done()]
                continue
            for pending, reply in unsettled:
                pending.succeed(reply.answer(committed))
            return
        raise Contention(_CONTENTION)

    async def _commit(
        self, changes: Changes, snapshot: Snapshot, asked: Sequence[Observation]
    ) -> Committed:
        """See `Store.commit`; the cache is made consistent where there is one."""
        if self._cache is None:
            return await self._store.commit(self._tenant, changes)
        emails, phones = _identifiers(asked)
        return await self._cache.commit(self._tenant, changes, snapshot, (*emails, *phones))


def _pauses() -> Iterator[float]:
    """The pause after each attempt that others were in the way of."""
    longest = FIRST_PAUSE
    for _ in range(MAX_ATTEMPTS):
        yield random.uniform(0, longest)  # noqa: S311 - no secret
        longest = min(2 * longest, LONGEST_PAUSE)


def _identifiers(observations: Sequence[Observation]) -> tuple[list[Email], list[Phone]]:
    return (
        list({o.email for o in observations if o.email is not None}),
        list({o.phone for o in observations if o.phone is not None}),
    )
