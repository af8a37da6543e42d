"""What people and accidents do to a database behind the service, and whether it is a fault.

docs/correctness.md has the numbers of these lists.
"""

# Rows, in a file of two identities: Ann's has the contacts 1, 2 and 3, Eve's 4 and 5.

TOLD = """
insert into event_record (tenant, at, kind, identity_id, version, contact_id)
values ('default', 1, '{}', {}, 1, {})
"""

ROWS = {
    "primary is nobody": ("I1", "update identity set primary_id = 99 where id = 1"),
    "primary of another identity": ("I1", "update identity set primary_id = 4 where id = 1"),
    "no primary": ("I1", "update identity set primary_id = null where id = 4"),
    "younger primary": ("I2", "update identity set primary_id = 5 where id = 4"),
    "a contact older than the primary": (
        "I2",
        "update contact_record set created_at = 1 where id = 5",
    ),
    "a chain": ("I3", "update identity set root_id = 3 where id = 1"),
    "a contact of no identity": ("I3", "update contact_record set identity_id = 77 where id = 2"),
    "an identity that is gone": ("I3", "delete from identity where id = 4"),
    "an identifier of no identity": (
        "I3",
        "update identifier set identity_id = 77 where value = '300'",
    ),
    "a live value without identifier": ("I4", "delete from identifier where value = '100'"),
    "an identifier that nobody carries": (
        "I4",
        "insert into identifier values ('default', 'phone', '555', 1)",
    ),
    "an identifier in the wrong identity": (
        "I4",
        "update identifier set identity_id = 4 where value = '100'",
    ),
    "one value in two identities": ("I4", "update contact_record set phone = '100' where id = 5"),
    "two tenants": ("I4", "update contact_record set tenant = 'other' where id = 2"),
    "a repeat that became a contact": (
        "I5",
        "update contact_record set email = 'ann@shop.example' where id = 2",
    ),
    "welded strangers": ("I9", "update identity set root_id = 1 where id = 4"),
    "a pair of another identity": (
        "I9",
        "update event_record set identity_id = 4 where value is not null",
    ),
    "a contact that goes with what was known": (
        "I9",
        "update contact_record set anchor = 'phone' where id = 2",
    ),
    "a value given up although somebody has it": (
        "I9",
        "update contact_record set phone_until = 4 where id = 2",
    ),
    "a pair of a value given up although somebody has it": (
        "I9",
        "update event_record set other_until = 4 where value is not null",
    ),
    "a wrong count": ("I8", "update identity set contacts = 7 where id = 1"),
    "a wrong version": ("I8", "update identity set version = version + 1 where id = 1"),
    "a wrong age": ("I8", "update identity set primary_at = primary_at + 1 where id = 1"),
    "a lost event": ("I8", "update contact_record set number = null where id = 2"),
    "an invented event": ("I8", TOLD.format("contact.deleted", 1, 1)),
    "a sequence behind its table": (
        "I13",
        "update sqlite_sequence set seq = 1 where name = 'contact_record'",
    ),
    "an email in capitals": (
        "I14",
        "update contact_record set email = 'EVE@shop.example' where id = 4",
    ),
    "a phone number with blanks": (
        "I14",
        "update identifier set value = '1 00' where value = '100'",
    ),
    "an event whose value is no email": (
        "I14",
        "update event_record set value = 'x' where seq = 4",
    ),
    "an event of another tenant": ("I4", "update event_record set tenant = 'other' where seq = 4"),
    "an identity in the wrong tenant": ("I4", "update identity set tenant = 'other' where id = 4"),
    "a merged identity in the wrong tenant": (
        "I4",
        "update identity set tenant = 'other' where id = 3",
    ),
    "a contact changed before it was created": (
        "I11",
        "update contact_record set updated_at = created_at - 1 where id = 2",
    ),
    "a contact deleted before it was created": (
        "I11",
        "update contact_record set deleted_at = 1 where id = 2",
    ),
    "a contact from the future": (
        "I11",
        "update contact_record set (created_at, updated_at) = (4e15, 4e15) where id = 5",
    ),
    "an event from the future": (
        "I11",
        "update contact_record set at = at + 4000000000 where number = 2",
    ),
    "events out of order": ("I11", "update contact_record set version = 7 where number = 1"),
    "a missing index": ("I12", "drop index event_identity"),
    "a missing view": ("I12", "drop view contact"),
    "a missing secret": ("I12", "delete from secret"),
    "two secrets": ("I12", "insert into secret values ('x')"),
    "a lost secret of erasures": (
        "I12",
        "insert into tombstone values ('default', 'p', 1, 'e')",
    ),
    "a deletion that no event tells": (
        "I8",
        "update contact_record set deleted_at = 1 where id = 5",
    ),
}
"""By what is wrong: the invariant that it breaks, and the statement that does it."""

