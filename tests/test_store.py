"""What every store promises, on each of them: SQLite, PostgreSQL, PostgreSQL behind a pooler that
gives every transaction to another connection, and Supabase's Data API.
"""

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing, asynccontextmanager

import pytest

from bitespeed import wire
from bitespeed.errors import BitespeedError, Conflict, InvalidInput, NotFound
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer, Changes, Contact, Identity
from bitespeed.rules import erase as erasing
from bitespeed.rules import identify as rule
from bitespeed.rules.erase import Subject
from bitespeed.service import service as service_module
from bitespeed.service.service import DEFAULT_TENANT, Service
from bitespeed.stores import open_store, pages, recent
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk import scan as postgres_scan
from bitespeed.stores.recent import Recent
from support.backends import (
    FAR,
    PATIENCE,
    SqliteBackend,
    cleared,
    of_data_api,
    of_postgres,
    prepared,
    stores,
)
from support.contract_examples import CASES
from support.invariants import assert_clean
from support.pgbouncer import pgbouncer
from support.postgres_server import own_server
from support.postgrest import create_roles, postgrest
from support.stores import Watched, decide, delete, service_on, snapshot_for, who, write


@pytest.fixture(scope="session")
def direct(postgres):
    """A database of the common server."""
    with postgres.fresh_database() as url:
        prepared(url)
        yield of_postgres(url)


@pytest.fixture(scope="session")
def pooled(postgres):
    """A database that stores reach through PgBouncer, two connections for all of them."""
    with postgres.fresh_database() as url:
        prepared(url)
        with pgbouncer(url) as by_way_of:
            yield of_postgres(url, by_way_of)


@pytest.fixture(scope="session")
def over_https():
    """A database behind the Data API; on a server of its own, which knows Supabase's roles."""
    with own_server(fsync=False) as own:
        create_roles(own.url())
        prepared(own.url())
        with postgrest(own.url()) as api:
            yield of_data_api(own.url(), api)


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer", "data api"])
def backend(request, tmp_path):
    """One of the four, empty."""
    if request.param == "sqlite":
        return SqliteBackend(tmp_path / "identities.db")
    fixture = {"postgres": "direct", "pgbouncer": "pooled", "data api": "over_https"}
    chosen = request.getfixturevalue(fixture[request.param])
    cleared(chosen.direct)
    return chosen


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """A service's attempts follow each other at once."""
    monkeypatch.setattr(service_module, "FIRST_PAUSE", 0.0)


def on_two_stores(backend, test):
    """Run a test with two stores on one database, which must be sound at its end."""

    async def main():
        async with asyncio.timeout(6 * PATIENCE), stores(backend, 2) as (store, other):
            await test(store, other)
            await assert_clean(store)

    asyncio.run(main())


def on_one_store(backend, test):
    """Run a test with one store, which must be sound at its end."""

    async def main():
        async with asyncio.timeout(6 * PATIENCE), stores(backend) as (store,):
            await test(store)
            await assert_clean(store)

    asyncio.run(main())


TABLES = ("identity", "contact_record", "identifier", "event")


def rows(backend):
    """All that is stored."""
    return {table: sorted(backend.query(f"select * from {table}"), key=repr) for table in TABLES}


def contact_ids(backend):
    """Of all contacts, in their order; a refused commit may leave a gap."""
    return [id_ for (id_,) in backend.query("select id from contact_record order by id")]


# Snapshots


def test_nothing_is_known_of_nobody(backend):
    async def test(store):
        await store.ping()
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x"], phones=["1"], contact=1)
        assert (snapshot.identities, snapshot.emails, snapshot.phones) == ({}, {}, {})
        assert (await store.read(DEFAULT_TENANT)).identities == {}
        assert (await store.read(DEFAULT_TENANT, members=False)).identities == {}
        async with aclosing(store.scan()) as pages:
            assert [page async for page in pages] == []

    on_one_store(backend, test)


def test_a_snapshot_tells_holders_versions_primaries_and_live_members(backend):
    async def test(store):
        first = await write(store, ("a@x", "1"), ("b@x", "1"), (None, "2"))
        assert first.ids == [1, 2, 3]
        snapshot = await store.read(
            DEFAULT_TENANT, emails=["b@x", "zz@x"], phones=["9", "2", "1"], contact=2
        )
        assert snapshot.emails == {"b@x": 1}
        assert snapshot.phones == {"1": 1, "2": 3}
        assert snapshot.identities.keys() == {1, 3}
        one, three = snapshot.identities[1], snapshot.identities[3]
        ages = first.created_at
        assert (one.id, one.version, one.primary_id, one.primary_at) == (1, 2, 1, ages[0])
        assert (three.id, three.version, three.primary_id, three.primary_at) == (3, 1, 3, ages[2])
        assert (one.contacts, three.contacts) == (2, 1)
        assert sorted(one.members, key=lambda c: c.id) == [
            Contact(1, ages[0], "a@x", "1"),
            Contact(2, ages[1], "b@x", "1"),
        ]
        assert three.members == [Contact(3, ages[2], None, "2")]

    on_one_store(backend, test)


