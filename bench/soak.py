"""Memory of the server through a long stretch of load.

The mix adds new customers all the time; they belong into the database, not into memory.
"""

import subprocess
import time
from contextlib import closing
from pathlib import Path

import msgspec

from bench import ceilings, data, processes, workloads, wrk
from bench.figures import slope
from bench.processes import Server
from bench.scale import CONNECTIONS, PRELOADED, Scale
from bitespeed.stores.sqlite.database import connect

INTERVAL = 1.0  # seconds between two measurements of the server's memory
MIB = 1024 * 1024


class Soak(msgspec.Struct, frozen=True):
    """Memory of its own in MiB. The start is where the warm-up ends; slopes in MiB per minute."""

    minutes: float
    warm_up: float
    """Seconds."""
    requests: int
    rate: float
    new_customers: int
    start: float
    end: float
    most: float
    slope: float
    late_slope: float
    """Of the last half: what it comes to when every cache of fixed size is full."""
    seconds: list[float]
    memory: list[float]


def measure(scale: Scale) -> Soak:
    """Run the mix for as long as the scale says."""
    database = ceilings.preloaded(scale.work)
    duration = max(2, round(scale.minutes * 60))
    with processes.service(data.url(database), scale.work) as server:
        arguments = workloads.arguments_of("mix", run=1)
        with wrk.running("mix", server.url, duration, CONNECTIONS, *arguments) as process:
            seconds, memory = _watch(server, process)
            load = wrk.finish(process, duration)
    return summary(scale.minutes, scale.warm_up, load, _new_customers(database), seconds, memory)


def _watch(server: Server, process: subprocess.Popen[str]) -> tuple[list[float], list[float]]:
    """The server's memory, from now until the process ends."""
    start = time.monotonic()
    seconds: list[float] = []
    memory: list[float] = []
    while process.poll() is None:
        seconds.append(time.monotonic() - start)
        memory.append(server.memory() / MIB)
        time.sleep(INTERVAL)
    return seconds, memory


def summary(
    minutes: float,
    warm_up: float,
    load: wrk.Load,
    new_customers: int,
    seconds: list[float],
    memory: list[float],
) -> Soak:
    """The summary of the measurements of memory; two or more must come after the warm-up."""
    warm = [at for at in seconds if at >= warm_up]
    steady = memory[-len(warm) :]
    half = len(warm) // 2
    return Soak(
        minutes=minutes,
        warm_up=warm_up,
        requests=load.requests,
        rate=load.rate,
        new_customers=new_customers,
        start=steady[0],
        end=steady[-1],
        most=max(steady),
        slope=slope(warm, steady) * 60,
        late_slope=slope(warm[half:], steady[half:]) * 60,
        seconds=[round(at, 1) for at in seconds],
        memory=[round(mib, 1) for mib in memory],
    )


def _new_customers(database: Path) -> int:
    with closing(connect(database)) as connection:
        count: int = connection.execute("select count(*) from identity").fetchone()[0]
        return count - PRELOADED
