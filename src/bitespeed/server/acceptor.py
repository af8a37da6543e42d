"""Which of several workers accepts a connection: the first one that is not busy.

A small batch costs the database about as much as a large one, so one worker takes all connections
until they are too many for one core. All workers listen on one socket, and a connection waits in
the kernel's queue until a worker accepts it. No worker hands connections to another, so none is
lost with a worker that dies, and a worker that hangs gets none. See docs/decisions/0014-workers.md.
"""

import asyncio
import math
import random
import socket
import time
from collections.abc import Callable, Collection, MutableSequence
from contextlib import suppress
from typing import Protocol

from bitespeed.telemetry.logs import log

BUSY_LOAD = 0.9  # of a core, or of the limit of connections; a busier worker lets others accept
PUBLISH_INTERVAL = 1.0  # seconds between measurements of a load; a shorter one would follow bursts
STALE_LOAD_TIMEOUT = 2.5  # seconds; a worker that has not published its load for so long is busy
ACCEPT_DELAY = 0.05  # seconds that the others leave to the first worker; a batch takes far less
MAX_ACCEPTED_AT_ONCE = 16  # connections that are not yet counted; the loop serves others first
NO_ROOM_DELAY = 1.0  # seconds without accepting when the system has no room for a connection
MAX_MOVED = 1 / 8  # share of the connections in use that may be moved in a `PUBLISH_INTERVAL`

NUMBERS_PER_WORKER = 2  # when it published its load, and the load


class Accepted(Protocol):
    """A connection, as far as an acceptor needs it."""

    def is_in_use(self, since: float) -> bool:
        """Whether a request was answered since then, or is being answered."""
        ...

    def close_after_response(self) -> None:
        """Close with the next response, so that the client connects anew."""
        ...


class WorkerLoads:
    """The loads of all workers, as the worker with this ``index`` publishes and reads them.

    A load is a share of what a worker can do, 1 at most. ``numbers`` are `NUMBERS_PER_WORKER` for
    each worker, in memory that they share.
    """

    def __init__(self, numbers: MutableSequence[float], index: int) -> None:
        self._numbers = numbers
        self._index = index

    def publish(self, load: float) -> None:
        """Publish the load of this worker."""
        first = NUMBERS_PER_WORKER * self._index
        self._numbers[first : first + NUMBERS_PER_WORKER] = [time.monotonic(), load]

    def leave(self) -> None:
        """Make the others accept without waiting for this worker."""
        self._numbers[NUMBERS_PER_WORKER * self._index] = 0.0

    def goes_first(self) -> bool:
        """Whether this worker is the first that is not busy, or all are busy."""
        ready = self._ready()
        return not ready or min(ready) == self._index

    def surplus(self) -> float:
        """The share of this worker's load that another should take; 0 unless this worker is busy
        and another is not.
        """
        ready = self._ready()
        if not ready or self._index in ready:
            return 0.0
        own = self._numbers[NUMBERS_PER_WORKER * self._index + 1]
        return (own - min(ready.values())) / (2 * own)  # then both have the same load

    def _ready(self) -> dict[int, float]:
        """The load of each live worker that is not busy, by worker index."""
        since = time.monotonic() - STALE_LOAD_TIMEOUT
        published = zip(
            self._numbers[::NUMBERS_PER_WORKER], self._numbers[1::NUMBERS_PER_WORKER], strict=True
        )
        return {
            index: load
            for index, (at, load) in enumerate(published)
            if at > since and load < BUSY_LOAD
        }


class Acceptor:
    """Accepts connections when it is this worker's turn, and moves some of them to another worker
    when this one is busy and the other is not.
    """

    def __init__(
        self,
        loads: WorkerLoads,
        listener: socket.socket,
        connections: Collection[Accepted],
        limit: int,
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        """``connections`` are those that are open, at most ``limit`` at a time. ``make_protocol``
        makes the protocol of a new one.
        """
        self._loads = loads
        self._listener = listener
        self._connections = connections
        self._limit = limit
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._can_accept = True  # when it was last tried
        self._core = 0.0  # share of one core that this process used in the last interval
        self._publish_load()
        self._measure_later()
        self._listen()

    def _measure_later(self) -> None:
        now = self._loop.time(), time.process_time()
        self._next_measurement = self._loop.call_later(PUBLISH_INTERVAL, self._measure, *now)

    def _measure(self, since: float, core_time: float) -> None:
        """Publish the load since the last measurement, and move connections if there is a surplus.

        ``core_time`` is what the process had used by then, in seconds.
        """
        self._core = (time.process_time() - core_time) / (self._loop.time() - since)
        self._publish_load()
        if surplus := self._loads.surplus():
            in_use = [c for c in self._connections if c.is_in_use(since=since)]
            limit = math.ceil(MAX_MOVED * len(in_use))
            for connection in random.sample(in_use, min(int(surplus * len(in_use)), limit)):
                connection.close_after_response()
        self._measure_later()

    async def close(self) -> None:
        """Accept no more. Return when all that were accepted are among the connections."""
        self._loads.leave()
        self._next_measurement.cancel()
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listener)
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _publish_load(self) -> None:
        open_ = len(self._connections) + len(self._connecting)
        self._loads.publish(max(self._core, open_ / self._limit))

    def _listen(self) -> None:
        self._later: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener, self._on_waiting)

    def _on_waiting(self) -> None:
        """Accept, now or after a delay: a client waits to be accepted."""
        self._publish_load()
        if self._loads.goes_first():
            self._accept()
        else:
            self._pause(ACCEPT_DELAY, self._accept_late)

    def _accept_late(self) -> None:
        """Accept clients that still wait: the worker that goes first has not accepted them."""
        self._listen()
        self._accept()

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED_AT_ONCE - len(self._connecting)):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # for example, too many open files
                if self._can_accept:
                    self._can_accept = False
                    log.warning("server.cannot_accept", message=error.strerror)
                self._pause(NO_ROOM_DELAY, self._listen)
                return
            self._can_accept = True
            task = self._loop.create_task(self._connect(accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # the client has gone
            await self._loop.connect_accepted_socket(self._make_protocol, accepted)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, then)
