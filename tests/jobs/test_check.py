"""The checker's negative controls: each invariant, broken by hand in the file, is reported."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from bitespeed.jobs.check import MAX_VIOLATIONS, check
from bitespeed.model.identifiers import observe
from bitespeed.rules.invariants import INVARIANTS, Violation
from bitespeed.service.service import Service
from bitespeed.stores import open_store

PEOPLE = [
    ("ann@shop.example", "100"),
    ("ann@work.example", "100"),
    ("bob@shop.example", "200"),
    ("ann@work.example", "200"),  # merges Bob's contact 3 into Ann's
    ("eve@shop.example", "300"),
    ("eve@work.example", "300"),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two identities: Ann (contacts 1, 2, 3) and Eve (4, 5)."""
    path = tmp_path / "people.db"

    async def fill() -> None:
        store = await open_store(f"sqlite:///{path}")
        service = Service(store)
        for email, phone in PEOPLE:
            await service.identify(observe(email, phone))
        await service.drain()
        await store.close()

    asyncio.run(fill())
    return path


def violations(database: Path) -> list[Violation]:
    async def run() -> list[Violation]:
        store = await open_store(f"sqlite:///{database}")
        try:
            return await check(store)
        finally:
            await store.close()

    return asyncio.run(run())


def damage(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_sound_data_break_nothing(database: Path) -> None:
    assert violations(database) == []


DAMAGES = {
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
    "welded strangers": ("I7", "update identity set root_id = 1 where id = 4"),
    "a wrong count": ("I8", "update identity set contacts = 7 where id = 1"),
    "a wrong version": ("I8", "update identity set version = version + 1 where id = 1"),
    "a wrong age": ("I8", "update identity set primary_at = primary_at + 1 where id = 1"),
    "a lost event": ("I8", "delete from event where contact_id = 2"),
    "an invented event": ("I8", "update event set kind = 'contact.deleted' where seq = 1"),
    "a sequence behind its table": (
        "I9",
        "update sqlite_sequence set seq = 1 where name = 'contact_record'",
    ),
    "an email in capitals": (
        "I10",
        "update contact_record set email = 'EVE@shop.example' where id = 4",
    ),
    "a phone number with blanks": (
        "I10",
        "update identifier set value = '1 00' where value = '100'",
    ),
    "an event whose value is no email": ("I10", "update event set email = 'x' where seq = 4"),
    "an event of another tenant": ("I4", "update event set tenant = 'other' where seq = 1"),
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
        "update contact_record set created_at = created_at + 4000000000 where id = 5",
    ),
    "an event from the future": ("I11", "update event set at = at + 4000000000 where seq = 2"),
    "events out of order": ("I11", "update event set version = 7 where seq = 1"),
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


@pytest.mark.parametrize(("invariant", "statement"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found(database: Path, invariant: str, statement: str) -> None:
    damage(database, statement)
    found = violations(database)
    assert invariant in {violation.invariant for violation in found}, found


ADOPTED = """
update event set kind = 'contact.adopted', version = 1, identity_id = {} where contact_id in ({})
"""
TOLD = """
insert into event (tenant, at, kind, identity_id, version, contact_id)
values ('default', 1, '{}', {}, 1, {})
"""


def test_adopted_contacts_need_bring_nothing_and_are_connected(database: Path) -> None:
    """As if contacts 4, 5 and 6 had come from a table, without values in common, as one person."""
    damage(
        database,
        "insert into contact_record select 6, tenant, 4, email, phone, null, null, created_at,"
        " updated_at, null from contact_record where id = 5",
        TOLD.format("contact.created", 4, 6),
        "update contact_record set phone = null where id = 4",
        "update identity set contacts = 3, version = 1 where id = 4",
    )
    assert {violation.invariant for violation in violations(database)} == {"I5", "I7", "I8", "I11"}
    damage(database, ADOPTED.format(4, "4, 5, 6"))
    assert violations(database) == []


REPEAT = "update contact_record set email = 'ann@shop.example' where id = 2"

ADOPTION_DAMAGES = {
    "strangers adopted apart and welded": ("I7", "update identity set root_id = 1 where id = 4"),
    "created and adopted": ("I8", TOLD.format("contact.created", 1, 1)),
    "adopted twice": ("I8", TOLD.format("contact.adopted", 1, 1)),
    "a repeat after the adopted": (
        "I5",
        "update event set kind = 'contact.created' where contact_id = 2;" + REPEAT,
    ),
}


@pytest.mark.parametrize(
    ("invariant", "statements"), ADOPTION_DAMAGES.values(), ids=ADOPTION_DAMAGES.keys()
)
def test_damage_among_the_adopted_is_found(database: Path, invariant: str, statements: str) -> None:
    damage(database, ADOPTED.format(1, "1, 2"), ADOPTED.format(4, "4, 5"))
    damage(database, "update identity set version = 1 where id = 4")
    assert violations(database) == []
    damage(database, *statements.split(";"))
    found = violations(database)
    assert invariant in {violation.invariant for violation in found}, found


def test_every_invariant_has_a_negative_control() -> None:
    assert {invariant for invariant, _ in DAMAGES.values()} == set(INVARIANTS)


def test_violations_name_ids_and_no_values(database: Path) -> None:
    for _, statement in DAMAGES.values():
        damage(database, statement)
    told = " ".join(violation.what for violation in violations(database))
    assert "@" not in told
    assert "ann" not in told


def test_the_search_ends_after_enough_violations(tmp_path: Path) -> None:
    path = tmp_path / "many.db"

    async def fill() -> None:
        store = await open_store(f"sqlite:///{path}")
        await Service(store).absorb([observe(None, str(n)) for n in range(2 * MAX_VIOLATIONS)])
        await store.close()

    asyncio.run(fill())
    damage(path, "update identity set version = 9")
    assert len(violations(path)) == MAX_VIOLATIONS


def test_at_least_thirty_damages_are_tried() -> None:
    assert len(DAMAGES) + len(ADOPTION_DAMAGES) >= 30


HARMLESS = {
    "a phone number in the form of a region": (
        "update contact_record set phone = '+16502530000' where phone = '300'",
        "update identifier set value = '+16502530000' where value = '300'",
        "update event set phone = '+16502530000' where phone = '300'",
    ),
    "a clock that is a minute ahead": ("update event set at = at + 60000000",),
    "an index of the operator": ("create index theirs on event (at)",),
    "a table of the operator": ("create table note (text)",),
    "numbers that were skipped": ("update sqlite_sequence set seq = seq + 100",),
    "old times of an adopted contact": (
        ADOPTED.format(4, "4, 5"),
        "update identity set version = 1 where id = 4",
        "update contact_record set updated_at = created_at - 1 where id = 5",
    ),
}


@pytest.mark.parametrize("statements", HARMLESS.values(), ids=HARMLESS.keys())
def test_change_that_is_no_fault_is_not_reported(
    database: Path, statements: tuple[str, ...]
) -> None:
    damage(database, *statements)
    assert violations(database) == []


def test_page_overwritten_in_the_file_is_found(database: Path) -> None:
    connection = sqlite3.connect(database)
    query = "select rootpage from sqlite_schema where name = 'contact_record_deleted_phone'"
    ((page,),) = connection.execute(query).fetchall()
    ((size,),) = connection.execute("pragma page_size").fetchall()
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    found = violations(database)
    assert [violation.invariant for violation in found] == ["I12"]
    assert "restore a backup" in found[0].what