def test_a_read_without_members_tells_the_same_but_for_them(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
        asked = {"emails": ["a@x", "b@x", "zz@x"], "phones": ["3", "9"]}
        for _ in range(2):
            full = await store.read(DEFAULT_TENANT, **asked)
            bare = await store.read(DEFAULT_TENANT, **asked, members=False)
            assert (full.emails, full.phones) == (bare.emails, bare.phones)
            assert full.emails == {"a@x": 1, "b@x": 1}
            assert full.phones == {"3": 3}
            assert full.identities.keys() == bare.identities.keys() == {1, 3}
            for id_, known in full.identities.items():
                without = Identity(
                    id_, known.version, known.primary_id, known.primary_at, known.contacts
                )
                assert bare.identities[id_] == without

    on_one_store(backend, test)


def test_a_contact_leads_to_the_identity_it_belongs_to_by_now(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
        for contact in (1, 2, 3):
            snapshot = await store.read(DEFAULT_TENANT, contact=contact)
            assert snapshot.identities.keys() == {contact}
            assert (snapshot.emails, snapshot.phones) == ({}, {})
        await write(other, ("a@x", "2"), ("c@x", "2"))
        for contact in (1, 2, 3):
            (identity,) = (await store.read(DEFAULT_TENANT, contact=contact)).identities.values()
            assert {member.id for member in identity.members} == {1, 2, 3}
            assert rule.answer_for_contact(
                await store.read(DEFAULT_TENANT, contact=contact, emails=["a@x"]), contact
            ) == Answer(1, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [2, 3])
        for nobody in (4, 0, -1, 2**62):
            assert not (await store.read(DEFAULT_TENANT, contact=nobody)).identities

    on_two_stores(backend, test)


def test_a_contact_of_an_identity_that_is_all_deleted_leads_nowhere(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"))
        await delete(store, 1)
        (identity,) = (await store.read(DEFAULT_TENANT, contact=1)).identities.values()
        assert [member.id for member in identity.members] == [2]
        await delete(store, 2)
        for contact in (1, 2):
            assert not (await store.read(DEFAULT_TENANT, contact=contact)).identities

    on_one_store(backend, test)


def test_tenants_share_neither_values_nor_identities(backend):
    async def test(store, _):
        for tenant in ("one", "other"):
            changes = await decide(store, ("a@x", "1"), tenant=tenant)
            await store.commit(tenant, changes)
        await store.commit("other", await decide(store, ("a@x", "2"), tenant="other"))
        for _ in range(2):
            for tenant, contacts in (("one", 1), ("other", 2)):
                snapshot = await store.read(tenant, emails=["a@x"])
                (identity,) = snapshot.identities.values()
                assert identity.contacts == len(identity.members) == contacts
        assert not (await store.read("one", phones=["2"])).phones
        assert not (await store.read("other", contact=1)).identities
        assert not (await store.read("one", contact=3)).identities
        assert (await store.read("other", contact=3)).identities.keys() == {2}

    on_two_stores(backend, test)


def test_a_deletion_frees_the_values_of_its_own_tenant_alone(backend):
    async def test(store):
        for tenant in ("one", "other"):
            await store.commit(tenant, await decide(store, ("a@x", "1"), tenant=tenant))
        snapshot = await store.read("one", contact=1)
        await store.commit("one", rule.delete(snapshot, 1))
        asked = {"emails": ["a@x"], "phones": ["1"]}
        assert not (await store.read("one", **asked)).identities
        assert (await store.read("other", **asked)).identities.keys() == {2}

    on_one_store(backend, test)


ODD_TENANTS = [" ", "o'neill", '"quoted"', "back\\slash", "50%_", "{}", "null", "größe 店", "A"]


def test_tenants_with_odd_names_are_told_apart(backend):
    async def test(store):
        for tenant in ODD_TENANTS:
            await store.commit(tenant, await decide(store, ("a@x", None), tenant=tenant))
        for _ in range(2):
            roots = [(await store.read(t, emails=["a@x"])).emails["a@x"] for t in ODD_TENANTS]
            assert roots == list(range(1, len(ODD_TENANTS) + 1))
        assert not (await store.read("a", emails=["a@x"])).emails
        assert {t for (t,) in backend.query("select tenant from identity")} == set(ODD_TENANTS)

    on_one_store(backend, test)


ODD_EMAILS = [
    "o'neill@x",
    '"a\\"b"@x',
    "back\\slash@x",
    "back\\\\slash@x",
    "\\u0041@x",
    "%_%s%(a)s{0}{}@x",
    "$1;--/*@x",
    "[1,2]@x",
    "null@x",
    "tag<b>&amp;@x",
    "größe@straße.de",
    "grösse@strasse.de",
    "\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}@x",
    "\N{LATIN SMALL LETTER E WITH ACUTE}@x",
    "店長@例え.jp",
    "\N{PILE OF POO}\N{FAMILY}@x",
    "\N{PILE OF POO}" * 253 + "@x",
    "l" * 253 + "@x",
]
ODD_RAW = ["\x1f A@x\x1c\x85", "\u2028a@x\u2029", "\N{NO-BREAK SPACE}a@X", "a@x" + " " * 252]


def test_odd_values_come_back_as_they_were_and_are_told_apart(backend):
    async def test(store, other):
        await store.commit(DEFAULT_TENANT, await decide(store, *[(e, None) for e in ODD_EMAILS]))
        for reader in (store, other, other):
            snapshot = await reader.read(DEFAULT_TENANT, emails=ODD_EMAILS)
            assert list(snapshot.emails.items()) == [(e, n) for n, e in enumerate(ODD_EMAILS, 1)]
            emails = {i.id: i.members[0].email for i in snapshot.identities.values()}
            assert emails == dict(enumerate(ODD_EMAILS, 1))
        assert (await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "1")))).ids
        bystander = await store.read(DEFAULT_TENANT, emails=["a@x"])
        assert len(bystander.identities) == 1
        for email in ODD_EMAILS:
            await delete(store, ODD_EMAILS.index(email) + 1)
        assert not (await store.read(DEFAULT_TENANT, emails=ODD_EMAILS)).emails

    on_two_stores(backend, test)


def test_what_was_sent_is_stored_beside_the_canonical_value(backend):
    async def test(store):
        await write(store, (" A@x", "1-2"), ("b@x", "1-2"))
        raw = backend.query("select email, raw_email, phone, raw_phone from contact_record")
        assert sorted(raw) == [("a@x", " A@x", "12", "1-2"), ("b@x", None, "12", "1-2")]

    on_one_store(backend, test)


@pytest.mark.parametrize("raw", ODD_RAW, ids=ascii)
def test_what_was_sent_is_stored_however_odd(backend, raw):
    async def test(store):
        await write(store, (raw, "1"))
        assert backend.query("select raw_email from contact_record") == [(raw,)]
        async with aclosing(store.scan()) as pages:
            ((identity,),) = [page async for page in pages]
        assert [contact.raw_email for contact in identity.contacts] == [raw]

    on_one_store(backend, test)


def test_a_large_identity_is_read_whole_and_merged(backend):
    async def test(store, other):
        sent = [(f"{n}@x", "1") for n in range(3000)]
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        await write(store, ("small@x", "2"))
        everybody = [email for email, _ in sent]
        for reader in (store, other, other):
            answer = await who(reader, "1234@x")
            assert answer == Answer(1, everybody, ["1"], list(range(2, 3001)))
        await write(other, ("0@x", "2"))
        answer = await who(store, "small@x")
        assert answer == Answer(1, [*everybody, "small@x"], ["1", "2"], list(range(2, 3002)))

    on_two_stores(backend, test)


def test_five_thousand_contacts_are_one_commit(backend):
    async def test(store):
        sent = [(f"{n}@x", f"{n % 2500}") for n in range(5000)]
        committed = await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        assert committed.ids == list(range(1, 5001))
        assert len(set(committed.created_at)) == 1
        assert len(committed.created_at) == 5000
        emails = [email for email, _ in sent]
        snapshot = await store.read(DEFAULT_TENANT, emails=emails, members=False)
        assert snapshot.emails == {f"{n}@x": n % 2500 + 1 for n in range(5000)}
        assert {i.contacts for i in snapshot.identities.values()} == {2}

    on_one_store(backend, test)


# Conflicts


async def somebody_links(store):
    await write(store, ("a@x", "9"))


async def somebody_takes_the_value(store):
    await write(store, ("new@x", "8"))


