"""What is SQLite's own: the file and what can be wrong with it, locks, full disks, plans.

What every store promises is in tests/store.
"""

import asyncio
import contextlib
import gc
import json
import re
import sqlite3
import subprocess
import sys
import threading
import weakref

import pytest

from bitespeed.errors import StoreDamaged, StoreUnavailable
from bitespeed.model.identity import Answer
from bitespeed.resources import named, text
from bitespeed.stores import open_store
from bitespeed.stores.sqlite import SqliteStore, database, migrate
from bitespeed.stores.sqlite import write as writing
from bitespeed.tenant import DEFAULT_TENANT
from support.invariants import assert_clean
from support.stores import decide, delete_contact, store_at, who, write


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


def test_large_identity_is_read_on_the_thread(path):
    async def main():
        async with store_at(path) as store:
            await write(store, ("a@x", "1"), ("b@x", "1"))
            threads = []
            reader = store._waiting_reader
            reader.snapshot, snapshot = (
                lambda *wanted: threads.append(threading.current_thread()) or snapshot(*wanted),
                reader.snapshot,
            )
            found = await store.read(DEFAULT_TENANT, phones=["1"], max_contacts=1)
            assert found.identities[1].members == []
            assert threads == []
            found = await store.read(DEFAULT_TENANT, phones=["1"])
            assert len(found.identities[1].members) == 2
            (thread,) = threads
            assert thread is not threading.main_thread()

    asyncio.run(main())


def test_thread_keeps_nothing_of_what_it_did():
    class Result:
        pass

    async def main():
        lane = database.Lane("test")
        with contextlib.closing(lane):
            result = weakref.ref(await lane.run(Result))
            await lane.run(lambda: None)
            gc.collect()
            assert result() is None
            last = weakref.ref(await lane.run(Result))
            while last() is not None:  # noqa: ASYNC110 - nothing says that the thread waits again
                await asyncio.sleep(0.001)

    async def bounded():
        async with asyncio.timeout(10):
            await main()

    asyncio.run(bounded())


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


# Migrations and damage


def test_new_file_is_created_and_reopened_unchanged(path):
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


def test_store_opens_by_its_url(path):
    async def main():
        store = await open_store(f"sqlite:///{path}")
        await store.close()

    asyncio.run(main())
    assert path.exists()


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


def test_database_of_a_later_version_is_refused(path):
    make(path)
    query(path, "insert into migration values ('9999_later.sql', 'abc', 0)")
    before = dump(path)
    refuses_to_open(path, StoreDamaged, r"later version: it has migration 9999_later\.sql")
    assert dump(path) == before


def test_a_database_of_another_build_is_refused(path):
    make(path)
    query(path, "update migration set checksum = 'abc'")
    refuses_to_open(path, StoreDamaged, r"another build: migration 0001_schema\.sql differs")


def test_schema_of_before_the_first_release_is_refused(path):
    make(path)
    query(path, "update migration set name = '0001_identities.sql'")
    before = dump(path)
    refuses_to_open(path, StoreDamaged, r"bitespeed export .* bitespeed import")
    assert dump(path) == before


def test_file_that_is_no_database_is_refused(path):
    path.write_text("This is a letter to my aunt. " * 100)
    refuses_to_open(path, StoreDamaged, "not a SQLite database")
    assert path.read_text().startswith("This is a letter")


def test_missing_folder_is_reported(tmp_path):
    refuses_to_open(tmp_path / "no" / "identities.db", StoreUnavailable, "folder does not exist")


def test_folder_in_place_of_the_file_is_reported(tmp_path):
    refuses_to_open(tmp_path, StoreUnavailable, "cannot be opened")


def test_damaged_file_is_reported_when_read(path):
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


def test_new_file_opens_after_another_process_unlocks_it(path):
    async def main():
        with opened(path) as other:
            other.execute("begin immediate")  # SQLite does not wait for this one by itself
            opening = asyncio.create_task(SqliteStore.open(str(path)))
            await asyncio.sleep(0.1)
            assert not opening.done()
            other.execute("rollback")
        store = await opening
        await store.close()

    asyncio.run(main())