ADOPTED = """
insert into event_record (seq, tenant, at, kind, identity_id, version, contact_id)
select number, tenant, at, 'contact.adopted', {0}, 1, id
from contact_record where id in ({1}) and number is not null;
update event_record set kind = 'contact.adopted'
where contact_id in ({1}) and kind = 'contact.created';
update contact_record set number = null where id in ({1})
"""

CREATED_AGAIN = """
update contact_record set number = (select seq from event_record where contact_id = 2) where id = 2;
delete from event_record where contact_id = 2;
"""
REPEAT = "update contact_record set email = 'ann@shop.example' where id = 2"

AMONG_ADOPTED = {
    "strangers adopted apart and welded": ("I9", "update identity set root_id = 1 where id = 4"),
    "created and adopted": ("I8", TOLD.format("contact.created", 1, 1)),
    "adopted twice": ("I8", TOLD.format("contact.adopted", 1, 1)),
    "a repeat after the adopted": (
        "I5",
        CREATED_AGAIN + REPEAT,
    ),
}
"""The same where all contacts but the third were adopted."""

HARMLESS_ROWS = {
    "a phone number in the form of a region": (
        "update contact_record set phone = '+16502530000' where phone = '300'",
        "update identifier set value = '+16502530000' where value = '300'",
        "update event_record set other = '+16502530000' where other = '300'",
    ),
    "a clock that is a minute ahead": (
        "update event_record set at = at + 60000000",
        "update contact_record set at = at + 60000000",
    ),
    "an index of the operator": ("create index theirs on event_record (at)",),
    "a table of the operator": ("create table note (text)",),
    "numbers that were skipped": ("update sqlite_sequence set seq = seq + 100",),
    "old times of an adopted contact": (
        ADOPTED.format(4, "4, 5"),
        "update identity set version = 1 where id = 4",
        "update contact_record set updated_at = created_at - 1 where id = 5",
    ),
}
"""Changes that break no invariant."""

# The schema of a PostgreSQL database.

KEYS = "function keys(ids jsonb default null) returns json"
SCHEMA = {
    "drop index identity_root": "identity_root is missing",
    "drop view contact": "contact is missing",
    "drop function set_id_step": "function set_id_step is missing",
    "delete from cache": "cache has no row",
    "insert into tombstone values ('default', 'p', 1, 'e')": "erasure_secret has no row",
    "drop function keys; create function keys(x jsonb) returns int language sql return 1": (
        "function keys is not the one of this version"
    ),
    "drop function keys; create function keys(x jsonb) returns int language sql as 'select 1'": (
        "function keys is not the one of this version"
    ),
    f"create or replace {KEYS} language plpgsql as 'begin end'": (
        "function keys is not the one of this version"
    ),
    f"create or replace {KEYS} language plpgsql as 'begin /* no dblink */ end'": (
        "function keys is not the one of this version"
    ),
    "drop function inventory": "function inventory is missing",
    "create or replace function inventory() returns json language sql as $$ select json '{}' $$": (
        "function inventory is not the one of this version"
    ),
    "update pg_index set indisvalid = false where indexrelid = 'identity_root'::regclass": (
        "index identity_root is not valid"
    ),
}
HARMLESS_SCHEMA = (
    "create index theirs on event_record (at)",
    "create function theirs() returns int language sql return 1",
    "create table note (text text)",
    "create function far() returns int language plpgsql as 'begin perform dblink(1);end'",
)
FOREIGN_TABLE = "create foreign table elsewhere () server s"
FUNCTION = "create or replace {} language plpgsql as 'begin {};end'"
DBLINK = "return (select d.j from dblink(''far'', ''select 1'') as d (j json))"
MAKE_DBLINK = "create function dblink(int) returns int return $1"
MAKE_PLPROXY = "create language plproxy handler plpgsql_call_handler"
FORWARDING = [
    FUNCTION.format(KEYS, DBLINK),
    FUNCTION.format("function inventory() returns json", DBLINK),
    FUNCTION.format(KEYS, DBLINK.upper()),
    FUNCTION.format(KEYS, "perform dblink_exec (''far'', ''select 1'')"),
    MAKE_DBLINK + "; drop function keys; create function keys(int) returns int return dblink($1)",
    MAKE_PLPROXY + f"; create or replace {KEYS} language plproxy as 'connect 1'",
    "drop function keys; create function keys(float8) returns void language internal as 'pg_sleep'",
    "create foreign data wrapper a; create server s foreign data wrapper a; " + FOREIGN_TABLE,
]
