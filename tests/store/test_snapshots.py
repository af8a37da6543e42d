"""What every store returns from a read."""

from contextlib import aclosing

import msgspec
import pytest

from bitespeed.model.identity import Answer, Contact
from bitespeed.rules.delete import delete
from bitespeed.rules.look_up import answer_for_contact
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import on_one_store, on_two_stores
from support.stores import decide, delete_contact, who, write


def test_empty_store_returns_empty_snapshots(backend):
    async def test(store):
        await store.ping()
        snapshot = await store.read(DEFAULT_TENANT, emails=["a@x"], phones=["1"], contact=1)
        assert (snapshot.identities, snapshot.emails, snapshot.phones) == ({}, {}, {})
        assert (await store.read(DEFAULT_TENANT)).identities == {}
        assert (await store.read(DEFAULT_TENANT, members=False)).identities == {}
        async with aclosing(store.scan()) as pages:
            assert [page async for page in pages] == []

    on_one_store(backend, test)


def test_large_identity_comes_whole_or_without_members(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "2"))

        async def members(max_contacts):
            wanted = {"phones": ["1", "2"], "max_contacts": max_contacts}
            snapshot = await store.read(DEFAULT_TENANT, **wanted)
            assert snapshot.phones == {"1": 1, "2": 3}
            assert snapshot.identities[1].contacts == 2
            assert len(snapshot.identities[3].members) == 1
            return {contact.id for contact in snapshot.identities[1].members}

        assert await members(1) in (set(), {1, 2})
        for max_contacts in (2, None):
            assert await members(max_contacts) == {1, 2}

    on_one_store(backend, test)


def test_snapshot_has_versions_primaries_and_live_members(backend):
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


def test_read_without_members_equals_the_full_read_otherwise(backend):
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
                assert known.members
                without = msgspec.structs.replace(known, members=[])
                assert bare.identities[id_] == without

    on_one_store(backend, test)


def test_contact_id_reads_its_identity_after_a_merge(backend):
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
            assert answer_for_contact(
                await store.read(DEFAULT_TENANT, contact=contact, emails=["a@x"]), contact
            ) == Answer(1, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [2, 3])
        for nobody in (4, 0, -1, 2**62):
            assert not (await store.read(DEFAULT_TENANT, contact=nobody)).identities

    on_two_stores(backend, test)


def test_contact_of_a_wholly_deleted_identity_reads_nothing(backend):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "1"))
        await delete_contact(store, 1)
        (identity,) = (await store.read(DEFAULT_TENANT, contact=1)).identities.values()
        assert [member.id for member in identity.members] == [2]
        await delete_contact(store, 2)
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


def test_deletion_frees_values_of_its_own_tenant_only(backend):
    async def test(store):
        for tenant in ("one", "other"):
            await store.commit(tenant, await decide(store, ("a@x", "1"), tenant=tenant))
        snapshot = await store.read("one", contact=1)
        await store.commit("one", delete(snapshot, 1))
        asked = {"emails": ["a@x"], "phones": ["1"]}
        assert not (await store.read("one", **asked)).identities
        assert (await store.read("other", **asked)).identities.keys() == {2}

    on_one_store(backend, test)


ODD_TENANTS = [" ", "o'neill", '"quoted"', "back\\slash", "50%_", "{}", "null", "größe 店", "A"]


def test_odd_tenant_names_are_distinct(backend):
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


def test_odd_values_are_stored_exactly_and_distinct(backend):
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
            await delete_contact(store, ODD_EMAILS.index(email) + 1)
        assert not (await store.read(DEFAULT_TENANT, emails=ODD_EMAILS)).emails

    on_two_stores(backend, test)


def test_raw_values_are_stored_beside_canonical_ones(backend):
    async def test(store):
        await write(store, (" A@x", "1-2"), ("b@x", "1-2"))
        raw = backend.query("select email, raw_email, phone, raw_phone from contact_record")
        assert sorted(raw) == [("a@x", " A@x", "12", "1-2"), ("b@x", None, "12", "1-2")]

    on_one_store(backend, test)


@pytest.mark.parametrize("raw", ODD_RAW, ids=ascii)
def test_odd_raw_values_are_stored_exactly(backend, raw):
    async def test(store):
        await write(store, (raw, "1"))
        assert backend.query("select raw_email from contact_record") == [(raw,)]
        async with aclosing(store.scan()) as pages:
            ((identity,),) = [page async for page in pages]
        assert [contact.raw_email for contact in identity.contacts] == [raw]

    on_one_store(backend, test)


def test_large_identity_is_read_completely_and_merged(backend):
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


def test_single_commit_writes_five_thousand_contacts(backend):
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
