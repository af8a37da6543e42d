"""Notice that the database file was replaced, restored or removed while it is open.

SQLite would go on with the file of before: what it acknowledges would be lost with it.
"""

import os
import time
from pathlib import Path

from bitespeed.errors import StoreUnavailable

CHECK_INTERVAL = 0.1  # seconds between two checks by reads, which take microseconds themselves


class OpenedFile:
    """The file at a path and the logs beside it, as they were when the database was opened."""

    def __init__(self, path: Path) -> None:
        self._paths = [str(path.absolute()) + suffix for suffix in ("", "-wal", "-shm")]
        self._opened: dict[str, tuple[int, int]] = {}
        self._next_check = 0.0

    def remember(self) -> None:
        """Take what is there as opened. The logs stay as long as any process has the file open."""
        found = {path: _identity(path) for path in self._paths}
        self._opened = {path: identity for path, identity in found.items() if identity}

    def require(self) -> None:
        """Raise `StoreUnavailable` if one of the files is gone or is another one."""
        self._next_check = 0.0  # once it is noticed, by every read
        for path, identity in self._opened.items():
            if _identity(path) != identity:
                raise StoreUnavailable(
                    "The database file was replaced or removed while it was open;"
                    " restart the server"
                )
        self._next_check = time.monotonic() + CHECK_INTERVAL

    def require_sometimes(self) -> None:
        """`require`, unless it was done within `CHECK_INTERVAL`."""
        if time.monotonic() >= self._next_check:
            self.require()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a quarter of the time of pathlib, at each commit
    except OSError:
        return None
    return found.st_dev, found.st_ino
