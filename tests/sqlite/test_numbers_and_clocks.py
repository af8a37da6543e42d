"""What a file gives out by itself: ids, event numbers and instants."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from bitespeed.errors import SequenceBehind
from bitespeed.jobs.check import check
from bitespeed.rules.erase import Subject
from support.stores import delete_contact, service_on, store_at, write

FAR = 4_102_444_800_000_000  # the year 2100, in microseconds


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("table", ["contact_record", "event_record"])
def test_missing_row_of_a_sequence_is_found(tmp_path: Path, table: str) -> None:
    async def main() -> None:
        path = tmp_path / "identities.db"
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("a@x", "2"))
            change(path, f"delete from sqlite_sequence where name = '{table}'")
            (found,) = await check(store)
            assert found.what == f"sqlite_sequence of {table} gives out 1 next, and 2 is in use"
            if table == "contact_record":
                with pytest.raises(SequenceBehind):
                    await write(store, ("b@x", "3"))
                change(path, "insert into sqlite_sequence values ('contact_record', 2)")
            await write(store, ("b@x", "3"))
            assert await check(store) == []

    asyncio.run(main())


def test_instants_never_go_back_behind_the_newest_event(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "identities.db"
        async with store_at(path) as store, service_on(store) as service:
            await write(store, ("a@x", "1"))
            change(
                path, f"update contact_record set at = {FAR}"
            )  # by a clock that was set back since
            assert (await write(store, ("b@x", "2"))).created_at == [FAR]
            await delete_contact(store, 1)
            receipt = await service.erase(Subject(contact=2))
            assert receipt.at == FAR
            with closing(sqlite3.connect(path)) as connection:
                query = "select deleted_at from contact_record union select at from tombstone"
                assert connection.execute(query).fetchall() == [(FAR,)]

    asyncio.run(main())


def test_instants_are_of_the_clock_when_it_is_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        async with store_at(tmp_path / "identities.db") as store:
            await write(store, ("a@x", "1"))
            before = time.time_ns() // 1000
            (at,) = (await write(store, ("b@x", "2"))).created_at
            assert before <= at <= time.time_ns() // 1000

    asyncio.run(main())
