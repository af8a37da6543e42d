"""Dated observations in every store: ages, primaries, and what the view and the events say."""

import io
import itertools
from collections.abc import Iterable, Sequence

import pytest

from bitespeed.errors import Conflict
from bitespeed.jobs.import_file import Tally, import_rows, read_rows
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.rules.erase import Subject
from bitespeed.rules.identify import absorb
from bitespeed.service.service import Service
from bitespeed.stores.protocols import AnyStore
from bitespeed.tenant import DEFAULT_TENANT
from bitespeed.wire.instants import parse_instant
from support.backends import on_one_store, roles
from support.stores import service_on, snapshot_for, who, write

IN_2010 = parse_instant("2010-05-01")
IN_1969 = parse_instant("1969-12-31T23:59:59.5Z")

CONTENTS = """
select c.email, c.phone, c.created_at, p.email, p.phone, p.created_at
from contact_record c
join identity born on born.id = c.identity_id
join identity r on r.id = born.root_id
join contact_record p on p.id = r.primary_id
where c.tenant = '{tenant}'
"""


async def absorbed(store: AnyStore, *rows: tuple[str, str, int]) -> None:
    async with service_on(store) as service:
        observations = [observe(email, phone) for email, phone, _ in rows]
        await service.absorb(observations, [at for *_, at in rows])


def updated(backend):
    return dict(backend.query("select id, updatedat from contact"))


def test_older_customer_becomes_primary_without_a_merge(backend):
    async def test(store):
        await write(store, ("new@x", "1"), ("new@x", "2"), ("stranger@x", "3"))
        before = updated(backend)
        await absorbed(store, ("new@x", "9", IN_2010))
        assert await who(store, "new@x") == Answer(4, ["new@x"], ["9", "1", "2"], [1, 2])
        linked = [(1, 4, "secondary"), (2, 4, "secondary"), (3, None, "primary")]
        assert roles(backend) == [*linked, (4, None, "primary")]
        after = updated(backend)
        assert after[3] == before[3]
        assert after[1] == after[2] == after[4] > max(before.values())
        (created,) = backend.query("select kind, primary_id from event where contact_id = 4")
        assert created == ("contact.created", None)

    on_one_store(backend, test)


def test_date_is_kept_as_it_is_given(backend):
    async def test(store):
        await absorbed(store, ("a@x", "1", IN_1969), ("a@x", "2", IN_2010))
        instants = "select created_at, updated_at > 1700000000000000 from contact_record order by 1"
        assert [tuple(map(int, row)) for row in backend.query(instants)] == [
            (IN_1969, 1),
            (IN_2010, 1),
        ]
        days = [str(at)[:21] for (at,) in backend.query("select createdat from contact order by 1")]
        assert days[0] == "1969-12-31 23:59:59.5"

    on_one_store(backend, test)


def test_later_contacts_are_younger_than_dated_ones(backend):
    async def test(store):
        await absorbed(store, ("a@x", "1", IN_2010))
        await write(store, ("a@x", "2"), ("b@x", "3"), ("b@x", "1"))
        assert (await who(store, "b@x")).primary_id == 1

    on_one_store(backend, test)


def test_dates_stay_with_their_rows_beside_an_erased_one(backend):
    async def test(store):
        await write(store, ("gone@x", "1"))
        async with service_on(store) as service:
            await service.erase(Subject("gone@x"))
        await absorbed(store, ("gone@x", "7", IN_1969), ("a@x", "8", IN_2010))
        assert backend.query("select email, created_at from contact_record") == [("a@x", IN_2010)]

    on_one_store(backend, test)


def test_merge_by_dated_row_keeps_the_oldest(backend):
    async def test(store):
        await write(store, ("large@x", "1"), ("large@x", "2"))
        await absorbed(store, ("old@x", "5", IN_2010))
        await absorbed(store, ("old@x", "1", IN_1969))
        expected = Answer(3, ["old@x", "large@x"], ["5", "1", "2"], [1, 2])
        assert await who(store, "old@x") == expected
        (merge,) = backend.query(
            "select primary_id, merged_primary_id, size from event where kind = 'identities.merged'"
        )
        assert merge == (3, 1, 1)

    on_one_store(backend, test)


def test_dated_changes_on_an_old_snapshot_conflict(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        observation = observe("a@x", "9")
        changes = absorb(await snapshot_for(store, [observation]), [observation], dates=[IN_2010])
        await write(store, ("a@x", "2"))
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, changes)
        assert (await who(store, "a@x")).primary_id == 1

    on_one_store(backend, test)


ROWS = [
    "a@x.co,1,2024-01-01",
    "b@x.co,2,2010-01-01",
    "a@x.co,3,2009-01-01",
    "b@x.co,3,2012-01-01",
    "c@x.co,3,2009-01-01",
]


async def imported(store: AnyStore, tenant: str, rows: Sequence[str]) -> None:
    service = Service(store, tenant=tenant)
    text = "\n".join(["email,phone,createdAt", *rows]).encode()
    with io.BytesIO(text) as raw, io.BufferedReader(raw) as stream, read_rows(stream) as read:
        await import_rows(service, read, None, Tally(), on_reject=_fail, on_chunk=lambda _: None)
    await service.drain()


def _fail(reject: object) -> None:
    raise AssertionError(reject)


def contents(backend, tenants: Iterable[str]):
    return [sorted(backend.query(CONTENTS.format(tenant=tenant))) for tenant in tenants]


def test_every_order_of_a_dated_file_ends_the_same(backend):
    orders = list(itertools.permutations(ROWS))
    if backend.name != "sqlite":
        orders = orders[::5]
    tenants = [f"shop {n}" for n in range(len(orders))]

    async def test(store):
        for tenant, rows in zip(tenants, orders, strict=True):
            await imported(store, tenant, rows)

    on_one_store(backend, test)
    first, *others = contents(backend, tenants)
    assert all(other == first for other in others)
    oldest = ("a@x.co", "3", parse_instant("2009-01-01"))
    assert {row[3:] for row in first} == {oldest}
    assert {row[:2] for row in first} == {
        ("a@x.co", "1"),
        ("b@x.co", "2"),
        ("a@x.co", "3"),
        ("c@x.co", "3"),
    }
