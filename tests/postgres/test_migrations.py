"""Migrations of a PostgreSQL database: the same schema by every way, once however many begin at the
same time, each whole or not at all, and nobody kept waiting for long.
"""

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bitespeed.errors import StoreDamaged, StoreUnavailable
from bitespeed.stores import migration_script, open_store
from bitespeed.stores.migrations import Migration, missing, of_package
from bitespeed.stores.options import Options
from bitespeed.stores.postgres import function_set
from bitespeed.stores.postgres.bulk import migrate as migrating
from bitespeed.stores.postgres.bulk.migrate import migrate
from support import backends
from support.backends import TIMEOUT, connected, of_postgres, stores, waits_for_a_lock
from support.database_url import database_of
from support.invariants import assert_clean
from support.postgres_server import own_server, program
from support.processes import COMMAND
from support.stores import who, write

PROCESSES = 20
OURS = of_package("bitespeed.stores.postgres")
NAMES = [migration.name for migration in OURS]

prepared = partial(backends.prepared, bound=False)


@pytest.fixture(scope="module")
def own():
    """A private server, of the same version as the programs that read its schema."""
    with own_server(fsync=False) as server:
        yield server


@pytest.fixture
def url(own):
    """An empty database."""
    with own.fresh_database() as url:
        yield url


@pytest.fixture(scope="module")
def fresh(own):
    """What a database looks like that is at this version."""
    with own.fresh_database() as url:
        prepared(url)
        return dump(url)


def tool(name, *arguments, **options):
    """What one of PostgreSQL's programs says."""
    done = subprocess.run(
        [program(name), *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def dump(url):
    """The schema, without the marks against injection that newer versions draw by chance."""
    lines = tool("pg_dump", "--schema-only", "--no-owner", url).splitlines()
    return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]


def apply(url, migrations):
    """What a version of this code that had no more than these would have left behind."""
    with psycopg.connect(url, autocommit=True) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrating, "of_package", lambda _: list(migrations))
        migrate(connection)


def applied(url):
    with connected(url) as connection:
        names = connection.execute("select name from bitespeed.migration order by name")
        return [name for (name,) in names]


def bitespeed(url, *arguments, **environ):
    command = [sys.executable, "-m", "bitespeed", *arguments, "--database", url]
    return subprocess.Popen(
        command,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process):
    """The exit status and what it wrote to standard error."""
    _, error = process.communicate(timeout=COMMAND)
    return process.returncode, error


@contextmanager
def holding(url, statement):
    with connected(url) as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield


async def serves(store):
    await write(store, ("a@x", "1"), ("b@x", "1"))
    assert (await who(store, "b@x")).emails == ["a@x", "b@x"]
    await assert_clean(store, besides={"I12"})  # a test has functions of its own


def opens_and_serves(url):
    async def main():
        async with stores(of_postgres(url)) as (store,):
            await serves(store)

    asyncio.run(main())


# The same schema by every way


@pytest.mark.parametrize("count", range(len(OURS)))
def test_migrated_database_of_any_version_equals_fresh_one(url, fresh, count):
    if count:
        apply(url, OURS[:count])
        assert applied(url) == NAMES[:count]
    prepared(url)
    assert applied(url) == NAMES
    assert dump(url) == fresh


def test_comparison_notices_a_different_function(url, fresh):
    prepared(url)
    with connected(url) as connection:
        connection.execute("alter function bitespeed.read reset enable_seqscan")
    assert dump(url) != fresh


def test_the_script_for_psql_makes_the_same(url, fresh):
    tool("psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", url, input=migration_script())
    assert applied(url) == NAMES
    assert dump(url) == fresh
    opens_and_serves(url)


@pytest.mark.parametrize("count", range(1, len(OURS) + 1))
def test_psql_script_continues_at_version_of_database(url, fresh, count):
    apply(url, OURS[:count])
    tool("psql", "--no-psqlrc", "--quiet", url, input=migration_script())
    assert applied(url) == NAMES
    assert dump(url) == fresh