def test_new_file_that_stays_locked_is_refused(path, monkeypatch):
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", 0.05)
    with opened(path) as other:
        other.execute("begin immediate")
        refuses_to_open(path, StoreUnavailable, "locked by another process")


# Locks and full disks


def test_locked_file_refuses_commits_and_answers_reads(path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.05)

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


def test_commit_waiting_for_a_lock_does_not_block_reads(path):
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


def test_full_disk_refuses_commits_and_answers_reads(path):
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
from bitespeed.model.identifiers import observe
from bitespeed.service.service import Service
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
def test_failed_disk_write_leaves_no_partial_commit(path):
    command = [sys.executable, "-c", WRITE_BEYOND_THE_LIMIT, str(path)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    events = [json.loads(line) for line in outcome.stderr.splitlines()]
    assert [line["event"] for line in events] == ["store.away", "store.back"]
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


def test_contact_view_has_exactly_the_published_columns(path):
    make(path)
    assert [name for _, name, *_ in query(path, "pragma table_info(contact)")] == COLUMNS


def test_contact_view_shows_values_and_instants(path, clock):
    async def main():
        async with store_at(path) as store:
            clock.now = 1_700_000_000_123_456
            await write(store, ("a@x", "1"), ("b@x", "1"), (None, "2"))
            clock.now += 60_000_000
            await delete_contact(store, 2)
            created = "2023-11-14 22:13:20.123"
            deleted = "2023-11-14 22:14:20.123"
            assert query(path, "select * from contact order by id") == [
                (1, "1", "a@x", None, "primary", created, created, None),
                (2, "1", "b@x", 1, "secondary", created, deleted, deleted),
                (3, "2", None, None, "primary", created, created, None),
            ]

    asyncio.run(main())


# Plans


def parameters(statement):
    names = re.findall(r":(\w+)", statement)
    return dict.fromkeys(names, "[]") if names else [1] * statement.count("?")


def scanned(plan):
    """The tables that a plan walks through: neither JSON given as a parameter nor a subquery."""
    subqueries = [step.removeprefix("CO-ROUTINE ") for step in plan if "CO-ROUTINE" in step]
    harmless = ["SCAN CONSTANT ROW", *(f"SCAN {name}" for name in subqueries)]
    return [
        step
        for step in plan
        if "SCAN" in step and "VIRTUAL TABLE" not in step and step not in harmless
    ]


STATEMENTS = {
    name: statement
    for file in ("sql/read.sql", "sql/commit.sql", "sql/records.sql")
    for name, statement in named(text("bitespeed.stores.sqlite", file)).items()
}
WITHOUT_SEARCH = {
    "begin_numbers",
    "continue_numbers",
    "insert_identity",
    "insert_contact",
    "insert_identifier",
    "insert_event",
    "insert_event_with_pair",
    "insert_tombstone",
    "insert_erasure_in_log",
    "erase_secret",
    "secret",
}
OF_ONE_OR_TWO_ROWS = {
    "last_numbers": ["SCAN sqlite_sequence"] * 2,
    "continue_numbers": ["SCAN sqlite_sequence"],
    "secret": ["SCAN erasure_secret"],
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
def test_no_statement_scans_a_table(filled, name):
    statement = STATEMENTS[name]
    with opened(filled) as connection:
        plan = [
            step
            for *_, step in connection.execute(
                f"explain query plan {statement}", parameters(statement)
            )
        ]
    walks = scanned(plan)
    assert walks == OF_ONE_OR_TWO_ROWS.get(name, [])
    assert any("SEARCH" in step for step in plan) == (name not in WITHOUT_SEARCH)


def test_no_statement_scans_a_table_after_analyze(filled):
    with opened(filled) as connection:
        connection.execute("begin")
        connection.execute("analyze")
        for name, statement in STATEMENTS.items():
            explained = connection.execute(f"explain query plan {statement}", parameters(statement))
            walks = scanned([step for *_, step in explained])
            assert walks == OF_ONE_OR_TWO_ROWS.get(name, []), name
        connection.execute("rollback")
