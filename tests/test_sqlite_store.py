"""The SQLite store: all or nothing, several connections and processes, trouble with the file."""

import asyncio
import contextlib
import itertools
import re
import sqlite3
import subprocess
import sys

import pytest

from bitespeed import rule
from bitespeed.errors import Conflict, InvalidInput, StoreDamaged, StoreUnavailable
from bitespeed.identifiers import observe
from bitespeed.identity import Answer, Contact, Identity
from bitespeed.service import DEFAULT_TENANT
from bitespeed.stores import open_store
from bitespeed.stores.sqlite import SqliteStore, database, recent
from bitespeed.stores.sqlite import write as writing
from bitespeed.stores.sqlite.database import named, sql
from bitespeed.stores.sqlite.recent import Recent
from support.invariants import assert_clean
from support.stores import decide, snapshot_for, store_at, write

PROCESSES = 12


@pytest.fixture
def path(tmp_path):
    return tmp_path / "identities.db"


@contextlib.contextmanager
def opened(path):
    """A connection of another program's, in autocommit."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


def query(path, sql, *parameters):
    with opened(path) as connection:
        return connection.execute(sql, parameters).fetchall()


def dump(path):
    with opened(path) as connection:
        return list(connection.iterdump())


async def who(store, email=None, phone=None):
    """The answer that the store's present state gives."""
    observation = observe(email, phone)
    snapshot = await snapshot_for(store, [observation])
    return rule.look_up(snapshot, observation.email, observation.phone)


async def delete(store, contact):
    snapshot = await store.read(DEFAULT_TENANT, contact=contact)
    await store.commit(DEFAULT_TENANT, rule.delete(snapshot, contact))


class Clock:
    """Stands in for the `time` module where contacts get their age."""

    def __init__(self, now):
        self.now = now

    def time_ns(self):
        return self.now * 1000


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(1_000_000)
    monkeypatch.setattr(writing, "time", clock)
    return clock


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
def test_changes_of_a_stale_snapshot_write_nothing_at_all(path, meanwhile, sent):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", None))
            changes = await decide(store, *sent)
            await meanwhile(other)
            before = dump(path)
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, changes)
            assert dump(path) == before
            await store.commit(DEFAULT_TENANT, await decide(store, *sent))
            await assert_clean(store)

    asyncio.run(main())


def test_an_identity_that_ended_in_a_merge_conflicts(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("old@x", "1"), ("young@x", "2"))
            link_to_the_ended = await decide(store, ("young@x", "3"))
            await write(other, ("old@x", "2"))
            assert query(path, "select root_id from identity order by id") == [(1,), (1,)]
            with pytest.raises(Conflict, match="An identity has changed"):
                await store.commit(DEFAULT_TENANT, link_to_the_ended)
            assert await who(store, "young@x") == Answer(1, ["old@x", "young@x"], ["1", "2"], [2])

    asyncio.run(main())


def test_an_identity_that_ended_conflicts_even_at_the_version_that_was_read(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("old@x", "1"), ("young@x", "2"))
            link_to_the_ended = await decide(store, ("young@x", "3"))
            with opened(path) as connection:
                connection.execute("update identity set root_id = 1 where id = 2")
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, link_to_the_ended)

    asyncio.run(main())


def test_two_founders_of_the_same_value_conflict(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            first = await decide(store, ("a@x", "1"))
            second = await decide(other, ("b@x", "1"))
            await store.commit(DEFAULT_TENANT, first)
            with pytest.raises(Conflict, match="A new value has been taken"):
                await other.commit(DEFAULT_TENANT, second)
            assert query(path, "select id, email, phonenumber from contact") == [(1, "a@x", "1")]
            await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "1")))
            assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1"], [2])

    asyncio.run(main())


