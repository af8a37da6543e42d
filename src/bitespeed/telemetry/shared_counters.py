"""Where a process counts, so that any worker of a server can tell the sum of all.

With several workers each one counts in a file in a folder that they share, in memory mapped from
it: nearly as cheap as the list that does for one, and what was counted outlives the process. A
worker that takes the place of one that has died carries on its file, so that no counter ever goes
back and there are never more files than workers. See docs/decisions/0016-metrics.md.
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
"""As many as there are slots."""


class SharedCounters:
    """Numbered slots for floats. All workers reserve the same ones, as they run the same code."""

    def __init__(self) -> None:
        self.values: Numbers = [0.0] * SLOTS
        """To be added to; by the event loop's thread only, or some of it is lost."""
        self._reserved = 0
        self._transient: list[int] = []
        self._folder: Path | None = None

    def reserve(self, slots: int = 1, *, transient: bool = False) -> int:
        """The first of so many slots; transient ones hold only as long as their process lives."""
        first = self._reserved
        self._reserved += slots
        assert self._reserved <= SLOTS  # noqa: S101 - whoever declares another metric sees it
        if transient:
            self._transient.extend(range(first, self._reserved))
        return first

    def share(self, folder: "Path") -> bool:
        """Count in a file in the folder from now on. Whether it carries on a dead worker's."""
        taken = (_taken(folder / str(number)) for number in count())
        file = next(file for file in taken if file is not None)
        is_carried_on = os.fstat(file).st_size > 0
        os.ftruncate(file, SIZE)
        self.values = _mapped(file)  # the file stays open, and so locked, until the process ends
        for slot in self._transient:
            self.values[slot] = 0
        self._folder = folder
        return is_carried_on

    def totals(self) -> tuple[list[float], int]:
        """The sum of all workers for each slot, and how many of them are alive."""
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
        """The numbers of each worker, dead ones included, and whether it is alive."""
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


def _taken(path: "Path") -> int | None:
    """The file, opened and ours; None when it is somebody else's."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if _lock(file):
        return file
    os.close(file)
    return None


def _lock(file: int) -> bool:
    """Whether nobody else had it: the lock of a process that dies is let go, however it dies."""
    import fcntl  # not on Windows, where one worker needs no file

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mapped(file: int) -> Numbers:
    return cast("Numbers", memoryview(mmap.mmap(file, SIZE)).cast("d"))  # all of it that is used


shared_counters = SharedCounters()