def test_the_command_prints_that_script(url):
    process = bitespeed(url, "migrate", "--sql")
    out, _ = process.communicate(timeout=COMMAND)
    assert out.strip() == migration_script().strip()
    with connected(url) as connection:
        assert connection.execute("select to_regnamespace('bitespeed')").fetchone() == (None,)


def test_database_at_current_version_stays_unchanged(url):
    prepared(url)
    before = rows(url)
    opens_and_serves(url)
    prepared(url)
    assert rows(url) == before


def rows(url):
    with connected(url) as connection:
        return connection.execute("select *, xmin::text from bitespeed.migration").fetchall()


# Many at once


def test_many_processes_at_once_make_one_schema(url, fresh):
    with holding(url, f"select pg_advisory_xact_lock({migrating._LOCK})"):
        started = [bitespeed(url, "migrate") for _ in range(PROCESSES)]
        asyncio.run(waits_for_a_lock(url, PROCESSES))
    outcomes = [said(process) for process in started]
    assert [code for code, _ in outcomes] == [0] * PROCESSES, outcomes
    for what, count in ("migration.applied", len(OURS)), ("functions.applied", 1):
        assert sum(error.count(what) for _, error in outcomes) == count
    assert dump(url) == fresh


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_process_that_waited_to_migrate_finds_migrated_database(own, url, fresh, isolation):
    name = sql.Identifier(database_of(url))
    with connected(url) as connection:
        setting = sql.SQL("alter database {} set default_transaction_isolation = {}")
        connection.execute(setting.format(name, sql.Literal(isolation)))

    async def main():
        with holding(url, f"select pg_advisory_xact_lock({migrating._LOCK})"):
            opening = [asyncio.create_task(open_store(url)) for _ in range(4)]
            await waits_for_a_lock(url, len(opening))
        for store in await asyncio.gather(*opening):
            await store.close()

    asyncio.run(main())
    with connected(url) as connection:
        connection.execute(sql.SQL("alter database {} reset all").format(name))
    assert applied(url) == NAMES
    assert dump(url) == fresh


def test_stores_opened_concurrently_through_pooler_create_one_schema(url, fresh):
    from support.pgbouncer import pgbouncer

    async def main(by_way_of):
        opened = await asyncio.gather(*[open_store(by_way_of) for _ in range(8)])
        await asyncio.gather(*[store.ping() for store in opened])
        for store in opened:
            await store.close()

    with pgbouncer(url) as by_way_of:
        asyncio.run(main(by_way_of))
    assert dump(url) == fresh
    with connected(url) as connection:
        assert connection.execute("show lock_timeout").fetchone() == ("0",)


# Versions before and after this one


def test_migration_applied_with_another_text_is_reported(url):
    prepared(url)
    with connected(url) as connection:
        connection.execute(
            "update bitespeed.migration set checksum = 'abc' where name like '0001%'"
        )
    for migrates in (True, False):
        with pytest.raises(StoreDamaged, match=f"another build: migration {NAMES[0]} differs"):
            asyncio.run(open_store(url, Options(migrate=migrates)))
    assert said(bitespeed(url, "migrate"))[0] == 2


def test_a_database_ahead_of_this_code_is_accepted(url):
    later = Migration("9999_later.sql", "alter table bitespeed.identity add later text;")
    apply(url, [*OURS, later])
    opens_and_serves(url)
    assert applied(url) == [*NAMES, later.name]


def test_outdated_database_is_refused_when_migration_is_off(url):
    for state in "not prepared", "behind this version":
        if state != "not prepared":
            prepared(url)
            with connected(url) as connection:
                connection.execute("update bitespeed.function_set set number = 0")
        before = dump(url)
        code, error = said(bitespeed(url, "check", BITESPEED_MIGRATE="false"))
        assert (code, error) == (2, f"Error: The database is {state}; run bitespeed migrate\n")
        assert dump(url) == before
    assert said(bitespeed(url, "migrate", BITESPEED_MIGRATE="false"))[0] == 0
    assert said(bitespeed(url, "check", BITESPEED_MIGRATE="false"))[0] == 0


