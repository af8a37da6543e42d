"""A Redis or Valkey server of the test's own, which may be killed, emptied and started again."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from socket import create_connection
from typing import Any

import hiredis

from support import server_programs
from support.processes import Daemon, home, within_reach
from support.server import free_port

MOMENT = 10.0  # seconds to wait for an answer


class RedisServer:
    """Keeps nothing over a restart, unless a setting makes it write its data."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        found = server_programs.redis()
        command = found.path
        if found.tree:
            tree = within_reach(found.tree)
            command = tree / command.relative_to(found.tree)
        own = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "dir": str(folder)}
        words = [word for name, value in (own | settings).items() for word in (f"--{name}", value)]
        self._daemon = Daemon([command, *words], folder, gently=SIGTERM)

    def start(self) -> None:
        """Start it, empty or with what it has written down."""
        self._daemon.start(self._answers)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._daemon.kill()

    def stop(self) -> None:
        """Let it end."""
        self._daemon.stop()

    def ask(self, *command: str | bytes | int) -> Any:
        """The reply to one command, on a connection of its own."""
        with closing(create_connection(("127.0.0.1", self.port), timeout=MOMENT)) as connection:
            connection.sendall(hiredis.pack_command(command))
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                received = connection.recv(65_536)
                assert received, "The server has closed the connection."
                reader.feed(received)
            return reply

    def dump(self) -> dict[bytes, bytes]:
        """Every key with its value, for those who look for what must not be there."""
        found = {}
        for key in self.ask("KEYS", "*"):
            kind = self.ask("TYPE", key)
            value = self.ask("GET", key) if kind == b"string" else self.ask("HGETALL", key)
            found[key] = value if isinstance(value, bytes) else b" ".join(value or [])
        return found

    def _answers(self) -> bool:
        with suppress(OSError, AssertionError):
            return self.ask("PING") == b"PONG"
        return False


@contextmanager
def redis_server(**settings: str) -> Iterator[RedisServer]:
    """A server that is gone when it is left. Settings are Redis' own."""
    with home() as folder:
        server = RedisServer(folder, **settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
