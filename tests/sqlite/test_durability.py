"""A server that is killed loses nothing that it acknowledged; one that is told to end finishes."""

import asyncio
import random
import sqlite3
import statistics
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from support.cluster import SERVER, SLEEPY_SERVER, Member, cluster
from support.history_checker import Operation, Violation
from support.kills_under_load import (
    ENDLESS,
    load_until_killed,
    look_up_acknowledged,
    repeat_unknown,
    violations,
)
from support.load_clients import Request, mix, run, send

KILLS = 10
LIFE = (0.2, 0.6)  # seconds of load before a kill


def test_nothing_acknowledged_is_lost_by_ten_kills_under_load(tmp_path: Path) -> None:
    rng = random.Random(5)
    requests = mix(5, ENDLESS)
    history: list[Operation] = []
    restarts: list[float] = []
    cut = 0
    with cluster(tmp_path) as servers:
        (server,) = servers.members
        for _ in range(KILLS):
            life = rng.uniform(*LIFE)
            lived = run(load_until_killed(server, servers.ports, requests, life))
            restarts.append(server.start())
            history += lived + look_up_acknowledged(server.port, lived)
            history += repeat_unknown(servers, lived)
            cut += sum(op.status == 0 for op in lived)
        history += look_up_acknowledged(server.port, history)
    print(
        f"{len(history)} requests, {cut} cut by {KILLS} kills, ready again after"
        f" {statistics.median(restarts) * 1000:.0f} ms (median),"
        f" {max(restarts) * 1000:.0f} ms (longest)"
    )
    assert violations(servers, history) == []
    assert cut > 0
    assert {op.status for op in history} <= {0, 200}


def test_killing_one_process_harms_no_request_at_the_other(tmp_path: Path) -> None:
    rng = random.Random(6)
    requests = mix(6, ENDLESS)
    history: list[Operation] = []
    with cluster(tmp_path, 2) as servers:
        for turn in range(4):
            victim, other = servers.members[turn % 2], servers.members[1 - turn % 2]
            life = rng.uniform(*LIFE)
            lived = run(load_until_killed(victim, servers.ports, requests, life))
            seen = look_up_acknowledged(other.port, lived)
            victim.start()
            history += lived + seen
    assert violations(servers, history) == []
    assert {op.status for op in history} <= {0, 200, 503}


def test_checker_notices_answers_given_before_they_are_durable(tmp_path: Path) -> None:
    command = (*SLEEPY_SERVER, "--mistake", "early-answers")
    with cluster(tmp_path, 1, command) as servers:
        (server,) = servers.members
        history = run(load_until_killed(server, servers.ports, mix(7, ENDLESS), life=0.5))
    found = violations(servers, history)
    assert "lost" in {violation.kind for violation in found if isinstance(violation, Violation)}


# Ending gently


async def load_until_terminated(server: Member, requests: Iterable[Request]) -> list[Operation]:
    """The history of a load during which the server is told to end. No client comes back."""
    load = asyncio.create_task(send([server.port], requests))
    await asyncio.sleep(0.5)
    server.terminate()
    return await load


def test_server_terminated_under_load_answers_every_request(tmp_path: Path) -> None:
    with cluster(tmp_path) as servers:
        (server,) = servers.members
        history = run(load_until_terminated(server, mix(8, ENDLESS)))
        server.wait()
    assert {op.status for op in history} == {200}
    assert violations(servers, history) == []


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return False


async def end_while_locked(
    server: Member, database: Path, requests: list[Request]
) -> list[Operation]:
    """Hold the write lock, have the requests under way, tell the server to end, wait until it
    takes no new connection, let go of the lock: all that was accepted can now be answered.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as lock:
        lock.execute("begin immediate")
        load = asyncio.create_task(send([server.port], requests, len(requests)))
        await send([server.port], [Request("nobody@x.test", None)] * 3, 1, look_up=True)
        server.terminate()
        async with asyncio.timeout(10):
            while not await is_refused(server.port):  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.01)
        assert not load.done()
        lock.execute("rollback")
    return await load


def test_terminating_server_answers_requests_it_accepted(tmp_path: Path) -> None:
    requests = [Request(f"n{n}@end.test", f"77{n}") for n in range(32)]
    with cluster(tmp_path, 1, SERVER) as servers:
        (server,) = servers.members
        database = Path(servers.database.removeprefix("sqlite:///"))
        history = run(end_while_locked(server, database, requests))
        server.wait()
    assert [op.status for op in history] == [200] * len(requests)
    assert violations(servers, history) == []
