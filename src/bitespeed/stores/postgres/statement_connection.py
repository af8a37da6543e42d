"""Connections to the server, and how a statement travels on one.

Statements go by psycopg's layer `pq`, straight on the event loop. That takes a third of the time
of its cursors, and a connection that the server closes is noticed while it is idle.
"""

import asyncio
import select
from collections.abc import Sequence
from contextlib import suppress

from psycopg import pq
from psycopg.errors import DatabaseError, DataError, OperationalError

from bitespeed.errors import StoreUnavailable
from bitespeed.stores.postgres.errors import translated
from bitespeed.stores.postgres.handshake import connected, parameters
from bitespeed.stores.postgres.sqlstates import meaning

READ_ONLY = "25006"  # the SQLSTATE of a server that has become, or still is, a standby

Texts = Sequence[bytes | None]

_LOST = "The connection to the database was lost; try again"


class ConnectionLost(StoreUnavailable):
    """It ended before the answer came."""


class StatementConnection:
    """A connection in autocommit, for one statement at a time."""

    def __init__(self, server: pq.abc.PGconn) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._server.nonblocking = 1
        self._socket = self._server.socket
        self._loop.add_reader(self._socket, self._on_readable)
        self._incoming = select.poll()
        self._incoming.register(self._socket, select.POLLIN)
        self._writable = asyncio.Event()
        self._answer: asyncio.Future[bool] | None = None  # whether it came
        self._result: pq.abc.PGresult | None = None
        self.made_at = self._loop.time()

    @classmethod
    async def open(cls, url: str, timeout: float) -> "StatementConnection":
        """Connect within ``timeout`` seconds. Raises `StoreUnavailable`."""
        try:
            with translated():
                async with asyncio.timeout(timeout):
                    server = await connected(parameters(url, timeout))
        except TimeoutError:
            raise StoreUnavailable("The database cannot be reached in time; try again") from None
        return cls(server)

    @property
    def is_usable(self) -> bool:
        """Whether a statement may be sent: open, and not in the middle of one."""
        return self._server.transaction_status == pq.TransactionStatus.IDLE

    async def fetch(self, statement: bytes, values: Texts, timeout: float) -> bytes | None:
        """The one value that the statement returns, as text.

        Raises `StoreUnavailable` after ``timeout`` seconds or when the connection fails
        (what it wrote may be there or not), else what the SQLSTATE means. Closes the
        connection unless it is as good as before.
        """
        if any(value is not None and b"\0" in value for value in values):
            raise DataError("A text cannot contain a null character")  # it would end there
        self._answer = self._loop.create_future()
        self._result = None
        try:
            async with asyncio.timeout(timeout):
                self._server.send_query_params(statement, values)
                while self._server.flush():
                    await self._is_writable()
                came = await self._answer
        except TimeoutError:
            raise StoreUnavailable("The database did not answer in time; try again") from None
        except OperationalError as error:
            raise ConnectionLost(_LOST) from error
        finally:
            self._answer = None
            if not self.is_usable:
                self.close()
        if not came:
            raise ConnectionLost(_LOST)
        if _field(self._result, pq.DiagnosticField.SQLSTATE) == READ_ONLY:
            self.close()  # somebody else may have become the primary
        return _value(self._result)

    async def _is_writable(self) -> None:
        """Return when more can be sent, or the connection is lost."""
        self._writable.clear()
        self._loop.add_writer(self._socket, self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if self._socket >= 0:
                self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        """Take all that has come, and notice when the connection has ended behind it.

        uvloop reports a reset once: a reader that leaves it unread behind the server's last words
        never sees it.
        """
        answer = self._answer
        try:
            while True:
                self._server.consume_input()
                self._take_results()
                if not self._incoming.poll(0):
                    return
        except OperationalError:
            self.close()
            if answer is not None and not answer.done():
                answer.set_result(False)

    def _take_results(self) -> None:
        """The answer is complete when there is no further result."""
        while not self._server.is_busy():
            result = self._server.get_result()
            if result is None:
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(True)
                return
            self._result = result

    def close(self) -> None:
        """Close it at once; the server is left to finish what is under way there."""
        if self._socket >= 0:
            with suppress(OSError):  # libpq has closed the socket itself when it failed
                self._loop.remove_writer(self._socket)
            self._loop.remove_reader(self._socket)
            self._socket = -1
            self._writable.set()
            self._server.finish()


def _value(result: "pq.abc.PGresult | None") -> bytes | None:
    if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
        return result.get_value(0, 0)
    sqlstate = _field(result, pq.DiagnosticField.SQLSTATE)
    constraint = _field(result, pq.DiagnosticField.CONSTRAINT_NAME)
    raise meaning(sqlstate, constraint) or DatabaseError(f"SQLSTATE {sqlstate}")


def _field(result: "pq.abc.PGresult | None", field: pq.DiagnosticField) -> str | None:
    """A part of the server's error."""
    text = result.error_field(field) if result is not None else None
    return None if text is None else text.decode()