async def somebody_merges(store):
    await write(store, ("b@x", "1"))


async def somebody_deletes(store):
    await delete(store, 1)


@pytest.mark.parametrize(
    "meanwhile",
    [somebody_links, somebody_takes_the_value, somebody_merges, somebody_deletes],
)
@pytest.mark.parametrize(
    "sent",
    [
        [("a@x", "3"), ("new@x", "4")],
        [("new@x", "4"), ("a@x", "3")],
        [("new@x", "4"), ("a@x", "2"), ("c@x", "5")],
    ],
    ids=["link then found", "found then link", "found, merge, link"],
)
def test_changes_of_a_stale_snapshot_write_nothing_at_all(backend, meanwhile, sent):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", None))
        changes = await decide(store, *sent)
        await meanwhile(other)
        before = rows(backend)
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, changes)
        assert rows(backend) == before
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))

    on_two_stores(backend, test)


def test_a_conflict_in_the_last_of_many_values_writes_nothing_at_all(backend):
    async def test(store, other):
        sent = [(f"{n:03}@x", f"{n:03}") for n in range(100)]
        changes = await decide(store, *sent)
        await write(other, ("zz@x", "099"))
        before = rows(backend)
        with pytest.raises(Conflict, match="A new value has been taken"):
            await store.commit(DEFAULT_TENANT, changes)
        assert rows(backend) == before

    on_two_stores(backend, test)


def test_an_identity_that_ended_in_a_merge_conflicts(backend):
    async def test(store, other):
        await write(store, ("old@x", "1"), ("young@x", "2"))
        link_to_the_ended = await decide(store, ("young@x", "3"))
        await write(other, ("old@x", "2"))
        assert backend.query("select root_id from identity order by id") == [(1,), (1,)]
        with pytest.raises(Conflict, match="An identity has changed"):
            await store.commit(DEFAULT_TENANT, link_to_the_ended)
        assert await who(store, "young@x") == Answer(1, ["old@x", "young@x"], ["1", "2"], [2])

    on_two_stores(backend, test)


def test_an_identity_that_ended_conflicts_even_at_the_version_that_was_read(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("old@x", "1"), ("young@x", "2"))
            link_to_the_ended = await decide(store, ("young@x", "3"))
            backend.query("update identity set root_id = 1 where id = 2")
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, link_to_the_ended)

    asyncio.run(main())


def test_two_founders_of_the_same_value_conflict(backend):
    async def test(store, other):
        first = await decide(store, ("a@x", "1"))
        second = await decide(other, ("b@x", "1"))
        await store.commit(DEFAULT_TENANT, first)
        with pytest.raises(Conflict, match="A new value has been taken"):
            await other.commit(DEFAULT_TENANT, second)
        assert backend.query("select id, email, phonenumber from contact") == [(1, "a@x", "1")]
        await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "1")))
        _, second_id = contact_ids(backend)
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1"], [second_id])

    on_two_stores(backend, test)


def test_two_merges_of_the_same_identity_conflict_and_the_second_then_sees_the_first(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
        first, second = await decide(store, ("a@x", "2")), await decide(other, ("b@x", "3"))
        await store.commit(DEFAULT_TENANT, first)
        with pytest.raises(Conflict):
            await other.commit(DEFAULT_TENANT, second)
        await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "3")))
        everybody = Answer(1, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [2, 3])
        assert await who(store, "c@x") == await who(other, "a@x") == everybody

    on_two_stores(backend, test)


def test_of_commits_at_the_same_time_exactly_one_wins(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        for n in range(10):
            changes = [
                await decide(store, ("a@x", f"1{n}")),
                await decide(other, ("a@x", f"2{n}")),
                await decide(store, ("a@x", f"3{n}")),
            ]
            outcomes = await asyncio.gather(
                *(
                    s.commit(DEFAULT_TENANT, c)
                    for s, c in zip((store, other, store), changes, strict=True)
                ),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True, True]
        assert backend.query("select version, contacts from identity") == [(11, 11)]

    on_two_stores(backend, test)


def test_of_founders_at_the_same_time_exactly_one_wins(backend):
    async def test(store, other):
        for n in range(10):
            changes = [
                await decide(store, (f"a{n}@x", f"{n}"), (f"{n}@x", None)),
                await decide(other, (f"{n}@x", None), (f"b{n}@x", f"{n}")),
            ]
            outcomes = await asyncio.gather(
                store.commit(DEFAULT_TENANT, changes[0]),
                other.commit(DEFAULT_TENANT, changes[1]),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True]
        assert len(backend.query("select id from contact_record")) == 20

    on_two_stores(backend, test)


def test_merges_across_each_other_at_the_same_time_never_wait_for_each_other(backend):
    async def test(store, other):
        for n in range(10):
            await write(store, (f"a{n}@x", f"1{n}"), (f"b{n}@x", f"2{n}"), (f"c{n}@x", f"3{n}"))
            changes = [
                await decide(store, (f"a{n}@x", f"2{n}"), (f"b{n}@x", f"3{n}")),
                await decide(other, (f"c{n}@x", f"2{n}"), (f"b{n}@x", f"1{n}")),
                await decide(store, (f"c{n}@x", f"1{n}")),
            ]
            outcomes = await asyncio.gather(
                *(
                    s.commit(DEFAULT_TENANT, c)
                    for s, c in zip((store, other, other), changes, strict=True)
                ),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True, True]
            assert all(not isinstance(o, Exception) or "changed" in str(o) for o in outcomes)

    on_two_stores(backend, test)


def test_a_commit_that_waited_for_the_one_before_it_conflicts(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        changes = [await decide(store, ("a@x", "2")), await decide(other, ("a@x", "3"))]
        with backend.held():
            waiting = [
                asyncio.create_task(s.commit(DEFAULT_TENANT, c))
                for s, c in zip((store, other), changes, strict=True)
            ]
            await backend.somebody_waits(2)
            assert not any(task.done() for task in waiting)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True]

    on_two_stores(backend, test)


def test_a_deletion_conflicts_with_a_link_to_the_same_identity(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        snapshot = await store.read(DEFAULT_TENANT, contact=1)
        await write(other, ("b@x", "1"))
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, rule.delete(snapshot, 1))
        await delete(store, 1)
        assert await who(store, None, "1") == Answer(2, ["b@x"], ["1"], [])

    on_two_stores(backend, test)


def test_a_value_freed_meanwhile_is_no_longer_taken_for_known(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "1"))
        link = await decide(store, ("b@x", "2"))
        await delete(other, 2)
        with pytest.raises(Conflict):
            await store.commit(DEFAULT_TENANT, link)
        await write(store, ("b@x", "2"))
        assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])

    on_two_stores(backend, test)


