"""Notice that the database file was replaced, restored, removed or overwritten while it is open.

SQLite would go on with the file of before: what it acknowledges would be lost with it. A file that
was overwritten in place it would mix with the write-ahead log of before.
"""

import os
import time
from io import FileIO
from pathlib import Path

from bitespeed.errors import StoreUnavailable

CHECK_INTERVAL = 0.1  # seconds between two checks by reads, which take microseconds themselves

_COUNTER_AT = 24  # where the change counter is in the file, see sqlite.org/fileformat2.html

_open_files = 0
_unused: list[FileIO] = []
"""To be closed when no database is open in this process: whoever closes a file releases all locks
of the process on it (`fcntl(2)`), also those that SQLite holds for another store.
"""


class OpenedFile:
    """The file at a path and the logs beside it, as they were when the database was opened."""

    def __init__(self, path: Path) -> None:
        self._paths = [str(path.absolute()) + suffix for suffix in ("", "-wal", "-shm")]
        self._opened: dict[str, tuple[int, int]] = {}
        self._next_check = 0.0
        self._main: FileIO | None = None
        self._counter = b""
        self._is_overwritten = False
        global _open_files
        _open_files += 1

    def remember(self) -> None:
        """Take what is there as opened. The logs stay as long as any process has the file open."""
        found = {path: _identity(path) for path in self._paths}
        self._opened = {path: identity for path, identity in found.items() if identity}
        self._main = FileIO(self._paths[0])
        self._counter = self._read_counter()

    def require(self) -> None:
        """Raise `StoreUnavailable` if one of the files is gone or is another one, or if the
        database was overwritten at any time.

        Then its change counter has gone back. With a write-ahead log only checkpoints write into
        the file itself, which bring later states, also of a restore by SQLite.
        """
        self._next_check = 0.0  # once it is noticed, by every read
        for path, identity in self._opened.items():
            if _identity(path) != identity:
                raise StoreUnavailable(
                    "The database file was replaced or removed while it was open;"
                    " restart the server"
                )
        if (counter := self._read_counter()) != self._counter:
            self._is_overwritten |= counter < self._counter
            self._counter = counter
        if self._is_overwritten:
            raise StoreUnavailable(
                "The database file was overwritten while it was open;"
                " stop the server and restore the backup again"
            )
        self._next_check = time.monotonic() + CHECK_INTERVAL

    def require_sometimes(self) -> None:
        """`require`, unless it was done within `CHECK_INTERVAL`."""
        if time.monotonic() >= self._next_check:
            self.require()

    def _read_counter(self) -> bytes:
        """The change counter, which is big-endian; nothing of an empty file."""
        if self._main is None:
            return b""
        try:
            return os.pread(self._main.fileno(), 4, _COUNTER_AT)
        except OSError as error:
            raise StoreUnavailable("The disk that holds the database reports an error") from error

    def close(self) -> None:
        """Close the file, or leave it to the last store of this process to close."""
        global _open_files
        _open_files -= 1
        if self._main is not None:
            _unused.append(self._main)
        if not _open_files:
            while _unused:
                _unused.pop().close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a quarter of the time of pathlib, at each commit
    except OSError:
        return None
    return found.st_dev, found.st_ino
