"""Objects in the database that depend on the table to adopt."""

import re

import pytest

from bitespeed.errors import InvalidInput, StoreUnavailable
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.rules.erase import Subject
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import AdoptOptions, adopt
from support.adoption import LIVELY, ORDERS, adopted, nothing, on_service, on_store
from support.database_url import database_of
from support.published_table import fill, query, run, state

TRIGGER = """
create trigger stamp before update on contact
for each row execute function suppress_redundant_updates_trigger()
"""
HINDRANCES = {
    "foreign key": (
        ORDERS,
        "orders_contact_fkey of public.orders",
    ),
    "materialised view": (
        "create materialized view summary as select count(*) from contact",
        "materialized view public.summary",
    ),
    "trigger": (
        TRIGGER,
        "trigger stamp on table public.contact",
    ),
    "policy": (
        "create policy own on contact using (id > 1)",
        "policy own on table public.contact",
    ),
    "rule": (
        "create rule nodelete as on delete to contact do instead nothing",
        "rule nodelete on table public.contact",
    ),
    "rule elsewhere": (
        "create table log (); create rule copy as on insert to log do select id from contact",
        "rule copy on table public.log",
    ),
    "child": ("create table more () inherits (contact)", "table public.more"),
    "parent": (
        "create table most (id integer not null); alter table contact inherit most",
        "table public.most",
    ),
    "publication": (
        "create publication feed for table contact",
        "publication of table public.contact in publication feed",
    ),
    "row type": (
        "create function shout(contact) returns text language sql as 'select 1::text'",
        "function public.shout(public.contact)",
    ),
    "column of the row type": (
        "create table archive (was contact)",
        "table public.archive",
    ),
    "name in the way": (
        "create table adopted_contact ()",
        'cannot be moved out of the way: relation "adopted_contact" already exists',
    ),
    "sequence in the way": (
        "alter sequence contact_id_seq rename to contact_id",
        'cannot be moved out of the way: relation "contact_id" already exists',
    ),
    "view that needs a table": (
        "create view people as select id, email from contact group by id",
        "view public.people cannot read the new view",
    ),
}


@pytest.mark.parametrize(("ddl", "named"), HINDRANCES.values(), ids=HINDRANCES.keys())
def test_dependent_object_is_named_and_refused(database: str, ddl: str, named: str) -> None:
    fill(database, LIVELY)
    run(database, ddl)
    on_store(database, check)
    before = state(database)
    with pytest.raises(InvalidInput, match=re.escape(named)) as refusal:
        adopt(database, Options(), AdoptOptions(), nothing, nothing)
    assert "\n" not in str(refusal.value)
    assert state(database) == before


def test_foreign_keys_are_dropped_with_the_flag(database: str) -> None:
    fill(database, LIVELY)
    run(
        database,
        ORDERS,
        "insert into orders values (2)",
    )
    result, _ = adopted(database, drop_foreign_keys=True)
    assert result.notes == ["foreign key orders_contact_fkey of public.orders: dropped"]
    assert query(database, "select email from orders join contact on contact.id = contact") == [
        ("a@x",)
    ]
    key = "alter table orders add constraint ours foreign key (contact) references"
    run(database, f"{key} bitespeed.contact_record")

    def erased() -> None:
        on_service(database, lambda service: service.erase(Subject(contact=2)))

    with pytest.raises(StoreUnavailable, match="refers to what is to be erased"):
        erased()
    run(database, "alter table orders drop constraint ours")
    run(database, f"{key} bitespeed.contact_record on delete set null")
    erased()
    assert query(database, "select contact from orders") == [(None,)]


def test_dependent_views_read_the_new_view(database: str) -> None:
    reader = f"{database_of(database)}_reader"
    fill(database, LIVELY)
    run(
        database,
        "create schema reports",
        "create view reports.live with (security_barrier = true) as"
        " select *, email like '%x' as x from contact where deletedat is null",
        "create view reports.count as select count(*) as n, max(id) as last from reports.live",
        f"create role {reader}",
        f"grant select on reports.count to {reader}",
    )
    try:
        result, _ = adopted(database)
        assert result.notes == ["view reports.live: reads the new view"]
        on_service(database, lambda service: service.identify(observe("new@x", None)))
        assert query(database, "select n, last from reports.count") == [(4, 5)]
        assert query(database, "select linkedid from reports.live where id = 3") == [(1,)]
        options = "select reloptions from pg_class where oid = 'reports.live'::regclass"
        assert query(database, options) == [(["security_barrier=true"],)]
        may = f"select has_table_privilege('{reader}', 'reports.count', 'select')"
        assert query(database, may) == [(True,)]
    finally:
        run(database, f"drop owned by {reader}", f"drop role {reader}")
