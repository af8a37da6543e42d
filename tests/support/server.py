"""A real server process on a SQLite file of its own, and clients that send given requests."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPMessage
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from support.errors import NEITHER, STATUSES
from support.warnings_as_errors import IN_ENVIRONMENT

START = 30.0  # seconds a server may take until it is ready
STOP = 30.0  # seconds a server may take to end after SIGTERM
TIMEOUT = 15.0  # seconds to wait for an answer; beyond every deadline of the server

_numbers = count(1)


def fresh_email() -> str:
    """An email that nobody has used before."""
    return f"somebody{next(_numbers)}@hillvalley.edu"


def fresh_phone() -> str:
    """A phone number that nobody has used before."""
    return f"88{next(_numbers):08}"


class Reply(NamedTuple):
    """One response."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body, which must be declared as JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def contact(self) -> dict[str, Any]:
        """What a successful answer holds."""
        assert self.status == 200, self.body
        return self.json["contact"]

    @property
    def error(self) -> str:
        """The sentence of an error, whose body must have its code besides, and nothing else."""
        assert self.status >= 400, self.body
        refusal = self.json
        assert list(refusal) == (["error"] if refusal["error"] == NEITHER else ["error", "code"])
        assert STATUSES[refusal.get("code")] == self.status
        assert re.fullmatch(r"\w[^\n<>]{9,150}", refusal["error"])
        return refusal["error"]


class Server:
    """A running server. ``pid`` is its process, ``database`` its file."""

    def __init__(self, port: int, database: Path, log: Path, pid: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.database = database
        self.pid = pid
        self._log = log

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def raw(self, data: bytes) -> bytes:
        """All that is answered to these bytes until the server closes the connection."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it may close before it has read everything
                connection.sendall(data)
            return read_all(connection)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own, with these headers besides the usual."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            return ask(connection, method, target, body, headers)

    def post(self, path: str, value: object) -> Reply:
        """POST a value as JSON."""
        body = json.dumps(value).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json"})

    def identify(self, email: str | None = None, phone: str | int | None = None) -> dict[str, Any]:
        """The contact of the answer to one observation."""
        return self.post("/identify", {"email": email, "phoneNumber": phone}).contact

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What is in the database."""
        uri = f"{self.database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def columns(self, table: str) -> list[str]:
        """The names of the columns of a table or a view."""
        return [n for (n,) in self.query("select name from pragma_table_info(?)", table)]

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of every table."""
        names = self.query("select name from sqlite_schema where type = 'table' order by name")
        return {name: self.query(f'select * from "{name}"') for (name,) in names}

    def log(self) -> str:
        """What the process has printed."""
        return self._log.read_text()


def ask(
    connection: HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request on a connection that may serve others before and after."""
    connection.putrequest(method, target, skip_accept_encoding=True)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    with suppress(ConnectionError):  # it may refuse before it has read everything
        connection.send(body or b"")
    response = connection.getresponse()
    return Reply(response.status, response.headers, response.read())


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; an abrupt end is an end."""
    answer = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            answer += chunk
    return answer


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port that is nobody else's until this test run ends.

    A socket stays bound to it, so that the system gives it to nobody, neither to another run nor
    to an outgoing connection. A server may listen on it all the same, since both allow the reuse
    of addresses; this one does so only afterwards, or it might be given another run's.
    """
    reservation = socket.socket()
    reservation.bind(("127.0.0.1", 0))
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _reserved.append(reservation)
    return reservation.getsockname()[1]


@contextmanager
def serve(folder: Path, *, max_files: int | None = None, **environ: str) -> Iterator[Server]:
    """A server with its database in the folder, ended by SIGTERM; settings go by environment.

    With ``max_files``, its processes may open only so many files and sockets.
    """
    port, database, log = free_port(), folder / "contacts.db", folder / "server.log"
    command = [sys.executable, "-m", "bitespeed", "serve"]
    command += ["--port", str(port), "--database", f"sqlite:///{database}"]
    if max_files is not None:
        command = ["sh", "-c", f'ulimit -n {max_files}; exec "$@"', "sh", *command]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BITESPEED_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=inherited | IN_ENVIRONMENT | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(port, database, log, process.pid)
    try:
        _wait_until_ready(server, process)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if server.ask("GET", "/ready").status == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"The server did not become ready:\n{server.log()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
