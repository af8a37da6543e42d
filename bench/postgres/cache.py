"""Repeats with a cache in front of PostgreSQL, without one, and with one that is away.

All take turns in short runs on one database. A lone request with a cache is compared with what
it cannot do without: a GET of its answer, and the same HTTP server answering a constant.
"""

import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import hiredis
import msgspec

from bench import processes, workloads, wrk
from bench.failure import BenchmarkFailed
from bench.figures import Summary, ratios, summarise
from bench.postgres.databases import Databases
from bench.processes import Server
from bench.scale import Scale
from bench.size import LONE

START = 10.0  # seconds until the cache answers
ROUND_TRIPS = 2000  # of GET, for each median
WARM_UP = 3  # runs, until the answers are in the cache
NOBODY = "redis://127.0.0.1:1/0"  # where no server is


class Cached(msgspec.Struct, frozen=True):
    """Rates of repeats, and the time of a lone one in milliseconds."""

    without: Summary
    cached: Summary
    away: Summary
    gain: Summary
    """Cached, beside without a cache."""
    loss: Summary
    """With a cache that is away, beside without one."""
    lone: Summary
    parts: Summary
    """GET and constant answer together."""
    lone_ratio: Summary


def require() -> None:
    """Raise `BenchmarkFailed` when there is no Redis to be started."""
    if shutil.which("redis-server") is None:
        raise BenchmarkFailed(
            "redis-server is not on the PATH; it is Debian's package redis-server"
        )


def measure(scale: Scale, databases: Databases) -> Cached:
    """See `Cached`."""
    database = databases.fresh()
    workloads.preload(database, scale.work)
    without: list[float] = []
    cached: list[float] = []
    away: list[float] = []
    lone: list[float] = []
    parts: list[float] = []
    runs = count(1)
    with (
        _redis(scale.work) as port,
        processes.ceiling(scale.work) as constant,
        processes.service(database, scale.work, REDIS_URL="") as bare,
        processes.service(database, scale.work, REDIS_URL=_url(port)) as fast,
        processes.service(database, scale.work, REDIS_URL=NOBODY) as alone,
    ):
        for _ in range(WARM_UP):
            workloads.run("repeats", fast, 2 * scale.seconds, next(runs))
        for _ in range(scale.rounds):
            for server, rates in ((bare, without), (fast, cached), (alone, away)):
                load, _ = workloads.run("repeats", server, scale.seconds, next(runs))
                rates.append(load.rate)
            lone.append(_lone(fast, scale.seconds, next(runs)))
            parts.append(_lone(constant, scale.seconds, next(runs)) + _get(port))
    return Cached(
        without=summarise(without),
        cached=summarise(cached),
        away=summarise(away),
        gain=summarise(ratios(cached, without)),
        loss=summarise(ratios(away, without)),
        lone=summarise(lone),
        parts=summarise(parts),
        lone_ratio=summarise(ratios(lone, parts)),
    )


def _url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def _lone(server: Server, seconds: int, number: int) -> float:
    """Milliseconds until a request on the only connection is answered, at the median."""
    arguments = workloads.arguments_of("repeats", number)
    return wrk.run("repeats", server.url, seconds, LONE, *arguments).p50 / 1000


def _get(port: int) -> float:
    """Milliseconds of a GET of some 120 bytes, at the median, from a plain socket."""
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _ask(connection, "SET", "answer", b"x" * 120)
        times: list[float] = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            _ask(connection, "GET", "answer")
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def _ask(connection: socket.socket, *command: str | bytes) -> None:
    connection.sendall(hiredis.pack_command(command))
    reader = hiredis.Reader()
    while reader.gets() is False:
        reader.feed(connection.recv(65_536))


@contextmanager
def _redis(folder: Path) -> Iterator[int]:
    """A server of our own; its port."""
    port = processes.free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            give_up = time.monotonic() + START
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if time.monotonic() > give_up:
                        raise BenchmarkFailed("redis-server did not start") from None
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()
