"""The numbers behind the metrics, which any worker of a server can add up over all workers.

Each of several workers counts in a memory-mapped file in a folder that all of them share. That is
nearly as cheap as the list that a single worker counts in, and the counts outlive the process. A
worker that replaces a dead one continues its file, so no counter ever decreases, and there are
never more files than workers. See docs/decisions/0016-metrics.md.
"""

import mmap
import os
from collections.abc import Generator, Iterator, MutableSequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 2048  # numbers; several times what the metrics declare
SIZE = SLOTS * 8  # bytes of a file

Numbers = MutableSequence[float]
"""One number for each slot."""


class SharedCounters:
    """Numbered slots for floats. All workers run the same code, so they reserve the same slots."""

    def __init__(self) -> None:
        self.values: Numbers = [0.0] * SLOTS
        """Add to these on the event loop's thread only, or counts are lost."""
        self._reserved = 0
        self._transient: list[int] = []
        self._folder: Path | None = None

    def reserve(self, slots: int = 1, *, transient: bool = False) -> int:
        """The first of ``slots`` new slots. Transient ones are 0 once their process ends."""
        first = self._reserved
        self._reserved += slots
        assert self._reserved <= SLOTS  # noqa: S101 - fails at import, when a metric too many is declared
        if transient:
            self._transient.extend(range(first, self._reserved))
        return first

    def open_in(self, folder: "Path") -> bool:
        """Count in a file in the folder from now on. True if it continues a dead worker's file."""
        files = (_lock_file(folder / str(number)) for number in count())
        file = next(file for file in files if file is not None)
        is_continued = os.fstat(file).st_size > 0
        os.ftruncate(file, SIZE)
        self.values = _mapped(file)  # the file stays open, and so locked, until the process ends
        for slot in self._transient:
            self.values[slot] = 0
        self._folder = folder
        return is_continued

    def totals(self) -> tuple[list[float], int]:
        """The sum over all workers for each slot, and how many workers are alive."""
        sums = [0.0] * self._reserved
        alive = 0
        for values, is_alive in self._all():
            alive += is_alive
            for slot, value in enumerate(values[: self._reserved]):
                sums[slot] += value
            if not is_alive:
                for slot in self._transient:
                    sums[slot] -= values[slot]
        return sums, alive

    def _all(self) -> Iterator[tuple[Numbers, bool]]:
        """The numbers of each worker, dead or alive, and whether it is alive."""
        if self._folder is None:
            yield self.values, True
            return
        for path in self._folder.iterdir():
            with _opened(path) as file:
                if os.fstat(file).st_size == SIZE:
                    yield _mapped(file), not _lock(file)


@contextmanager
def _opened(path: "Path") -> Generator[int]:
    file = os.open(path, os.O_RDWR)
    try:
        yield file
    finally:
        os.close(file)


def _lock_file(path: "Path") -> int | None:
    """The file, opened and locked by us; None when another process has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if _lock(file):
        return file
    os.close(file)
    return None


def _lock(file: int) -> bool:
    """Lock the file; False when another process has it. A lock ends with its process, always."""
    import fcntl  # not on Windows, where one worker needs no file

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mapped(file: int) -> Numbers:
    return cast("Numbers", memoryview(mmap.mmap(file, SIZE)).cast("d"))  # SIZE bytes of it


shared_counters = SharedCounters()
