"""Gathers what is waiting into batches, within limits.

Work is gathered, not delayed: a lone request is a batch of one at once; under load a batch is
whatever came while the ones before it were under way. There is no timer in the way.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import msgspec

from bitespeed.errors import DeadlineExceeded, Overloaded, TooManyRequests, Unavailable
from bitespeed.model.identifiers import Observation
from bitespeed.model.identity import Answer, KeptAnswer
from bitespeed.telemetry import metrics
from bitespeed.telemetry.large_identities import LARGE_IDENTITY
from bitespeed.telemetry.requests import Request

T = TypeVar("T")

MAX_BATCH = 256  # observations; more would hold up the first of them without being any cheaper
MAX_IN_FLIGHT = 2  # batches; one is read and decided while the other one's commit reaches the disk
SECOND = 2  # times as many must wait as are under way before another batch begins beside one
SWEEP = 0.05  # seconds between looks for requests past their deadline

MAX_WAITING = 10_000  # observations: a second of work or less, so that waiting is worth while
MAX_WAITING_PER_TENANT = (
    5_000  # of them for one tenant, so that others find room beside whoever sends the most
)
DEADLINE = 5.0  # seconds; callers give up by then


class Limits(msgspec.Struct, frozen=True):
    """What may wait, and for how long."""

    max_waiting: int = MAX_WAITING
    """Observations waiting or under way; beyond it requests are refused with `Overloaded`."""
    max_waiting_per_tenant: int = MAX_WAITING_PER_TENANT
    """The same of one tenant; beyond it, `TooManyRequests`."""
    deadline: float = DEADLINE
    """Seconds until a request is answered with `DeadlineExceeded`."""
    large_identity: int = LARGE_IDENTITY
    """Contacts of an identity from which on an alarm is raised."""


class Load:
    """What all services of a process bear together."""

    waiting = 0  # observations and look-ups, waiting or under way
    is_draining = False


Outcome = Answer | KeptAnswer | Exception
Work = Hashable
"""What a batch is under way as."""


class Pending(msgspec.Struct, eq=False):
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


class Gathering:
    """What waits in one service or is under way there; lives on one event loop."""

    def __init__(self, start: Callable[[list[Pending]], Work], limits: Limits, load: Load) -> None:
        """``start`` begins to settle a batch, and tells what it is under way as until `finish`."""
        self._start = start
        self._limits = limits
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Pending] = deque()
        self._batches: dict[Work, list[Pending]] = {}
        self._under_way = 0  # in all batches together
        self._gathered: set[Work] = set()  # the batches that came from the queue
        self._is_gathering = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._unheard: set[asyncio.Task[Any]] = set()  # keeps what is under way from being lost
        self._drained: asyncio.Future[None] | None = None  # for whoever waits until nothing waits

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here or is under way."""
        return not self._waiting

    @property
    def _waiting(self) -> int:
        """Observations and look-ups, waiting or under way."""
        return len(self._queue) + self._under_way + len(self._unheard)

    def admit(self, count: int) -> None:
        """Count them as waiting in this process. Raises `Unavailable` or `TooManyRequests`."""
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
        tell: Callable[[Outcome], None],
        request: Request | None,
    ) -> Pending:
        """Let it wait for the next batch. Raises what `admit` raises."""
        self.admit(1)
        pending = Pending(observation, tell, self.deadline(), request)
        self._queue.append(pending)
        self._start_soon()
        return pending

    def deadline(self) -> float:
        """Of what comes now."""
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
        work = self._start(batch)
        self._gathered.add(work)
        self.begin(batch, work)

    def batch(self, work: Work) -> list[Pending]:
        """What is under way as this."""
        return self._batches[work]

    def go_on(self, rest: list[Pending], work: Work) -> None:
        """A part of a gathered batch is under way as something else now; `finish` what it was."""
        self._load.waiting += len(rest)  # once more: the end of the former takes all away
        self._gathered.add(work)
        self.begin(rest, work)

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that finishes a batch by its end."""
        task = self._loop.create_task(work)
        task.add_done_callback(self.finish)
        return task

    def begin(self, batch: list[Pending], work: Work) -> None:
        """Those of the batch, which were admitted, are under way as this."""
        self._batches[work] = batch
        self._under_way += len(batch)
        metrics.queue.set(self._load.waiting)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    def finish(self, work: Work) -> None:
        """What was under way as this is settled, or under way as something else."""
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

    def came(self, batch: list[Pending]) -> float:
        """When the first one did, on the event loop's clock."""
        return batch[0].deadline - self._limits.deadline

    async def drain(self) -> None:
        """Refuse new requests and return when those accepted are answered, or past the deadline."""
        self._load.is_draining = True
        if self._waiting:
            self._drained = self._drained or self._loop.create_future()
            await asyncio.wait({self._drained}, timeout=self._limits.deadline)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def bounded(self, work: Coroutine[None, None, T]) -> T:
        """Wait until the deadline; work that takes longer goes on to its end unheard."""
        try:
            self.admit(1)
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
