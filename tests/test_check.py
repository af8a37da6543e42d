"""The checker's negative controls: each invariant, broken by hand in the file, is reported."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from bitespeed.check import INVARIANTS, MAX_VIOLATIONS, Violation, check
from bitespeed.identifiers import observe
from bitespeed.service import Service
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
