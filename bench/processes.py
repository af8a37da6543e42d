"""Processes under test: the servers, what they cost, and commands that run to their end."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.failure import BenchmarkFailed
from bitespeed.tenant import DEFAULT_TENANT

ROOT = Path(__file__).parent.parent
START = 30.0  # seconds a server may take until it answers
STOP = 30.0  # seconds it may take to end

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A server that answers at ``url``; of several workers, ``pid`` is their parent."""

    pid: int
    port: int
    key: str | None = None
    """The API key that requests have, if any."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/identify"

    def cpu(self) -> float:
        """Seconds of processor time used so far, by all its threads."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Bytes of memory of its own: RSS without the pages of files that it reads in place."""
        statm = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii")
        _, resident, shared = map(int, statm.split()[:3])
        return (resident - shared) * _PAGE


@contextmanager
def service(
    database: str, logs: Path, workers: int = 1, key: str | None = None, **environ: str
) -> Iterator[Server]:
    """The service as anybody would start it on the database at a URL, else with its defaults.

    ``key`` is sent by the load generator; ``environ`` has settings of its own.
    """
    command = ["-m", "bitespeed", "serve", "--database", database, "--workers", str(workers)]
    with _server(command, logs, "/ready", environ) as server:
        yield replace(server, key=key)


@contextmanager
def bare_service(database: str, logs: Path) -> Iterator[Server]:
    """The service as `bench.bare` leaves it."""
    with _server(["-m", "bench.bare", "serve", "--database", database], logs, "/ready", {}) as bare:
        yield bare


@contextmanager
def ceiling(logs: Path) -> Iterator[Server]:
    """The server of `bench.constant`."""
    with _server(["-m", "bench.constant"], logs, "/", {}) as server:
        yield server


@contextmanager
def _server(
    command: list[str], logs: Path, ready: str, environ: dict[str, str]
) -> Iterator[Server]:
    port = free_port()
    log = logs / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)],
            cwd=ROOT,
            env=_environment() | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _await(process, f"http://127.0.0.1:{port}{ready}", log)
            yield Server(process.pid, port)
            if process.poll() is not None:
                raise BenchmarkFailed(f"A server ended too early: {_tail(log)}")
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + START
    while process.poll() is None and time.monotonic() < give_up:
        try:
            with urlopen(url, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise BenchmarkFailed(f"A server did not start: {_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Ours, but for settings of the service, so that its defaults are measured."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "REDIS_URL"} and not name.startswith("BITESPEED_")
    }


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:] or "its log is empty"


@dataclass(frozen=True)
class Cost:
    """What some work took, in seconds."""

    elapsed: float
    cpu: float


def import_file(file: Path, database: str) -> Cost:
    """Import with the real command, from its start to its end; what it took."""
    cpu, start = _cpu_of_children(), time.perf_counter()
    _command("import", str(file), "--database", database)
    return Cost(time.perf_counter() - start, _cpu_of_children() - cpu)


def create_key(database: str) -> str:
    """A new API key for `POST /identify`."""
    return _command(
        *("keys", "create", "--tenant", DEFAULT_TENANT, "--scope", "identify"),
        *("--database", database),
    ).strip()


def _command(*arguments: str) -> str:
    """Run a command of the service to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bitespeed", *arguments],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkFailed(f"bitespeed {arguments[0]} failed: {done.stderr[-2000:]}")
    return done.stdout


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