def test_missing_migrations_are_listed_in_order():
    assert missing(OURS, {}) == OURS
    one = {OURS[0].name: OURS[0].checksum}
    assert missing(OURS, one) == OURS[1:]
    assert missing(OURS, one | {"9999_later.sql": "abc"}) == OURS[1:]
    assert [name[:4] for name in NAMES] == [f"{n:04}" for n in range(1, len(NAMES) + 1)]


@pytest.mark.parametrize("migrates", [True, False])
def test_a_schema_of_before_the_first_release_is_refused(url, migrates):
    prepared(url)
    with connected(url) as connection:
        connection.execute("update bitespeed.migration set name = '0001_tables.sql'")
    with pytest.raises(StoreDamaged, match=r"bitespeed export .* bitespeed import"):
        asyncio.run(open_store(url, Options(migrate=migrates)))


# Functions


def release(monkeypatch, number, remark):
    """Be a release with this number, whose functions differ in a remark."""
    texts = [f"{script.rstrip()}\n-- {remark}\n" for script in function_set.scripts()]
    read = next(n for n, text in enumerate(texts) if "function bitespeed.read(" in text)
    texts[read] = texts[read].replace("declare\n", f"declare  -- {remark}\n", 1)
    monkeypatch.setattr(function_set, "NUMBER", number)
    monkeypatch.setattr(function_set, "scripts", lambda: texts)


def functions_of(url):
    """The number of the release whose functions are there, and the remark in one of them."""
    with connected(url) as connection:
        number, body = connection.execute(
            "select number, prosrc from bitespeed.function_set, pg_proc"
            " where oid = 'bitespeed.read'::regproc"
        ).fetchone()
    return number, body.partition("declare  -- ")[2].partition("\n")[0]


@pytest.mark.parametrize("migrates", [True, False])
def test_earlier_release_leaves_functions_of_later_release(url, migrates):
    with pytest.MonkeyPatch.context() as later:
        release(later, function_set.NUMBER + 1, "later")
        prepared(url)
    asyncio.run(closed(open_store(url, Options(migrate=migrates))))
    assert functions_of(url) == (function_set.NUMBER + 1, "later")
    opens_and_serves(url)


def test_later_release_replaces_functions_of_earlier_release(url):
    prepared(url)
    with pytest.MonkeyPatch.context() as later:
        release(later, function_set.NUMBER + 1, "later")
        with pytest.raises(StoreDamaged, match="behind this version"):
            asyncio.run(open_store(url, Options(migrate=False)))
        opens_and_serves(url)
        prepared(url)
    assert functions_of(url) == (function_set.NUMBER + 1, "later")


def test_alternately_started_releases_keep_the_later_functions(url):
    for _ in range(3):
        prepared(url)
        with pytest.MonkeyPatch.context() as later:
            release(later, function_set.NUMBER + 1, "later")
            prepared(url)
            with connected(url) as connection:
                applied_at = connection.execute(APPLIED_AT).fetchone()
            prepared(url)
        prepared(url)
        with connected(url) as connection:
            assert connection.execute(APPLIED_AT).fetchone() == applied_at
    assert functions_of(url) == (function_set.NUMBER + 1, "later")


APPLIED_AT = "select applied_at from bitespeed.function_set"


def test_changed_functions_are_applied_at_the_same_number(url):
    prepared(url)
    with pytest.MonkeyPatch.context() as edited:
        release(edited, function_set.NUMBER, "edited")
        prepared(url)
    assert functions_of(url) == (function_set.NUMBER, "edited")


