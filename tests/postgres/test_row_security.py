"""Row level security on PostgreSQL, the second lock: a function that forgets its tenant predicate
still sees and writes nothing of another tenant.
"""

import asyncio
import json
import re
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from bitespeed.resources import text
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt
from support.backends import connected, prepared
from support.database_url import as_user, database_of
from support.invariants import assert_clean
from support.published_table import PUBLISHED_TABLE
from support.stores import decide

ASKED = {"contact": None, "members": True, "remembered": []}
TABLES = ("identity", "contact_record", "identifier", "event_record")


@pytest.fixture
def two(database):
    """A database in which two shops know the same email, as contacts 1 and 2."""
    prepared(database)

    async def fill():
        store = await open_store(database)
        try:
            for shop in ("one", "other"):
                await store.commit(shop, await decide(store, ("a@x", "1"), tenant=shop))
            await store.read("", emails=[])
        finally:
            await store.close()

    asyncio.run(fill())
    with connected(database) as connection:
        yield connection


def forgetful(connection, name, *lapses):
    """Make a function anew, without what it must not forget; as whom it runs stays as it was."""
    script = text("bitespeed.stores.postgres", f"functions/{name}.sql")
    for lapse in lapses:
        assert re.search(lapse, script)
        script = re.sub(lapse, "", script)
    connection.execute(script)


def read(connection, tenant, *, values=(), **asked):
    document = json.dumps(ASKED | {"values": list(values)} | asked)
    row = connection.execute("select bitespeed.read(%s, %s)", [tenant, document]).fetchone()
    return row[0]


PREDICATE = r"\s+and \w+\.tenant = \w+\.tenant|\w+\.tenant = \w+\.tenant and "
TELLS = (r"perform set_config\('bitespeed.tenant', read.tenant, true\);",)


def test_read_without_predicates_sees_no_other_tenant(two):
    for name in ("read", "live_identities"):
        forgetful(two, name, PREDICATE)
    for tenant, own, foreign in (("one", 1, 2), ("other", 2, 1)):
        found = read(two, tenant, values=[["email", "a@x", None], ["phone", "1", None]])
        assert found["holders"] == [own, own]
        assert [identity[0] for identity in found["identities"]] == [own]
        assert read(two, tenant, contact=foreign)["identities"] == []
        assert read(two, tenant, contact=own)["identities"] != []
        confirmed = read(two, tenant, values=[["email", "a@x", foreign]], remembered=[[foreign, 1]])
        assert confirmed["holders"] == [own]


def test_without_row_level_security_it_would_have(two):
    for name in ("read", "live_identities"):
        forgetful(two, name, PREDICATE)
    for table in TABLES:
        two.execute(f"alter table {table} no force row level security")
    assert read(two, "one", contact=2)["identities"] != []


def test_read_that_sets_no_tenant_sees_nothing(two):
    forgetful(two, "read", *TELLS)
    found = read(two, "one", values=[["email", "a@x", None]])
    assert (found["holders"], found["identities"]) == ([None], [])


def test_a_commit_for_another_tenant_changes_nothing(two):
    before = everything(two)
    document = {
        "identities": [[2, 2, 2, 1, 5, 1]],
        "contacts": [],
        "deleted": [],
        "freed_emails": [],
        "freed_phones": [],
        "events": [],
    }
    call = "select bitespeed.commit('one', %s)"
    assert two.execute(call, [json.dumps(document)]).fetchone() == (None,)  # as if it did not live
    document |= {"identities": [], "deleted": [2]}
    two.execute(call, [json.dumps(document)])
    assert two.execute("select deleted_at from contact_record where id = 2").fetchone() == (None,)
    assert everything(two) == before


def everything(connection):
    return {
        t: connection.execute(f"select * from {t} order by 1, 2").fetchall() for t in TABLES[:3]
    }