def test_two_merges_of_the_same_identity_conflict_and_the_second_then_sees_the_first(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
            first, second = await decide(store, ("a@x", "2")), await decide(other, ("b@x", "3"))
            await store.commit(DEFAULT_TENANT, first)
            with pytest.raises(Conflict):
                await other.commit(DEFAULT_TENANT, second)
            await other.commit(DEFAULT_TENANT, await decide(other, ("b@x", "3")))
            everybody = Answer(1, ["a@x", "b@x", "c@x"], ["1", "2", "3"], [2, 3])
            assert await who(store, "c@x") == await who(other, "a@x") == everybody
            await assert_clean(store)

    asyncio.run(main())


def test_commits_at_the_same_time_on_two_connections_let_exactly_one_win(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"))
            changes = [await decide(store, ("a@x", "2")), await decide(other, ("a@x", "3"))]
            outcomes = await asyncio.gather(
                store.commit(DEFAULT_TENANT, changes[0]),
                other.commit(DEFAULT_TENANT, changes[1]),
                return_exceptions=True,
            )
            assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True]
            assert query(path, "select version, contacts from identity") == [(2, 2)]
            await assert_clean(store)

    asyncio.run(main())


def test_a_deletion_conflicts_with_a_link_to_the_same_identity(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"))
            snapshot = await store.read(DEFAULT_TENANT, contact=1)
            await write(other, ("b@x", "1"))
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, rule.delete(snapshot, 1))
            await delete(store, 1)
            assert await who(store, None, "1") == Answer(2, ["b@x"], ["1"], [])

    asyncio.run(main())


def test_a_value_freed_meanwhile_is_no_longer_taken_for_known(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "1"))
            link = await decide(store, ("b@x", "2"))
            await delete(other, 2)
            with pytest.raises(Conflict):
                await store.commit(DEFAULT_TENANT, link)
            await write(store, ("b@x", "2"))
            assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])
            await assert_clean(store)

    asyncio.run(main())


def test_unrelated_changes_of_two_connections_do_not_conflict(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "2"))
            first, second = await decide(store, ("a@x", "3")), await decide(other, ("b@x", "4"))
            assert (await store.commit(DEFAULT_TENANT, first)).ids == [3]
            assert (await other.commit(DEFAULT_TENANT, second)).ids == [4]

    asyncio.run(main())


def test_every_change_of_an_identity_raises_its_version_by_one(path):
    async def main():
        async with store_at(path) as store:

            def versions():
                return query(path, "select id, version from identity order by id")

            await write(store, ("a@x", "1"), ("b@x", "2"))
            assert versions() == [(1, 1), (2, 1)]
            await store.commit(DEFAULT_TENANT, await decide(store, ("a@x", "3"), ("a@x", "4")))
            assert versions() == [(1, 2), (2, 1)]
            await write(store, ("a@x", "2"))
            assert versions() == [(1, 3), (2, 2)]
            await delete(store, 3)
            assert versions() == [(1, 4), (2, 2)]

    asyncio.run(main())


def test_what_was_merged_earlier_is_handed_over_by_a_later_merge(path):
    async def main():
        async with store_at(path) as store:

            def roots():
                return [root for (root,) in query(path, "select root_id from identity order by id")]

            await write(store, ("a@x", "1"), ("a2@x", "1"), ("a3@x", "1"))
            await write(store, ("b@x", "2"), ("c@x", "3"), ("c@x", "2"))
            _, *roots_of_b_and_c = roots()
            assert roots_of_b_and_c in ([4, 4], [5, 5])
            await write(store, ("a@x", "3"))
            assert roots() == [1, 1, 1]
            assert await who(store, "c@x") == await who(store, "a@x")
            assert (await who(store, None, "3")).secondary_ids == [2, 3, 4, 5]
            await assert_clean(store)

    asyncio.run(main())


def test_tenants_share_neither_values_nor_identities(path):
    async def main():
        async with store_at(path) as store:
            for tenant in ("one", "other"):
                changes = await decide(store, ("a@x", "1"), tenant=tenant)
                await store.commit(tenant, changes)
            await store.commit("other", await decide(store, ("a@x", "2"), tenant="other"))
            for tenant, contacts in (("one", 1), ("other", 2)):
                snapshot = await store.read(tenant, emails=["a@x"])
                (identity,) = snapshot.identities.values()
                assert identity.contacts == len(identity.members) == contacts
            assert not (await store.read("one", phones=["2"])).phones
            assert not (await store.read("other", contact=1)).identities
            await assert_clean(store)

    asyncio.run(main())