def test_unrelated_changes_do_not_conflict(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        first, second = await decide(store, ("a@x", "3")), await decide(other, ("b@x", "4"))
        assert (await store.commit(DEFAULT_TENANT, first)).ids == [3]
        assert (await other.commit(DEFAULT_TENANT, second)).ids == [4]

    on_two_stores(backend, test)


def test_every_change_of_an_identity_raises_its_version_by_one(backend):
    async def test(store):
        def versions():
            return backend.query("select id, version from identity order by id")

        await write(store, ("a@x", "1"), ("b@x", "2"))
        assert versions() == [(1, 1), (2, 1)]
        await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "3"), ("a@x", "4")))
        assert versions() == [(1, 2), (2, 1)]
        await write(store, ("a@x", "2"))
        assert versions() == [(1, 3), (2, 2)]
        await delete(store, 3)
        assert versions() == [(1, 4), (2, 2)]

    on_one_store(backend, test)


def test_what_was_merged_earlier_is_handed_over_by_a_later_merge(backend):
    async def test(store):
        def roots():
            return [root for (root,) in backend.query("select root_id from identity order by id")]

        await write(store, ("a@x", "1"), ("a2@x", "1"), ("a3@x", "1"))
        await write(store, ("b@x", "2"), ("c@x", "3"), ("c@x", "2"))
        _, *roots_of_b_and_c = roots()
        assert roots_of_b_and_c in ([4, 4], [5, 5])
        await write(store, ("a@x", "3"))
        assert roots() == [1, 1, 1]
        assert await who(store, "c@x") == await who(store, "a@x")
        assert (await who(store, None, "3")).secondary_ids == [2, 3, 4, 5]

    on_one_store(backend, test)


def test_one_commit_founds_links_merges_and_hands_over(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"), ("c@x", "4"), ("c@x", "2"))
        sent = [
            ("d@x", "5"),  # founds
            ("d@x", "6"),  # links to it
            ("e@x", "7"),  # founds
            ("e@x", "6"),  # merges the two that are new
            ("c@x", "5"),  # and both into one that is stored, which has taken over another
            ("a@x", "7"),  # and that into an older one
            ("f@x", "7"),  # links to what they have become
            ("g@x", "8"),  # founds, and stays alone
        ]
        committed = await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        assert committed.ids == [5, 6, 7, 8, 9]
        everybody = Answer(
            1,
            ["a@x", "b@x", "c@x", "d@x", "e@x", "f@x"],
            ["1", "2", "3", "4", "5", "6", "7"],
            [2, 3, 4, 5, 6, 7, 8],
        )
        for reader in (store, other):
            assert await who(reader, "e@x") == await who(reader, None, "3") == everybody
            assert await who(reader, "g@x") == Answer(9, ["g@x"], ["8"], [])
        roots = {root for (root,) in backend.query("select root_id from identity")}
        assert len(roots) == 2
        kinds = Counter(kind for (kind,) in backend.query("select kind from event"))
        assert kinds == {"contact.created": 9, "identities.merged": 4}

    on_two_stores(backend, test)


def test_events_tell_who_was_created_merged_and_deleted_in_their_order(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "3"), ("c@x", "1")))
        await delete(store, 1)
        columns = "kind, identity_id, version, contact_id, merged_id, email, phone"
        assert backend.query(f"select {columns} from event order by seq") == [
            ("contact.created", 1, 1, 1, None, None, None),
            ("contact.created", 2, 1, 2, None, None, None),
            ("contact.created", 2, 2, 3, None, None, None),
            ("identities.merged", 2, 3, None, 1, "a@x", "3"),
            ("contact.created", 2, 3, 4, None, None, None),
            ("contact.deleted", 2, 4, 1, None, None, None),
        ]
        assert {t for (t,) in backend.query("select tenant from event")} == {DEFAULT_TENANT}
        instants = [at for (at,) in backend.query("select at from event order by seq")]
        assert instants == sorted(instants)

    on_one_store(backend, test)


def test_a_commit_given_up_by_its_caller_is_whole_or_not_at_all(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"), ("new@x", "3"))
        with backend.held():
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await backend.somebody_waits()
            commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        written = await service_on_identifies(store, observe("b@x", "1"))
        assert written.emails == ["a@x", "b@x"]
        assert len(contact_ids(backend)) in (2, 4)

    on_one_store(backend, test)


async def service_on_identifies(store, observation):
    async with service_on(store) as service:
        return await service.identify(observation)


def test_a_store_closed_while_a_commit_is_under_way_finishes_it(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with backend.held():
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await backend.somebody_waits()
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0.02)
            assert not closing.done()
        assert (await commit).ids == [2]
        await closing
        assert await who(other, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])

    async def main():
        store, other = await backend.open(), await backend.open()
        try:
            await test(store, other)
            await assert_clean(other)
        finally:
            await other.close()

    asyncio.run(main())


def test_a_store_may_be_closed_twice(backend):
    async def main():
        store = await backend.open()
        await store.ping()
        await store.close()
        await store.close()

    asyncio.run(main())


# Deletion


def test_a_deleted_contact_disappears_and_frees_what_it_alone_carried(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("b@x", "2"))
        await delete(store, 1)
        assert await who(store, "b@x") == Answer(2, ["b@x"], ["1", "2"], [3])
        await delete(store, 2)
        assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])
        values = backend.query("select value from identifier order by value")
        assert values == [("2",), ("b@x",)]
        await delete(store, 3)
        assert backend.query("select value from identifier") == []
        assert backend.query("select contacts, primary_id from identity") == [(0, None)]
        await write(store, ("a@x", "1"))
        assert await who(store, "a@x") == Answer(4, ["a@x"], ["1"], [])

    on_one_store(backend, test)


def test_a_deleted_contact_keeps_its_row_and_gets_the_instant(backend):
    async def test(store):
        ids = (await write(store, ("a@x", "1"), ("b@x", "1"))).ids
        await delete(store, ids[0])
        columns = "email, phone, created_at < deleted_at, updated_at = deleted_at"
        stored = backend.query(f"select {columns} from contact_record order by id")
        assert stored == [("a@x", "1", True, True), ("b@x", "1", None, None)]

    on_one_store(backend, test)


# The published view


def links(backend):
    return backend.query("select id, linkedid, linkprecedence from contact order by id")


def test_the_contact_view_tells_who_is_linked_to_whom(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "2"), ("d@x", "2"))
        assert links(backend) == [
            (1, None, "primary"),
            (2, 1, "secondary"),
            (3, None, "primary"),
            (4, 3, "secondary"),
        ]
        await write(store, ("d@x", "1"))
        assert links(backend)[0] == (1, None, "primary")
        assert links(backend)[1:] == [(n, 1, "secondary") for n in (2, 3, 4)]
        await delete(store, 1)
        assert links(backend)[1] == (2, None, "primary")
        assert [links(backend)[n] for n in (0, 2, 3)] == [(n, 2, "secondary") for n in (1, 3, 4)]

    on_one_store(backend, test)


