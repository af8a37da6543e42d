"""Whose turn it is to accept, and who is sent to another worker, step by step."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from bitespeed.server import acceptor as turns
from bitespeed.server.acceptor import AT_ONCE, BUSY, FORGOTTEN, NUMBERS, Roster, Turns

IDLE, FULL = 0.1, 1.0
MOST = 10  # connections of a worker


def rosters(*busy: float) -> list[Roster]:
    """A place for each, where they have just said how busy they are."""
    numbers = [0.0] * (NUMBERS * len(busy))
    found = [Roster(numbers, place) for place in range(len(busy))]
    for roster, one in zip(found, busy, strict=True):
        roster.tell(one)
    return found


def first(of: list[Roster]) -> list[int]:
    return [place for place, roster in enumerate(of) if roster.goes_first()]


class TestRoster:
    def test_the_first_accepts_as_long_as_it_is_not_busy(self) -> None:
        assert first(rosters(IDLE, IDLE, IDLE)) == [0]
        assert first(rosters(BUSY - 0.01, IDLE, IDLE)) == [0]

    def test_then_it_is_the_next_one_who_is_not(self) -> None:
        assert first(rosters(BUSY, IDLE, IDLE)) == [1]
        assert first(rosters(FULL, FULL, IDLE)) == [2]

    def test_where_all_are_busy_each_accepts(self) -> None:
        assert first(rosters(FULL, FULL)) == [0, 1]

    def test_one_who_has_left_or_says_nothing_is_passed_over(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = rosters(IDLE, IDLE)
        left[0].leave()
        assert first(left) == [1]
        silent = rosters(IDLE, IDLE)
        later = time.monotonic() + FORGOTTEN
        monkeypatch.setattr(time, "monotonic", lambda: later)
        silent[1].tell(IDLE)
        assert first(silent) == [1]

    def test_who_is_busy_would_share_with_who_is_least_so(self) -> None:
        assert rosters(FULL, 0.8, 0.5)[0].surplus() == 0.25

    @pytest.mark.parametrize("others", [(), (FULL,), (BUSY, FULL)])
    def test_nobody_shares_where_all_are_busy(self, others: tuple[float, ...]) -> None:
        assert [roster.surplus() for roster in rosters(FULL, *others)] == [0.0] * (1 + len(others))

    def test_who_is_not_busy_shares_with_nobody(self) -> None:
        assert rosters(BUSY - 0.01, 0.0)[0].surplus() == 0.0


class Caller:
    """A connection as `Turns` sees it."""

    def __init__(self, *, is_in_use: bool = True) -> None:
        self._is_in_use = is_in_use
        self.has_been_asked_to_leave = False

    def is_in_use(self, since: float) -> bool:
        assert since <= asyncio.get_running_loop().time()
        return self._is_in_use and not self.has_been_asked_to_leave

    def part(self) -> None:
        self.has_been_asked_to_leave = True


def gone(callers: Iterable[Caller]) -> int:
    return sum(caller.has_been_asked_to_leave for caller in callers)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - nobody would set an event
        await asyncio.sleep(0)


class Accepted(asyncio.Protocol):
    """A connection that stays among those of its worker."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connections.add(transport)


class Workers:
    """Workers on one socket, all in this process."""

    def __init__(self, *busy: float) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.rosters = rosters(*busy)
        self.connections: list[set[Any]] = [set() for _ in busy]
        self._turns: list[Turns] = []
        self._sockets = [self.listener]

    def start(self, place: int) -> None:
        held, own = self.connections[place], self.listener.dup()
        self._sockets.append(own)
        self._turns.append(Turns(self.rosters[place], own, held, MOST, lambda: Accepted(held)))

    def connect(self, count: int) -> None:
        """So many callers, subject the system has wait until somebody accepts."""
        address = self.listener.getsockname()
        self._sockets += [socket.create_connection(address) for _ in range(count)]

    async def counts(self, total: int) -> list[int]:
        """How many each has accepted, once there are so many."""
        await until(lambda: sum(map(len, self.connections)) >= total)
        return [len(held) for held in self.connections]

    async def close(self) -> None:
        for turn in self._turns:
            await turn.end()
        for held in self.connections:
            for connection in held:
                if isinstance(connection, asyncio.Transport):
                    connection.abort()
        for one in self._sockets:
            one.close()


def with_workers(*busy: float) -> Callable[[Callable[[Workers], Awaitable[None]]], None]:
    """Run a test with so many workers that have not started."""

    def run(test: Callable[[Workers], Awaitable[None]]) -> None:
        async def main() -> None:
            workers = Workers(*busy)
            try:
                async with asyncio.timeout(20):
                    await test(workers)
            finally:
                await workers.close()

        asyncio.run(main())

    return run


class TestAccepting:
    def test_a_little_load_is_kept_together(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            workers.connect(3)
            assert await workers.counts(3) == [3, 0]

    def test_what_is_too_much_for_the_first_goes_to_the_next(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            for total in range(1, 13):
                workers.connect(1)
                await workers.counts(total)
            assert await workers.counts(12) == [9, 3]

    def test_more_at_once_than_all_may_have_are_accepted_all_the_same(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(0)
            workers.start(1)
            workers.connect(3 * AT_ONCE)
            assert min(await workers.counts(3 * AT_ONCE)) > 0

    def test_who_waits_for_one_that_stands_still_is_accepted_by_another(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            workers.start(1)
            workers.connect(3)
            assert first(workers.rosters) == [0]
            assert await workers.counts(3) == [0, 3]

    def test_when_the_system_has_no_room_it_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "REST", 0.0)

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


class TestSendingAway:
    @pytest.fixture(autouse=True)
    def busy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """This process uses all of a core, and looks at it often."""
        monkeypatch.setattr(time, "process_time", time.monotonic)
        monkeypatch.setattr(turns, "LOOK", 0.01)

    def test_a_busy_worker_sends_some_away_until_another_is_busy_too(self) -> None:
        @with_workers(IDLE, IDLE)
        async def _(workers: Workers) -> None:
            callers = workers.connections[0]
            callers |= {Caller() for _ in range(8)}
            workers.start(0)
            await until(lambda: gone(callers) == 2)
            workers.rosters[1].tell(FULL)
            before = gone(callers)
            await asyncio.sleep(0.1)  # ten looks; that nothing happens takes its time
            assert gone(callers) == before

    def test_it_is_never_all_of_them_nor_who_asks_nothing(self) -> None:
        @with_workers(0.0, 0.0)
        async def _(workers: Workers) -> None:
            idle = Caller(is_in_use=False)
            callers = [Caller() for _ in range(3)]
            workers.connections[0] |= {idle, *callers}
            workers.start(0)
            await until(lambda: gone(callers) == 2)
            await asyncio.sleep(0.1)
            assert gone(callers) == 2
            assert not idle.has_been_asked_to_leave
