"""Which of several workers accepts a connection: the first that is not busy.

The database has about as much work with a small batch as with a large one, so connections are kept
together until they are too much for one core. All workers listen on one socket, and a connection
waits in the system's queue until one of them takes it. Nobody hands it over, so none is lost with a
worker that dies, and one that stands still gets none. See docs/decisions/0014-workers.md.
"""

import asyncio
import math
import random
import socket
import time
from collections.abc import Callable, MutableSequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitespeed.server.connection import Connection

BUSY = 0.9  # of a core, or of the connections there may be; from there on others accept
LOOK = 1.0  # seconds between looks at how busy a worker is; less would take a burst for more
FORGOTTEN = 2.5  # seconds after which one that says nothing counts as busy
DELAY = 0.05  # seconds for whoever goes first to accept; far more than a batch takes
AT_ONCE = 16  # connections accepted until those there are get their turn
REST = 1.0  # seconds without accepting when the system has no room for another connection
STEP = 1 / 8  # of the connections in use, that may be sent to others within a second

NUMBERS = 2  # of each worker: when it has spoken last, and how busy it was


class Roster:
    """How busy each worker is, as one of them tells and sees it.

    ``numbers`` are `NUMBERS` for each place, in memory that all of them share.
    """

    def __init__(self, numbers: MutableSequence[float], place: int) -> None:
        self._numbers = numbers
        self._place = place

    def tell(self, busy: float) -> None:
        """Say that this worker uses so much, of 1, of what it has."""
        first = NUMBERS * self._place
        self._numbers[first : first + NUMBERS] = [time.monotonic(), busy]

    def leave(self) -> None:
        """Let nobody wait for this worker any more."""
        self._numbers[NUMBERS * self._place] = 0.0

    def goes_first(self) -> bool:
        """Whether this worker is the first that is not busy; where all are busy, each is."""
        ready = self._ready()
        return not ready or min(ready) == self._place

    def surplus(self) -> float:
        """The share of this worker's load that is better off elsewhere, as it is busy and another
        is not.
        """
        ready = self._ready()
        if not ready or self._place in ready:
            return 0.0
        own = self._numbers[NUMBERS * self._place + 1]
        return (own - min(ready.values())) / (2 * own)  # without it both have the same

    def _ready(self) -> dict[int, float]:
        """How much those use who are not busy, by their places."""
        since = time.monotonic() - FORGOTTEN
        said = zip(self._numbers[::NUMBERS], self._numbers[1::NUMBERS], strict=True)
        return {place: busy for place, (at, busy) in enumerate(said) if at > since and busy < BUSY}


class Turns:
    """Accepts when it is this worker's turn, and sends callers away who should be another's."""

    def __init__(
        self,
        roster: Roster,
        listener: socket.socket,
        connections: "set[Connection]",
        most: int,
        begin: Callable[[], asyncio.Protocol],
    ) -> None:
        """``connections`` are those there are, ``most`` as many as there may be, and ``begin``
        makes one.
        """
        self._roster = roster
        self._listener = listener
        self._connections = connections
        self._most = most
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._core = 0.0  # share of one that was used lately
        self._tell()
        self._look_later()
        self._listen()

    def _look_later(self) -> None:
        now = self._loop.time(), time.process_time()
        self._next_look = self._loop.call_later(LOOK, self._look, *now)

    def _look(self, last: float, used: float) -> None:
        """Tell how busy this worker has been since the last look, and send some callers away if
        others are not.
        """
        self._core = (time.process_time() - used) / (self._loop.time() - last)
        self._tell()
        if surplus := self._roster.surplus():
            in_use = [one for one in self._connections if one.is_in_use(since=last)]
            step = math.ceil(STEP * len(in_use))
            for one in random.sample(in_use, min(int(surplus * len(in_use)), step)):
                one.part()
        self._look_later()

    async def end(self) -> None:
        """Accept no more; all that were accepted are among the connections."""
        self._roster.leave()
        self._next_look.cancel()
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._listener)
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _tell(self) -> None:
        held = len(self._connections) + len(self._beginning)
        self._roster.tell(max(self._core, held / self._most))

    def _listen(self) -> None:
        self._later: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener, self._on_waiting)

    def _on_waiting(self) -> None:
        """Somebody waits to be accepted."""
        self._tell()
        if self._roster.goes_first():
            self._accept()
        else:
            self._pause(DELAY, self._accept_late)

    def _accept_late(self) -> None:
        """Accept who is still waiting, since whoever goes first is held up."""
        self._listen()
        self._accept()

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # too many files are open, for one
                self._pause(REST, self._listen)
                return
            task = self._loop.create_task(self._connect(accepted))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        with suppress(OSError):  # it has gone
            await self._loop.connect_accepted_socket(self._begin, accepted)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, then)