def test_merging_changes_no_contact(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        before = rows(backend)["contact_record"]
        await write(store, ("a@x", "2"))
        assert rows(backend)["contact_record"] == before

    on_one_store(backend, test)


# What is remembered


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (somebody_links, Answer(1, ["a@x"], ["1", "9"], [3])),
        (somebody_merges, Answer(1, ["a@x", "b@x"], ["1", "2"], [2])),
    ],
)
def test_a_remembered_identity_is_read_again_when_somebody_else_changed_it(
    backend, change, expected
):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        for _ in range(2):
            assert (await who(store, "a@x")).secondary_ids == []
        await change(other)
        assert await who(store, "a@x") == expected
        assert await who(store, None, "1") == expected

    on_two_stores(backend, test)


def test_a_remembered_identity_that_ended_in_a_merge_leads_to_the_survivor(backend):
    async def test(store, other):
        await write(store, ("old@x", "1"), ("young@x", "2"))
        await who(store, "young@x")
        await write(other, ("old@x", "2"))
        merged = Answer(1, ["old@x", "young@x"], ["1", "2"], [2])
        assert await who(store, "young@x") == await who(store, "old@x") == merged
        assert await who(store, "young@x", "1") == merged

    on_two_stores(backend, test)


def test_a_remembered_identity_that_ended_is_not_believed_at_its_own_version(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("old@x", "1"), ("young@x", "2"))
            await who(store, "young@x")
            backend.query("update identity set root_id = 1 where id = 2")
            assert (await store.read(DEFAULT_TENANT, emails=["young@x"])).emails == {"young@x": 1}

    asyncio.run(main())


def test_a_remembered_value_that_was_freed_and_taken_by_another_leads_there(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
        await who(store, "b@x")
        await who(store, "c@x")
        await delete(other, 2)
        await write(other, ("b@x", "3"))
        assert await who(store, "b@x") == Answer(3, ["c@x", "b@x"], ["3"], [4])
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
        await delete(other, 1)
        assert not (await store.read(DEFAULT_TENANT, emails=["a@x"], phones=["1"])).identities

    on_two_stores(backend, test)


def test_one_read_mixes_what_is_remembered_with_what_is_not(backend):
    async def test(store, other):
        await write(other, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
        await who(store, "a@x")
        await who(store, "b@x")
        await write(other, ("b@x", "4"))
        observations = [observe("a@x", "4"), observe("b@x", "3"), observe("zz@x", "9")]
        snapshot = await snapshot_for(store, observations)
        assert snapshot.emails == {"a@x": 1, "b@x": 2}
        assert snapshot.phones == {"3": 3, "4": 2}
        assert {i.id: i.contacts for i in snapshot.identities.values()} == {1: 1, 2: 2, 3: 1}
        for identity in snapshot.identities.values():
            assert len(identity.members) == identity.contacts

    on_two_stores(backend, test)


def test_what_is_remembered_does_for_new_values_and_for_contacts_of_the_same_identity(backend):
    async def test(store, other):
        await write(other, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
        await who(store, "a@x")
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x", "b@x"], contact=2)
        assert snapshot.identities.keys() == {1}
        assert len(snapshot.identities[1].members) == 2
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x"], contact=3)
        assert {i.id: len(i.members) for i in snapshot.identities.values()} == {1: 2, 3: 1}
        bare = await store.read(DEFAULT_TENANT, emails=["a@x"], members=False)
        assert bare.identities[1].members == []
        assert len((await who(store, "a@x")).emails) == 2

    on_two_stores(backend, test)


def test_a_remembered_identity_is_read_again_after_a_change_of_our_own(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        for n in range(3):
            assert (await who(store, "a@x")).phones == ["1", *(f"2{m}" for m in range(n))]
            await write(store, ("a@x", f"2{n}"))
        await delete(store, 1)
        assert await who(store, "a@x") == Answer(2, ["a@x"], ["20", "21", "22"], [3, 4])

    on_one_store(backend, test)


def test_a_read_of_more_than_is_remembered_is_whole(backend, monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 3)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(10)])
        for _ in range(3):
            emails = [f"{n}@x" for n in range(10)]
            snapshot = await store.read(DEFAULT_TENANT, emails=emails)
            assert {i.members[0].email for i in snapshot.identities.values()} == set(emails)

    on_one_store(backend, test)


def person(id_, contacts=1, version=1):
    members = [Contact(id_ * 1000 + n, 0, f"{id_}-{n}@x", f"{id_}{n:03}") for n in range(contacts)]
    return Identity(id_, version, id_ * 1000, 0, contacts, members)


def remembered(kept):
    return [id_ for id_ in range(100) if kept.holders("shop", [f"{id_}-0@x"])]


def test_identities_used_longest_ago_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 6)
    kept = Recent()
    for id_ in (1, 2, 3):
        kept.remember("shop", person(id_, contacts=2))
    kept.use(1)
    kept.remember("shop", person(4, contacts=2))
    assert remembered(kept) == [1, 3, 4]
    kept.remember("shop", person(5, contacts=5))
    assert remembered(kept) == [5]


def test_what_is_remembered_stays_within_its_bounds(monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 50)
    people = [person(id_, contacts=7) for id_ in range(37)]
    values = [value for p in people for m in p.members for value in (m.email, m.phone)]
    kept = Recent()
    for n in range(500):
        kept.remember("shop", person(n % 37, contacts=1 + n % 7, version=n))
        held = kept.holders("shop", values)
        members = [m for id_ in set(held.values()) for m in kept.use(id_).members]
        assert len(members) <= 50
        assert set(held) == {value for m in members for value in (m.email, m.phone)}
        assert set(kept._identities) == set(held.values())


def test_an_identity_too_large_is_not_remembered(monkeypatch):
    monkeypatch.setattr(recent, "MAX_SHARE", 3)
    kept = Recent()
    kept.remember("shop", person(1, contacts=3))
    kept.remember("shop", person(2, contacts=4))
    assert remembered(kept) == [1]
    kept.remember("shop", person(1, contacts=4, version=2))
    assert remembered(kept) == []


def test_what_is_remembered_of_one_tenant_is_unknown_to_another():
    kept = Recent()
    kept.remember("shop", person(1))
    assert kept.holders("shop", ["1-0@x"]) == {"1-0@x": 1}
    assert kept.holders("other shop", ["1-0@x"]) == {}


# Clocks


def be_of_age(backend, contact, at):
    """Have a founder come from an instant that a clock has shown which has stepped since."""
    backend.query(f"update identity set primary_at = {at} where primary_id = {contact}")
    backend.query(
        f"update contact_record set created_at = {at}, updated_at = {at} where id = {contact}"
    )


def ages(backend):
    return [at for (at,) in backend.query("select created_at from contact_record order by id")]


def test_ages_are_in_microseconds_and_grow_from_commit_to_commit(backend):
    async def test(store):
        before = (await write(store, ("a@x", "1"))).created_at[0]
        assert 1_700_000_000_000_000 < before < FAR
        after = (await write(store, ("b@x", "1"))).created_at[0]
        assert before < after < before + 60_000_000
        assert ages(backend) == [before, after]

    on_one_store(backend, test)


def test_a_contact_is_never_older_than_its_primary_when_the_clock_steps_back(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        be_of_age(backend, 1, FAR)
        assert (await write(store, ("a@x", "2"))).created_at == [FAR]
        assert ages(backend) == [FAR, FAR]
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])
        await delete(store, 2)
        deleted = "select deleted_at, updated_at from contact_record where deleted_at is not null"
        assert backend.query(deleted) == [(FAR, FAR)]

    on_one_store(backend, test)


