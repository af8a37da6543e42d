"""Several workers and the process that looks after them: nobody is cut off when they are told to
end, one that dies is replaced, and none outlives the process that would end it. Callers are kept
together at one of them until they are too many.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bitespeed.server.process import keep_clients_out
from support.cluster import SERVER, Member, cluster
from support.processes import children, is_alive
from support.server import ask as ask_once

POLL_INTERVAL = 0.02  # seconds between two polls
SOON = 20.0  # seconds in which a worker must have come, or gone
MOMENT = 0.2  # seconds in which a caller on this machine has long been let in
CLIENTS = 32

TWO: dict[str, str] = {"BITESPEED_WORKERS": "2"}


def workers(supervisor: int) -> list[int]:
    """The workers, as opposed to what `multiprocessing` starts beside them."""
    return [
        pid
        for pid in children(supervisor)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + SOON
    while not is_so():
        assert time.monotonic() < end
        time.sleep(POLL_INTERVAL)


def request(n: int) -> bytes:
    body = json.dumps({"email": f"n{n}@x.test"}).encode()
    return b"POST /identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


async def outcome(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """The status of one answer, or that it was cut off; and whether the connection stays."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    except (OSError, asyncio.IncompleteReadError):
        return "cut off", False
    return head.split()[1].decode(), b"connection: close" not in head


async def ask(port: int, client: int, outcomes: Counter[str], end: asyncio.Event) -> None:
    """Ask until nobody listens, half of the clients on a new connection each time."""
    connection = None
    while not end.is_set():
        try:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            outcomes["refused"] += 1
            return
        reader, writer = connection
        try:
            writer.write(request(CLIENTS * outcomes.total() + client))
        except OSError:
            outcomes["cut off"] += 1
        status, stays = await outcome(reader)
        outcomes[status] += 1
        if client % 2 or not stays:
            writer.close()
            connection = None
    if connection is not None:
        connection[1].close()


async def load(member: Member, after: Callable[[], None], lasting: float = 0.0) -> Counter[str]:
    """What becomes of requests before and after something happens under load."""
    outcomes: Counter[str] = Counter()
    end = asyncio.Event()
    clients = [asyncio.create_task(ask(member.port, n, outcomes, end)) for n in range(CLIENTS)]
    await asyncio.sleep(0.5)
    after()
    if lasting:
        await asyncio.sleep(lasting)
        end.set()
    await asyncio.wait_for(asyncio.gather(*clients), 30)
    return outcomes


@pytest.mark.parametrize("count", ["1", "2"])
def test_workers_ending_under_load_answer_accepted_requests(tmp_path: Path, count: str) -> None:
    with cluster(tmp_path, BITESPEED_WORKERS=count) as servers:
        (member,) = servers.members
        for _ in range(3):
            outcomes = asyncio.run(load(member, member.terminate))
            assert member.wait() in {0, -signal.SIGTERM}
            assert outcomes["200"] > CLIENTS
            assert outcomes["refused"] == CLIENTS
            assert outcomes.keys() == {"200", "refused"}
            member.start()


