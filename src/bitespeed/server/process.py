"""A server process: uvicorn around the application."""

import asyncio
import os
import socket
import struct
import sys
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import uvicorn

from bitespeed.errors import InvalidInput
from bitespeed.server.acceptor import Roster, Turns
from bitespeed.server.connection import Connection
from bitespeed.settings import Settings

BACKLOG = 2048  # connections that may wait to be accepted
DRAIN = 10  # seconds beyond a request's deadline that a shutdown waits for requests accepted
LOOK = 10  # ticks, of a tenth of a second, between looks for callers who are late

_BPF_RETURN = 0x06  # BPF_RET | BPF_K of linux/filter.h: how many bytes of a packet to take; none
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of asm-generic/socket.h

OPTIONS: dict[str, Any] = {
    "loop": "uvloop" if os.name == "posix" else "asyncio",
    "http": Connection,
    "ws": "none",
    "lifespan": "on",
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "log_config": None,
    "log_level": "warning",
    "backlog": BACKLOG,
}
"""How uvicorn is run here; the benchmark's ceiling is run in the same way."""


def listen(settings: Settings) -> socket.socket:
    """A socket that takes connections. Raises `InvalidInput` when there can be none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # what follows names the address once more
        raise InvalidInput(f"Cannot listen on {settings.host}:{settings.port}: {why}") from None
    listener.setblocking(False)
    return listener


def serve(settings: Settings, listener: socket.socket, roster: Roster | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return.

    Ends the process when it cannot be started. ``roster`` has those who serve on the same socket.
    """
    connection = partial(
        Connection, patience=settings.client_timeout, most=settings.max_connections
    )
    options: dict[str, Any] = {**OPTIONS, "http": connection}
    config = uvicorn.Config(
        "bitespeed.server.app:from_environment",
        factory=True,
        timeout_graceful_shutdown=int(settings.deadline) + DRAIN,
        **options,
    )
    with suppress(KeyboardInterrupt):
        _Server(config, settings.max_connections, roster).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Looks after connections while it runs, and accepts all that have connected when it ends."""

    def __init__(self, config: uvicorn.Config, clients: int, roster: Roster | None) -> None:
        super().__init__(config)
        self._clients = clients
        self._roster = roster
        self._turns: Turns | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from now on; in turns with others, where there are any."""
        if self._roster is None or not sockets:
            await super().startup(sockets)
            return
        await super().startup([])
        connections = cast("set[Connection]", self.server_state.connections)
        self._turns = Turns(self._roster, sockets[0], connections, self._clients, self._protocol)

    async def on_tick(self, counter: int) -> bool:
        """Once in a tenth of a second."""
        if counter % LOOK == 0:
            now = asyncio.get_running_loop().time()
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                connection.look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody connect any more, and answer whoever has connected by then.

        Closing a listening socket resets those who wait to be accepted, whose requests may have
        been sent. So nobody is let in any more, then the queue is emptied.
        """
        if self._turns is not None:
            await self._turns.end()
        waiting: list[socket.socket] = []
        for listener in sockets or []:
            let_nobody_in(listener)
            with suppress(BlockingIOError):
                while True:
                    waiting.append(listener.accept()[0])
        for listening in (*self.servers, *(sockets or [])):
            listening.close()
        for accepted in waiting:
            with suppress(OSError):  # it has gone
                await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., Connection]", self.config.http_protocol_class)
        return make(self.config, self.server_state, self.lifespan.state)


def let_nobody_in(listener: socket.socket) -> None:
    """Connect nobody from now on; who has connected still waits to be accepted.

    A queue as short as can be has room for one caller. On Linux a filter passes over what callers
    send to connect, so they try again a second later, when the socket is closed (`socket(7)`).
    """
    listener.listen(0)
    if sys.platform == "linux":
        filters = array("B", struct.pack("=HBBI", _BPF_RETURN, 0, 0, 0))
        address, _ = filters.buffer_info()
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", 1, address))