def test_an_identity_born_and_merged_while_the_clock_is_back_stays_the_younger_one(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        be_of_age(backend, 1, FAR)
        changes = await decide(store, ("b@x", "2"), ("b@x", "3"), ("b@x", "1"))
        await store.commit(DEFAULT_TENANT, changes)
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3])

    on_one_store(backend, test)


def test_the_older_primary_wins_by_its_age_when_ids_say_otherwise(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        be_of_age(backend, 1, FAR)
        await write(store, ("b@x", "2"), ("a@x", "2"))
        assert await who(store, "a@x") == Answer(2, ["b@x", "a@x"], ["2", "1"], [1])
        assert links(backend) == [(1, 2, "secondary"), (2, None, "primary")]

    on_one_store(backend, test)


def test_no_reply_takes_a_newcomer_for_the_primary_when_the_clock_steps_back(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        be_of_age(backend, 1, 10)
        await write(store, ("b@x", "2"))
        be_of_age(backend, 2, FAR)
        observations = [observe("b@x", "3"), observe("a@x", "3")]
        changes, replies = rule.identify(await snapshot_for(store, observations), observations)
        committed = await store.commit(DEFAULT_TENANT, changes)
        linked, merged = [reply.answer(committed) for reply in replies]
        assert linked.primary_id == 2
        assert merged.primary_id == 1

    on_one_store(backend, test)


# Scans


async def scanned(store):
    async with aclosing(store.scan()) as pages:
        return [identity async for page in pages for identity in page]


def test_a_scan_tells_all_that_is_stored_of_every_tenant(backend):
    async def test(store):
        await write(store, (" A@x", "1"), ("b@x", "2"), ("a@x", "3"), ("b@x", "1"))
        await store.commit("other", await decide(store, ("a@x", "1"), tenant="other"))
        await delete(store, 2)
        merged, alone = await scanned(store)
        assert (merged.root_id, [head.id for head in merged.heads]) == (1, [1, 2])
        assert [(c.id, c.identity_id, c.raw_email) for c in merged.contacts] == [
            (1, 1, " A@x"),
            (2, 2, None),
            (3, 1, None),
        ]
        assert [c.deleted_at is None for c in merged.contacts] == [True, False, True]
        assert sorted((i.kind, i.value) for i in merged.identifiers) == [
            ("email", "a@x"),
            ("phone", "1"),
            ("phone", "3"),
        ]
        assert [event.kind for event in merged.events] == [
            "contact.created",
            "contact.created",
            "contact.created",
            "identities.merged",
            "contact.deleted",
        ]
        ours = {row.tenant for row in (*merged.heads, *merged.contacts, *merged.events)}
        assert ours == {DEFAULT_TENANT}
        assert (alone.root_id, alone.heads[0].tenant, alone.contacts[0].tenant) == (
            4,
            "other",
            "other",
        )

    on_one_store(backend, test)


def test_rows_that_lead_nowhere_come_first(backend):
    async def main():
        async with stores(backend) as (store,):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            backend.query("delete from identity where id = 2")
            astray, sound = await scanned(store)
            assert (astray.root_id, sound.root_id) == (None, 1)
            assert [c.id for c in astray.contacts] == [2]
            assert len(astray.identifiers) == 2
            assert len(astray.events) == 1

    asyncio.run(main())


def test_the_pages_of_a_scan_are_as_of_one_instant(backend, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 1)
    monkeypatch.setattr(postgres_scan, "ROWS", 1)

    async def test(store, other):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        seen = []
        async with aclosing(store.scan()) as pages:
            async for (identity,) in pages:
                seen.append((identity.root_id, len(identity.contacts)))
                if len(seen) == 1:
                    await write(other, ("3@x", "33"), ("4@x", "2"), ("new@x", None))
        assert seen == [(n, 1) for n in range(1, 6)]
        assert len(await scanned(store)) == 5

    on_two_stores(backend, test)


def test_a_scan_may_be_left_before_its_end_and_begun_again(backend, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        for _ in range(3):
            async with aclosing(store.scan()) as pages:
                async for _page in pages:
                    break
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving is what is tested
                async with aclosing(store.scan()) as pages:
                    async for _page in pages:
                        1 / 0  # noqa: B018 - whatever the reader does wrong
            async with aclosing(store.scan()):
                pass
        assert len(await scanned(store)) == 5

    on_one_store(backend, test)


# Large ids


def test_ids_beyond_32_bits_serve(backend, request):
    large = 3_000_000_000
    if backend.name == "sqlite":
        move_on = f"insert into sqlite_sequence values ('contact_record', {large - 1})"
    else:
        move_on = f"select setval('contact_id', {large - 1})"

    async def test(store):
        backend.query(move_on)
        await write(store, ("a@x", "1"), ("a@x", "2"), ("b@x", "3"), ("b@x", "1"))
        answer = Answer(large, ["a@x", "b@x"], ["1", "2", "3"], [large + 1, large + 2])
        assert await who(store, "b@x") == answer
        await delete(store, large)
        assert (await who(store, "b@x")).primary_id == large + 1

    on_one_store(backend, test)


# The service, on each


@asynccontextmanager
async def serving(backend):
    async with stores(backend) as (store,):
        watched = Watched(store)
        async with service_on(watched) as service:
            yield watched, service
        await assert_clean(store)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_example(backend, case):
    async def main():
        async with serving(backend) as (_, service):
            for step in case["steps"]:
                try:
                    observation = wire.decode(json.dumps(step["request"]).encode(), None)
                    told = wire.encode(await service.identify(observation))
                except InvalidInput as error:
                    told = wire.encode_error(error)
                expected = json.dumps(step.get("expect") or step["expect_body"])
                for position, id_ in enumerate(contact_ids(backend), 1):
                    expected = expected.replace(f'"${position}"', str(id_))
                assert json.loads(told) == json.loads(expected)
            if "rows_after" in case:
                counts = "select count(*), count(*) filter (where linkprecedence = 'primary')"
                ((total, primary),) = backend.query(f"{counts} from contact")
                assert {"total": total, "primary": primary} == case["rows_after"]

    asyncio.run(main())


def test_what_comes_at_once_is_one_read_and_one_commit(backend):
    async def main():
        async with serving(backend) as (store, service):
            sent = [("a@x", "1"), ("b@x", "2"), ("a@x", "1"), ("b@x", "1"), ("a@x", "3")]
            answers = await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
            assert answers == [
                Answer(1, ["a@x"], ["1"], []),
                Answer(2, ["b@x"], ["2"], []),
                Answer(1, ["a@x"], ["1"], []),
                Answer(1, ["a@x", "b@x"], ["1", "2"], [2]),
                Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3]),
            ]
            assert (len(store.reads), len(store.commits)) == (1, 1)
            again = await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
            assert again == [answers[-1]] * len(sent)
            assert (len(store.reads), len(store.commits)) == (2, 1)

    asyncio.run(main())


def test_a_service_looks_up_and_deletes(backend):
    async def main():
        async with serving(backend) as (_, service):
            for sent in [("a@x", "1"), ("b@x", "1"), ("c@x", "2")]:
                await service.identify(observe(*sent))
            await service.ping()
            assert (await service.look_up("b@x", None)).secondary_ids == [2]
            assert (await service.contact(2)).primary_id == 1
            with pytest.raises(NotFound, match="No one identity has both"):
                await service.look_up("a@x", "2")
            await service.delete(1)
            assert await service.contact(2) == Answer(2, ["b@x"], ["1"], [])
            for request in (service.contact(1), service.delete(1), service.look_up("a@x", None)):
                with pytest.raises(NotFound):
                    await request

    asyncio.run(main())


@pytest.mark.parametrize(
    "poison",
    [
        Observation("\ud800@x", None),
        Observation("\0@x", None),
        Observation("a@x", "1", "\0 a@x"),
    ],
    ids=["half a character", "a null character", "a null character as sent"],
)
def test_a_poisoned_observation_fails_alone(backend, poison):
    async def main():
        async with serving(backend) as (_, service):
            sent = [observe(f"{n}@x", f"{n}") for n in range(8)]
            sent.insert(3, poison)
            outcomes = await asyncio.gather(*map(service.identify, sent), return_exceptions=True)
            poisoned = outcomes.pop(3)
            if isinstance(poisoned, Exception):  # SQLite stores what others cannot
                assert isinstance(poisoned, BitespeedError)
                assert isinstance(poisoned, InvalidInput) or str(poisoned) == "Internal error"
            assert [o.emails for o in outcomes] == [[f"{n}@x"] for n in range(8)]

    asyncio.run(main())


def test_services_of_two_tenants_share_nothing(backend):
    async def test(store):
        one, other = Service(store, tenant="one"), Service(store, tenant="other")
        await one.identify(observe("a@x", "1"))
        assert await other.identify(observe("a@x", "2")) == Answer(2, ["a@x"], ["2"], [])
        for request in (one.look_up(None, "2"), one.contact(2), one.delete(2)):
            with pytest.raises(NotFound):
                await request
        await one.drain()
        await other.drain()

    on_one_store(backend, test)


def test_two_services_see_what_the_other_acknowledged(backend):
    async def test(store, other_store):
        async with service_on(store) as one, service_on(other_store) as other:
            for n in range(20):
                answer = await (one, other)[n % 2].identify(observe(f"{n}@x", "1"))
                assert answer.emails == [f"{m}@x" for m in range(n + 1)]

    on_two_stores(backend, test)


def test_two_services_settle_the_same_strangers_once(backend):
    async def test(store, other_store):
        strangers = [observe(f"stranger{n}@x", str(n)) for n in range(40)]
        async with service_on(store) as one, service_on(other_store) as other:
            answers = await asyncio.gather(
                *map(one.identify, strangers), *map(other.identify, strangers[::-1])
            )
        assert answers[:40] == answers[:39:-1]
        assert {answer.primary_id for answer in answers} == set(contact_ids(backend))
        assert len(contact_ids(backend)) == 40

    on_two_stores(backend, test)


def test_two_services_merge_a_chain_from_both_ends(backend):
    async def test(store, other_store):
        async with service_on(store) as one, service_on(other_store) as other:
            for n in range(20):
                await one.identify(observe(f"{n}@x", f"{n}"))
            joints = [observe(f"{n}@x", f"{n + 1}") for n in range(19)]
            await asyncio.gather(
                *[
                    (one, other)[n % 2].identify(joint)
                    for n, joint in enumerate([*joints, *joints[::-1]])
                ]
            )
            answer = await other.look_up("19@x", None)
            assert (answer.primary_id, len(answer.secondary_ids)) == (1, 19)

    on_two_stores(backend, test)


# URLs


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "mysql://x/y", "file.db"])
def test_a_url_of_no_known_kind_is_refused(url):
    with pytest.raises(InvalidInput, match="sqlite:///path"):
        asyncio.run(open_store(url))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:99999/name",
        "postgresql://user:hunter2@host/name?no_such_setting=1",
        "postgresql://user:hunter2@127.0.0.1/name?sslmode=nonsense",
        "https://user:hunter2@host:port",
        "https://[",
    ],
)
def test_a_url_of_the_wrong_form_is_told_without_its_password(url):
    with pytest.raises(InvalidInput) as refusal:
        asyncio.run(open_store(url, Options(key="secret")))
    assert "hunter2" not in str(refusal.value)