def test_client_that_connected_while_workers_slept_is_answered(tmp_path: Path) -> None:
    async def ask_all(member: Member, count: int) -> Counter[str]:
        pids = workers(member.process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        connections = [
            await asyncio.open_connection("127.0.0.1", member.port) for _ in range(count)
        ]
        for n, (_, writer) in enumerate(connections):
            writer.write(request(n))
        member.terminate()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        found = Counter([(await outcome(reader))[0] for reader, _ in connections])
        for _, writer in connections:
            writer.close()
        return found

    with cluster(tmp_path, **TWO) as servers:
        (member,) = servers.members
        assert asyncio.run(ask_all(member, 100)) == {"200": 100}
        member.wait()


class Caller:
    """One connection, opened anew when the server has asked to leave."""

    def __init__(self, member: Member) -> None:
        self._connection = HTTPConnection("127.0.0.1", member.port, timeout=SOON)

    def ask(self) -> str:
        """The worker that answers a request, by the name that its requests have."""
        reply = ask_once(self._connection, "POST", "/identify", b'{"email": "n@x.test"}')
        assert reply.status == 200
        return reply.headers["x-request-id"].partition("-")[0]

    def close(self) -> None:
        self._connection.close()


@contextmanager
def called(folder: Path, count: int, **environ: str) -> Iterator[tuple[Member, list[Caller]]]:
    """Two workers that are ready, and so many callers who have not connected."""
    with cluster(folder, **TWO, **environ) as servers, ExitStack() as stack:
        (member,) = servers.members
        until(lambda: member.log().count("server.ready") == 2)
        yield member, [stack.enter_context(closing(Caller(member))) for _ in range(count)]


def test_callers_are_kept_together(tmp_path: Path) -> None:
    with called(tmp_path, 20) as (_, callers):
        ((_, together),) = Counter(caller.ask() for caller in callers).most_common(1)
        assert together >= 15  # the rest where the machine had no time for the first in a while


def test_a_worker_that_stands_still_gets_nobody(tmp_path: Path) -> None:
    with called(tmp_path, 5) as (member, callers):
        before = callers[0].ask()
        (busiest,) = connected_to(member)
        os.kill(busiest, signal.SIGSTOP)
        assert before not in {caller.ask() for caller in callers[1:]}
        os.kill(busiest, signal.SIGCONT)
        assert callers[0].ask() == before


def test_client_of_killed_worker_is_answered_by_another(tmp_path: Path) -> None:
    with called(tmp_path, 1) as (member, callers):
        callers[0].ask()
        (goes_first,) = connected_to(member)
        (other,) = {*workers(member.process.pid)} - {goes_first}
        for pid in (goes_first, other):
            os.kill(pid, signal.SIGSTOP)
        with ExitStack() as stack:
            waiting = [
                stack.enter_context(socket.create_connection(("127.0.0.1", member.port)))
                for _ in range(20)
            ]
            for n, connection in enumerate(waiting):
                connection.settimeout(SOON)
                connection.sendall(request(n))
            os.kill(goes_first, signal.SIGKILL)
            os.kill(other, signal.SIGCONT)
            for connection in waiting:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_busy_worker_moves_callers_without_cutting_any_off(
    tmp_path: Path,
) -> None:
    with called(tmp_path, 9, BITESPEED_MAX_CONNECTIONS="10") as (_, callers):
        until(lambda: len({caller.ask() for caller in callers}) == 2)


def test_connections_that_have_ended_leave_no_descriptor(tmp_path: Path) -> None:
    with called(tmp_path, 1) as (member, callers):
        callers[0].ask()
        pids = workers(member.process.pid)
        before = [descriptors(pid) for pid in pids]
        for _ in range(200):
            callers[0].close()
            callers[0].ask()
        few = 10  # of the database, perhaps, at a worker that had not been asked yet
        until(lambda: all(descriptors(pid) <= n + few for pid, n in zip(pids, before, strict=True)))


def descriptors(pid: int) -> int:
    """How many files and sockets the process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def connected_to(member: Member) -> list[int]:
    """The workers that have callers."""
    sockets = {pid: sockets_of(pid) for pid in workers(member.process.pid)}
    established = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{member.port:04X}") and line.split()[3] == "01"
    }
    return [pid for pid, own in sockets.items() if own & established]


def sockets_of(pid: int) -> set[str]:
    """The inodes of the sockets that the process has open."""
    links = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def test_killed_worker_is_replaced_while_others_serve(tmp_path: Path) -> None:
    with cluster(tmp_path, **TWO) as servers:
        (member,) = servers.members
        supervisor = member.process.pid
        until(lambda: len(workers(supervisor)) == 2)
        before = workers(supervisor)
        outcomes = asyncio.run(
            load(member, lambda: os.kill(before[0], signal.SIGKILL), lasting=2.0)
        )
        until(lambda: len(workers(supervisor)) == 2)
        assert before[0] not in workers(supervisor)
        assert before[1] in workers(supervisor)
        assert "worker.ended" in member.log()
    assert outcomes["200"] > CLIENTS
    assert outcomes["cut off"] <= CLIENTS  # those at the one that was killed, once each
    assert outcomes["refused"] == 0


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path, **TWO) as servers:
        (member,) = servers.members
        until(lambda: len(workers(member.process.pid)) == 2)
        pids = workers(member.process.pid)
        member.process.kill()
        until(lambda: not any(is_alive(pid) for pid in pids))


def test_taken_port_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*SERVER, "--port", str(port), "--database", f"sqlite:///{tmp_path}/x.db"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"Error: Cannot listen on 127.0.0.1:{port}: Address already in use\n"


def has_connected(listener: socket.socket) -> bool:
    """Whether one more caller is let in at once."""
    with socket.socket() as caller:
        caller.settimeout(MOMENT)
        try:
            caller.connect(listener.getsockname())
        except TimeoutError:
            return False
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one caller may be let in")
def test_closing_listener_accepts_waiting_clients_and_no_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as waiting:
        waiting.connect(listener.getsockname())
        keep_clients_out(listener)
        assert not has_connected(listener)
        accepted, address = listener.accept()
        with accepted:
            assert address == waiting.getsockname()
        assert not has_connected(listener)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no filter")
@pytest.mark.parametrize("waiting", [0, 3])
def test_client_that_began_to_connect_is_still_accepted(waiting: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        listener.settimeout(SOON)
        for _ in range(waiting):  # in the queue
            stack.enter_context(socket.create_connection(listener.getsockname()))
        # The handshake ends with the first data, as if the client's packets were on their way.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        keep_clients_out(listener)
        client.sendall(b"x")
        accepted = [stack.enter_context(listener.accept()[0]) for _ in range(waiting + 1)]
        accepted[-1].settimeout(SOON)
        assert accepted[-1].recv(1) == b"x"


def test_shortest_listen_queue_still_admits_one_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen(0)
        assert has_connected(listener)