def test_a_row_for_another_tenant_cannot_be_written(two):
    forged = "insert into bitespeed.identifier values ('other', 'email', 'b@x', 2)"
    with as_the_functions_run(two):
        two.execute("set local bitespeed.tenant = 'one'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            two.execute(forged)


@pytest.mark.parametrize(
    ("told", "seen"), [(None, []), ("", []), ("one", [1]), ("other", [2]), ("*", [1, 2]), ("x", [])]
)
def test_owner_sees_rows_of_the_tenant_it_set(two, told, seen):
    with as_the_functions_run(two):
        if told is not None:
            two.execute("select set_config('bitespeed.tenant', %s, true)", [told])
        for table, id_ in (("contact", "id"), ("contact_record", "id"), ("identity", "id")):
            rows = two.execute(f"select {id_} from {table} order by 1").fetchall()
            assert [id_ for (id_,) in rows] == seen


def test_session_without_tenant_uses_the_default_one(two):
    insert = "insert into bitespeed.identifier values ('default', 'email', 'd@x', 3)"
    with as_the_functions_run(two):
        two.execute(insert)
        assert two.execute("select value from identifier").fetchall() == [("d@x",)]


@contextmanager
def as_the_functions_run(connection):
    """A transaction, to be undone, of the role that owns the tables and functions."""
    owner = "select relowner::regrole from pg_class where oid = 'bitespeed.identity'::regclass"
    (role,) = connection.execute(owner).fetchone()
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield


def test_every_table_with_a_tenant_is_bound(two):
    unbound = """
    select c.relname from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
    where c.relnamespace = 'bitespeed'::regnamespace and c.relkind = 'r'
      and not (c.relrowsecurity and c.relforcerowsecurity)
    """
    assert two.execute(unbound).fetchall() == [("api_key",)]  # its tenant is what it is asked for


@pytest.fixture
def plain(database):
    """The URL of an empty database, as its owner, who is no superuser."""
    name = f"{database_of(database)}_owner"
    role, place = sql.Identifier(name), sql.Identifier(database_of(database))
    with connected(database) as administrator:
        administrator.execute(sql.SQL("create role {} login password 'secret'").format(role))
        administrator.execute(sql.SQL("grant create on database {} to {}").format(place, role))
        try:
            yield as_user(database, name, "secret")
        finally:
            administrator.execute(sql.SQL("drop owned by {} cascade").format(role))
            administrator.execute(sql.SQL("drop role {}").format(role))


def test_owner_bound_by_row_security_copies_whole_tables(plain, tmp_path):
    async def test():
        source = await open_store(f"sqlite:///{tmp_path / 'people.db'}")
        target = await open_store(plain)
        try:
            for shop in ("one", "other"):
                await source.commit(shop, await decide(source, ("a@x", "1"), tenant=shop))
            await target.load(source.scan())
            pages = [page async for page in target.scan()]
            assert {i.heads[0].tenant for page in pages for i in page} == {"one", "other"}
            found = await target.read("other", emails=["a@x"])
            assert found.emails == {"a@x": 2}
            await assert_clean(target)
        finally:
            await source.close()
            await target.close()

    asyncio.run(test())
    with connected(plain) as connection:
        unbound = "select count(*) from pg_class where relforcerowsecurity"
        assert connection.execute(unbound).fetchone() == (len(TABLES) + 1,)  # and tombstone


@pytest.mark.parametrize("shop", ["default", "o'shop"])
def test_adopted_view_shows_its_tenant_when_none_is_set(plain, shop):
    with connected(plain) as connection:
        connection.execute("create schema shop")
        connection.execute("set search_path = shop")
        connection.execute(PUBLISHED_TABLE)
        connection.execute("insert into contact (email, linkprecedence) values ('a@x', 'primary')")
    adopt_options = AdoptOptions("shop.contact", shop)
    assert adopt(plain, Options(), adopt_options, lambda _: None, lambda *_: None) is not None
    with connected(plain) as connection:
        for view in ("shop.contact", "bitespeed.contact"):
            shown = f"select email from {view}"
            assert connection.execute(shown).fetchall() == [("a@x",)]
            connection.execute("set bitespeed.tenant = 'another'")
            assert connection.execute(shown).fetchall() == []
            connection.execute("reset bitespeed.tenant")