def test_empty_changes_write_nothing(backend):
    async def test(store):
        await write(store, ("a@x", "1"))
        before = rows(backend)
        committed = await store.commit(DEFAULT_TENANT, Changes([], [], []))
        assert (committed.ids, committed.created_at) == ([], [])
        assert rows(backend) == before

    on_one_store(backend, test)


# Erasures


async def erased(store, email=None, phone=None, contact=None):
    """The receipt of an erasure by a service of its own."""
    async with service_on(store) as service:
        return await service.erase(Subject(email, phone, contact))


def told(backend, *values):
    """Which of the values is anywhere in the database."""
    everything = repr([backend.query(f"select * from {t}") for t in (*TABLES, "tombstone")])
    return {value for value in values if repr(value) in everything}


def test_nothing_is_left_of_who_is_erased(backend):
    async def test(store, other):
        await write(
            store, ("Ann@Shop.test", "771"), ("ann@work.test", "771"), ("bob@shop.test", "773")
        )
        await write(store, ("cat@shop.test", "772"), ("ann@work.test", "772"))  # 4 ends in 1
        await delete(other, 2)
        await write(other, (None, "774"))
        before = rows(backend)
        ann = ("ann@shop.test", "Ann@Shop.test", "771", "cat@shop.test", "772")
        assert told(backend, *ann, "ann@work.test") == {*ann, "ann@work.test"}

        receipt = await erased(store, "cat@shop.test")
        assert (receipt.identities, receipt.contacts, receipt.identifiers) == (2, 3, 4)
        assert (receipt.events, len(receipt.pseudonyms)) == (5, 5)
        assert told(backend, *ann, "ann@work.test") == set()
        assert not told(backend, *receipt.pseudonyms) ^ {*receipt.pseudonyms}
        after = rows(backend)
        for table in TABLES:
            lost = [row for row in before[table] if row not in after[table]]
            assert not [row for row in lost if {3, 5} & {*row[:1]} and table != "event"]
        assert await who(other, "bob@shop.test") == Answer(3, ["bob@shop.test"], ["773"], [])
        for one in (store, other):
            assert not (await one.read(DEFAULT_TENANT, emails=ann[:1], contact=1)).identities
        with pytest.raises(NotFound):
            await erased(other, "cat@shop.test")
        (again,) = (await write(other, ("ann@shop.test", "772"))).ids
        assert await who(store, phone="772") == Answer(again, ["ann@shop.test"], ["772"], [])

    on_two_stores(backend, test)


