"""Sequences behind their tables, as logical replication and restores of tables leave them."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bitespeed.errors import NotFound, SequenceBehind
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.rules.invariants import Violation
from support.backends import on_one_store, rows, stores
from support.stores import service_on, who, write

PEOPLE = [("a@x", "1"), ("a@x", "2"), ("b@x", "3")]

CONTACTS_BACK = {
    "sqlite": "update sqlite_sequence set seq = {} where name = 'contact_record'",
    "postgres": "select setval('contact_id', {})",
}
EVENTS_BACK = {
    "sqlite": "update sqlite_sequence set seq = {} where name = 'event_record'",
    "postgres": "select setval('event_seq_seq', {})",
}


def put_at(backend, statements, number):
    engine = "sqlite" if backend.name == "sqlite" else "postgres"
    backend.query(statements[engine].format(number))


def highest_event(backend):
    ((seq,),) = backend.query("select max(seq) from event")
    return seq


@pytest.mark.parametrize("by", [1, 2, 3])
def test_contact_ids_behind_are_refused_and_found(backend, by):
    async def test(store):
        await write(store, *PEOPLE)
        put_at(backend, CONTACTS_BACK, 4 - by)
        before = rows(backend)
        if by == 1:
            assert await check(store) == []  # as it was
            return
        (found,) = await check(store)
        assert found == Violation("I13", None, found.what)
        assert found.what.endswith(f"gives out {5 - by} next, and 3 is in use")
        async with service_on(store) as service:
            with pytest.raises(SequenceBehind, match="a sequence is behind its table"):
                await service.identify(observe("c@x", "4"))
            assert (await service.identify(observe("a@x", "2"))).secondary_ids == [2]
        assert rows(backend) == before
        with pytest.raises(NotFound):
            await who(store, "c@x")
        put_at(backend, CONTACTS_BACK, 3)
        await write(store, ("c@x", "4"))
        assert (await who(store, "c@x")).primary_id == 4

    on_one_store(backend, test)


def test_event_numbers_behind_are_found(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, *PEOPLE)
            highest = highest_event(backend)
            put_at(backend, EVENTS_BACK, highest - 2)
            (found,) = await check(store)
            assert found.what.endswith(f"gives out {highest - 1} next, and {highest} is in use")
            if backend.name == "sqlite":
                await write(store, ("c@x", "4"))  # its numbers follow the highest one by themselves
            else:
                with pytest.raises(SequenceBehind):
                    await write(store, ("c@x", "4"))
                put_at(backend, EVENTS_BACK, highest)
            assert await check(store) == []

    asyncio.run(main())


def test_sequences_of_an_empty_store_are_sound(backend):
    async def test(store):
        assert [s.highest for s in await store.sequences()] == [None, None]
        assert await check(store) == []

    on_one_store(backend, test)


def test_documented_statements_repair_sequences(backend):
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    postgres, sqlite = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[-2:]
    statements = sqlite if backend.name == "sqlite" else postgres

    async def test(store):
        await write(store, *PEOPLE)
        for back in (CONTACTS_BACK, EVENTS_BACK):
            put_at(backend, back, 1)
        assert len(await check(store)) == 2
        if backend.name == "sqlite":
            with closing(sqlite3.connect(backend.path)) as connection:
                connection.executescript(statements)
        else:
            backend.query(statements)
        assert await check(store) == []
        await write(store, ("c@x", "4"))

    on_one_store(backend, test)
