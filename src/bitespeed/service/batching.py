"""Gathers what is waiting into batches, within limits.

Work is gathered, not delayed: a lone request is a batch of one at once; under load a batch is
whatever arrived while the batches before it were in flight. There is no timer in the way.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import msgspec

from bitespeed.errors import DeadlineExceeded, Overloaded, TooManyRequests, Unavailable
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer, KeptAnswer
from bitespeed.model.sources import NO_SOURCE, Source
from bitespeed.service.large_answers import LargeAnswers
from bitespeed.telemetry import metrics
from bitespeed.telemetry.large_identities import LARGE_IDENTITY
from bitespeed.telemetry.requests import Request

T = TypeVar("T")

MAX_BATCH = 256  # observations; more would hold up the first of them without being any cheaper
MAX_IN_FLIGHT = 2  # batches; one is read and decided while the other one's commit reaches the disk
MIN_WAITING_FACTOR = 2  # a batch begins beside another if so many times its size are waiting
SWEEP_INTERVAL = 0.05  # seconds between two searches for overdue requests

MAX_WAITING = 10_000  # observations: a second of work or less, so that waiting is worth while
MAX_WAITING_PER_TENANT = (
    5_000  # of them for one tenant, so that others find room beside whoever sends the most
)
MAX_BATCH_CONTACTS = 200_000  # in all answers to one request, equal ones once: a tenth of a second
DEADLINE = 5.0  # seconds; callers give up by then


class Limits(msgspec.Struct, frozen=True):
    """What may wait, and for how long."""

    max_waiting: int = MAX_WAITING
    """Observations waiting or in flight; requests beyond it are refused with `Overloaded`."""
    max_waiting_per_tenant: int = MAX_WAITING_PER_TENANT
    """The same for one tenant; requests beyond it are refused with `TooManyRequests`."""
    deadline: float = DEADLINE
    """Seconds until a request is answered with `DeadlineExceeded`."""
    large_identity: int = LARGE_IDENTITY
    """Contacts from which on an identity counts as large, and a warning is logged."""
    max_answer: int | None = None
    """Contacts in an answer; a larger one is replaced by `AnswerTooLarge`."""


class Load:
    """The load of all services of a process together."""

    waiting = 0  # observations and look-ups, waiting or in flight
    is_draining = False

    def __init__(self) -> None:
        self.large_answers = LargeAnswers()


Outcome = Answer | KeptAnswer | Exception
Work = Hashable
"""The task or look-up that a batch is in flight under."""


class Budget(msgspec.Struct, eq=False):
    """What the answers to the observations of one request may cost together."""

    contacts: int

    def take(self, contacts: int) -> bool:
        """Take so many contacts. False if there are fewer left."""
        if contacts > self.contacts:
            return False
        self.contacts -= contacts
        return True


class Pending(msgspec.Struct, eq=False):
    """A request that waits for its answer, until ``deadline`` on the event loop's clock."""

    observation: Observation
    on_done: Callable[[Outcome], None]
    deadline: float
    request: Request | None
    made_at: int | None = None
    """When the observation was made, if that was earlier: see `Service.identify_all`."""
    source: Source = NO_SOURCE
    """Where it comes from, but for the request."""
    budget: Budget | None = None
    """Shared by the observations of one request; None for a request of one."""
    is_set_aside: bool = False
    """Whether it waits for the turn of a large identity, or has it."""
    is_resolved: bool = False

    def resolve(self, outcome: Outcome) -> None:
        """Hand the outcome to the caller; only the first one counts."""
        if not self.is_resolved:
            self.is_resolved = True
            self.on_done(outcome)