def test_psql_script_leaves_functions_of_later_release(url):
    with pytest.MonkeyPatch.context() as later:
        release(later, function_set.NUMBER + 1, "later")
        prepared(url)
    tool("psql", "--no-psqlrc", "--quiet", url, input=migration_script())
    assert functions_of(url) == (function_set.NUMBER + 1, "later")


def test_function_set_number_rises_with_every_change():
    recorded = dict(line.split() for line in RECORDED.read_text().splitlines())
    ours = function_set.current()
    assert recorded.get(str(ours.number)) == ours.checksum, (
        f"A function has changed. If functions with the number {ours.number} were released, raise"
        f" NUMBER in stores/postgres/function_set.py; then record {ours.checksum} for it in"
        f" tests/postgres/{RECORDED.name}."
    )
    assert max(map(int, recorded)) == ours.number


RECORDED = Path(__file__).with_name("function_sets.txt")


async def closed(opening):
    await (await opening).close()


# All or nothing

BROKEN = Migration(
    "9998_broken.sql",
    "create table bitespeed.half (words text); insert into bitespeed.half values ('done');"
    " alter table bitespeed.identity add half text; select 1 / 0;",
)
MENDED = Migration(BROKEN.name, BROKEN.script.replace("select 1 / 0;", ""))


def test_a_migration_that_fails_leaves_nothing_and_is_repeated(url, fresh):
    prepared(url)
    with pytest.raises(psycopg.errors.DivisionByZero):
        apply(url, [*OURS, BROKEN])
    assert applied(url) == NAMES  # those before it are whole
    assert dump(url) == fresh
    apply(url, [*OURS, MENDED])
    assert applied(url) == [*NAMES, MENDED.name]


def test_killed_migration_leaves_nothing_and_is_repeated(url, fresh):
    slow = Migration(BROKEN.name, BROKEN.script.replace("1 / 0", "pg_sleep(60)"))
    refusals = []
    prepared(url)

    def run():
        try:
            apply(url, [*OURS, slow])
        except psycopg.OperationalError as error:
            refusals.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    sleeping = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and wait_event = 'PgSleep'"
    )
    with connected(url) as connection:
        while not connection.execute(sleeping).fetchall() and thread.is_alive():
            thread.join(0.01)
    thread.join(TIMEOUT)
    assert len(refusals) == 1
    assert dump(url) == fresh
    apply(url, [*OURS, MENDED])
    assert applied(url) == [*NAMES, MENDED.name]


# Nobody kept waiting

ALTERS = Migration("9997_alters.sql", "alter table bitespeed.identity add note text;")


def test_migration_that_waits_for_a_reader_gives_up(url, monkeypatch):
    prepared(url)
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", 1)

    async def main():
        async with stores(of_postgres(url)) as (before,):
            monkeypatch.setattr(migrating, "of_package", lambda _: [*OURS, ALTERS])
            with holding(url, "select from identity"):
                opening = asyncio.create_task(open_store(url))
                await waits_for_a_lock(url)
                with pytest.raises(StoreUnavailable, match="Others hold a lock for too long"):
                    await opening
                await serves(before)
        assert applied(url) == NAMES
        await (await open_store(url)).close()
        assert applied(url) == [*NAMES, ALTERS.name]

    asyncio.run(main())


def test_process_that_cannot_lock_migrations_gives_up(url, monkeypatch):
    monkeypatch.setattr(migrating, "TURN_TIMEOUT", 1)
    with (
        holding(url, f"select pg_advisory_xact_lock({migrating._LOCK})"),
        pytest.raises(StoreUnavailable, match="Others hold a lock for too long"),
    ):
        asyncio.run(open_store(url))
    prepared(url)


def test_other_advisory_locks_are_in_nobody_s_way(url):
    with holding(url, "select pg_advisory_xact_lock(1), pg_advisory_xact_lock(0, 1)"):
        prepared(url)
    assert applied(url) == NAMES
