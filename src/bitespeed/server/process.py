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
from bitespeed.server.acceptor import Acceptor, WorkerLoads
from bitespeed.server.connection import Connection
from bitespeed.settings import Settings

BACKLOG = 2048  # connections that may wait to be accepted
SHUTDOWN_TIMEOUT = 10  # seconds, beyond a request's deadline, for the requests accepted before it
OVERDUE_INTERVAL = 10  # ticks of a tenth of a second between searches for overdue connections

HANDSHAKE_DELAY = 0.3  # seconds, a round trip to far clients, for handshakes that have begun to end

_SYN, _SYN_OR_ACK = 0x02, 0x12  # bits of the byte with the flags, which is the fourteenth of TCP's
_DROP_SYN = (
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS of linux/filter.h: the flags
    (0x54, 0, 0, _SYN_OR_ACK),  # BPF_ALU | BPF_AND | BPF_K
    (0x15, 0, 1, _SYN),  # BPF_JMP | BPF_JEQ | BPF_K: whether a client begins to connect
    (0x06, 0, 0, 0),  # BPF_RET | BPF_K: take nothing of the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # take all of any other packet
)
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
"""How uvicorn runs here; the ceiling of the benchmark runs in the same way."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens as configured. Raises `InvalidInput` if the address cannot be used."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # the rest repeats the address
        raise InvalidInput(f"Cannot listen on {settings.host}:{settings.port}: {why}") from None
    listener.setblocking(False)
    return listener


def serve(settings: Settings, listener: socket.socket, loads: WorkerLoads | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return.

    Ends the process when the application cannot start. ``loads`` are those of the workers that
    serve on the same socket, where there are several.
    """
    connection = partial(
        Connection, timeout=settings.client_timeout, limit=settings.max_connections
    )
    options: dict[str, Any] = {**OPTIONS, "http": connection}
    config = uvicorn.Config(
        "bitespeed.server.app:from_environment",
        factory=True,
        timeout_graceful_shutdown=int(settings.deadline) + SHUTDOWN_TIMEOUT,
        **options,
    )
    with suppress(KeyboardInterrupt):
        _Server(config, settings.max_connections, loads).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Closes overdue connections while it runs; at its end, answers all that have connected."""

    def __init__(
        self, config: uvicorn.Config, max_connections: int, loads: WorkerLoads | None
    ) -> None:
        super().__init__(config)
        self._max_connections = max_connections
        self._loads = loads
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from now on; where there are several workers, in turns with them."""
        if self._loads is None or not sockets:
            await super().startup(sockets)
            return
        await super().startup([])
        connections = cast("set[Connection]", self.server_state.connections)
        self._acceptor = Acceptor(
            self._loads, sockets[0], connections, self._max_connections, self._make_protocol
        )

    async def on_tick(self, counter: int) -> bool:
        """Close overdue connections. uvicorn calls this every tenth of a second."""
        if counter % OVERDUE_INTERVAL == 0:
            now = asyncio.get_running_loop().time()
            for connection in cast("list[Connection]", list(self.server_state.connections)):
                connection.close_if_overdue(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let no more clients connect, and answer those that have connected.

        Closing a listening socket resets the clients that wait to be accepted, which may have sent
        requests. So new clients are kept out first, then the queue is emptied.
        """
        if self._acceptor is not None:
            await self._acceptor.close()
        for listener in sockets or []:
            keep_clients_out(listener)
        await asyncio.sleep(HANDSHAKE_DELAY)
        waiting: list[socket.socket] = []
        for listener in sockets or []:
            with suppress(BlockingIOError):
                while True:
                    waiting.append(listener.accept()[0])
        for listening in (*self.servers, *(sockets or [])):
            listening.close()
        for accepted in waiting:
            with suppress(OSError):  # the client has gone
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(self._make_protocol, accepted)
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., Connection]", self.config.http_protocol_class)
        return make(self.config, self.server_state, self.lifespan.state)


def keep_clients_out(listener: socket.socket) -> None:
    """Let no more clients begin to connect; those that have begun can still be accepted.

    On Linux a filter drops the packets with which clients begin, so they try again a second later,
    when the socket is closed; see `socket(7)`. Elsewhere the queue is made as short as possible,
    which has room for one client.
    """
    if sys.platform != "linux":
        # Not on Linux: it forgets a client whose handshake ends while the short queue is full. The
        # client has connected by then, sends its request and is reset.
        listener.listen(0)
        return
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _DROP_SYN)
    instructions = array("B", program)
    address, _ = instructions.buffer_info()
    filter_ = struct.pack("@HP", len(_DROP_SYN), address)
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, filter_)
