"""Which worker accepts a connection, and which connections move to another worker."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from bitespeed.server import acceptor
from bitespeed.server.acceptor import (
    BUSY_LOAD,
    MAX_ACCEPTED_AT_ONCE,
    NUMBERS_PER_WORKER,
    STALE_LOAD_TIMEOUT,
    Acceptor,
    WorkerLoads,
)

IDLE, FULL = 0.1, 1.0
LIMIT = 10  # connections of a worker


def published(*loads: float) -> list[WorkerLoads]:
    """What each worker sees of these loads, which have just been published."""
    numbers = [0.0] * (NUMBERS_PER_WORKER * len(loads))
    workers = [WorkerLoads(numbers, index) for index in range(len(loads))]
    for worker, load in zip(workers, loads, strict=True):
        worker.publish(load)
    return workers


def first(workers: list[WorkerLoads]) -> list[int]:
    return [index for index, worker in enumerate(workers) if worker.goes_first()]


class TestWorkerLoads:
    def test_first_worker_accepts_while_it_is_not_busy(self) -> None:
        assert first(published(IDLE, IDLE, IDLE)) == [0]
        assert first(published(BUSY_LOAD - 0.01, IDLE, IDLE)) == [0]

    def test_second_worker_accepts_when_first_is_busy(self) -> None:
        assert first(published(BUSY_LOAD, IDLE, IDLE)) == [1]
        assert first(published(FULL, FULL, IDLE)) == [2]

    def test_every_worker_accepts_when_all_are_busy(self) -> None:
        assert first(published(FULL, FULL)) == [0, 1]

    def test_worker_that_left_or_is_silent_is_skipped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = published(IDLE, IDLE)
        left[0].leave()
        assert first(left) == [1]
        silent = published(IDLE, IDLE)
        later = time.monotonic() + STALE_LOAD_TIMEOUT
        monkeypatch.setattr(time, "monotonic", lambda: later)
        silent[1].publish(IDLE)
        assert first(silent) == [1]

    def test_busy_worker_shares_evenly_with_the_least_loaded(self) -> None:
        assert published(FULL, 0.8, 0.5)[0].surplus() == 0.25

    @pytest.mark.parametrize("others", [(), (FULL,), (BUSY_LOAD, FULL)])
    def test_no_load_moves_when_all_workers_are_busy(self, others: tuple[float, ...]) -> None:
        assert [worker.surplus() for worker in published(FULL, *others)] == [0.0] * (
            1 + len(others)
        )

    def test_worker_that_is_not_busy_moves_no_load(self) -> None:
        assert published(BUSY_LOAD - 0.01, 0.0)[0].surplus() == 0.0


class Client:
    """A connection as `Acceptor` sees it."""

    def __init__(self, *, is_in_use: bool = True) -> None:
        self._is_in_use = is_in_use
        self.is_closing = False

    def is_in_use(self, since: float) -> bool:
        assert since <= asyncio.get_running_loop().time()
        return self._is_in_use and not self.is_closing

    def close_after_response(self) -> None:
        self.is_closing = True


def closing(clients: Iterable[Client]) -> int:
    return sum(client.is_closing for client in clients)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - nobody would set an event
        await asyncio.sleep(0)


class Joining(asyncio.Protocol):
    """A protocol that adds its connection to those of its worker."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(transport)


class Workers:
    """Workers on one socket, all in this process."""

    def __init__(self, *loads: float) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.loads = published(*loads)
        self.connections: list[set[Any]] = [set() for _ in loads]
        self._acceptors: list[Acceptor] = []
        self._sockets = [self.listener]

    def start(self, index: int) -> None:
        open_, own = self.connections[index], self.listener.dup()
        self._sockets.append(own)
        self._acceptors.append(
            Acceptor(self.loads[index], own, open_, LIMIT, lambda: Joining(open_))
        )

    def connect(self, count: int) -> None:
        """Connect so many clients; they wait in the kernel's queue until a worker accepts."""
        address = self.listener.getsockname()
        self._sockets += [socket.create_connection(address) for _ in range(count)]

    async def counts(self, total: int) -> list[int]:
        """How many each worker has accepted, once all together have accepted so many."""
        await until(lambda: sum(map(len, self.connections)) >= total)
        return [len(open_) for open_ in self.connections]

    async def close(self) -> None:
        for one in self._acceptors:
            await one.close()
        for open_ in self.connections:
            for connection in open_:
                if isinstance(connection, asyncio.Transport):
                    connection.abort()
        for one in self._sockets:
            one.close()


def with_workers(*loads: float) -> Callable[[Callable[[Workers], Awaitable[None]]], None]:
    """Run a test with workers that have published these loads and not started."""

    def run(test: Callable[[Workers], Awaitable[None]]) -> None:
        async def main() -> None:
            workers = Workers(*loads)
            try:
                async with asyncio.timeout(20):
                    await test(workers)
            finally:
                await workers.close()

        asyncio.run(main())

    return run


class TestAccepting:
    def test_first_worker_takes_all_of_a_small_load(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            workers.connect(3)
            assert await workers.counts(3) == [3, 0]

    def test_second_worker_takes_what_the_first_cannot(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            for total in range(1, 13):
                workers.connect(1)
                await workers.counts(total)
            assert await workers.counts(12) == [9, 3]

    def test_clients_beyond_all_limits_are_still_accepted(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            workers.connect(3 * MAX_ACCEPTED_AT_ONCE)
            assert min(await workers.counts(3 * MAX_ACCEPTED_AT_ONCE)) > 0

    def test_another_worker_accepts_when_the_first_hangs(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(1)
            workers.connect(3)
            assert first(workers.loads) == [0]
            assert await workers.counts(3) == [0, 3]

    def test_accepting_goes_on_after_too_many_open_files(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acceptor, "NO_ROOM_DELAY", 0.0)

        @with_workers(IDLE)
        async def _(workers: Workers) -> None:
            refusals = iter([OSError("Too many open files"), ConnectionAbortedError()])

            class Failing(socket.socket):
                def accept(self) -> tuple[socket.socket, Any]:
                    for refusal in refusals:
                        raise refusal
                    return super().accept()

            workers.listener = Failing(fileno=workers.listener.detach())
            monkeypatch.setattr(Failing, "dup", lambda self: self)
            workers.start(0)
            workers.connect(1)
            assert await workers.counts(1) == [1]


class TestMoving:
    @pytest.fixture(autouse=True)
    def busy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this process use all of a core, and measure that often."""
        monkeypatch.setattr(time, "process_time", time.monotonic)
        monkeypatch.setattr(acceptor, "PUBLISH_INTERVAL", 0.01)

    def test_busy_worker_moves_connections_until_another_is_busy(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            clients = workers.connections[0]
            clients |= {Client() for _ in range(8)}
            workers.start(0)
            await until(lambda: closing(clients) == 2)
            workers.loads[1].publish(FULL)
            before = closing(clients)
            await asyncio.sleep(0.1)  # ten measurements, after which nothing may have happened
            assert closing(clients) == before

    def test_busy_connections_move_and_idle_ones_stay(self) -> None:
        @with_workers(0.0, 0.0)
        async def _(workers: Workers) -> None:
            idle = Client(is_in_use=False)
            clients = [Client() for _ in range(3)]
            workers.connections[0] |= {idle, *clients}
            workers.start(0)
            await until(lambda: closing(clients) == 2)
            await asyncio.sleep(0.1)
            assert closing(clients) == 2
            assert not idle.is_closing
