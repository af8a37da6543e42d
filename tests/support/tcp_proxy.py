"""A line between a client and a server that a test may cut, block, or make swallow answers."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ssl import SSLContext

from support.database_url import address_of, at_port
from support.event_loop_thread import LOOP_TIMEOUT, Background, background

CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)  # linger not: closing sends RST, as when a machine is gone


class TcpProxy:
    """Forwards what comes to `port`. Its methods may be called from any thread but its own.

    Whatever they change holds for the connections that there are and for new ones, until `heal`.
    """

    def __init__(self, address: tuple[str, int], loop: Background) -> None:
        self.port = 0
        self._address = address
        self._loop = loop
        self._writers: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._swallowed = asyncio.Event()
        self._may_answer: int | None = None  # bytes; None for any number
        self._cuts_then = False

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._loop.run(self._count())

    async def _count(self) -> int:
        return len(self._writers) // 2

    def cut(self) -> None:
        """Reset every connection. Whoever connects again gets through."""
        self._loop.run(self._cut())

    def stall(self) -> None:
        """Let nothing pass in either direction, and close nothing, like a network partition."""
        self._loop.run(self._set(passes=False))

    def swallow(self, after: int = 0, *, then_cut: bool = True) -> None:
        """Let so many more bytes of the server's through and no others.

        The server has then done its work, and no client knows. With ``then_cut`` the
        connection whose answer was swallowed is reset, else it stays and waits.
        """
        self._loop.run(self._set(passes=True, may_answer=after, cuts_then=then_cut))

    def wait_until_swallowed(self) -> None:
        """Return when the server has answered in vain since `swallow`."""
        self._loop.run(asyncio.wait_for(self._swallowed.wait(), LOOP_TIMEOUT))

    def heal(self) -> None:
        """Let everything pass; what was stalled comes late, what was swallowed is gone."""
        self._loop.run(self._set(passes=True))

    async def _set(
        self, *, passes: bool, may_answer: int | None = None, cuts_then: bool = False
    ) -> None:
        self._may_answer, self._cuts_then = may_answer, cuts_then
        if passes:
            self._passes.set()
        else:
            self._passes.clear()
        if may_answer is not None:
            self._swallowed.clear()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward until either side has closed."""
        ours = {writer}
        try:
            await self._passes.wait()
            to_server = await asyncio.open_connection(*self._address)
            ours.add(to_server[1])
            self._writers |= ours
            await asyncio.gather(
                self._pump(reader, to_server[1], ours, answers=False),
                self._pump(to_server[0], writer, ours, answers=True),
            )
        except OSError:
            pass  # the other side is reset below, as this one was
        finally:
            self._writers -= ours
            for one in ours:
                _reset(one)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: set[asyncio.StreamWriter],
        *,
        answers: bool,
    ) -> None:
        while chunk := await reader.read(CHUNK):
            await self._passes.wait()
            through = self._let_through(chunk) if answers else chunk
            writer.write(through)
            await writer.drain()
            if len(through) < len(chunk):
                self._swallowed.set()
                if self._cuts_then:
                    for one in both:
                        _reset(one)
        await self._passes.wait()
        if writer.can_write_eof():  # not where the line is encrypted
            with suppress(OSError):
                writer.write_eof()

    def _let_through(self, chunk: bytes) -> bytes:
        if self._may_answer is None:
            return chunk
        through = chunk[: self._may_answer]
        self._may_answer -= len(through)
        return through


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side notices at once, unless all bytes were sent."""
    if not writer.transport.is_closing():
        endpoint = writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()


async def _close(listener: asyncio.Server) -> None:
    listener.close()


@contextmanager
def tcp_proxy(address: tuple[str, int], encryption: SSLContext | None = None) -> Iterator[TcpProxy]:
    """A line to this address; clients come to it by TLS where ``encryption`` is given."""
    with background() as loop:
        proxy = TcpProxy(address, loop)
        listener = loop.run(asyncio.start_server(proxy.connected, "127.0.0.1", 0, ssl=encryption))
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            loop.run(_close(listener))


@contextmanager
def proxied(database_url: str) -> Iterator[tuple[TcpProxy, str]]:
    """A line to the server of a database, and the URL of the database by way of it."""
    with tcp_proxy(address_of(database_url)) as proxy:
        yield proxy, at_port(database_url, proxy.port)
