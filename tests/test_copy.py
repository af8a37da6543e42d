"""Copying one store into another: all of it or nothing, ids kept, and compared at the end."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bitespeed.cli.copy import copy as copy_command
from bitespeed.errors import InvalidInput, StoreUnavailable
from bitespeed.jobs.copy import MAX_DIFFERENCES, Comparison, Counts, Difference, compare, copy
from bitespeed.model.api_keys import ApiKey
from bitespeed.model.identifiers import observe
from bitespeed.model.records import IdentityRecord, IdentityRecords
from bitespeed.service.service import DEFAULT_TENANT, Service
from bitespeed.stores import Store, open_store
from bitespeed.stores.options import Options
from bitespeed.stores.pages import PAGE
from bitespeed.stores.postgres.bulk import load as postgres_load
from support.invariants import assert_clean
from support.postgres_server import Postgres
from support.postgrest import create_roles, postgrest
from support.processes import heed_interrupts

PATIENCE = 20.0  # seconds for what takes a moment on an idle machine

PEOPLE = [
    ("Ann@Shop.example ", "(100) 100"),  # raw values differ from canonical ones
    ("ann@work.example", "100100"),  # linked
    ("bob@shop.example", "200"),
    ("ann@work.example", "200"),  # merges Bob into Ann
    ("eve@shop.example", "300"),
    (None, "400"),
    ("eve@shop.example", "400"),  # merges the phone alone into Eve
    ("eve@shop.example", "100100"),  # merges Eve, who is a merge herself, into Ann
    ("jürgen@münchen.example", "+49 89 1"),
    ("漢字@例え.example", None),
    ("\N{GRINNING FACE}@x.example", None),
    ("back\\slash@x.example", "\N{NO-BREAK SPACE}500"),
    ("zoe@shop.example", "600"),
    ("zoe@work.example", "600"),
]
DELETED = ["600", "500"]  # a primary with an heir, and all that somebody has
SHOPS = (DEFAULT_TENANT, "other shop", "läden\\N\t")


@asynccontextmanager
async def opened(*urls: str) -> AsyncIterator[list[Store]]:
    found: list[Store] = []
    try:
        for url in urls:
            found += [await open_store(url)]
        yield found
    finally:
        for store in found:
            await store.close()


async def fill(store: Store) -> None:
    """People of several shops; the newest merge is that of the oldest two."""
    for tenant in SHOPS:
        service = Service(store, tenant=tenant)
        for email, phone in PEOPLE:
            await service.identify(observe(email, phone))
        for phone in DELETED:
            await service.delete(
                (await service.look_up(None, observe(None, phone).phone)).primary_id
            )
        await service.drain()
    await identify(store, *[(None, str(n)) for n in range(10_000, 10_000 + 2 * PAGE)])
    await identify(store, ("bob@shop.example", "10000"))


async def identify(store: Store, *sent: tuple[str | None, str | None]) -> list[int]:
    """The primary contacts of those sent."""
    service = Service(store)
    answers = [await service.identify(observe(email, phone)) for email, phone in sent]
    await service.drain()
    return [answer.primary_id for answer in answers]


async def everything(store: Store) -> list[IdentityRecords]:
    found: list[IdentityRecords] = []
    async with aclosing(store.scan()) as pages:
        async for page in pages:
            found += page
    for identity in found:
        identity.identifiers.sort()
    return found


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A rich store in a file; tests that write to it make a copy."""
    url = f"sqlite:///{tmp_path_factory.mktemp('people')}/people.db"

    async def make() -> None:
        async with opened(url) as (store,):
            await fill(store)

    asyncio.run(make())
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/target.db"
    return request.getfixturevalue("database")


