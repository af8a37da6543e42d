"""Memory and a healthy client's latency while hostile clients of eight kinds are connected.

`python -m bench.hostile` takes a minute and a half, and ends with status 1 if a bound was broken.
The server needs a key, and has one identity of 20,000 contacts; everything runs on this machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

import msgspec

from bench import data, processes
from bench.failure import BenchmarkFailed
from bench.hostile_clients import CONTACTS, KINDS, PHONE, Hostile
from bench.postgres.databases import databases
from bench.processes import ROOT, Server

MIB = 1024 * 1024
MAX_GROWTH = 64  # MiB, at any moment of the attack
# MiB that may stay afterwards: 20,000 guessed keys are 10, the large identity 6, names of large
# identities 2; and pymalloc and glibc keep what lies between pieces that are in use.
MAX_KEPT = 32
MAX_P99 = 250  # milliseconds; only the program compares it, as no test asserts timing

WARM_UP = 200  # requests of the healthy client before the attack
RATE = 50  # requests a second of the healthy client
KNOWN = 5  # of so many requests of the healthy client, one brings somebody new
INTERVAL = 0.05  # seconds between two measurements of memory
QUIET = 15.0  # seconds that the server has to give memory back
CUSTOMERS_FROM = 10_000  # the first customer of the healthy client


class Figures(msgspec.Struct, frozen=True):
    """Memory of the server in MiB, latencies in milliseconds."""

    begin: float
    most: float
    end: float
    p50: float
    p95: float
    p99: float
    slowest: float
    healthy: dict[int, int]
    """How often the healthy client got each status."""
    hostile: Hostile
    server_cpu: float
    """Share of one core that the server used during the attack."""


class Healthy:
    """A client that does what it should, on one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._number = 0
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []

    def identify(self, email: str | None, phone: str) -> int:
        """The status of one observation."""
        body = json.dumps({"email": email, "phoneNumber": phone})
        self._connection.request("POST", "/identify", body, self._headers)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def next(self) -> int:
        """The status of an observation of its next customer."""
        self._number += 1
        return self.identify(*data.customer(CUSTOMERS_FROM + self._number // KNOWN))

    def run(self, leave: Event) -> None:
        """Send at `RATE`. A latency counts from when its request was due, also if the one before
        it was late.
        """
        due = time.perf_counter()
        while not leave.wait(max(0.0, due - time.perf_counter())):
            self.statuses[self.next()] += 1
            self.latencies.append(1000 * (time.perf_counter() - due))
            due += 1 / RATE

    def close(self) -> None:
        self._connection.close()


def fill(database: str, folder: Path) -> str:
    """Import the large identity; returns a key of its tenant, which all requests need then."""
    file = folder / "large.csv"
    data.write_csv(file, ((f"l{number}@x.zz", PHONE) for number in range(CONTACTS)))
    processes.import_file(file, database)
    return processes.create_key(database)


def measure(server: Server, key: str, seconds: float, kinds: Sequence[str]) -> Figures:
    """The figures of an attack of so many seconds on a server that `fill` has filled."""
    with closing(Healthy(server.port, key)) as healthy:
        healthy.identify(None, PHONE)  # what the first large answer takes once is no growth
        for _ in range(WARM_UP):
            healthy.next()
        return _watch(server, key, seconds, kinds, healthy)


def _watch(
    server: Server, key: str, seconds: float, kinds: Sequence[str], healthy: Healthy
) -> Figures:
    begin, cpu, began = server.memory() / MIB, server.cpu(), time.monotonic()
    most = begin
    leave = Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(healthy.run, leave)
        try:
            with _attack(server.port, key, seconds, kinds) as attack:
                while attack.poll() is None:
                    most = max(most, server.memory() / MIB)
                    time.sleep(INTERVAL)
                used = (server.cpu() - cpu) / (time.monotonic() - began)
                hostile = _outcome(attack)
        finally:
            leave.set()
        running.result()
    centiles = statistics.quantiles(healthy.latencies, n=100, method="inclusive")
    return Figures(
        begin=begin,
        most=most,
        end=_settled(server, begin),
        p50=centiles[49],
        p95=centiles[94],
        p99=centiles[98],
        slowest=max(healthy.latencies),
        healthy=dict(healthy.statuses),
        hostile=hostile,
        server_cpu=used,
    )


def _attack(port: int, key: str, seconds: float, kinds: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.hostile_clients", str(port), key, str(seconds), *kinds]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _outcome(attack: subprocess.Popen[bytes]) -> Hostile:
    assert attack.stdout is not None
    answer = attack.stdout.read()
    if attack.returncode:
        raise BenchmarkFailed("The hostile clients failed; what they printed says why")
    return msgspec.json.decode(answer, type=Hostile)


def _settled(server: Server, begin: float) -> float:
    """Memory when it is back, or when the server had `QUIET` seconds for it."""
    give_up = time.monotonic() + QUIET
    while (memory := server.memory() / MIB) > begin + MAX_KEPT and time.monotonic() < give_up:
        time.sleep(INTERVAL)
    return memory


def broken(figures: Figures) -> list[str]:
    """The bounds of memory and statuses that did not hold, in words; none if all is well."""
    growth, kept = figures.most - figures.begin, figures.end - figures.begin
    found: list[str] = []
    if growth > MAX_GROWTH:
        found.append(f"memory grew by {growth:.0f} MiB")
    if kept > MAX_KEPT:
        found.append(f"{kept:.0f} MiB were not given back")
    if odd := figures.healthy.keys() - {200, 503}:
        found.append(f"the healthy client got {sorted(odd)}")
    for kind, counts in figures.hostile.statuses.items():
        if odd := {status for status in counts if status >= 500} - {503}:
            found.append(f"{kind}: {sorted(odd)}")
        if KINDS[kind].usual not in counts:
            found.append(f"{kind}: no answer with {KINDS[kind].usual}, so it proves nothing")
    return found


def lines(figures: Figures) -> list[str]:
    """The figures, to be printed."""
    of = figures
    memory = f"{of.begin:.1f} MiB at the beginning, {of.most:.1f} at most, {of.end:.1f} afterwards"
    times = f"p50 {of.p50:.1f} ms, p95 {of.p95:.1f}, p99 {of.p99:.1f}, max {of.slowest:.1f}"
    return [
        f"memory: {memory}",
        f"healthy: {times}; {of.healthy}",
        f"cores: server {of.server_cpu:.2f}, hostile clients {of.hostile.cpu:.2f}",
        *(f"{kind}: {counts}" for kind, counts in of.hostile.statuses.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="[60]")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help="[all eight]")
    parser.add_argument("--postgres", metavar="URL", help="of a PostgreSQL server  [on SQLite]")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        databases(options.postgres, keep=False) if options.postgres else nullcontext() as server,
    ):
        work = Path(folder)
        database = data.url(work / "contacts.db") if server is None else server.fresh()
        key = fill(database, work)
        with processes.service(database, work) as service:
            figures = measure(service, key, options.seconds, options.only or [*KINDS])
    found = broken(figures)
    if figures.p99 > MAX_P99:
        found.append(f"the p99 of the healthy client was {figures.p99:.0f} ms")
    print(*lines(figures), sep="\n")
    sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
