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
from support.damages import ADOPTED, AMONG_ADOPTED, HARMLESS_ROWS, ROWS, TOLD

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
        connection.executescript(statement)
    connection.commit()
    connection.close()


def test_sound_data_break_nothing(database: Path) -> None:
    assert violations(database) == []


@pytest.mark.parametrize(("invariant", "statement"), ROWS.values(), ids=ROWS.keys())
def test_damage_is_found(database: Path, invariant: str, statement: str) -> None:
    damage(database, statement)
    found = violations(database)
    assert invariant in {violation.invariant for violation in found}, found


def test_adopted_contacts_need_bring_nothing_and_are_connected(database: Path) -> None:
    """As if contacts 4, 5 and 6 had come from a table, without values in common, as one person."""
    damage(
        database,
        "insert into contact_record"
        " (id, tenant, identity_id, email, phone, created_at, updated_at)"
        " select 6, tenant, 4, email, phone, created_at, updated_at"
        " from contact_record where id = 5",
        TOLD.format("contact.created", 4, 6),
        "update contact_record set phone = null where id = 4",
        "update identity set contacts = 3, version = 1 where id = 4",
    )
    assert {violation.invariant for violation in violations(database)} == {"I5", "I9", "I8", "I11"}
    damage(database, ADOPTED.format(4, "4, 5, 6"))
    assert violations(database) == []


@pytest.mark.parametrize(
    ("invariant", "statements"), AMONG_ADOPTED.values(), ids=AMONG_ADOPTED.keys()
)
def test_damage_among_the_adopted_is_found(database: Path, invariant: str, statements: str) -> None:
    damage(database, ADOPTED.format(1, "1, 2"), ADOPTED.format(4, "4, 5"))
    damage(database, "update identity set version = 1 where id = 4")
    assert violations(database) == []
    damage(database, statements)
    found = violations(database)
    assert invariant in {violation.invariant for violation in found}, found


def test_every_invariant_has_a_negative_control() -> None:
    assert {invariant for invariant, _ in ROWS.values()} == set(INVARIANTS)


def test_violations_name_ids_and_no_values(database: Path) -> None:
    for _, statement in ROWS.values():
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


@pytest.mark.parametrize("statements", HARMLESS_ROWS.values(), ids=HARMLESS_ROWS.keys())
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
