"""Adoption of random tables, compared with a naive partition."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import parse_email, parse_phone
from support.adoption import COLUMNS, HOUR, NEW_YEAR, P, S, adopted
from support.published_table import UNCHECKED, Row, fill, query, run

emails = st.sampled_from([None, "", " ", "a@x", "A@x ", "b@x", "c@x", "d@x", "nonsense"])
phones = st.sampled_from([None, "", "1", "(1)", "2", "3", "4", "n/a"])
hours = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    ids = sorted(draw(st.sets(st.integers(1, 30), max_size=14)))
    links = st.one_of(st.none(), st.sampled_from([*ids, 99]))
    return [
        Row(
            id_,
            draw(emails),
            draw(phones),
            draw(links),
            draw(st.sampled_from([P, P, S, S, None])),
            draw(hours),
            draw(hours),
            draw(st.one_of(st.none(), st.none(), st.integers(0, 6))),
        )
        for id_ in ids
    ]


def canonical(parse: Callable[[str], str | None], text: str | None) -> str | None:
    try:
        return parse(text) if text is not None else None
    except InvalidInput:
        return None


def naive_partition(rows: list[Row]) -> set[frozenset[int]]:
    """Merge whatever two sets have a reason to be one, until none has."""
    sets = [{row.id} for row in rows]
    reasons = [{row.id, row.linked_id} for row in rows if row.linked_id]
    live = [row for row in rows if row.deleted_at is None]
    for one in live:
        for other in live:
            same_email = canonical(parse_email, one.email) == canonical(parse_email, other.email)
            same_phone = canonical(parse_phone, one.phone) == canonical(parse_phone, other.phone)
            if (same_email and canonical(parse_email, one.email)) or (
                same_phone and canonical(parse_phone, one.phone)
            ):
                reasons.append({one.id, other.id})
    for reason in reasons:
        touched = [s for s in sets if s & reason]
        sets = [s for s in sets if not s & reason] + [set().union(*touched)]
    return {frozenset(s) for s in sets}


def test_random_tables_match_a_naive_partition(database: str) -> None:
    run(database, UNCHECKED)
    sample = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

    @sample
    @given(tables())
    def holds(rows: list[Row]) -> None:
        run(database, "drop table contact")
        fill(database, rows, UNCHECKED)
        try:
            _is_adopted_rightly(database, rows)
        finally:
            run(
                database,
                "drop view if exists contact",
                "drop table if exists bitespeed.adopted_contact",
                "truncate bitespeed.contact_record, bitespeed.identity, bitespeed.identifier,"
                " bitespeed.event_record",
                "create table if not exists contact()",
            )

    holds()


def _is_adopted_rightly(database: str, rows: list[Row]) -> None:
    before = {row[0]: row for row in query(database, f"select {COLUMNS} from contact")}
    _, planned = adopted(database, dry_run=True)
    _, repairs = adopted(database)
    assert repairs == planned

    stored = {row[0]: row for row in query(database, STORED)}
    assert stored.keys() == {row.id for row in rows}
    members: dict[int, set[int]] = {}
    for id_, identity_id, *_ in stored.values():
        members.setdefault(identity_id, set()).add(id_)
    assert set(map(frozenset, members.values())) == naive_partition(rows)
    for identity_id, ids in members.items():
        assert identity_id == min(ids, key=lambda id_: (stored[id_][2], id_))
    for row in rows:
        _, _, created_at, is_deleted = stored[row.id]
        assert is_deleted == (row.deleted_at is not None)
        assert row.created_at is None or created_at == NEW_YEAR + row.created_at * HOUR

    after = {row[0]: row for row in query(database, f"select {COLUMNS} from contact")}
    told = {id_ for repair in repairs for id_ in repair.contacts}
    assert {id_ for id_ in before if before[id_] != after[id_]} <= told


STORED = "select id, identity_id, created_at, deleted_at is not null from bitespeed.contact_record"
