"""Stores that remember commits which a restore or a failover has lost."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bitespeed.errors import Conflict, NotFound
from bitespeed.model.identity import Answer
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import TABLES, Backend, on_two_stores
from support.stores import decide, who, write

KEYS = {"contact_record": "id", "identifier": "value", "event_record": "seq"}


@contextmanager
def loses_commits(backend: Backend) -> Iterator[None]:
    """What is added inside is gone afterwards, and ids are given out again."""
    for table in TABLES:
        backend.query(f"create table saved_{table} as select * from {table}")
    ((last_id,),) = backend.query("select max(id) from contact_record")
    try:
        yield
        for table, key in KEYS.items():
            backend.query(
                f"delete from {table} where {key} not in (select {key} from saved_{table})"
            )
        backend.query("delete from identity")
        backend.query("insert into identity select * from saved_identity")
        if backend.name == "sqlite":
            backend.query(
                f"update sqlite_sequence set seq = {last_id} where name = 'contact_record'"
            )
        else:
            backend.query(f"select setval('contact_id', {last_id})")
    finally:
        for table in TABLES:
            backend.query(f"drop table saved_{table}")


def test_version_that_comes_twice_is_read_again(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        with loses_commits(backend):
            await write(store, ("a@x", "4"))
            assert (await who(store, "a@x")).phones == ["1", "4"]
        await write(other, ("a@x", "5"))
        assert backend.query("select version from identity") == [(2,)]
        for one in (store, other):
            assert await who(one, "a@x") == Answer(1, ["a@x"], ["1", "5"], [2])
        with pytest.raises(NotFound):
            await who(store, None, "4")

    on_two_stores(backend, test)


def test_id_that_comes_twice_is_two_persons(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        with loses_commits(backend):
            await write(store, ("lost@x", "2"))
            assert (await who(store, "lost@x")).primary_id == 2
        assert (await write(other, ("fresh@x", "3"))).ids == [2]
        with pytest.raises(NotFound):
            await who(store, "lost@x", "2")
        await write(store, ("lost@x", "2"))
        assert await who(other, "lost@x", "2") == Answer(3, ["lost@x"], ["2"], [])

    on_two_stores(backend, test)


def test_changes_decided_on_a_lost_version_conflict(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        with loses_commits(backend):
            await write(store, ("a@x", "4"))
            changes = await decide(store, ("a@x", "6"))
        await write(other, ("a@x", "5"))
        assert backend.query("select version from identity") == [(2,)]
        with pytest.raises(Conflict, match="An identity has changed"):
            await store.commit(DEFAULT_TENANT, changes)

    on_two_stores(backend, test)


def test_every_change_draws_another_stamp(backend):
    async def test(store, other):
        stamps = []
        for sent in ("1", "2", "3", "4", "5", "6", "7", "8"):
            await write(store, ("a@x", sent))
            ((stamp,),) = backend.query("select stamp from identity")
            assert 0 <= stamp <= 2**53
            stamps.append(stamp)
        assert len(set(stamps)) == len(stamps)
        assert max(stamps) - min(stamps) > 2**32  # random, and not counted

    on_two_stores(backend, test)
