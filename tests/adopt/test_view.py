"""The view that replaces an adopted table."""

import pytest

from bitespeed.model.identifiers import observe
from support.adoption import COLUMNS_OF, LIVELY, ORDERLY, adopted, on_service
from support.published_table import PUBLISHED_TABLE, fill, query, run

PRISMA = """
create type "LinkPrecedence" as enum ('primary', 'secondary');
create table "Contact" (
    "id" serial not null, "phoneNumber" text, "email" text, "linkedId" integer,
    "linkPrecedence" "LinkPrecedence" not null, "createdAt" timestamp(3) not null default now(),
    "updatedAt" timestamp(3) not null, "deletedAt" timestamp(3),
    constraint "Contact_pkey" primary key ("id"));
insert into "Contact" values
    (3, '12-34', 'A@x', null, 'primary', '2024-01-01 10:00:00.123', '2024-01-01', null),
    (4, '1234', 'b@x', 3, 'secondary', '2024-01-01 11:00:00.123', '2024-01-01', null);
"""
DRIZZLE = """
create schema shop;
create table shop."odd ""name" (
    createdat timestamptz(0), updatedat timestamptz, deletedat timestamptz,
    id bigint, linkedid bigint, email char(300) collate "C", linkprecedence text,
    phonenumber varchar(20));
insert into shop."odd ""name" (id, email, linkprecedence, createdat, updatedat, phonenumber)
values (3, 'a@x', 'primary', '2024-01-01 10:00+02', '2024-01-01 10:00+02', '5');
"""


@pytest.mark.parametrize(
    ("ddl", "table", "widened"),
    [
        (PUBLISHED_TABLE, "public.contact", {}),
        (PRISMA, 'public."Contact"', {}),
        (DRIZZLE, 'shop."odd ""name"', {"phonenumber": "character varying(50)"}),
    ],
    ids=["reference", "Prisma", "others"],
)
def test_view_has_the_columns_of_the_table(
    database: str, ddl: str, table: str, widened: dict[str, str]
) -> None:
    run(database, ddl)
    before = query(database, COLUMNS_OF, table)
    adopted(database, table=table)
    after = query(database, COLUMNS_OF, table)
    assert after == [(name, widened.get(name, type_), c) for name, type_, c in before]
    assert query(
        database, "select relkind::text from pg_class where oid = to_regclass(%s)", table
    ) == [("v",)]
    assert [n for n, _, _ in query(database, COLUMNS_OF, "bitespeed.adopted_contact")] == [
        n for n, _, _ in before
    ]


def test_view_keeps_the_spelling_of_the_columns(database: str) -> None:
    run(database, PRISMA)
    adopted(database, table='public."Contact"')
    rows = query(
        database,
        'select "id", "phoneNumber", "email", "linkedId", "linkPrecedence"::text, "createdAt"::text'
        ' from "Contact" order by "id"',
    )
    assert rows == [
        (3, "1234", "a@x", None, "primary", "2024-01-01 10:00:00.123"),
        (4, "1234", "b@x", 3, "secondary", "2024-01-01 11:00:00.123"),
    ]


REPORT = """
select p.id, p.email, count(s.id), max(s.createdat) - p.createdat
from contact p
left join contact s on s.linkedid = p.id and s.deletedat is null
where p.linkprecedence = 'primary' and p.deletedat is null and p.createdat < '2030-01-01'
group by p.id, p.email, p.createdat
order by p.createdat, p.id
"""


def test_report_on_the_view_sees_new_contacts(database: str) -> None:
    fill(database, ORDERLY)
    before = query(database, REPORT)
    adopted(database)
    assert query(database, REPORT) == before
    on_service(database, lambda service: service.identify(observe("doc@hillvalley.edu", "321")))
    counts = {id_: count for id_, _, count, _ in query(database, REPORT)}
    assert counts == {1: 1, 4: 1, 7: 0}


def test_extra_columns_are_shown_with_the_flag(database: str) -> None:
    fill(database, LIVELY)
    run(
        database,
        'alter table contact add "Name" text, add vip boolean default true',
        """update contact set "Name" = 'Ann' where id = 1""",
    )
    before = query(database, COLUMNS_OF, "contact")
    adopted(database, keep_extra_columns=True)
    on_service(database, lambda service: service.identify(observe("new@x", None)))
    assert query(database, COLUMNS_OF, "contact") == before
    assert query(database, 'select id, "Name", vip from contact order by id') == [
        (1, "Ann", True),
        (2, None, True),
        (3, None, True),
        (4, None, True),
        (5, None, None),
    ]


def test_view_shows_only_contacts_of_the_tenant(database: str) -> None:
    fill(database, LIVELY)
    adopted(database, tenant="shop-7")
    on_service(database, lambda service: service.identify(observe("a@x", None)))
    assert query(
        database, "select tenant, count(*) from bitespeed.contact_record group by 1 order by 1"
    ) == [
        ("default", 1),
        ("shop-7", 4),
    ]
    assert query(database, "select count(*), max(id) from contact") == [(4, 4)]
