"""The comparison of a copy with its source."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bitespeed.jobs.copy import MAX_DIFFERENCES, Comparison, CopyCounts, Difference, compare, copy
from bitespeed.model.records import IdentityRecord, IdentityRecords
from bitespeed.service.service import Service
from support.copies import (
    identify,
    opened,
    query,
    twin,
)


def compared(source: str, target: str, change: Callable[[], None]) -> Comparison:
    """What the comparison finds when something is changed after the copy."""

    async def test() -> Comparison:
        async with opened(source, target) as (one, other):
            copied = await copy(one, other)
            change()
            return await compare(one, other, copied)

    return asyncio.run(test())


TAMPERED = {
    "a value": ("update contact_record set email = 'x@x.example' where id = 2", "contacts 2"),
    "a raw value": ("update contact_record set raw_email = null where id = 1", "contacts 1"),
    "an age": ("update contact_record set created_at = created_at + 1 where id = 2", "contacts 2"),
    "an update": ("update contact_record set updated_at = 5 where id = 2", "contacts 2"),
    "a deletion": ("update contact_record set deleted_at = 5 where id = 2", "contacts 2"),
    "a shop": ("update contact_record set tenant = 'x' where id = 2", "contacts 2; events 2"),
    "a contact": ("delete from contact_record where id = 2", "contacts 2; events 2"),
    "a version": ("update identity set version = 9 where id = 3", "identities 3"),
    "a count": ("update identity set contacts = 9 where id = 1", "identities 1"),
    "an identifier": (
        "delete from identifier where value = '100100' and tenant = 'default'",
        "identifiers (phone)",
    ),
    "an event": ("update contact_record set number = null, at = null where number = 1", "events 1"),
    "an instant": ("update contact_record set at = 1 where number = 1", "events 1"),
    "a source": ("update contact_record set source = 'x' where number = 1", "events 1"),
    "a label": ("update contact_record set label = 'x' where number = 1", "events 1"),
    "a pair": ("update event_record set value = null where seq = 4", "events 4"),
    "an end of a value": ("update contact_record set phone_until = 5 where id = 2", "contacts 2"),
    "an anchor": ("update contact_record set anchor = 'phone' where id = 1", "contacts 1"),
    "a relabelling": ("update identity set relabelled_at = 9 where id = 1", "identities 1"),
}


@pytest.mark.parametrize(("statement", "what"), TAMPERED.values(), ids=TAMPERED.keys())
def test_comparison_finds_a_row_that_differs(
    people: str, tmp_path: Path, statement: str, what: str
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    found = compared(people, target, lambda: query(target, statement) and None)
    assert found == Comparison(differences=[Difference(1, what)])


def test_comparison_finds_a_row_that_differs_on_postgres(people: str, database: str) -> None:
    for statement, what in TAMPERED.values():

        def tamper(statement: str = statement) -> None:
            query(database, statement)

        found = compared(people, database, tamper)
        assert found == Comparison(differences=[Difference(1, what)])
        query(database, "truncate identity, contact_record, identifier, event_record")


def test_comparison_finds_missing_and_additional_identities(people: str, tmp_path: Path) -> None:
    source, target = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"

    def tamper() -> None:
        for table in ("identity", "contact_record"):
            query(source, f"delete from {table} where id = 500")
            query(target, f"delete from {table} where id = 600")
        query(source, "delete from identifier where identity_id = 500")
        query(target, "delete from identifier where identity_id = 600")

    asyncio.run(twin(people, source))
    found = compared(source, target, tamper)
    assert found.differences == [
        Difference(500, "is only in the copy"),
        Difference(600, "is not in the copy"),
    ]


def test_rows_without_identity_are_copied_and_compared(
    people: str, tmp_path: Path, target: str
) -> None:
    source = f"sqlite:///{tmp_path}/source.db"
    asyncio.run(twin(people, source))
    query(source, "delete from identity where id = 700")
    assert compared(source, target, lambda: None).is_equal

    async def test() -> Comparison:
        async with opened(source, target) as (one, other):
            return await compare(one, other, CopyCounts(last_event=10**9))

    query(target, "delete from contact_record where id = 700")
    assert asyncio.run(test()).differences == [Difference(None, "contacts 700; events 715")]


def test_comparison_ends_after_enough_differences(tmp_path: Path, people: str) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    found = compared(
        people, target, lambda: query(target, "update identity set version = 9") and None
    )
    assert len(found.differences) == MAX_DIFFERENCES


def test_changes_in_the_source_since_are_no_differences(
    people: str, target: str, tmp_path: Path
) -> None:
    source = f"sqlite:///{tmp_path}/source.db"

    async def test() -> Comparison:
        await twin(people, source)
        async with opened(source, target) as (one, other):
            copied = await copy(one, other)
            await identify(
                one,
                ("new@x.example", None),
                ("linked@x.example", "10500"),
                ("bob@shop.example", "10600"),  # ends an identity ...
                ("bob@shop.example", "10600"),
                ("both@x.example", "10700"),
                ("both@x.example", "10701"),  # ... and another one, whose survivor ends as well
                ("bob@shop.example", "10701"),
            )
            await Service(one).delete(900)
            return await compare(one, other, copied)

    assert asyncio.run(test()) == Comparison(changed=4)  # a new one, a linked one, Ann, the deleted


def test_differences_name_no_values(people: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"

    def tamper() -> None:
        for statement, _ in TAMPERED.values():
            query(target, statement)

    text = " ".join(what for _, what in compared(people, target, tamper).differences)
    assert text
    assert "@" not in text
    assert "100100" not in text


def test_comparison_pairs_pages_that_do_not_line_up() -> None:
    """Pages that do not line up: everything of one store, then nothing of the other."""

    class Few:
        def __init__(self, *roots: int) -> None:
            self._roots = roots

        async def scan(self) -> AsyncIterator[list[IdentityRecords]]:
            for root in self._roots:
                head = IdentityRecord(root, "default", root, root, 1, 1, 1, 1)
                yield [IdentityRecords(root, heads=[head])]

    async def test(ours: Few, theirs: Few) -> list[int | None]:
        found = await compare(ours, theirs, CopyCounts())
        return [difference.identity for difference in found.differences]

    assert asyncio.run(test(Few(1, 2, 3), Few(1, 2, 3))) == []
    assert asyncio.run(test(Few(1, 3, 5), Few(2, 3, 4))) == [1, 2, 4, 5]
    assert asyncio.run(test(Few(), Few(1, 2))) == [1, 2]
    assert asyncio.run(test(Few(1, 2), Few())) == [1, 2]
