"""What adoption repairs in a table, and reports."""

import pytest

from bitespeed.stores.postgres.bulk.adopt.repairs import KINDS
from support.adoption import ORDERLY, P, S, adopted, kinds, roles
from support.published_table import UNCHECKED, Row, fill, query


def test_orderly_table_is_adopted_unchanged(database: str) -> None:
    fill(database, ORDERLY)
    before = query(database, "select * from contact order by id")
    result, repairs = adopted(database)
    assert query(database, "select * from contact order by id") == before
    assert repairs == []
    assert (result.contacts, result.deleted, result.identities) == (5, 1, 3)


def test_old_table_keeps_every_row(database: str) -> None:
    fill(database, [*ORDERLY, Row(9, " ", "12-34", 7, "primary", None, None)])
    before = query(database, "select * from contact order by id")
    adopted(database)
    assert query(database, "select * from bitespeed.adopted_contact order by id") == before


MESSES: dict[
    str, tuple[list[Row], dict[int, tuple[int | None, str]], dict[str, list[tuple[int, ...]]]]
] = {
    "two primaries share an email": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "two primaries share a value in two spellings": (
        [Row(1, "A@x", "1"), Row(2, "a@x ", "2", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"respelled": [(1,), (2,)], "joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "two primaries share all": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "1", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "repeat": [(2,)], "demoted": [(2,)]},
    ),
    "a chain": (
        [
            Row(1, "a@x", "1"),
            Row(2, "a@x", "2", 1, S, 1),
            Row(3, "a@x", "3", 2, S, 2),
            Row(4, "b@x", "3", 3, S, 3),
        ],
        {1: (None, P), 2: (1, S), 3: (1, S), 4: (1, S)},
        {"chain": [(3,), (4,)]},
    ),
    "secondaries of a primary that has to yield": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", created_at=1), Row(3, "c@x", "2", 2, S, 2)],
        {1: (None, P), 2: (1, S), 3: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)], "relinked": [(3,)]},
    ),
    "a secondary older than its primary": (
        [Row(1, "a@x", "1", 2, S, 0), Row(2, "a@x", "2", None, P, 1)],
        {1: (None, P), 2: (1, S)},
        {"promoted": [(1,)], "demoted": [(2,)]},
    ),
    "a ring": (
        [Row(1, "a@x", "1", 2, S), Row(2, "b@x", "2", 1, S, 1)],
        {1: (None, P), 2: (1, S)},
        {"ring": [(2, 1)], "promoted": [(1,)]},
    ),
    "linked to itself": (
        [Row(1, "a@x", "1", 1, P), Row(2, "b@x", "2", 2, S)],
        {1: (None, P), 2: (None, P)},
        {"ring": [(1,), (2,)], "unlinked": [(1,)], "promoted": [(2,)]},
    ),
    "linked to nobody who is there": (
        [Row(1, "a@x", "1", 77, S), Row(2, "b@x", "2", 77, S)],
        {1: (None, P), 2: (None, P)},
        {"lost": [(1,), (2,)], "promoted": [(1,), (2,)]},
    ),
    "a secondary without a link": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", None, S, 1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "linked": [(2,)]},
    ),
    "a primary with a link": (
        [Row(1, "a@x", "1"), Row(2, "b@x", "2", 1, P, 1)],
        {1: (None, P), 2: (1, S)},
        {"demoted": [(2,)]},
    ),
    "neither primary nor secondary": (
        [Row(1, "a@x", "1", None, None), Row(2, "b@x", "2", 1, None, 1)],
        {1: (None, P), 2: (1, S)},
        {"unnamed": [(1,), (2,)]},
    ),
    "a primary deleted": (
        [
            Row(1, "a@x", "1", deleted_at=9),
            Row(2, "a@x", "2", 1, S, 1),
            Row(3, "b@x", "1", 1, S, 2),
        ],
        {1: (2, S), 2: (None, P), 3: (2, S)},
        {"demoted": [(1,)], "promoted": [(2,)], "relinked": [(3,)]},
    ),
    "all of a person deleted": (
        [Row(1, "a@x", "1", deleted_at=9), Row(2, "a@x", "2", 1, S, 1, deleted_at=9)],
        {1: (None, P), 2: (None, P)},
        {"released": [(2,)]},
    ),
    "linked by one that is deleted": (
        [
            Row(1, "a@x", "1"),
            Row(2, "a@x", "2", 1, S, 1, deleted_at=9),
            Row(3, "c@x", "3", 2, S, 2),
        ],
        {1: (None, P), 2: (1, S), 3: (1, S)},
        {"chain": [(3,)]},
    ),
    "a value of one that is deleted and was not linked": (
        [Row(1, "a@x", "1", deleted_at=9), Row(2, "a@x", "2", created_at=1)],
        {1: (None, P), 2: (None, P)},
        {},
    ),
    "equally old": (
        [Row(2, "a@x", "1"), Row(1, "b@x", "1")],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "blanks shared": (
        [Row(1, "", "1"), Row(2, " ", "2"), Row(3, "a@x", "\t"), Row(4, "b@x", "")],
        {1: (None, P), 2: (None, P), 3: (None, P), 4: (None, P)},
        {"blank": [(1,), (2,), (3,), (4,)]},
    ),
    "unreadable values shared": (
        [Row(1, "none", "1"), Row(2, "none", "2"), Row(3, "a@x", "n/a"), Row(4, "b@x", "n/a")],
        {1: (None, P), 2: (None, P), 3: (None, P), 4: (None, P)},
        {"unreadable": [(1,), (2,), (3,), (4,)]},
    ),
    "nothing left": (
        [Row(1, "", " "), Row(2, "a@x", None, 1, S, 1), Row(3, None, None), Row(4, "?", None)],
        {1: (None, P), 2: (1, S), 3: (None, P), 4: (None, P)},
        {"blank": [(1,), (1,)], "unreadable": [(4,)], "empty": [(1,), (3,), (4,)]},
    ),
}


@pytest.mark.parametrize(("rows", "expected", "repaired"), MESSES.values(), ids=MESSES.keys())
def test_mess_is_repaired_and_reported(
    database: str,
    rows: list[Row],
    expected: dict[int, tuple[int | None, str]],
    repaired: dict[str, list[tuple[int, ...]]],
) -> None:
    fill(database, rows, UNCHECKED)
    _, repairs = adopted(database)
    assert roles(database) == expected
    assert kinds(repairs) == repaired


def test_every_kind_of_repair_is_tested() -> None:
    assert {kind for _, _, repaired in MESSES.values() for kind in repaired} == KINDS.keys() - {
        "undated"
    }


def test_unreadable_values_are_kept_and_shown(database: str) -> None:
    fill(database, [Row(1, "none", "12-34"), Row(2, "A@X", "n/a"), Row(3, " ", "1")])
    adopted(database)
    assert query(
        database,
        "select id, email, phone, raw_email, raw_phone from bitespeed.contact_record order by id",
    ) == [
        (1, None, "1234", "none", "12-34"),
        (2, "a@x", None, "A@X", "n/a"),
        (3, None, "1", None, None),
    ]
    assert query(database, "select id, email, phonenumber from contact order by id") == [
        (1, "none", "1234"),
        (2, "a@x", "n/a"),
        (3, None, "1"),
    ]


def test_phone_numbers_follow_the_region(database: str) -> None:
    fill(
        database, [Row(1, "a@x", "(212) 555-0123"), Row(2, "b@x", "+1 212 555 0123", created_at=1)]
    )
    adopted(database, region="US")
    assert query(database, "select distinct phonenumber from contact") == [("+12125550123",)]
    assert roles(database)[2] == (1, S)
