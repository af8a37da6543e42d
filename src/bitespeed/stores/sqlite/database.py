"""Connections to the file: their settings, the threads they run in, what their errors mean."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from bitespeed.errors import StoreDamaged, StoreUnavailable

T = TypeVar("T")

LOCK_TIMEOUT = 4.0  # seconds to wait for another process's commit; below a request's deadline
PAGE_CACHE = 64  # MiB per connection: the inner pages of ten million contacts fit
MMAP_SIZE = 2047  # MiB of the file read without a system call for each page; SQLite's maximum
BUSY_RETRY_DELAY = 0.01  # seconds between attempts where SQLite does not wait by itself
MAX_LOG_SIZE = 64  # MiB; a write-ahead log that an import made larger is cut to this

OLDEST_SQLITE = (3, 37, 0)  # strict tables


def create(path: Path) -> None:
    """Create the file, if it does not exist, for its owner alone; its logs follow.

    Leaves every failure to `connect`, which reports it.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def connect(path: Path, lock_timeout: float = LOCK_TIMEOUT) -> sqlite3.Connection:
    """A connection in autocommit. When a commit returns, it is on disk.

    Only one thread at a time may use it. ``lock_timeout`` is in seconds.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreDamaged(f"SQLite 3.37 or later is required; this is {sqlite3.sqlite_version}")
    require_folder(path)
    with translated():
        connection = sqlite3.connect(
            path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            for setting in (
                "synchronous = full",
                "fullfsync = on",
                "checkpoint_fullfsync = on",
                f"cache_size = -{PAGE_CACHE * 1024}",
                f"mmap_size = {MMAP_SIZE * 1024 * 1024}",
                "secure_delete = on",  # overwrite what is deleted, see docs/privacy.md
                f"journal_size_limit = {MAX_LOG_SIZE * 1024 * 1024}",
                f"busy_timeout = {int(lock_timeout * 1000)}",  # last, since the others may wait
            ):
                connection.execute(f"pragma {setting}")
        except BaseException:
            connection.close()
            raise
    return connection


def require_folder(path: Path) -> None:
    """Raise `StoreUnavailable` when there is no folder for the file."""
    if not path.absolute().parent.is_dir():
        raise StoreUnavailable(f"The database's folder does not exist: {path.absolute().parent}")


class Lane:
    """A thread for work that may wait for a disk or a lock, so that the event loop does not wait.

    Takes a third of the time of `loop.run_in_executor`, which matters: every commit comes here.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=f"sqlite-{name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work  # it has the result, which may be large

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, done after all earlier work.

        When the caller is cancelled, the work still continues to its end.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def do() -> None:
            try:
                deliver = partial(_set_result, future, work())
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                deliver = partial(_set_exception, future, error)
            self._loop.call_soon_threadsafe(deliver)

        self._work.put(do)
        return await future

    def close(self) -> None:
        """Finish all work and end the thread."""
        self._work.put(None)
        self._thread.join()


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Generator[None]:
    """A transaction, rolled back on an exception.

    ``begin``: ``begin immediate`` to write, ``begin`` for several reads as of one instant.
    """
    connection.execute(begin)
    try:
        yield
        connection.execute("commit")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Roll back, unless a failure has ended the transaction already."""
    if connection.in_transaction:
        connection.execute("rollback")


def begin_when_free(connection: sqlite3.Connection) -> None:
    """Wait up to `LOCK_TIMEOUT` for the write lock, on a connection that never waits otherwise."""
    connection.execute(f"pragma busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
    try:
        connection.execute("begin immediate")
    finally:
        connection.execute("pragma busy_timeout = 0")


_MEANING = {
    sqlite3.SQLITE_BUSY: "The database is locked by another process",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process",
    sqlite3.SQLITE_FULL: "The disk that holds the database is full",
    sqlite3.SQLITE_READONLY: "The database cannot be written: it is read-only",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened",
    sqlite3.SQLITE_IOERR: "The disk that holds the database reports an error",
    sqlite3.SQLITE_NOMEM: "There is not enough memory to read the database",
    sqlite3.SQLITE_PROTOCOL: "The database is locked by another process",
}
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT: "The database file is damaged",
    sqlite3.SQLITE_NOTADB: "The file is not a SQLite database",
}


@contextmanager
def translated() -> Generator[None]:
    """Raise failures of the database as `StoreUnavailable` or `StoreDamaged`.

    An error that our own SQL causes stays what it is.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _MEANING:
            raise StoreUnavailable(_MEANING[code]) from error
        if code in _DAMAGE:
            raise StoreDamaged(_DAMAGE[code]) from error
        raise


def statements(script: str) -> list[str]:
    """The statements of a script."""
    complete: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            complete.append(pending.strip())
            pending = ""
    return complete