def query(url: str, statement: str) -> list[Any]:
    """What a statement returns, or nothing; a change is committed."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            rows = connection.execute(statement).fetchall()
            connection.commit()
            return rows
    with psycopg.connect(url, options="-c search_path=bitespeed") as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def contacts(url: str) -> int:
    return query(url, "select count(*) from contact_record")[0][0]


# What is copied


def test_everything_arrives_on_postgres_and_comes_back(
    people: str, database: str, tmp_path: Path
) -> None:
    create_roles(database)

    async def test() -> None:
        async with opened(people, database, f"sqlite:///{tmp_path}/back.db") as (
            file,
            server,
            back,
        ):
            expected = await everything(file)
            for source, target in ((file, server), (server, back)):
                copied = await copy(source, target)
                assert (await compare(source, target, copied)).is_equal
                assert await everything(target) == expected
                await assert_clean(target)
                assert copied == Counts(
                    identities=len(expected),
                    contacts=sum(len(identity.contacts) for identity in expected),
                    events=sum(len(identity.events) for identity in expected),
                    last_event=max(e.seq for identity in expected for e in identity.events),
                )

    asyncio.run(test())


def test_the_people_of_these_tests_are_rich(people: str) -> None:
    """Else the test above would prove little."""

    async def test() -> list[IdentityRecords]:
        async with opened(people) as (store,):
            return await everything(store)

    found = asyncio.run(test())
    assert len(found) > 2 * PAGE
    assert max(len(identity.heads) for identity in found) > 3
    rows = [contact for identity in found for contact in identity.contacts]
    assert {contact.tenant for contact in rows} == set(SHOPS)
    for field in ("email", "phone", "raw_email", "raw_phone", "deleted_at"):
        assert {getattr(row, field) is None for row in rows} == {True, False}, field
    heads = [head for identity in found for head in identity.heads]
    assert {head.primary_id is None for head in heads} == {True, False}
    kinds = {event.kind for identity in found for event in identity.events}
    assert kinds == {"contact.created", "contact.deleted", "identities.merged"}


def test_the_target_goes_on_where_the_source_stopped(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await copy(source, store)
            stored = await everything(store)
            last = max(contact.id for identity in stored for contact in identity.contacts)
            last_event = max(event.seq for identity in stored for event in identity.events)
            fresh, merged = await identify(
                store, ("new@x.example", "999"), ("bob@shop.example", "10001")
            )
            assert fresh > last
            assert merged == 1
            await Service(store).delete(1)
            await assert_clean(store)
            seqs = {event.seq for identity in await everything(store) for event in identity.events}
            assert min(seqs - set(range(last_event + 1))) > last_event
            assert len([seq for seq in seqs if seq > last_event]) == 3

    asyncio.run(test())


def test_an_empty_store_can_be_copied_too(target: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(f"sqlite:///{tmp_path}/empty.db", target) as (source, store):
            assert await source.size() == 0
            copied = await copy(source, store)
            assert copied == Counts()
            assert (await compare(source, store, copied)).is_equal
            assert await identify(store, ("first@x.example", None)) == [1]

    asyncio.run(test())


def test_the_size_tells_how_many_there_are(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await copy(source, store)
            assert await source.size() == await store.size() == contacts(people)

    asyncio.run(test())


def test_what_comes_over_the_data_api_is_the_same(
    people: str, database: str, tmp_path: Path
) -> None:
    create_roles(database)

    async def test() -> None:
        async with opened(people, database, f"sqlite:///{tmp_path}/back.db") as (
            file,
            server,
            back,
        ):
            await copy(file, server)
            with postgrest(database) as api:
                far = await open_store(api.url, Options(key=api.service_key))
                try:
                    copied = await copy(far, back)
                    assert (await compare(far, back, copied)).is_equal
                finally:
                    await far.close()
            assert await everything(back) == await everything(file)

    asyncio.run(test())


def test_nothing_is_copied_into_the_data_api(people: str) -> None:
    async def test() -> None:
        from bitespeed.stores.supabase.store import SupabaseStore

        far = SupabaseStore("https://project.supabase.example", Options(key="a key"))
        async with opened(people) as (source,):
            with pytest.raises(InvalidInput, match="connection string"):
                await copy(source, far)
        await far.close()

    asyncio.run(test())


# All or nothing


def test_a_target_that_holds_something_is_refused(people: str, target: str) -> None:
    async def test() -> None:
        async with opened(people, target) as (source, store):
            await identify(store, ("somebody@x.example", None))
            before = await everything(store)
            with pytest.raises(InvalidInput, match="not empty"):
                await copy(source, store)
            assert await everything(store) == before

    asyncio.run(test())


class Halfway:
    """A source that ends, fails or waits after its first page."""

    def __init__(self, store: Store, then: Callable[[], Any]) -> None:
        self._store = store
        self._then = then

    async def keys(self) -> list[ApiKey]:
        return await self._store.keys()

    async def scan(self) -> AsyncIterator[list[IdentityRecords]]:
        async with aclosing(self._store.scan()) as pages:
            async for page in pages:
                yield page
                await self._then()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is sent on its own."""
    monkeypatch.setattr(postgres_load, "CONTACTS", 1)