def test_a_read_without_members_tells_the_same_but_for_them(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
            asked = {"emails": ["a@x", "b@x", "zz@x"], "phones": ["3", "9"]}
            for _ in range(2):
                full = await store.read(DEFAULT_TENANT, **asked)
                bare = await store.read(DEFAULT_TENANT, **asked, members=False)
                assert (full.emails, full.phones) == (bare.emails, bare.phones)
                assert full.emails == {"a@x": 1, "b@x": 1}
                assert full.phones == {"3": 3}
                for id_, known in full.identities.items():
                    without = Identity(
                        id_, known.version, known.primary_id, known.primary_at, known.contacts
                    )
                    assert bare.identities[id_] == without

    asyncio.run(main())


# Migrations and damage


def test_a_fresh_file_is_made_and_opened_again_as_it_is(path):
    async def main():
        async with store_at(path):
            fresh = dump(path)
        async with store_at(path) as store:
            assert dump(path) == fresh
            await store.ping()
            await write(store, ("a@x", "1"))
        async with store_at(path) as store:
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])

    asyncio.run(main())


def test_a_store_is_opened_by_its_url(path):
    async def main():
        store = await open_store(f"sqlite:///{path}")
        await store.close()

    asyncio.run(main())
    assert path.exists()


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "postgres://x/y", "file.db"])
def test_any_other_url_is_refused(url):
    with pytest.raises(InvalidInput, match="sqlite:///path"):
        asyncio.run(open_store(url))


def refuses_to_open(path, error, words):
    async def main():
        with pytest.raises(error, match=words):
            await SqliteStore.open(str(path))

    asyncio.run(main())


def make(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))

    asyncio.run(main())


def test_a_database_of_a_later_version_is_refused(path):
    make(path)
    query(path, "insert into migration values ('9999_later.sql', 'abc', 0)")
    before = dump(path)
    refuses_to_open(path, StoreDamaged, r"later version: it has migration 9999_later\.sql")
    assert dump(path) == before


def test_a_database_of_another_build_is_refused(path):
    make(path)
    query(path, "update migration set checksum = 'abc'")
    refuses_to_open(path, StoreDamaged, r"another build: migration 0001_identities\.sql differs")


def test_a_file_that_is_no_database_is_refused(path):
    path.write_text("This is a letter to my aunt. " * 100)
    refuses_to_open(path, StoreDamaged, "not a SQLite database")
    assert path.read_text().startswith("This is a letter")


def test_a_folder_that_does_not_exist_is_told(tmp_path):
    refuses_to_open(tmp_path / "no" / "identities.db", StoreUnavailable, "folder does not exist")


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    refuses_to_open(tmp_path, StoreUnavailable, "cannot be opened")


def test_a_damaged_file_is_told_when_it_is_read(path):
    make(path)
    query(path, "pragma wal_checkpoint(truncate)")
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)

    async def main():
        with pytest.raises(StoreDamaged, match="damaged"):
            async with store_at(path) as store:
                await who(store, "a@x")

    asyncio.run(main())


OPEN_AND_WRITE = """
import asyncio, sys
from bitespeed.identifiers import observe
from bitespeed.service import Service
from bitespeed.stores.sqlite import SqliteStore

async def main(path, name):
    store = await SqliteStore.open(path)
    service = Service(store)
    await service.identify(observe(name + "@x", "1"))
    await service.drain()
    await store.close()

name, *paths = sys.argv[1:]
for path in paths:
    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main(path, name))
"""


