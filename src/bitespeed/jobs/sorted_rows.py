"""Rows of a file in the order of their dates, sorted on disk.

SQLite sorts them, in a database without a name: a file in the folder of `TMPDIR` that only its
owner may read, and that the system removes when it is closed or the process ends, however.
"""

import asyncio
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Self

import msgspec

from bitespeed.errors import Unavailable
from bitespeed.model.identifiers import Observation

INTERRUPT_STEPS = 500_000  # of SQLite's between two looks whether Ctrl-C was pressed: 0.05 s

_MEMORY = "pragma cache_size = -8192"  # KiB of rows, and as much again while they are sorted
_BY_AGE = "select at, content from row order by at nulls last, content"
_AS_ADDED = "select at, content from row order by rowid"

_decoder = msgspec.json.Decoder(list[tuple[str | None, ...]])
_encoder = msgspec.json.Encoder()


class ReadRow(msgspec.Struct, frozen=True, gc=False):
    """What a row says, and when it was made: in microseconds since 1970, None if it has no date."""

    at: int | None
    observations: list[Observation]


class SortedRows:
    """Takes rows in any order and gives them back by age, in bounded memory.

    Rows of one date are sorted by their values, canonical ones before raw ones, so that their order
    in the file never shows; rows without a date come last, sorted alike. Where no row has a date,
    they come in the order of the file. Raises `Unavailable` where the disk is full, and
    `CancelledError` while it sorts if the task that made it has been cancelled.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine makes it
        self.dated = 0
        self.undated = 0
        with _errors_translated():
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.set_progress_handler(task.cancelling, INTERRUPT_STEPS)
            self._database.execute(_MEMORY)
            self._database.execute("pragma journal_mode = off")
            self._database.execute("create table row (at integer, content blob not null) strict")
            self._database.execute("begin")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, rows: Iterable[ReadRow]) -> None:
        """Keep some rows."""
        stored = [
            (row.at, _encoder.encode([msgspec.structs.astuple(o) for o in row.observations]))
            for row in rows
        ]
        undated = sum(at is None for at, _ in stored)
        self.undated += undated
        self.dated += len(stored) - undated
        with _errors_translated():
            self._database.executemany("insert into row (at, content) values (?, ?)", stored)

    def by_age(self) -> Generator[ReadRow]:
        """All rows, the oldest first."""
        with _errors_translated():
            for at, content in self._database.execute(_BY_AGE if self.dated else _AS_ADDED):
                values = _decoder.decode(content)
                yield ReadRow(at, [Observation(*fields) for fields in values])  # pyright: ignore[reportArgumentType] - as they were


@contextmanager
def _errors_translated() -> Generator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise asyncio.CancelledError from None
        raise Unavailable(
            "The rows cannot be sorted by date, since the disk for temporary files is full or"
            " cannot be written; free some space, or set TMPDIR to a folder that has more"
        ) from error
