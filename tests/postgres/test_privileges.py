"""Who may do what in the database."""

from contextlib import aclosing

import psycopg
import pytest
from psycopg import sql

from bitespeed.errors import StoreUnavailable
from bitespeed.model.identifiers import Phone, observe
from bitespeed.model.identity import Answer
from bitespeed.rules.erase import Subject
from bitespeed.service.explanations import End
from bitespeed.service.merges import WantedMerges
from bitespeed.stores.options import Options
from support.backends import (
    connected,
    prepared,
)
from support.database_url import as_user, database_of
from support.invariants import assert_clean
from support.postgres_store import SERVING, execute, on, pinged, rows
from support.stores import delete_contact, service_on, snapshot_for, who, write


def test_nobody_has_anything_by_default(own_url, role):
    granted = """
    select p.proname from pg_proc p
    where p.pronamespace = 'bitespeed'::regnamespace
        and has_function_privilege('serving', p.oid, 'execute')
    union all
    select c.relname from pg_class c
    where c.relnamespace = 'bitespeed'::regnamespace and case c.relkind
        when 'S' then has_sequence_privilege('serving', c.oid, 'usage, select, update')
        when 'i' then false
        else has_table_privilege('serving', c.oid, 'select, insert, update, delete, truncate')
        end
    union all
    select 'schema' where has_schema_privilege('serving', 'bitespeed', 'usage, create')
    """
    assert rows(own_url, granted) == []


def test_row_security_is_on_for_tables_with_values(own_url):
    open_tables = """
    select relname from pg_class
    where relnamespace = 'bitespeed'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
    order by relname
    """
    assert rows(own_url, open_tables) == [("function_set",), ("migration",)]


def test_login_limited_to_functions_serves_without_seeing_rows(own_url, role):
    execute(own_url, *SERVING)
    as_serving = as_user(own_url, role, "secret")

    async def test(store):
        async with service_on(store) as service:
            await service.ping()
            await service.identify(observe("a@x", "1"))
            answer = await service.identify(observe("b@x", "1"))
            assert answer == Answer(1, ["a@x", "b@x"], ["1"], [2])
            why = await service.why(End(("email", "a@x")), End(contact=2))
            assert why.chain is not None
            assert len(why.chain) == len(await service.history(2, 0, 10)) == 2
            assert await service.merges(WantedMerges(partners=1)) == ([], None)
            await service.delete(1)
            await service.erase(Subject(phone=Phone("1")))
        assert await store.secret()
        assert await store.keys() == []
        await store.cache_resume(None, "epoch")
        await store.cache_suspend("epoch", 0.0)
        await store.cache_feed(None, 1)
        with pytest.raises(StoreUnavailable, match="may not do this"):
            async with aclosing(store.scan()) as pages:
                await anext(pages)

    on(as_serving, test, Options(migrate=False))
    on(as_serving, pinged, Options(migrate=True))
    for table in ("identity", "contact_record", "identifier", "event", "contact"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(as_serving, f"select from bitespeed.{table}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(as_serving, "select nextval('bitespeed.contact_id')")


def test_login_with_granted_tables_sees_no_rows(own_url, role):
    execute(own_url, *SERVING, "grant select, delete on all tables in schema bitespeed to serving")
    execute(own_url, "revoke select on bitespeed.contact, bitespeed.event from serving")
    as_serving = as_user(own_url, role, "secret")

    async def test(store):
        await write(store, ("a@x", "1"))

    on(own_url, test)
    for table in ("identity", "contact_record", "identifier", "event_record"):
        assert rows(as_serving, f"select count(*) from bitespeed.{table}") == [(0,)]


def test_login_without_right_to_call_is_reported(own_url, role):
    execute(own_url, *SERVING[::2])

    async def test(store):
        with pytest.raises(StoreUnavailable, match="may not do this"):
            await who(store, "a@x")

    url = as_user(own_url, role, "secret")
    on(url, test, Options(migrate=False, ignore_existing=True))
    with pytest.raises(StoreUnavailable, match="may not do this"):
        on(url, test, Options(migrate=False))


HOSTILE = """
create table if not exists public.identity (like bitespeed.identity);
create table if not exists public.identifier (like bitespeed.identifier);
create table if not exists public.contact_record (like bitespeed.contact_record);
create function public.liar(a text, b text) returns boolean language sql as 'select true';
create function public.liar(a bigint, b bigint) returns boolean language sql as 'select true';
create function public.jsonb_array_elements(a jsonb) returns setof jsonb
    language sql as $$select '["email", "a@x", null]'::jsonb$$;
create function public.json_build_array(variadic a "any") returns json
    language internal as 'json_build_array';
create function public.clock_timestamp() returns timestamptz
    language sql as $$select timestamptz '1999-01-01'$$;
create operator public.= (leftarg = text, rightarg = text, function = public.liar);
create operator public.= (leftarg = bigint, rightarg = bigint, function = public.liar);
"""


def test_hostile_objects_on_the_search_path_change_no_answer(postgres):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        snapshot = await snapshot_for(store, [observe("b@x", "9")])
        assert (snapshot.emails, snapshot.phones) == ({"b@x": 2}, {})
        await write(store, ("b@x", "1"))
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3])
        await delete_contact(store, 1)

    with postgres.fresh_database() as url:
        prepared(url)
        with connected(url) as connection:
            connection.execute(HOSTILE)
            name = sql.Identifier(database_of(url))
            path = sql.SQL("alter database {} set search_path = public, pg_catalog, bitespeed")
            connection.execute(path.format(name))
        on(url, test, Options(migrate=False))
        with connected(url) as connection:
            connection.execute(sql.SQL("alter database {} reset search_path").format(name))
        on(url, assert_clean)