class Batching:
    """The requests that wait in one service or are in flight; lives on one event loop."""

    def __init__(
        self,
        start: Callable[[list[Pending]], Work],
        set_aside: Callable[[list[Pending]], list[Pending]],
        limits: Limits,
        load: Load,
    ) -> None:
        """``start`` begins to answer a batch, and returns the work it is in flight under until
        `finish`. ``set_aside`` begins what would hold up the others, and returns the others.
        """
        self._start = start
        self._set_aside = set_aside
        self._limits = limits
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Pending] = deque()
        self._batches: dict[Work, list[Pending]] = {}
        self._in_flight = 0  # in all batches together ...
        self._gathered_in_flight = 0  # ... and in those that came from the queue
        self._gathered: set[Work] = set()  # the batches that came from the queue
        self._is_gathering = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._bounded: set[asyncio.Task[Any]] = set()  # the event loop itself would lose them
        self._drained: asyncio.Future[None] | None = None  # resolved when nothing waits any more

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or is in flight here."""
        return not self._waiting

    @property
    def _waiting(self) -> int:
        """Observations and look-ups, waiting or in flight."""
        return len(self._queue) + self._in_flight + len(self._bounded)

    def admit(self, count: int) -> None:
        """Count requests as waiting in this process. Raises `Unavailable` or `TooManyRequests`."""
        if self._load.is_draining:
            raise Unavailable("The service is shutting down")
        if self._load.waiting + count > self._limits.max_waiting:
            raise Overloaded("Too many requests are waiting; try again in a moment")
        if self._waiting + count > self._limits.max_waiting_per_tenant:
            raise TooManyRequests("Too many of your requests are waiting; try again in a moment")
        self._load.waiting += count

    def accept(
        self,
        observation: Observation,
        on_done: Callable[[Outcome], None],
        request: Request | None,
        source: Source = NO_SOURCE,
    ) -> Pending:
        """Queue an observation for the next batch. Raises what `admit` raises."""
        self.admit(1)
        pending = Pending(observation, on_done, self.deadline(), request, None, source)
        self._queue.append(pending)
        self._start_soon()
        return pending

    def deadline(self) -> float:
        """The deadline of a request that arrives now."""
        return self._loop.time() + self._limits.deadline

    def _start_soon(self) -> None:
        """Begin a batch, unless enough are in flight or the last one has not been gathered yet.

        Fewer and larger batches are cheaper, so a second one begins only for many requests; it
        lets them pass a first one that takes long.
        """
        waiting = len(self._queue)
        is_worth_it = waiting >= MIN_WAITING_FACTOR * self._gathered_in_flight - 1
        if (
            waiting
            and is_worth_it
            and not self._is_gathering
            and len(self._gathered) < MAX_IN_FLIGHT
        ):
            self._is_gathering = True
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Start a batch of what the event loop has received since the first request of it."""
        self._is_gathering = False
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
        batch = self._set_aside(batch)
        if not batch:
            self._start_soon()
            return
        self._begin_gathered(batch, self._start(batch))

    def batch(self, work: Work) -> list[Pending]:
        """The batch that is in flight under `work`."""
        return self._batches[work]

    def continue_with(self, rest: list[Pending], work: Work) -> None:
        """Register the rest of a gathered batch under other work; then `finish` the former work."""
        self._begin_gathered(rest, work, again=True)

    def _begin_gathered(self, batch: list[Pending], work: Work, *, again: bool = False) -> None:
        self._gathered.add(work)
        self._gathered_in_flight += len(batch)
        self.begin(batch, work, again=again)

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose end finishes the batch that is in flight under it."""
        task = self._loop.create_task(work)
        task.add_done_callback(self.finish)
        return task

    def begin(self, batch: list[Pending], work: Work, *, again: bool = False) -> None:
        """Register an admitted batch as in flight under `work`; ``again``, if it is part of one
        that is in flight under other work, whose end subtracts it too.
        """
        if again:
            self._load.waiting += len(batch)
        self._batches[work] = batch
        self._in_flight += len(batch)
        metrics.queue.set(self._load.waiting)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)

    def finish(self, work: Work) -> None:
        """Remove the batch under `work`: it is answered, or in flight under other work."""
        finished = len(self._batches.pop(work))
        self._in_flight -= finished
        self._load.waiting -= finished
        if work in self._gathered:
            self._gathered.remove(work)
            self._gathered_in_flight -= finished
        metrics.queue.set(self._load.waiting)
        self._start_soon()
        self._wake_drain()

    def _wake_drain(self) -> None:
        """Let `drain` return when nothing waits here any more."""
        if self._drained is not None and not self._waiting and not self._drained.done():
            self._drained.set_result(None)

    def _sweep(self) -> None:
        """Refuse overdue requests."""
        now = self._loop.time()
        for waiting in (*self._batches.values(), self._queue):
            for pending in waiting:
                if pending.deadline > now:
                    break  # those behind it arrived later
                pending.resolve(DeadlineExceeded("No answer was ready in time; try again"))
        is_busy = bool(self._batches or self._queue)
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep) if is_busy else None

    def first_arrival(self, batch: list[Pending]) -> float:
        """When the first request of a batch arrived, on the event loop's clock."""
        return batch[0].deadline - self._limits.deadline

    async def drain(self) -> None:
        """Refuse new requests, and return when the accepted ones are answered or overdue."""
        self._load.is_draining = True
        if self._waiting:
            self._drained = self._drained or self._loop.create_future()
            await asyncio.wait({self._drained}, timeout=self._limits.deadline)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def bounded(self, work: Coroutine[None, None, T]) -> T:
        """The result of the work. Raises `DeadlineExceeded`; late work then goes on to its end."""
        try:
            self.admit(1)
        except BaseException:
            work.close()
            raise
        task = self._loop.create_task(work)
        self._bounded.add(task)
        task.add_done_callback(self._on_bounded)
        done, _ = await asyncio.wait({task}, timeout=self._limits.deadline)
        if not done:
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise DeadlineExceeded("The database did not answer in time; try again")
        return task.result()

    def _on_bounded(self, task: asyncio.Task[Any]) -> None:
        self._bounded.discard(task)
        self._load.waiting -= 1
        self._wake_drain()
