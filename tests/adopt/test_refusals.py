"""Tables and databases that adoption refuses."""

from typing import Any

import pytest

from bitespeed.errors import BitespeedError, InvalidInput, StoreUnavailable
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt
from support.adoption import LIVELY, adopted, nothing, on_service, on_store
from support.database_url import database_of
from support.published_table import PUBLISHED_TABLE, UNCHECKED, fill, run, state

THIRD = "; insert into contact (linkprecedence) values ('third')"


@pytest.mark.parametrize(
    ("ddl", "flags", "told"),
    [
        ("select 1", {}, "There is no table public.contact"),
        ("select 1", {"table": "a.b.c.d"}, "There is no table a.b.c.d"),
        ("select 1", {"table": 'public."'}, 'There is no table public."'),
        ("create view contact as select 1 as id", {}, "public.contact is not a plain table"),
        (
            "create table contact (id integer, email text)",
            {},
            "lacks the columns createdat, deletedat",
        ),
        (
            PUBLISHED_TABLE.replace("varchar(50)", "bigint"),
            {},
            r"of other types: phonenumber \(int8\)",
        ),
        (
            PUBLISHED_TABLE.replace("id serial", "id uuid", 1).replace(
                " references contact(id)", ""
            ),
            {},
            "uuid",
        ),
        (
            f"{PUBLISHED_TABLE}; alter table contact add name text, add shop text",
            {},
            "has extra columns: name, shop; ",
        ),
        (
            f'{PUBLISHED_TABLE}; alter table contact add "Email" text',
            {},
            "has extra columns: Email; ",
        ),
        (f"{PUBLISHED_TABLE}; insert into contact (id) values (0)", {}, "no id, or an id below 1"),
        (f"{PUBLISHED_TABLE}; insert into contact (id) values (-5)", {}, "no id, or an id below 1"),
        (
            f"{UNCHECKED.replace('primary key', '')}; insert into contact (id) values (3), (3)",
            {},
            "Two contacts have the id 3",
        ),
        (
            PUBLISHED_TABLE.replace("'primary'", "'third'") + THIRD,
            {},
            "Contact 1 is neither primary nor secondary",
        ),
    ],
)
def test_unsuitable_table_is_refused_in_one_sentence(
    database: str, ddl: str, flags: dict[str, Any], told: str
) -> None:
    run(database, ddl)
    on_store(database, check)
    before = state(database)
    for dry_run in (True, False):
        with pytest.raises(InvalidInput, match=told):
            adopt(database, Options(), AdoptOptions(**flags, dry_run=dry_run), nothing, nothing)
    assert state(database) == before


def test_adopting_a_table_of_another_owner_is_refused(database: str) -> None:
    stranger = f"{database_of(database)}_stranger"
    fill(database, LIVELY)
    on_store(database, check)
    run(
        database,
        f"create role {stranger} login",
        f"grant select on contact to {stranger}",
        f"grant usage on schema bitespeed to {stranger}",
        f"grant select on all tables in schema bitespeed to {stranger}",
    )
    url = database.replace("postgres@", f"{stranger}@", 1)
    try:
        before = state(database)
        with pytest.raises(StoreUnavailable, match="user may not do this"):
            adopt(url, Options(), AdoptOptions(), nothing, nothing)
        assert state(database) == before
    finally:
        run(database, f"drop owned by {stranger}", f"drop role {stranger}")


def test_adoption_into_a_used_database_is_refused(database: str) -> None:
    fill(database, LIVELY)
    on_service(database, lambda service: service.identify(observe("a@x", None)))
    with pytest.raises(InvalidInput, match="tables are not empty"):
        adopt(database, Options(), AdoptOptions(), nothing, nothing)


def test_second_table_is_refused(database: str) -> None:
    fill(database, LIVELY)
    adopted(database)
    run(
        database,
        "create schema other",
        "create table other.contact (like bitespeed.adopted_contact)",
    )
    with pytest.raises(InvalidInput, match="tables are not empty"):
        adopt(database, Options(), AdoptOptions(table="other.contact"), nothing, nothing)


def test_missing_database_raises_a_service_error(database: str) -> None:
    with pytest.raises(BitespeedError):
        adopt(f"{database}_not", Options(), AdoptOptions(), nothing, nothing)