def test_many_processes_open_the_same_new_file_at_once(tmp_path):
    paths = [tmp_path / f"{n}.db" for n in range(5)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_WRITE, f"process{n}", *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    try:
        for _ in paths:
            is_ready = [process.stdout.readline() == "ready\n" for process in started]
            for process in itertools.compress(started, is_ready):
                process.stdin.write("go\n")
                process.stdin.flush()
        failures = [process.communicate(timeout=60)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert failures == [""] * PROCESSES
    for path in paths:
        contacts = query(path, "select contacts from identity where id = root_id")
        assert contacts == [(PROCESSES,)]


# Locks and full disks


def test_a_locked_file_refuses_commits_after_the_wait_and_still_answers_reads(path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_WAIT", 0.05)

    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            changes = await decide(store, ("a@x", "2"))
            with opened(path) as other:
                other.execute("begin immediate")
                with pytest.raises(StoreUnavailable, match="locked by another process"):
                    await store.commit(DEFAULT_TENANT, changes)
                assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
                await store.ping()
            await store.commit(DEFAULT_TENANT, changes)
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])

    asyncio.run(main())


def test_a_commit_waits_for_a_lock_without_holding_up_reads(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            changes = await decide(store, ("a@x", "2"))
            with opened(path) as other:
                other.execute("begin immediate")
                commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
                for _ in range(20):
                    assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
                    await store.ping()
                assert not commit.done()
                other.execute("rollback")
            assert (await commit).ids == [2]

    asyncio.run(main())


def test_a_commit_given_up_by_its_caller_is_whole_or_not_at_all(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            changes = await decide(store, ("a@x", "2"), ("new@x", "3"))
            with opened(path) as other:
                other.execute("begin immediate")
                commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
                await store.ping()
                commit.cancel()
                other.execute("rollback")
            with pytest.raises(asyncio.CancelledError):
                await commit
            assert (await write(store, ("b@x", "1"))).ids in ([2], [4])
            await assert_clean(store)

    asyncio.run(main())


def test_a_full_disk_refuses_commits_and_still_answers_reads(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            many = await decide(store, ("a@x", "2"), *[(f"{n:050}@x", None) for n in range(200)])
            before = dump(path)
            ((pages,),) = store._writer.execute("pragma page_count").fetchall()
            store._writer.execute(f"pragma max_page_count = {pages}")
            with pytest.raises(StoreUnavailable, match="full"):
                await store.commit(DEFAULT_TENANT, many)
            assert dump(path) == before
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
            store._writer.execute(f"pragma max_page_count = {pages + 1000}")
            await store.commit(DEFAULT_TENANT, many)
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])
            await assert_clean(store)

    asyncio.run(main())


WRITE_BEYOND_THE_LIMIT = """
import asyncio, os, resource, sys
from bitespeed.errors import StoreUnavailable
from bitespeed.identifiers import observe
from bitespeed.service import Service
from bitespeed.stores.sqlite import SqliteStore

def limit_files_to(size):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    return hard

async def main(path):
    store = await SqliteStore.open(path)
    service = Service(store)
    first = await service.identify(observe("a@x", "1"))
    many = [observe(f"{n:050}@x", None) for n in range(250)]
    hard = limit_files_to(os.path.getsize(path + "-wal") + 10_000)
    refusals = await service.identify_all(many)
    assert all(isinstance(r, StoreUnavailable) for r in refusals), refusals
    assert await service.identify(observe("a@x", None)) == first
    limit_files_to(hard)
    answers = await service.identify_all(many)
    assert [a.primary_id for a in answers] == list(range(2, 252)), answers
    await service.drain()
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on the size of files")
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(path):
    command = [sys.executable, "-c", WRITE_BEYOND_THE_LIMIT, str(path)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.stderr == ""
    assert query(path, "pragma integrity_check") == [("ok",)]

    async def main():
        async with store_at(path) as store:
            await assert_clean(store)

    asyncio.run(main())


# The published view

COLUMNS = [
    "id",
    "phonenumber",
    "email",
    "linkedid",
    "linkprecedence",
    "createdat",
    "updatedat",
    "deletedat",
]


def test_the_contact_view_has_exactly_the_published_columns(path):
    make(path)
    assert [name for _, name, *_ in query(path, "pragma table_info(contact)")] == COLUMNS


def links(path):
    return query(path, "select id, linkedid, linkprecedence from contact order by id")


def test_the_contact_view_tells_who_is_linked_to_whom(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "2"), ("d@x", "2"))
            assert links(path) == [
                (1, None, "primary"),
                (2, 1, "secondary"),
                (3, None, "primary"),
                (4, 3, "secondary"),
            ]
            await write(store, ("d@x", "1"))
            assert links(path)[0] == (1, None, "primary")
            assert links(path)[1:] == [(n, 1, "secondary") for n in (2, 3, 4)]
            await delete(store, 1)
            assert links(path)[1] == (2, None, "primary")
            assert [links(path)[n] for n in (0, 2, 3)] == [(n, 2, "secondary") for n in (1, 3, 4)]

    asyncio.run(main())


def test_the_contact_view_tells_values_and_instants(path, clock):
    async def main():
        async with store_at(path) as store:
            clock.now = 1_700_000_000_123_456
            await write(store, ("a@x", "1"), ("b@x", "1"), (None, "2"))
            clock.now += 60_000_000
            await delete(store, 2)
            created = "2023-11-14 22:13:20.123"
            deleted = "2023-11-14 22:14:20.123"
            assert query(path, "select * from contact order by id") == [
                (1, "1", "a@x", None, "primary", created, created, None),
                (2, "1", "b@x", 1, "secondary", created, deleted, deleted),
                (3, "2", None, None, "primary", created, created, None),
            ]

    asyncio.run(main())


def test_merging_changes_no_contact(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
            before = query(path, "select * from contact_record")
            await write(store, ("a@x", "2"))
            assert query(path, "select * from contact_record") == before

    asyncio.run(main())


def test_what_was_sent_is_stored_beside_the_canonical_value(path):
    async def main():
        async with store_at(path) as store:
            await write(store, (" A@x", "1-2"), ("b@x", "1-2"))
            raw = query(path, "select email, raw_email, phone, raw_phone from contact_record")
            assert raw == [("a@x", " A@x", "12", "1-2"), ("b@x", None, "12", "1-2")]

    asyncio.run(main())


def test_a_deleted_contact_disappears_and_frees_what_it_alone_carried(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("b@x", "1"), ("b@x", "2"))
            await delete(store, 1)
            assert await who(store, "b@x") == Answer(2, ["b@x"], ["1", "2"], [3])
            await delete(store, 2)
            assert await who(store, "b@x") == Answer(3, ["b@x"], ["2"], [])
            values = query(path, "select value from identifier order by value")
            assert values == [("2",), ("b@x",)]
            await delete(store, 3)
            assert query(path, "select value from identifier") == []
            assert query(path, "select contacts, primary_id from identity") == [(0, None)]
            await write(store, ("a@x", "1"))
            assert await who(store, "a@x") == Answer(4, ["a@x"], ["1"], [])
            await assert_clean(store)

    asyncio.run(main())


# Plans


def parameters(statement):
    if re.search(r":\w", statement):
        return dict.fromkeys(["ids", "values", "tenant", "contact"], "[]")
    numbered = [int(n) for n in re.findall(r"\?(\d)", statement)]
    return [1] * (max(numbered) if numbered else statement.count("?"))


def scanned(plan):
    """The tables that a plan walks through; JSON given as a parameter is none."""
    return [
        step
        for step in plan
        if "SCAN" in step and "VIRTUAL TABLE" not in step and step != "SCAN CONSTANT ROW"
    ]


STATEMENTS = {**named(sql("sql/read.sql")), **named(sql("sql/commit.sql"))}
WITHOUT_SEARCH = {
    "last_id",
    "insert_identity",
    "insert_contact",
    "insert_identifier",
    "insert_event",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A file of some thousand contacts, in identities large and small, with merges."""
    path = tmp_path_factory.mktemp("filled") / "identities.db"

    async def main():
        async with store_at(path) as store:
            sent = [(f"{n}@x", f"{n % 2500}") for n in range(5000)]
            merges = [(f"{n}@x", f"{n + 1}") for n in range(0, 500, 2)]
            await store.commit(DEFAULT_TENANT, await decide(store, *sent))
            await store.commit(DEFAULT_TENANT, await decide(store, *merges))

    asyncio.run(main())
    return path


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_walks_through_a_table(filled, name):
    statement = STATEMENTS[name]
    with opened(filled) as connection:
        plan = [
            step
            for *_, step in connection.execute(
                f"explain query plan {statement}", parameters(statement)
            )
        ]
    walks = scanned(plan)
    if name == "last_id":  # a table of two rows
        assert walks == ["SCAN sqlite_sequence"]
    else:
        assert walks == []
    assert any("SEARCH" in step for step in plan) == (name not in WITHOUT_SEARCH)


def test_statistics_do_not_talk_the_planner_into_walking_through_a_table(filled):
    with opened(filled) as connection:
        connection.execute("begin")
        connection.execute("analyze")
        for name, statement in STATEMENTS.items():
            explained = connection.execute(f"explain query plan {statement}", parameters(statement))
            walks = scanned([step for *_, step in explained])
            assert walks == (["SCAN sqlite_sequence"] if name == "last_id" else []), name
        connection.execute("rollback")


# What is remembered


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (somebody_links, Answer(1, ["a@x"], ["1", "9"], [3])),
        (somebody_merges, Answer(1, ["a@x", "b@x"], ["1", "2"], [2])),
    ],
)
def test_a_remembered_identity_is_read_again_when_another_connection_changed_it(
    path, change, expected
):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "2"))
            for _ in range(2):
                assert (await who(store, "a@x")).secondary_ids == []
            await change(other)
            assert await who(store, "a@x") == expected
            assert await who(store, None, "1") == expected

    asyncio.run(main())


