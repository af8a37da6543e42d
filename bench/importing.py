"""The import command beside its ceiling: `executemany` of the very rows that it wrote.

The ceiling is given every advantage: its rows are ready in memory, in the order in which the
import wrote them, and only its inserts and commits are timed; the import is timed from the
start of the process to its end. Both write to the same schema with the same pragmas, and
commit as often.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Self

import msgspec

from bench import data, processes
from bench.failure import BenchmarkFailed
from bench.figures import Summary, ratios, summarise
from bench.processes import Cost
from bench.scale import SEED, Scale
from bitespeed.jobs.import_file import CHUNK
from bitespeed.resources import named, text
from bitespeed.stores.sqlite.database import connect
from bitespeed.stores.sqlite.migrate import migrate

_SQL = named(text("bench", "rows.sql"))
TABLES = ("identity", "contact_record", "identifier", "event_record")

Rows = list[tuple[object, ...]]


class Comparison(msgspec.Struct, frozen=True):
    """Times in seconds; both ratios are above 1 and fall as the import gets better."""

    rows: int
    contacts: int
    imported: Summary
    ceiling: Summary
    ratio: Summary
    cpu_ratio: Summary


def measure(scale: Scale) -> Comparison:
    """Import and ceiling in turns."""
    file = scale.work / "import.csv"
    first, again, ceiling = (scale.work / f"{name}.db" for name in ("first", "again", "ceiling"))
    data.write_csv(file, data.mixed_rows(scale.rows, SEED))
    commits = -(-scale.rows // CHUNK)
    imported = [processes.import_file(file, data.url(first))]
    with Written(first) as written:
        copied = [written.copy(ceiling, commits)]
        for _ in range(1, scale.imports):
            data.remove(again)
            imported.append(processes.import_file(file, data.url(again)))
            copied.append(written.copy(ceiling, commits))
        contacts = written.require_copied(ceiling)
    for path in (first, again, ceiling, file):
        data.remove(path)
    return _compare(scale.rows, contacts, imported, copied)


def _compare(rows: int, contacts: int, imported: list[Cost], copied: list[Cost]) -> Comparison:
    imported_times, copied_times = [c.elapsed for c in imported], [c.elapsed for c in copied]
    return Comparison(
        rows=rows,
        contacts=contacts,
        imported=summarise(imported_times),
        ceiling=summarise(copied_times),
        ratio=summarise(ratios(imported_times, copied_times)),
        cpu_ratio=summarise(ratios([c.cpu for c in imported], [c.cpu for c in copied])),
    )


class Written:
    """The rows of a database in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.execute(_SQL["births"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def copy(self, target: Path, commits: int) -> Cost:
        """What it takes to insert them into a new database, in so many commits."""
        data.remove(target)
        total = Cost(0.0, 0.0)
        with closing(connect(target)) as connection:
            migrate(connection)
            for chunk in self._chunks(commits):
                cost = _insert(connection, chunk)
                total = Cost(total.elapsed + cost.elapsed, total.cpu + cost.cpu)
            connection.execute(_SQL["forget_number"])
            connection.execute(_SQL["last_number"])
        return total

    def _chunks(self, commits: int) -> Iterator[dict[str, Rows]]:
        execute = self._connection.execute
        sizes = {table: -(-_count(self._connection, table) // commits) for table in TABLES}
        cursors = {table: execute(_SQL[table]) for table in TABLES}
        while True:
            chunk = {table: cursors[table].fetchmany(sizes[table]) for table in TABLES}
            if not any(chunk.values()):
                return
            chunk["identifier"].sort()  # as the import does, for fewer page splits
            yield chunk

    def require_copied(self, target: Path) -> int:
        """The number of contacts, which must be as many in the copy, like all else."""
        with closing(connect(target)) as connection:
            for table in TABLES:
                if _count(self._connection, table) != _count(connection, table):
                    raise BenchmarkFailed(f"The ceiling did not write every row of {table}")
        return _count(self._connection, "contact_record")


def _insert(connection: sqlite3.Connection, chunk: dict[str, Rows]) -> Cost:
    cpu, start = time.process_time(), time.perf_counter()
    connection.execute("begin immediate")
    for table, rows in filter(itemgetter(1), chunk.items()):
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"insert into {table} values ({marks})", rows)
    connection.execute("commit")
    return Cost(time.perf_counter() - start, time.process_time() - cpu)


def _count(connection: sqlite3.Connection, table: str) -> int:
    count: int = connection.execute(f"select count(*) from {table}").fetchone()[0]
    return count
