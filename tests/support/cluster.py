"""Several real server processes on one database, each on a port of its own.

Every process is a group of its own, so that it can be killed together with its workers, and
is ended when its cluster is left, however that happens.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bitespeed.model.records import IdentityRecords
from bitespeed.stores import open_store
from support.server import free_port
from support.warnings_as_errors import IN_ENVIRONMENT

START = 30.0  # seconds until a process must be ready
STOP = 30.0  # seconds until it must have ended after SIGTERM
POLL_INTERVAL = 0.005  # seconds between two polls whether it is ready

SERVER = (sys.executable, "-m", "bitespeed", "serve")
SLEEPY_SERVER = (sys.executable, str(Path(__file__).with_name("sleepy_server.py")))
COUNTING_SERVER = (*SLEEPY_SERVER, "--awake")


class Member:
    """One server process, which may end and be started again on the same port."""

    def __init__(
        self,
        command: Sequence[str],
        database: str,
        log: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """``environ`` has settings of its own."""
        self.port = free_port()
        self._command = [*command, "--port", str(self.port), "--database", database]
        self._log = log
        self._environ = _environment() | IN_ENVIRONMENT | dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last."""
        assert self._process is not None
        return self._process

    def start(self) -> float:
        """Start the process; the seconds until it was ready."""
        assert self._process is None or self._process.poll() is not None
        begin = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_ready()
        return time.monotonic() - begin

    def wait_until_ready(self) -> None:
        """Return when it accepts requests and its database answers."""
        deadline = time.monotonic() + START
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The server did not become ready:\n{self.log()}")
            time.sleep(POLL_INTERVAL)

    def _is_ready(self) -> bool:
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection,
        ):
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        return False

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit status, once the process has ended."""
        return self.process.wait(STOP)

    def kill(self) -> None:
        """Kill the process and its workers with SIGKILL, and return when it is gone."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End the process gently, or by force when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def log(self) -> str:
        """All that the processes on this port have printed."""
        return self._log.read_text()


class Cluster:
    """Server processes that share one database."""

    def __init__(self, database: str, members: list[Member]) -> None:
        self.database = database
        self.members = members

    @property
    def ports(self) -> list[int]:
        """Where they listen."""
        return [member.port for member in self.members]

    def log(self) -> str:
        """All that any of them has printed."""
        return "".join(member.log() for member in self.members)

    def stored(self) -> list[IdentityRecords]:
        """Everything in the database, as of one instant, read by a store of the test's own."""
        return asyncio.run(self._stored())

    async def _stored(self) -> list[IdentityRecords]:
        store = await open_store(self.database)
        try:
            return [identity async for page in store.scan() for identity in page]
        finally:
            await store.close()


@contextmanager
def cluster(
    folder: Path,
    size: int = 1,
    command: Sequence[str] = SERVER,
    *,
    database: str | None = None,
    ways: Sequence[str] = (),
    **environ: str,
) -> Iterator[Cluster]:
    """Start ``size`` processes on one database; all have ended when it returns.

    It is a file in the folder unless another ``database`` is named. ``ways`` are URLs by which the
    processes reach it, in turn, where those differ. Settings go by environment.
    """
    database = database or f"sqlite:///{folder / 'contacts.db'}"
    ways = ways or [database]
    members = [
        Member(command, ways[n % len(ways)], folder / f"server-{n}.log", environ)
        for n in range(size)
    ]
    try:
        for member in members:
            member.start()
        yield Cluster(database, members)
    finally:
        _close(members)


def _close(members: Sequence[Member]) -> None:
    """End all of them, also when one makes difficulties."""
    if members:
        try:
            members[0].close()
        finally:
            _close(members[1:])


def _environment() -> dict[str, str]:
    """Ours, without settings that somebody made for a server of their own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BITESPEED_") and name != "DATABASE_URL"
    }