def test_a_remembered_identity_that_ended_in_a_merge_leads_to_the_survivor(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("old@x", "1"), ("young@x", "2"))
            await who(store, "young@x")
            await write(other, ("old@x", "2"))
            merged = Answer(1, ["old@x", "young@x"], ["1", "2"], [2])
            assert await who(store, "young@x") == await who(store, "old@x") == merged
            assert await who(store, "young@x", "1") == merged

    asyncio.run(main())


def test_a_remembered_value_that_was_freed_and_taken_by_another_leads_there(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(store, ("a@x", "1"), ("b@x", "1"), ("c@x", "3"))
            await who(store, "b@x")
            await who(store, "c@x")
            await delete(other, 2)
            await write(other, ("b@x", "3"))
            assert await who(store, "b@x") == Answer(3, ["c@x", "b@x"], ["3"], [4])
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
            await delete(other, 1)
            assert not (await store.read(DEFAULT_TENANT, emails=["a@x"], phones=["1"])).identities

    asyncio.run(main())


def test_one_read_mixes_what_is_remembered_with_what_is_not(path):
    async def main():
        async with store_at(path) as store, store_at(path) as other:
            await write(other, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
            await who(store, "a@x")
            await who(store, "b@x")
            await write(other, ("b@x", "4"))
            observations = [observe("a@x", "4"), observe("b@x", "3"), observe("zz@x", "9")]
            snapshot = await snapshot_for(store, observations)
            assert snapshot.emails == {"a@x": 1, "b@x": 2}
            assert snapshot.phones == {"3": 3, "4": 2}
            assert {i.id: i.contacts for i in snapshot.identities.values()} == {1: 1, 2: 2, 3: 1}

    asyncio.run(main())


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


def test_a_read_of_more_than_is_remembered_is_whole(path, monkeypatch):
    monkeypatch.setattr(recent, "MAX_CONTACTS", 3)

    async def main():
        async with store_at(path) as store:
            await write(store, *[(f"{n}@x", f"{n}") for n in range(10)])
            for _ in range(3):
                emails = [f"{n}@x" for n in range(10)]
                snapshot = await store.read(DEFAULT_TENANT, emails=emails)
                assert {i.members[0].email for i in snapshot.identities.values()} == set(emails)

    asyncio.run(main())


# Clocks


def ages(path):
    return [at for (at,) in query(path, "select created_at from contact_record order by id")]


def test_a_contact_is_never_older_than_its_primary_when_the_clock_steps_back(path, clock):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            clock.now = 5
            await write(store, ("a@x", "2"))
            assert ages(path) == [1_000_000, 1_000_000]
            assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])
            await delete(store, 2)
            ((deleted_at,),) = query(
                path, "select deleted_at from contact_record where deleted_at is not null"
            )
            assert deleted_at == 1_000_000
            await assert_clean(store)

    asyncio.run(main())


