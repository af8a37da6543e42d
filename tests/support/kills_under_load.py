"""What a server, or its database, must have kept when it was killed under load."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from support.cluster import Cluster, Member
from support.history_checker import Operation, check
from support.load_clients import Request, run, send
from support.load_trial import damage
from support.processes import POLL_INTERVAL, START

CLIENTS = 16
ENDLESS = 1_000_000  # requests; more than can be sent


async def load_until_killed(
    victim: Member, ports: list[int], requests: Iterator[Request], life: float
) -> list[Operation]:
    """The history of a load at these ports during which one server is killed."""

    async def strike() -> None:
        await asyncio.sleep(life)
        await asyncio.to_thread(victim.kill)

    stream = until_dead(requests, victim)
    async with asyncio.TaskGroup() as group:
        group.create_task(strike())
        load = group.create_task(send(ports, stream, CLIENTS))
    return load.result()


def until_dead(requests: Iterator[Request], victim: Member) -> Iterator[Request]:
    """The requests until the server has been killed, and some more for those that are left."""
    while victim.process.poll() is None:
        yield next(requests)
    for _ in range(10 * CLIENTS):
        yield next(requests)


async def load_during(
    ports: list[int],
    requests: Iterator[Request],
    fault: Callable[[], None],
    *,
    before: float,
    after: int = 10 * CLIENTS,
) -> list[Operation]:
    """The history of a load that begins ``before`` seconds ahead of the fault, which is brought
    about and repaired in a thread, and ends so many requests after that.
    """
    is_over = asyncio.Event()

    def until_over() -> Iterator[Request]:
        while not is_over.is_set():
            yield next(requests)
        yield from islice(requests, after)

    async with asyncio.TaskGroup() as group:
        load = group.create_task(send(ports, until_over(), CLIENTS))
        await asyncio.sleep(before)
        try:
            await asyncio.to_thread(fault)
        finally:
            is_over.set()
    return load.result()


def requests_of(operations: Iterable[Operation]) -> list[Request]:
    """The requests behind them, each once."""
    return list(dict.fromkeys(Request(op.email, op.phone) for op in operations))


def send_to(port: int, requests: list[Request], *, look_up: bool = False) -> list[Operation]:
    """Send them to one server."""
    return run(send([port], requests, CLIENTS, look_up=look_up))


def count_contacts(servers: Cluster) -> int:
    """The contacts that there are."""
    return sum(len(identity.contacts) for identity in servers.stored())


def wait_for_contacts(servers: Cluster, number: int) -> None:
    """Return when a load has added that many."""
    deadline = time.monotonic() + START
    while count_contacts(servers) < number:
        assert time.monotonic() < deadline, "The load adds nothing."
        time.sleep(POLL_INTERVAL)


def look_up_acknowledged(port: int, history: list[Operation]) -> list[Operation]:
    """Look up every acknowledged request; all must be known still."""
    seen = send_to(port, requests_of(op for op in history if op.answer), look_up=True)
    assert {op.status for op in seen} == {200}
    return seen


def repeat_unknown(servers: Cluster, history: list[Operation]) -> list[Operation]:
    """Send again, twice, what has no answer; the second time nothing may be added."""
    port = servers.ports[0]
    unknown = requests_of(op for op in history if op.answer is None)
    once = send_to(port, unknown)
    before = count_contacts(servers)
    twice = send_to(port, unknown)
    assert count_contacts(servers) == before
    assert {op.status for op in once + twice} <= {200}
    return once + twice


def violations(servers: Cluster, history: list[Operation]) -> list[object]:
    """Of all invariants, those of answers and those of the store."""
    final = servers.stored()
    return [*check(history, final), *damage(final)]
