"""Instants and time zones of an adopted table."""

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import observe
from support.adoption import HOUR, NEW_YEAR, adopted, kinds, on_service
from support.database_url import database_of
from support.postgres_server import Postgres
from support.published_table import Row, fill, query, run


def test_missing_instants_are_derived_from_others(database: str) -> None:
    fill(
        database,
        [
            Row(1, "a@x", created_at=None, updated_at=None),  # as old as the oldest
            Row(2, "b@x", created_at=5, updated_at=None),
            Row(3, "c@x", created_at=None, updated_at=900, deleted_at=900),  # as the one before
            Row(4, "d@x", created_at=3),
            Row(5, "e@x", created_at=700),
            Row(6, "f@x", created_at=None, updated_at=-700),  # updated before the one before
        ],
    )
    run(
        database,
        "insert into contact"
        " values (7, 'x', 'g@x', null, 'primary', 'infinity', null, '-infinity')",
    )
    _, repairs = adopted(database)
    month = 31 * 24
    assert query(
        database,
        "select id, (created_at - %s) / %s, (updated_at - %s) / %s, deleted_at is not null"
        " from bitespeed.contact_record order by id",
        *(NEW_YEAR, HOUR) * 2,
    ) == [
        (1, 3, 3, False),
        (2, 5, 5, False),
        (3, 5, month + 900, True),
        (4, 3, month, False),
        (5, 700, month, False),
        (6, month - 700, month - 700, False),
        (7, month - 700, month - 700, True),
    ]
    assert kinds(repairs)["undated"] == [(1,), (2,), (3,), (6,), (7,)]
    assert repairs[-1].contacts == (7,)


def test_table_without_rows_or_ages_is_adopted(postgres: Postgres) -> None:
    for rows in ([], [Row(1, "a@x", created_at=None), Row(2, "a@x", created_at=None)]):
        with postgres.fresh_database() as database:
            fill(database, rows)
            result, _ = adopted(database)
            assert result.contacts == len(rows)
            answer = on_service(database, lambda service: service.identify(observe("a@x", "5")))
            assert answer.primary_id == 1


def test_instants_are_read_in_the_zone_of_the_database(database: str) -> None:
    run(database, f"alter database \"{database_of(database)}\" set timezone = 'America/New_York'")
    fill(database, [Row(1, "a@x")])
    before = query(database, "select * from contact")
    result, _ = adopted(database)
    assert result.time_zone == "America/New_York"
    stored = query(database, "select created_at from bitespeed.contact_record")
    assert stored == [(NEW_YEAR + 5 * HOUR,)]
    run(database, f"alter database \"{database_of(database)}\" set timezone = 'Asia/Tokyo'")
    assert query(database, "select * from contact") == before


def test_time_zone_option_overrides_the_database(database: str) -> None:
    fill(database, [Row(1, "a@x")])
    with pytest.raises(InvalidInput, match="knows no time zone Europe/Atlantis"):
        adopted(database, time_zone="Europe/Atlantis")
    result, _ = adopted(database, time_zone="Europe/Berlin")
    assert result.time_zone == "Europe/Berlin"
    assert query(database, "select created_at from bitespeed.contact_record") == [
        (NEW_YEAR - HOUR,)
    ]
    assert query(database, "select createdat::text from contact") == [("2024-01-01 00:00:00",)]
