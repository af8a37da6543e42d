"""Empty the write-ahead log after an erasure, however long a reader keeps it.

The log holds the erased rows as they were. The commit of an erasure inserts a row into
`erasure_in_log`, and whoever has emptied the log afterwards removes it. So an erasure that could
not be finished is known to every process that has the file open, and to the next one to open it.
"""

import asyncio
import sqlite3
from contextlib import suppress

from bitespeed.stores.sqlite.database import LOCK_TIMEOUT, Lane
from bitespeed.telemetry.logs import log

RETRY_DELAY = 0.05  # seconds between attempts while the caller of an erasure waits
POLL_INTERVAL = 5.0  # seconds between later attempts; a look at an empty table takes microseconds


class ErasedLog:
    """Empties the log through the connection of the commits, in their thread and their turn.

    That connection never waits for a lock: while SQLite waits to empty the log, no process can
    write.
    """

    def __init__(
        self, connection: sqlite3.Connection, lane: Lane, write_turn: asyncio.Lock
    ) -> None:
        self._connection = connection
        self._lane = lane
        self._write_turn = write_turn
        self._polling: asyncio.Task[None] | None = None

    async def empty_soon(self) -> None:
        """Return when no erased value is left in the log, or after `LOCK_TIMEOUT` with a warning in
        our own log; then `watch` goes on.
        """
        deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT
        while (finished := await self._finish()) is None:
            if asyncio.get_running_loop().time() > deadline:
                log.warning("erasure.in_log")
                return
            await asyncio.sleep(RETRY_DELAY)
        if finished > 1:  # others too, which may have warned
            log.info("erasure.out_of_log", erasures=finished)

    async def watch(self) -> None:
        """Finish what another process left, now or as soon as no reader needs the log."""
        await self._report()
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Stop watching. What is unfinished stays so until the next process."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            await self._report()

    async def _report(self) -> None:
        """One attempt, and a line in our log when it has finished erasures."""
        if finished := await self._finish():
            log.info("erasure.out_of_log", erasures=finished)

    async def _finish(self) -> int | None:
        """How many erasures one attempt has finished; None if some are left."""
        async with self._write_turn:
            return await self._lane.run(lambda: finish_erasures(self._connection))


def finish_erasures(connection: sqlite3.Connection) -> int | None:
    """Empty the log if it may hold erased values, without waiting for a lock.

    Returns how many erasures are finished by it; None where some are left, mostly since a reader
    still needs the log.
    """
    with suppress(sqlite3.Error):
        erasures = connection.execute("select erasure from erasure_in_log").fetchall()
        if not erasures:
            return 0
        if connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0:
            # Only those read before: another process may have erased since.
            connection.executemany("delete from erasure_in_log where erasure = ?", erasures)
            return len(erasures)
    return None