@pytest.mark.usefixtures("at_once")
def test_a_source_that_fails_leaves_the_target_empty(people: str, target: str) -> None:
    async def fail() -> None:
        raise StoreUnavailable("The source is away")

    async def test() -> None:
        async with opened(people, target) as (source, store):
            with pytest.raises(StoreUnavailable, match="The source is away"):
                await copy(Halfway(source, fail), store)
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


@pytest.mark.usefixtures("at_once")
def test_a_copy_that_is_cancelled_leaves_the_target_empty(people: str, target: str) -> None:
    async def test() -> None:
        is_halfway = asyncio.Event()

        async def wait() -> None:
            is_halfway.set()
            await asyncio.Event().wait()

        async with opened(people, target) as (source, store):
            task = asyncio.create_task(copy(Halfway(source, wait), store))
            await asyncio.wait_for(is_halfway.wait(), PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


KILLED = """
import asyncio, sys
from bitespeed.jobs.copy import copy
from bitespeed.stores import open_store
from bitespeed.stores.postgres import load

async def main():
    load.CONTACTS = 1
    source, target = [await open_store(url) for url in sys.argv[1:]]
    class Halfway:
        async def keys(self):
            return await source.keys()
        async def scan(self):
            async for page in source.scan():
                yield page
                print("halfway", flush=True)
                await asyncio.Event().wait()
    await copy(Halfway(), target)

asyncio.run(main())
"""


def test_a_copy_that_is_killed_leaves_the_target_empty(people: str, target: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, people, target], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        process.kill()

    async def test() -> None:
        async with opened(people, target) as (source, store):
            assert await everything(store) == []
            assert (await compare(source, store, await copy(source, store))).is_equal

    asyncio.run(test())


def test_a_write_to_the_target_meanwhile_loses_nothing(people: str, database: str) -> None:
    """It waits for the copy, and is then decided in the light of it."""

    async def test() -> None:
        async with opened(people, database) as (source, store):
            writing: list[asyncio.Task[list[int]]] = []

            async def write() -> None:
                if not writing:
                    writing.append(asyncio.create_task(identify(store, ("ann@work.example", "7"))))
                    await waits_for_a_lock(database)

            await copy(Halfway(source, write), store)
            assert await writing[0] == [1]
            await assert_clean(store)

    asyncio.run(test())


async def waits_for_a_lock(url: str) -> None:
    """Return when somebody in the database does."""
    waiting = (
        "select count(*) from pg_stat_activity"
        " where wait_event_type = 'Lock' and datname = current_database()"
    )
    deadline = time.monotonic() + PATIENCE
    while query(url, waiting) == [(0,)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# The comparison


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
    "a shop": ("update contact_record set tenant = 'x' where id = 2", "contacts 2"),
    "a contact": ("delete from contact_record where id = 2", "contacts 2"),
    "a version": ("update identity set version = 9 where id = 3", "identities 3"),
    "a count": ("update identity set contacts = 9 where id = 1", "identities 1"),
    "an identifier": (
        "delete from identifier where value = '100100' and tenant = 'default'",
        "identifiers (phone)",
    ),
    "an event": ("delete from event where seq = 1", "events 1"),
    "an instant": ("update event set at = 1 where seq = 1", "events 1"),
}


@pytest.mark.parametrize(("statement", "what"), TAMPERED.values(), ids=TAMPERED.keys())
def test_a_row_that_differs_is_found(
    people: str, tmp_path: Path, statement: str, what: str
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    found = compared(people, target, lambda: query(target, statement) and None)
    assert found == Comparison(differences=[Difference(1, what)])


def test_a_row_that_differs_on_postgres_is_found(people: str, database: str) -> None:
    for statement, what in TAMPERED.values():

        def tamper(statement: str = statement) -> None:
            query(database, statement)

        found = compared(people, database, tamper)
        assert found == Comparison(differences=[Difference(1, what)])
        query(database, "truncate identity, contact_record, identifier, event")


def test_an_identity_that_is_missing_or_too_much_is_found(people: str, tmp_path: Path) -> None:
    source, target = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"

    def tamper() -> None:
        for table, column in (
            ("identity", "id"),
            ("contact_record", "id"),
            ("event", "contact_id"),
        ):
            query(source, f"delete from {table} where {column} = 500")
            query(target, f"delete from {table} where {column} = 600")
        query(source, "delete from identifier where identity_id = 500")
        query(target, "delete from identifier where identity_id = 600")

    asyncio.run(twin(people, source))
    found = compared(source, target, tamper)
    assert found.differences == [
        Difference(500, "is only in the copy"),
        Difference(600, "is not in the copy"),
    ]


async def twin(people: str, url: str) -> None:
    async with opened(people, url) as (source, store):
        await copy(source, store)


def test_rows_of_no_identity_are_copied_and_compared(
    people: str, tmp_path: Path, target: str
) -> None:
    source = f"sqlite:///{tmp_path}/source.db"
    asyncio.run(twin(people, source))
    query(source, "delete from identity where id = 700")
    assert compared(source, target, lambda: None).is_equal

    async def test() -> Comparison:
        async with opened(source, target) as (one, other):
            return await compare(one, other, Counts(last_event=10**9))

    query(target, "delete from contact_record where id = 700")
    assert asyncio.run(test()).differences == [Difference(None, "contacts 700")]


def test_the_search_ends_after_enough_differences(tmp_path: Path, people: str) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    found = compared(
        people, target, lambda: query(target, "update identity set version = 9") and None
    )
    assert len(found.differences) == MAX_DIFFERENCES


def test_a_source_that_changed_since_is_told_apart(
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

    told = " ".join(what for _, what in compared(people, target, tamper).differences)
    assert told
    assert "@" not in told
    assert "100100" not in told


def test_the_side_that_is_ahead_does_not_matter() -> None:
    """Pages that do not line up: everything of one store, then nothing of the other."""

    class Few:
        def __init__(self, *roots: int) -> None:
            self._roots = roots

        async def scan(self) -> AsyncIterator[list[IdentityRecords]]:
            for root in self._roots:
                head = IdentityRecord(root, "default", root, root, 1, 1, 1)
                yield [IdentityRecords(root, heads=[head])]

    async def test(ours: Few, theirs: Few) -> list[int | None]:
        found = await compare(ours, theirs, Counts())
        return [difference.identity for difference in found.differences]

    assert asyncio.run(test(Few(1, 2, 3), Few(1, 2, 3))) == []
    assert asyncio.run(test(Few(1, 3, 5), Few(2, 3, 4))) == [1, 2, 4, 5]
    assert asyncio.run(test(Few(), Few(1, 2))) == [1, 2]
    assert asyncio.run(test(Few(1, 2), Few())) == [1, 2]


# The command


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("BITESPEED", "DATABASE"))}


def bitespeed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitespeed", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_copies_there_and_back(people: str, database: str, tmp_path: Path) -> None:
    back = f"sqlite:///{tmp_path}/back.db"
    there = bitespeed("copy", "--from", people, "--to", database)
    assert there.returncode == 0, there.stderr
    assert f"with {contacts(people):,} contacts" in there.stdout
    assert there.stdout.endswith("Compared: both hold the same\n")
    returned = bitespeed("copy", "--from", database, "--to", back, "--json")
    assert returned.returncode == 0, returned.stderr
    document = json.loads(returned.stdout)
    assert document["contacts"] == contacts(people)
    assert document["differences"] == []
    assert document["changed"] == 0
    exported = {bitespeed("export", "--database", url).stdout for url in (people, database, back)}
    assert len(exported) == 1
    assert exported != {""}
    for url in (database, back):
        assert bitespeed("check", "--database", url).returncode == 0


def test_the_command_does_not_show_a_password(people: str, database: str) -> None:
    url = database.replace("postgres@", "postgres:geheim@")
    done = bitespeed("copy", "--from", people, "--to", url)
    assert done.returncode == 0
    assert "geheim" not in done.stdout + done.stderr


def test_the_command_refuses_a_target_with_something_in_it(people: str) -> None:
    done = bitespeed("copy", "--from", people, "--to", people)
    assert done.returncode == 2
    assert done.stderr.strip() == "Error: The database to copy into is not empty; name an empty one"


def test_the_command_does_not_make_the_file_it_is_to_read(tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    done = bitespeed(
        "copy", "--from", f"sqlite:///{missing}", "--to", f"sqlite:///{tmp_path}/to.db"
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: There is no file {missing} to copy from\n"
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_differences_by_its_status(
    people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"

    async def compare_tampered(*arguments: Any) -> Comparison:
        query(target, "delete from event where seq = 1")
        return await compare(*arguments)

    monkeypatch.setattr("bitespeed.cli.copy.compare", compare_tampered)
    with pytest.raises(SystemExit) as ended:
        copy_command.main(["--from", people, "--to", target])
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "identity 1: events 1\n" in told
    assert "do not use the copy" in told


def test_the_command_tells_that_the_source_has_changed(
    people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"
    asyncio.run(twin(people, source))

    async def compare_later(one: Store, *arguments: Any) -> Comparison:
        await identify(one, ("late@x.example", None))
        return await compare(one, *arguments)

    monkeypatch.setattr("bitespeed.cli.copy.compare", compare_later)
    with pytest.raises(SystemExit) as ended:
        copy_command.main(["--from", source, "--to", target])
    assert ended.value.code == 1
    assert "The source has changed since: 1 identities are newer there" in capsys.readouterr().out


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Nobody else gets at the table."""
    with psycopg.connect(url) as connection:
        connection.execute(f"lock table bitespeed.{table} in access exclusive mode".encode())
        yield


@pytest.mark.parametrize("held", ["source", "target"])
def test_ctrl_c_leaves_the_target_empty(people: str, postgres: Postgres, held: str) -> None:
    with postgres.fresh_database() as source, postgres.fresh_database() as target:
        asyncio.run(twin(people, source))
        assert bitespeed("migrate", "--database", target).returncode == 0
        urls = {"source": source, "target": target}
        with locked(urls[held], "event"):
            process = subprocess.Popen(
                [sys.executable, "-m", "bitespeed", "copy", "--from", source, "--to", target],
                env=environment(),
                preexec_fn=heed_interrupts,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            asyncio.run(waits_for_a_lock(urls[held]))
            process.send_signal(signal.SIGINT)
            if held == "target":
                _, told = process.communicate(timeout=PATIENCE)
        if held == "source":
            _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, told
        assert told.strip() == "Stopped. The target holds nothing of it; run it again."
        assert contacts(target) == 0