def test_an_identity_born_and_merged_while_the_clock_is_back_stays_the_younger_one(path, clock):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            clock.now = 5
            changes = await decide(store, ("b@x", "2"), ("b@x", "3"), ("b@x", "1"))
            await store.commit(DEFAULT_TENANT, changes)
            assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3])
            await assert_clean(store)

    asyncio.run(main())


def test_the_older_primary_wins_by_its_age_when_ids_say_otherwise(path, clock):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"))
            clock.now = 5
            await write(store, ("b@x", "2"), ("a@x", "2"))
            assert await who(store, "a@x") == Answer(2, ["b@x", "a@x"], ["2", "1"], [1])
            assert links(path) == [(1, 2, "secondary"), (2, None, "primary")]
            await assert_clean(store)

    asyncio.run(main())


def test_no_reply_takes_a_newcomer_for_the_primary_when_the_clock_steps_back(path, clock):
    async def main():
        async with store_at(path) as store:
            clock.now = 10
            await write(store, ("a@x", "1"))
            clock.now = 100
            await write(store, ("b@x", "2"))
            clock.now = 50
            observations = [observe("b@x", "3"), observe("a@x", "3")]
            changes, replies = rule.identify(await snapshot_for(store, observations), observations)
            committed = await store.commit(DEFAULT_TENANT, changes)
            linked, merged = [reply.answer(committed) for reply in replies]
            assert linked.primary_id == 2
            assert merged.primary_id == 1

    asyncio.run(main())
