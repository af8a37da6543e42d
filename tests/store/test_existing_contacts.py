"""Contacts of another program in `public.contact`: a store is not opened beside them to write."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from bitespeed.errors import NotAdopted
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt
from support.adoption import nothing
from support.backends import PostgresBackend, connected, on_one_store
from support.published_table import PUBLISHED_TABLE, UNCHECKED
from support.stores import write

EXISTING = (
    PUBLISHED_TABLE,
    "insert into contact (email, linkprecedence) values ('a@x', 'primary')",
    "grant select on contact to public",
)
EMPTY_TABLES = "truncate bitespeed.contact_record, bitespeed.identity, bitespeed.identifier"


@pytest.fixture(params=["direct", "pooled", "over_https"])
def backend(request: pytest.FixtureRequest) -> Iterator[PostgresBackend]:
    """A database, empty and without another table of contacts before and after the test."""
    chosen: PostgresBackend = request.getfixturevalue(request.param)
    _clear(chosen)
    yield chosen
    _clear(chosen)


def _clear(backend: PostgresBackend) -> None:
    view = backend.query("select 1 from pg_views where schemaname = 'public'")
    kind = "view" if view else "table"
    execute(
        backend,
        f"drop {kind} if exists contact cascade",
        "drop table if exists bitespeed.adopted_contact, replaced",
        "drop function if exists trap",
        "drop schema if exists other cascade",
        f"{EMPTY_TABLES}, bitespeed.event_record",
    )


def execute(backend: PostgresBackend, *statements: str) -> None:
    with connected(backend.direct) as connection:
        connection.execute("set search_path = public")
        for statement in statements:
            connection.execute(statement.encode())


def take_over(backend: PostgresBackend) -> None:
    adopt(backend.direct, Options(ignore_existing=True), AdoptOptions(), nothing, nothing)


def opens(backend: PostgresBackend) -> None:
    on_one_store(backend, lambda store: store.ping())


def refuses(backend: PostgresBackend) -> None:
    with pytest.raises(NotAdopted, match="bitespeed adopt, or set BITESPEED_IGNORE_EXISTING=true"):
        opens(backend)


@pytest.mark.parametrize(
    "further",
    [
        "select 1",
        'alter table contact rename phonenumber to "phoneNumber"',
        "alter table contact add shop text",
        "alter table contact alter createdat type timestamptz",
        "revoke all on contact from public",
        "alter table contact enable row level security",  # which hides every row from our owner
    ],
)
def test_published_table_with_rows_is_refused(backend: PostgresBackend, further: str) -> None:
    execute(backend, *EXISTING, further)
    refuses(backend)
    refuses(backend)  # nothing has been written that would let the next one in
    if "add shop" not in further:
        take_over(backend)
        opens(backend)


def test_setting_lets_a_store_begin_beside_the_table(backend: PostgresBackend) -> None:
    execute(backend, *EXISTING)
    options = msgspec.structs.replace(backend.options, ignore_existing=True)
    on_one_store(replace(backend, options=options), lambda store: write(store, ("b@x", "1")))
    opens(backend)  # also without the setting, now that a customer is stored


@pytest.mark.parametrize(
    "table",
    [
        "create table contact (id serial, email text, linkprecedence text)",
        PUBLISHED_TABLE.replace("phonenumber varchar(50)", "phonenumber bigint"),
        PUBLISHED_TABLE.replace("deletedat timestamp", "deletedat date"),
        PUBLISHED_TABLE.replace("updatedat timestamp", '"updated at" timestamp'),
        f"{UNCHECKED} partition by range (id); create table one partition of contact default",
    ],
    ids=["few columns", "number", "date", "other name", "partitioned"],
)
def test_table_in_another_shape_is_not_refused(backend: PostgresBackend, table: str) -> None:
    execute(backend, table, *EXISTING[1:])
    opens(backend)


def test_published_table_in_another_schema_is_not_refused(backend: PostgresBackend) -> None:
    execute(backend, *EXISTING, "create schema other", "alter table contact set schema other")
    opens(backend)


@pytest.mark.parametrize("emptied", ["truncate contact", "delete from contact"])
def test_empty_published_table_is_not_refused(backend: PostgresBackend, emptied: str) -> None:
    execute(backend, *EXISTING, emptied)
    opens(backend)


def test_own_view_is_never_refused(backend: PostgresBackend) -> None:
    execute(backend, *EXISTING)
    take_over(backend)
    execute(backend, f"{EMPTY_TABLES}, bitespeed.event_record")
    opens(backend)
    execute(backend, "drop view contact", "drop table bitespeed.adopted_contact")
    execute(backend, "create view contact as select * from bitespeed.contact")
    opens(backend)


def test_view_of_another_program_is_not_refused(backend: PostgresBackend) -> None:
    execute(
        backend,
        *EXISTING,
        "alter table contact rename to replaced",
        "create view contact as select * from replaced",
        "grant select on contact to public",
    )
    opens(backend)


def test_view_put_in_the_tables_place_is_unread(backend: PostgresBackend) -> None:
    """Its code would run with the rights of our owner."""

    async def main() -> None:
        with connected(backend.direct) as connection, connection.transaction():
            connection.execute("lock table public.contact in access exclusive mode")
            opening = asyncio.create_task(backend.open())
            await backend.somebody_waits()
            for statement in trap:
                connection.execute(statement.encode())
        await (await opening).close()

    trap = (
        "alter table public.contact rename to replaced",
        "create view public.contact as select public.trap() as id from public.replaced",
        "grant select on public.contact to public",
    )
    execute(
        backend,
        *EXISTING,
        "create function trap() returns integer language plpgsql"
        " as $$begin raise exception 'sprung'; end$$",
    )
    asyncio.run(main())
    with pytest.raises(Exception, match="sprung"):  # the trap is one
        backend.query("select id from public.contact")
