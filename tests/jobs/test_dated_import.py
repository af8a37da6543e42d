"""A dated file comes in by age, whatever the order of its rows."""

import asyncio
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitespeed.jobs import import_file
from bitespeed.jobs.import_file import Columns, Reject, Tally, import_rows, read_rows
from bitespeed.service.service import Service
from bitespeed.stores.sqlite import SqliteStore
from bitespeed.wire.instants import parse_instant
from support.invariants import assert_clean
from support.slow_model import SlowModel
from support.stores import service_on, store_at

EMAILS = ["", "a@x.co", "b@x.co", "C@x.co", "c@x.co"]
PHONES = ["1", "2", "(3)", "3", "4"]
DATES = ["", "2010-01-01", "2011-06-01T12:00:00+02:00", "2011-06-01T10:00:00Z"]
ROWS = st.lists(
    st.tuples(st.sampled_from(EMAILS), st.sampled_from(PHONES), st.sampled_from(DATES)),
    min_size=2,
    max_size=9,
)

Contact = tuple[Any, ...]


class Stopped(Exception):
    """The import was cut off."""


def csv_of(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(["email,phone,createdAt", *map(",".join, rows)])


def ndjson_of(rows: Sequence[tuple[str, ...]]) -> str:
    names = "email", "phoneNumber", "createdAt"
    members = [{n: v for n, v in zip(names, row, strict=False) if v} for row in rows]
    return "\n".join(map(json.dumps, members))


async def bring_in(
    service: Service,
    text: str,
    rejects: list[Reject] | None = None,
    stop_after: int = 1_000,
    columns: Columns | None = None,
    **options: int,
) -> Tally:
    """Import a file of this text; cut off after some chunks."""
    chunks: list[int] = []

    def on_chunk(tally: Tally) -> None:
        chunks.append(tally.rows)
        if len(chunks) == stop_after:
            raise Stopped

    tally, columns = Tally(), columns or Columns(needs_date="since" in options)
    raw = io.BytesIO(text.encode())
    with io.BufferedReader(raw) as stream, read_rows(stream, columns) as rows:
        on_reject = ([] if rejects is None else rejects).append
        await import_rows(
            service, rows, None, tally, on_reject=on_reject, on_chunk=on_chunk, **options
        )
    return tally


def imported(folder: Path, text: str, **options: Any) -> tuple[Tally, list[Reject], list[Contact]]:
    """What an import into a new database counts, rejects and leaves behind."""

    async def main() -> tuple[Tally, list[Reject], list[Contact]]:
        rejects: list[Reject] = []
        async with store_at(folder / "identities.db") as store, service_on(store) as service:
            tally = await bring_in(service, text, rejects, **options)
            await assert_clean(store)
            return tally, rejects, await contacts(store)

    return asyncio.run(main())


async def contacts(store: SqliteStore) -> list[Contact]:
    """Every contact by id: values as canonical and as sent, date, and the id of its primary. A date
    of now is None.
    """
    began = parse_instant("2026-01-01")
    found = [
        (c.id, c.email, c.phone, c.raw_email, c.raw_phone, at, person.head.primary_id)
        async for page in store.scan()
        for person in page
        for c in person.contacts
        for at in [c.created_at if c.created_at < began else None]
    ]
    return sorted(found, key=lambda contact: contact[0])


def from_scratch(rows: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    """The id and the primary of each contact, by the model."""
    model = SlowModel()
    known = [
        (
            parse_instant(date) if date else float("inf"),
            [value for value in (email.lower(), phone.strip("()")) if value],
        )
        for email, phone, date in rows
    ]
    for at, values in sorted(known, key=lambda row: (row[0], _sort_key(row[1]))):
        model.observe(*values, at=at)
    return [(c.id, model.answer(c.anchor).primary_id) for c in model.contacts]


def _sort_key(values: list[str]) -> tuple[str, ...]:
    """As rows of one date are sorted: a row without an email comes last."""
    return tuple(values) if len(values) == 2 else ("~", *values)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(ROWS.filter(lambda rows: any(date for *_, date in rows)), st.randoms(use_true_random=False))
@pytest.mark.parametrize("chunk", [2, 5_000])
def test_order_of_rows_never_shows(tmp_path_factory, chunk, rows, random):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_file, "CHUNK", chunk)
        _, _, first = imported(tmp_path_factory.mktemp("one"), csv_of(rows))
        assert [(id_, primary) for id_, *_, primary in first] == from_scratch(rows)
        random.shuffle(rows)
        _, _, other = imported(tmp_path_factory.mktemp("other"), ndjson_of(rows))
        assert other == first


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(ROWS.filter(lambda rows: any(date for *_, date in rows)), st.integers(1, 4))
def test_interrupted_and_repeated_import_ends_the_same(tmp_path_factory, rows, chunks):
    async def in_two_runs() -> list[Contact]:
        path = tmp_path_factory.mktemp("interrupted") / "identities.db"
        async with store_at(path) as store, service_on(store) as service:
            try:
                await bring_in(service, csv_of(rows), stop_after=chunks)
            except Stopped:
                await bring_in(service, csv_of(rows[::-1]))
            await assert_clean(store)
            return await contacts(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_file, "CHUNK", 2)
        _, _, expected = imported(tmp_path_factory.mktemp("whole"), csv_of(rows))
        assert asyncio.run(in_two_runs()) == expected


def test_rows_without_date_come_after_dated_ones(tmp_path):
    rows = [("a@x.co", "1", ""), ("a@x.co", "2", " "), ("a@x.co", "3", "2010-01-01")]
    _, _, (first, *others) = imported(tmp_path, csv_of(rows))
    assert (first[2], first[5], first[6]) == ("3", parse_instant("2010-01-01"), 1)
    assert [(phone, at, primary) for _, _, phone, _, _, at, primary in others] == [
        ("1", None, 1),
        ("2", None, 1),
    ]


@pytest.mark.parametrize("write", [csv_of, ndjson_of])
def test_file_without_any_date_comes_in_its_order(tmp_path, write):
    rows = [("z@x.co", "1", ""), ("a@x.co", "1", ""), ("m@x.co", "2", "")]
    _, _, found = imported(tmp_path, write(rows))
    assert [email for _, email, *_ in found] == ["z@x.co", "a@x.co", "m@x.co"]


def test_file_without_date_column_is_not_sorted(tmp_path, monkeypatch):
    monkeypatch.setattr(import_file, "SortedRows", None)
    _, _, found = imported(tmp_path, "email,phone\nz@x.co,1\na@x.co,1\n")
    assert [email for _, email, *_ in found] == ["z@x.co", "a@x.co"]
    exported = '{"contact":{"emails":["b@x.co"],"phoneNumbers":["1"]}}\n'
    dated = '{"email":"c@x.co","createdAt":"2010-01-01"}\n'
    tally, (reject,), _ = imported(tmp_path, exported + dated)
    assert (tally.rows, tally.rejected) == (2, 1)
    assert (reject.line, reject.reason) == (
        2,
        "An exported file has no dates, but this row has one",
    )


def test_dates_that_cannot_be_are_rejected_with_their_lines(tmp_path):
    rows = [
        ("a@x.co", "1", "2012-01-01"),
        ("b@x.co", "1", "2999-01-01"),
        ("c@x.co", "1", "yesterday"),
        ("d@x.co", "one", "2010-01-01"),
        ("e@x.co", "1", "2010-01-01"),
    ]
    tally, rejects, found = imported(tmp_path, csv_of(rows))
    assert [(reject.line, reject.reason, reject.date) for reject in rejects] == [
        (3, "The date is in the future; without a zone it is read as UTC", "2999-01-01"),
        (4, "The date is not in ISO 8601, such as 2026-11-22T09:30:00Z", "yesterday"),
        (5, "phoneNumber is not a phone number", "2010-01-01"),
    ]
    assert [email for _, email, *_ in found] == ["e@x.co", "a@x.co"]
    assert (tally.rows, tally.rejected, tally.primaries, tally.secondaries) == (5, 3, 1, 1)


def test_date_that_is_no_text_is_rejected(tmp_path):
    text = '{"email":"a@x.co","createdAt":1272672000}\n{"email":"b@x.co","createdAt":null}'
    tally, (reject,), _ = imported(tmp_path, text)
    assert (reject.line, reject.date) == (1, 1272672000)
    assert (tally.rows, tally.primaries) == (2, 1)


def test_rows_before_since_are_counted_beside_sorted_ones(tmp_path):
    rows = [("a@x.co", "1", "2012-01-01"), ("b@x.co", "1", "2010-01-01"), ("c@x.co", "1", "")]
    tally, (reject,), found = imported(tmp_path, csv_of(rows), since=parse_instant("2011-01-01"))
    assert (tally.rows, tally.older, tally.rejected, tally.primaries) == (3, 1, 1, 1)
    assert (reject.line, reject.reason) == (4, "The row has no date, which --since needs")
    assert [email for _, email, *_ in found] == ["a@x.co"]


@pytest.mark.parametrize("write", [csv_of, ndjson_of])
def test_ignored_dates_neither_sort_nor_reject_rows(tmp_path, write):
    rows = [("b@x.co", "1", "2012-01-01"), ("a@x.co", "1", "2010-01-01"), ("c@x.co", "1", "May 1")]
    tally, _, found = imported(tmp_path, write(rows), columns=Columns(ignores_dates=True))
    assert [(email, at) for _, email, _, _, _, at, _ in found] == [
        ("b@x.co", None),
        ("a@x.co", None),
        ("c@x.co", None),
    ]
    assert tally.rejected == 0