def test_deleted_contacts_of_others_lose_what_is_erased(backend):
    """And of them no more than that; a value that somebody else has by now is that one's."""

    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("b@x", "2"), ("c@x", "2"))
        for contact in (1, 3):
            await delete(store, contact)
        await write(store, ("a@x", "9"))  # a stranger to those before
        receipt = await erased(store, phone="9")
        assert (receipt.identities, receipt.contacts) == (1, 2)
        assert told(backend, "a@x", "9") == set()
        assert await who(store, "b@x") == Answer(2, ["b@x", "c@x"], ["1", "2"], [4])
        await assert_clean(store)
        assert (await erased(store, contact=3)).contacts == 3
        assert contact_ids(backend) == []

    on_one_store(backend, test)


def test_a_value_of_deleted_contacts_takes_no_person_who_lives(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"), ("d@x", "3"))
        for contact in (2, 3, 4):
            await delete(store, contact)
        assert (await erased(store, "b@x")).contacts == 1
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
        assert (await erased(store, "c@x")).contacts == 2  # nobody lives there
        assert told(backend, "b@x", "c@x", "3", "d@x") == set()

    on_one_store(backend, test)


async def erasure_of(store, email, secret="s" * 64):
    """What would be committed to erase a person who holds the email."""
    person = erasing.subject_records(await store.records(DEFAULT_TENANT, [email]), Subject(email))
    erasure = erasing.erasure(DEFAULT_TENANT, person, "e", secret)
    return erasing.erase(person, erasure)


def test_an_erasure_and_a_change_that_did_not_know_of_each_other_conflict(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        for one, two in ((store, other), (other, store)):
            change, erasure = await decide(one, ("a@x", "2")), await erasure_of(two, "a@x")
            await one.commit(DEFAULT_TENANT, change)
            before = rows(backend)
            with pytest.raises(Conflict):
                await two.commit(DEFAULT_TENANT, erasure)
            assert rows(backend) == before
            change, erasure = await decide(one, ("c@x", "2")), await erasure_of(two, "a@x")
            await two.commit(DEFAULT_TENANT, erasure)
            with pytest.raises(Conflict):
                await one.commit(DEFAULT_TENANT, change)
            await write(store, ("a@x", "1"), ("b@x", "2"))

    on_two_stores(backend, test)


def test_erasures_at_once_agree_on_the_secret(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"), ("b@x", "2"))
        one, two = await erasure_of(store, "a@x", "s"), await erasure_of(other, "b@x", "t")
        await store.commit(DEFAULT_TENANT, one)
        with pytest.raises(Conflict):
            await other.commit(DEFAULT_TENANT, two)
        await erased(other, "b@x")
        assert (await store.tombstones(DEFAULT_TENANT)).secret == "s"

    on_two_stores(backend, test)


def test_an_observation_of_who_was_erased_counts_only_if_it_was_made_later(backend):
    async def test(store):
        async with service_on(store) as service:
            old = [observe("a@x", "1"), observe("a@x", "2"), observe("b@x", "3")]
            await service.absorb(old)
            at = (await service.erase(Subject("a@x"))).at
            for made_at in ((), (at - 1, at, None)):
                changes, left_out = await service.absorb(old, made_at)
                assert (bool(changes), left_out) == (False, 2)
            assert told(backend, "a@x", "2") == set()
            assert await service.absorb(old[:1], [at - 1]) == (Changes([], [], []), 1)
            changes, left_out = await service.absorb(old, [at + 1, at, None])
            assert (len(changes.contacts), left_out) == (1, 1)
            assert not (await store.tombstones("other", ["x"])).erased_at
        assert await who(store, "a@x")

    on_one_store(backend, test)


def test_an_import_under_way_does_not_bring_back_who_is_erased_meanwhile(backend):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        slow = Watched(store)
        async with service_on(slow) as service:
            slow.committing.shut()
            importing = asyncio.create_task(service.absorb([observe("a@x", "2")]))
            await slow.committing.has_come.wait()
            await erased(other, "a@x")
            slow.committing.open()
            assert await importing == (Changes([], [], []), 1)
        assert told(backend, "a@x", "2") == set()

    on_two_stores(backend, test)


@pytest.mark.parametrize("door", ["reading", "committing"])
def test_nor_does_what_was_said_before_the_erasure_whenever_it_is_reconciled(backend, door):
    async def test(store, other):
        await write(store, ("a@x", "1"))
        slow = Watched(store)
        said_at = time.time_ns() // 1000
        async with service_on(slow) as service:
            getattr(slow, door).shut()
            sent = [observe("a@x", "2"), observe("b@x", "3")]
            said = asyncio.create_task(service.identify_all(sent, None, [said_at] * 2))
            await getattr(slow, door).has_come.wait()
            await erased(other, "a@x")
            getattr(slow, door).open()
            refusal, answer = await said
            assert isinstance(refusal, NotFound)
            assert answer.emails == ["b@x"]
            assert told(backend, "a@x", "2") == set()
            later = [time.time_ns() // 1000]
            (back,) = await service.identify_all([observe("a@x", "2")], None, later)
            assert back.emails == ["a@x"]
            (refusal,) = await service.identify_all([observe("a@x", "4")], None, [said_at])
            assert isinstance(refusal, NotFound)
            (repeat,) = await service.identify_all([observe("a@x", "2")])
            assert repeat == back

    on_two_stores(backend, test)
