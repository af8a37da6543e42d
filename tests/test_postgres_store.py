"""The PostgreSQL store: its connections, its plans, what it says to the server and to the log, and
who may do what there.
"""

import asyncio
import gc
import json
import re
import shutil
import socket
import threading
import time
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
import psycopg
import pytest
import trustme
import uvloop
from psycopg import OperationalError, pq, sql

from bitespeed.errors import Conflict, InvalidInput, StoreDamaged, StoreUnavailable
from bitespeed.model.identifiers import Phone, observe
from bitespeed.model.identity import Answer, Changes
from bitespeed.resources import text
from bitespeed.rules.erase import Subject
from bitespeed.service.service import DEFAULT_TENANT
from bitespeed.stores import open_store, pages
from bitespeed.stores.epochs import EpochOver
from bitespeed.stores.options import Options
from bitespeed.stores.postgres import handshake as connecting
from bitespeed.stores.postgres import pool as pool_module
from bitespeed.stores.postgres.bulk import scan as scanning
from bitespeed.stores.postgres.handshake import conninfo, parameters
from bitespeed.stores.postgres.pool import Pool
from bitespeed.stores.postgres.statement_connection import Connection
from bitespeed.stores.postgres.store import PostgresStore
from support.backends import (
    PATIENCE,
    cleared,
    connected,
    of_postgres,
    prepared,
    sessions,
    stores,
    waits_for_a_lock,
)
from support.database_url import as_user, database_of
from support.invariants import assert_clean
from support.postgres_server import own_server
from support.processes import SOMEBODY, home, somebody
from support.server import free_port
from support.stores import decide, delete, service_on, snapshot_for, who, write
from support.tcp_proxy import proxied

BRIEF = Options(timeout=0.3)  # for what is not going to be answered
MOMENT = 0.05  # seconds in which whoever does not wait would have gone on

CANARY = "canary@hillvalley.example"
CANARY_PHONE = "55501234567890"


@pytest.fixture(scope="module")
def backend(postgres):
    """A database of this module's."""
    with postgres.fresh_database() as url:
        prepared(url)
        yield of_postgres(url)


@pytest.fixture
def url(backend):
    """The same, empty."""
    cleared(backend.direct)
    return backend.direct


@pytest.fixture(scope="module")
def own():
    """A private server that may be stopped and that tells every statement in its log."""
    settings = {"log_statement": "all", "log_parameter_max_length": 0, "log_lock_waits": "on"}
    with own_server(fsync=False, deadlock_timeout="100ms", **settings) as server:
        prepared(server.url())
        yield server


@pytest.fixture
def own_url(own):
    """Its database, empty."""
    cleared(own.url())
    return own.url()


async def opened(stack, url, options=None):
    store = await PostgresStore.open(url, options)
    stack.push_async_callback(store.close)
    return store


def on(url, test, options=None, runner=asyncio.run):
    """Run a test on a store, which must be sound and leave no connection behind."""

    async def main():
        store = await PostgresStore.open(url, options)
        try:
            async with asyncio.timeout(3 * PATIENCE):
                await test(store)
        finally:
            await store.close()

    runner(main())
    gc.collect()  # whatever was not closed says so here


def rows(url, query):
    with connected(url) as connection:
        return connection.execute(query).fetchall()


def execute(url, *statements):
    with connected(url) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def holding(url, statement):
    """A transaction of another program's that has executed this, and is rolled back."""
    with connected(url) as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield connection


READS_WAIT = "lock table identifier in access exclusive mode"
COMMITS_WAIT = "lock table identity in exclusive mode"


def terminate(url):
    """End every connection of the store's."""
    ours = "datname = current_database() and application_name = 'bitespeed'"
    execute(url, f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")


async def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def nobody_is_left(url):
    """The server notices a moment later that a connection has been closed."""
    asyncio.run(until(lambda: sessions(url) == 0))


# Connections


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_many_reads_and_commits_at_once_share_few_connections(url, runner):
    async def test(store):
        sent = [(f"{n}@x", f"{n}") for n in range(50)]
        await asyncio.gather(*[write(store, one) for one in sent])
        answers = await asyncio.gather(*[who(store, f"{n % 50}@x") for n in range(200)])
        assert [a.emails for a in answers] == [[f"{n % 50}@x"] for n in range(200)]
        assert sessions(url) == 2
        await assert_clean(store)

    on(url, test, Options(pool_size=2), runner)
    nobody_is_left(url)


def test_a_lone_caller_needs_one_connection(url):
    async def test(store):
        for n in range(20):
            await write(store, (f"{n}@x", "1"))
        assert sessions(url) == 1

    on(url, test)


def test_stores_on_one_event_loop_after_the_other_serve(url):
    for n in range(3):
        on(url, lambda store, n=n: write(store, (f"{n}@x", "1")))
    on(url, lambda store: who(store, "2@x"), runner=uvloop.run)


def test_a_store_whose_opening_fails_leaves_no_connection(url):
    execute(url, "alter table migration rename to elsewhere")
    try:
        with pytest.raises(StoreDamaged):
            on(url, None, Options(migrate=False))
    finally:
        execute(url, "alter table elsewhere rename to migration")
    nobody_is_left(url)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_connections_closed_by_the_server_while_idle_are_replaced_without_an_error(url, runner):
    async def test(store):
        await asyncio.gather(*[write(store, (f"{n}@x", f"{n}")) for n in range(8)])
        assert sessions(url) > 1
        terminate(url)
        await until(lambda: sessions(url) == 0)
        await asyncio.sleep(MOMENT)  # for the news to arrive
        await write(store, ("a@x", "0"))
        terminate(url)
        answers = await asyncio.gather(*[who(store, f"{n}@x") for n in range(8)])
        assert [len(a.emails) for a in answers] == [2, *[1] * 7]

    on(url, test, runner=runner)


def test_a_connection_lost_under_a_commit_is_told_and_replaced(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with holding(url, COMMITS_WAIT):
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await waits_for_a_lock(url)
            terminate(url)
            with pytest.raises(StoreUnavailable, match="connection to the database was lost"):
                await commit
        await store.commit(DEFAULT_TENANT, changes)
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1", "2"], [2])

    on(url, test)


def test_a_connection_lost_under_a_read_is_not_noticed_by_the_reader(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        with holding(url, READS_WAIT):
            read = asyncio.create_task(who(store, "a@x"))
            await waits_for_a_lock(url)
            terminate(url)
            await waits_for_a_lock(url)
        assert await read == Answer(1, ["a@x"], ["1"], [])

    on(url, test)


def test_a_caller_who_gives_up_leaves_nothing_to_the_next_one(url):
    async def test(store):
        sent = [(f"{n}@x", f"{n}") for n in range(100)]
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        for n in range(150):
            gone = asyncio.create_task(who(store, f"{n % 100}@x"))
            for _ in range(n % 15):
                await asyncio.sleep(0)
            gone.cancel()
            own = f"{(n + 50) % 100}@x"
            assert (await who(store, own)).emails == [own]
            await asyncio.wait([gone])
        assert sessions(url) <= 2

    on(url, test, Options(pool_size=2))


def test_a_caller_who_gives_up_while_connecting_leaves_nothing_behind(url):
    async def test(store):
        for n in range(25):
            gone = asyncio.create_task(store.ping())
            for _ in range(n):
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait([gone])
            while store._pool._idle:
                store._pool._idle.pop().close()
        await store.ping()

    on(url, test, Options(pool_size=1))
    nobody_is_left(url)


def test_an_answer_that_does_not_come_in_time_is_told_and_its_connection_given_up(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        with (
            holding(url, READS_WAIT),
            pytest.raises(StoreUnavailable, match="did not answer in time"),
        ):
            await who(store, "a@x")
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])

    on(url, test, BRIEF)


def test_when_all_connections_are_busy_that_is_told_in_time(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with holding(url, COMMITS_WAIT):
            commits = [asyncio.create_task(store.commit(DEFAULT_TENANT, changes)) for _ in range(2)]
            await waits_for_a_lock(url, 2)
            store._pool._patience = 0.05
            with pytest.raises(StoreUnavailable, match="All connections to the database are busy"):
                await store.ping()
        outcomes = await asyncio.gather(*commits, return_exceptions=True)
        assert sorted(isinstance(outcome, Conflict) for outcome in outcomes) == [False, True]
        await store.ping()

    on(url, test, Options(pool_size=2))


def test_a_connection_grown_old_is_replaced(url, monkeypatch):
    async def test(store):
        await store.ping()
        await until(lambda: sessions(url) == 1)  # whoever made the database may still be leaving
        monkeypatch.setattr(pool_module, "MAX_AGE", 0.0)
        await store.ping()
        await until(lambda: sessions(url) == 0)
        await store.ping()

    on(url, test)


def test_a_store_closed_while_busy_keeps_no_connection(url):
    async def main():
        store = await PostgresStore.open(url)
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with holding(url, COMMITS_WAIT):
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await waits_for_a_lock(url)
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0)
        assert (await commit).ids == [2]
        await closing
        await until(lambda: sessions(url) == 0)

    asyncio.run(main())
    gc.collect()


CHATTY = """
create or replace function public.chatty(size integer) returns text language plpgsql as $$
begin
    raise notice 'one';
    notify news, 'hello';
    raise warning 'two';
    return repeat('x', size);
end
$$
"""


def test_notices_and_notifications_come_in_between_and_do_no_harm(url):
    execute(url, CHATTY)

    async def main():
        connection = await Connection.open(url, PATIENCE)
        try:
            connection._server.nonblocking = 0
            connection._server.exec_(b"listen news")
            connection._server.nonblocking = 1
            for size in (1, 5_000_000, 10):
                execute(url, "notify news, 'from elsewhere'")
                answer = (
                    await connection.fetch(b"select chatty($1)", [b"%d" % size], PATIENCE)
                    if (False)
                    else await connection.fetch(
                        b"select public.chatty($1)", [b"%d" % size], PATIENCE
                    )
                )
                assert answer == b"x" * size
                execute(url, "notify news, 'from elsewhere'")
                await asyncio.sleep(0.01)
                assert connection.is_usable
        finally:
            connection.close()

    asyncio.run(main())


@pytest.mark.parametrize("answer", [b"", b"select 1 where false", b"select null", b"select 1;;"])
def test_a_statement_without_a_value_has_none(url, answer):
    async def main():
        connection = await Connection.open(url, PATIENCE)
        try:
            if answer == b"":
                with pytest.raises((StoreUnavailable, psycopg.Error)):
                    await connection.fetch(answer, [], PATIENCE)
            else:
                expected = b"1" if b";" in answer else None
                assert await connection.fetch(answer, [], PATIENCE) == expected
            assert await connection.fetch(b"select 2", [], PATIENCE) == b"2"
        finally:
            connection.close()

    asyncio.run(main())


def large(megabytes):
    """A document that the function `read` ignores but for its size."""
    ballast = b"[" + b"0," * (megabytes * 500_000) + b"0]"
    return b'{"values":[],"contact":null,"members":true,"remembered":[],"ballast":' + ballast + b"}"


READ = b"select bitespeed.read($1, $2)"


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_is_sent_may_be_larger_than_the_line_holds(url, runner):
    async def main(line, by_way_of):
        connection = await Connection.open(by_way_of, PATIENCE)
        try:
            for megabytes in (1, 3, 8):
                answer = await connection.fetch(READ, [b"", large(megabytes)], PATIENCE)
                assert json.loads(answer) == {"holders": [], "roots": [], "identities": []}
            await asyncio.to_thread(line.stall)
            slow = asyncio.create_task(connection.fetch(READ, [b"", large(8)], PATIENCE))
            await asyncio.sleep(MOMENT)
            assert not slow.done()
            await asyncio.to_thread(line.heal)
            assert json.loads(await slow)["roots"] == []
        finally:
            connection.close()

    with proxied(url) as (line, by_way_of):
        runner(main(line, by_way_of))


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_line_cut_while_much_is_being_sent_is_told_and_replaced(url, runner, caplog):
    async def main(line, by_way_of):
        pool = Pool(by_way_of, 1, PATIENCE)
        try:
            for _ in range(3):
                async with pool.connection() as connection:
                    await asyncio.to_thread(line.stall)
                    much = asyncio.create_task(connection.fetch(READ, [b"", large(20)], PATIENCE))
                    await asyncio.sleep(MOMENT)
                    assert not much.done()
                    await asyncio.to_thread(line.cut)
                    await asyncio.to_thread(line.heal)
                    with pytest.raises(StoreUnavailable, match="was lost"):
                        await much
                async with pool.connection() as connection:
                    assert await connection.fetch(b"select 1", [], PATIENCE) == b"1"
        finally:
            await pool.close()
        gc.collect()

    with proxied(url) as (line, by_way_of):
        runner(main(line, by_way_of))
    assert "never retrieved" not in caplog.text
    assert "_on_readable" not in caplog.text


def test_much_that_cannot_be_sent_in_time_is_given_up(url):
    async def main(line, by_way_of):
        pool = Pool(by_way_of, 1, PATIENCE)
        try:
            async with pool.connection() as connection:
                await asyncio.to_thread(line.stall)
                with pytest.raises(StoreUnavailable, match="did not answer in time"):
                    await connection.fetch(READ, [b"", large(20)], 0.1)
            await asyncio.to_thread(line.heal)
            async with pool.connection() as connection:
                assert await connection.fetch(b"select 1", [], PATIENCE) == b"1"
        finally:
            await pool.close()

    with proxied(url) as (line, by_way_of):
        asyncio.run(main(line, by_way_of))


def test_an_answer_swallowed_leaves_the_commit_done_and_repeating_it_adds_nothing(url):
    async def test(store):
        async with service_on(store) as service:
            await service.identify(observe("a@x", "1"))
            await asyncio.to_thread(line.swallow)
            changes = await decide_directly(("a@x", "2"))
            with pytest.raises(StoreUnavailable):
                await store.commit(DEFAULT_TENANT, changes)
            await asyncio.to_thread(line.heal)
            answer = await service.identify(observe("a@x", "2"))
            assert answer == Answer(1, ["a@x"], ["1", "2"], [2])
        await assert_clean(store)

    async def decide_directly(*sent):
        async with stores(of_postgres(url)) as (direct,):
            return await decide(direct, *sent)

    with proxied(url) as (line, by_way_of):
        on(by_way_of, test)


def test_a_server_out_of_reach_is_told_in_time(url):
    async def main(by_way_of):
        pool = Pool(by_way_of, 1, 0.1)
        with pytest.raises(StoreUnavailable, match="cannot be reached in time"):
            async with pool.connection():
                pass

    with proxied(url) as (line, by_way_of):
        line.stall()
        asyncio.run(main(by_way_of))


def test_a_server_that_is_not_there_is_told(url):
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        asyncio.run(open_store(nowhere))


def test_a_database_that_is_not_there_is_told(postgres):
    with pytest.raises(StoreUnavailable, match="no such database"):
        asyncio.run(open_store(postgres.url("bitespeed_no_such_database")))


def test_a_user_that_is_not_there_is_told(postgres):
    with pytest.raises(StoreUnavailable, match="refuses the user"):
        asyncio.run(open_store(as_user(postgres.url(), "bitespeed_no_such_user", "secret")))


def test_of_several_hosts_one_that_answers_is_enough(url):
    with proxied(url) as (_, by_way_of):
        host, _, database = by_way_of.partition("@")[2].partition("/")
        hosts = f"127.0.0.1:{free_port()},{host.replace('127.0.0.1', 'localhost')}"
        on(f"postgresql://postgres@{hosts}/{database}", pinged, Options(migrate=False))


def test_names_of_hosts_are_looked_up_beside_the_event_loop(monkeypatch):
    """Else libpq would do so, holding up everybody; so it is given an address for each name."""
    known = {"primary": ["10.0.0.1", "fe80::1"], "standby": ["10.0.0.2"]}

    def look_up(host, *_, **__):
        assert threading.current_thread() is not threading.main_thread()
        if host not in known:
            raise socket.gaierror
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    async def resolved(hosts):
        return await connecting._resolved(parameters(f"postgresql://{hosts}/db", 1))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    told = asyncio.run(resolved("primary:1,gone:2,127.0.0.1:3,[::1]:4,standby,%2Ftmp:6"))
    assert told["host"] == "primary,primary,127.0.0.1,::1,standby,/tmp"
    assert told["hostaddr"] == "10.0.0.1,fe80::1,,,10.0.0.2,"
    assert told["port"] == "1,1,3,4,,6"
    monkeypatch.setenv("PGHOST", "standby")
    told = asyncio.run(resolved(""))
    assert (told["host"], told["hostaddr"], told["port"]) == ("standby", "10.0.0.2", "5432")
    with pytest.raises(OperationalError):
        asyncio.run(resolved("gone"))


@pytest.mark.parametrize("text", ["it's", "a\\b", "\\'", " ", "é = 'x' host=evil"])
def test_what_is_in_the_url_arrives_as_it_is(text):
    told = parameters(f"postgresql://{quote(text)}:{quote(text)}@[::1]/{quote(text)}", 1)
    assert told["user"] == told["password"] == told["dbname"] == text
    assert connecting._values(pq.Conninfo.parse(conninfo(told))) == told


def test_a_wrong_password_is_told(own, own_url, role):
    access = own._folder / "disk" / "data" / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
    execute(own_url, "select pg_reload_conf()", *SERVING)
    try:
        on(as_user(own_url, role, "secret"), pinged, Options(migrate=False))
        with pytest.raises(StoreUnavailable, match="refuses the user or the password") as refusal:
            on(as_user(own_url, role, "hunter2"), pinged, Options(migrate=False))
        assert "hunter2" not in whole(refusal.value)
    finally:
        access.write_text(before)
        execute(own_url, "select pg_reload_conf()")


def test_a_server_stopped_and_started_again_is_found_again(own, own_url):
    async def test(store):
        await asyncio.gather(*[write(store, (f"{n}@x", f"{n}")) for n in range(8)])
        await asyncio.to_thread(own.stop)
        with pytest.raises(StoreUnavailable):
            await who(store, "0@x")
        await asyncio.to_thread(own.start)
        answers = await asyncio.gather(*[who(store, f"{n}@x") for n in range(8)])
        assert len(answers) == 8
        await asyncio.to_thread(own.restart)
        await asyncio.gather(*[write(store, (f"{n}@y", f"{n}")) for n in range(8)])
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.start)
        await asyncio.gather(*[who(store, f"{n}@x") for n in range(8)])

    on(own_url, test)


@pytest.fixture(scope="module")
def encrypted():
    """A server that takes encrypted connections, with a certificate of its own making."""
    with home() as folder:
        key, certificate = folder / "key", folder / "certificate"
        made = trustme.CA().issue_cert("localhost")
        made.cert_chain_pems[0].write_to_path(certificate)
        made.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        if somebody():
            shutil.chown(key, SOMEBODY)
        files = {"ssl_key_file": key, "ssl_cert_file": certificate}
        with ExitStack() as stack:
            settings = {name: str(file) for name, file in files.items()}
            try:
                server = stack.enter_context(own_server(ssl="on", fsync=False, **settings))
            except AssertionError as error:
                if "SSL is not supported by this build" not in str(error):
                    raise
                pytest.skip("This build of PostgreSQL encrypts nothing")
            prepared(server.url())
            yield server.url() + "?sslmode=require"


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_encrypted_connections_carry_answers_and_parameters_of_every_size(encrypted, runner):
    execute(encrypted, CHATTY)

    async def main():
        connection = await Connection.open(encrypted, PATIENCE)
        try:
            for power in range(8, 23):
                for size in (2**power - 45, 2**power, 2**power + 3):
                    answer = await connection.fetch(
                        b"select public.chatty($1)", [b"%d" % size], PATIENCE
                    )
                    assert answer == b"x" * size
            for megabytes in (1, 8):
                assert await connection.fetch(READ, [b"", large(megabytes)], PATIENCE)
            used = b"select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"
            assert await connection.fetch(used, [], PATIENCE) == b"true"
        finally:
            connection.close()

    runner(main())


def test_a_null_character_in_a_tenant_is_no_end_of_it(url):
    async def test(store):
        await store.commit("shop", await decide(store, ("a@x", "1"), tenant="shop"))
        with pytest.raises(Exception, match="null character"):
            await store.read("shop\0other", emails=["a@x"])

    on(url, test)


# What is said to the server


def statements_since(own, offset):
    """Those that came from stores."""
    said = own.log()[offset:]
    found = re.findall(r"execute <unnamed>: (.*)|LOG:  statement: (.*)", said)
    ours = ["".join(one) for one in found]
    return [
        one
        for one in ours
        if "pg_" not in one and not one.startswith(("set search", "select count"))
    ]


READ_SAID = "select bitespeed.read($1, $2)"
TOMBSTONES_SAID = "select bitespeed.tombstones($1, $2)"
COMMIT_SAID = "select bitespeed.commit($1, $2, $3)"


def test_a_batch_is_one_read_and_if_anything_is_new_one_commit(own, own_url):
    async def test(store):
        async with service_on(store) as service:

            async def said(*sent):
                offset = len(own.log())
                await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
                return statements_since(own, offset)

            assert await said(("a@x", "1")) == [READ_SAID, COMMIT_SAID]
            assert await said(("a@x", "1")) == [READ_SAID]
            assert await said(("a@x", "2")) == [READ_SAID, COMMIT_SAID]
            many = [(f"{n}@x", f"1{n % 150}") for n in range(200)]
            assert await said(*many) == [READ_SAID, COMMIT_SAID]
            assert await said(*many) == [READ_SAID]
            merges = [(f"{n}@x", f"1{n + 1}") for n in range(0, 140, 2)]
            assert await said(*many, *merges[:50]) == [READ_SAID, COMMIT_SAID]
            offset = len(own.log())
            await service.delete(1)
            assert statements_since(own, offset) == [READ_SAID, COMMIT_SAID]
            offset = len(own.log())
            await service.look_up("a@x", None)
            await service.contact(2)
            assert statements_since(own, offset) == [READ_SAID] * 2
            offset = len(own.log())
            await service.absorb([observe(f"{n}@z", None) for n in range(1000)])
            assert statements_since(own, offset) == [READ_SAID, TOMBSTONES_SAID, COMMIT_SAID]

    on(own_url, test)


@pytest.fixture
def canaries(own, own_url):
    """What the server and we have said, to be searched for what was sent."""
    offset = len(own.log())
    told = []
    yield told
    said = own.log()[offset:] + "".join(told)
    assert "canary" not in said
    assert CANARY_PHONE not in said


def whole(error):
    """All that an error and its causes say."""
    said = ""
    while error is not None:
        said += f"{error!r} {error} {getattr(error, 'diag', None) and error.diag.message_detail}"
        error = error.__cause__ or error.__context__
    return said


def test_no_value_is_in_the_log_or_an_error_of_a_conflict(own_url, canaries):
    async def test(store):
        sent = (CANARY, CANARY_PHONE)
        stale = await decide(store, sent)
        await write(store, sent)
        for changes in (stale, await stale_link(store)):
            with pytest.raises(Conflict) as conflict:
                await store.commit(DEFAULT_TENANT, changes)
            canaries.append(whole(conflict.value))

    async def stale_link(store):
        changes = await decide(store, (CANARY, "1"))
        await write(store, (CANARY, "1"))
        return changes

    on(own_url, test)


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
def test_no_value_is_in_the_log_or_an_error_of_a_wait_that_took_too_long(
    own_url, canaries, setting
):
    words = {"lock_timeout": "Others hold a lock", "statement_timeout": "took too long"}[setting]
    target = {
        "lock_timeout": "function commit",
        "statement_timeout": "database postgres",
    }[setting]
    execute(own_url, f"alter {target} set {setting} = '150ms'")

    async def test(store):
        await write(store, (CANARY, CANARY_PHONE))
        waits = [
            (COMMITS_WAIT, await decide(store, (CANARY, "1"))),
            (
                "insert into identifier values ('default', 'email', 'x" + CANARY + "', 1)",
                await decide(store, ("x" + CANARY, None)),
            ),
        ]
        for statement, changes in waits:
            with holding(own_url, statement):
                with pytest.raises(StoreUnavailable, match=words) as error:
                    await store.commit(DEFAULT_TENANT, changes)
                canaries.append(whole(error.value))
            await store.commit(DEFAULT_TENANT, changes)

    async def quietly(store):
        """Without the log telling what we do ourselves."""
        with connected(own_url) as connection:
            connection.execute("alter system set log_statement = 'none'")
            connection.execute("select pg_reload_conf()")
        await until(lambda: rows(own_url, "show log_statement") == [("none",)])
        await test(store)

    try:
        on(own_url, quietly)
    finally:
        back = {"lock_timeout": "= '4s'", "statement_timeout": "to default"}[setting]
        execute(own_url, f"alter {target} set {setting} {back}")
        execute(own_url, "alter system reset log_statement")
        execute(own_url, "select pg_reload_conf()")


def test_a_value_in_the_log_would_be_found(own, own_url):
    offset = len(own.log())
    execute(own_url, "set log_parameter_max_length_on_error = -1")
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        execute(own_url, *[f"insert into identifier values ('t', 'email', '{CANARY}', 1)"] * 2)
    assert CANARY in whole(error.value)
    assert CANARY in own.log()[offset:]


def test_a_full_disk_refuses_commits_tells_no_value_and_still_answers_reads():
    async def test(store):
        await write(store, (CANARY, CANARY_PHONE))
        refusals = []
        for n in range(200):
            sent = [(f"{n}.{m}." + "y" * 200 + CANARY, None) for m in range(500)]
            try:
                await store.commit(DEFAULT_TENANT, await decide(store, *sent))
            except StoreUnavailable as error:
                refusals.append(whole(error))
                break
        assert "full" in "".join(refusals)
        assert "canary" not in "".join(refusals)
        assert (await who(store, CANARY)).phones == [CANARY_PHONE]
        await store.ping()

    with own_server(disk=64, fsync=False) as small:
        on(small.url(), test)
        assert "could not extend file" in small.log()
        assert "canary" not in small.log()


# Races


@pytest.mark.parametrize("order", [1, -1])
def test_commits_lock_in_the_order_of_ids(url, order):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            merge = await decide(store, ("b@x", "1"))
            merge = Changes(merge.identities[::order], merge.contacts, merge.events)
            link = await decide(other, ("b@x", "3"))
            with holding(url, "select from identity where id = 1 for update"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, merge))
                await waits_for_a_lock(url)
                await other.commit(DEFAULT_TENANT, link)  # nobody has locked 2 meanwhile
            with pytest.raises(Conflict):
                await waiting
            await assert_clean(store)

    asyncio.run(main())


@pytest.mark.parametrize("order", [1, -1])
def test_commits_insert_in_the_order_of_values(url, order):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            both = await decide(store, *[("a@x", None), ("b@x", None)][::order])
            one = await decide(other, ("b@x", None))
            with holding(url, "insert into identifier values ('default', 'email', 'a@x', 1)"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, both))
                await waits_for_a_lock(url)
                await other.commit(DEFAULT_TENANT, one)  # nobody has inserted b@x meanwhile
            with pytest.raises(Conflict):
                await waiting
            await assert_clean(store)

    asyncio.run(main())


def test_a_commit_gives_up_at_the_first_mismatch_without_waiting_for_others(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            stale = await decide(store, ("a@x", "2"))
            await write(other, ("a@x", "3"))
            with (
                holding(url, "select from identity where id = 2 for update"),
                pytest.raises(Conflict),
            ):
                await store.commit(DEFAULT_TENANT, stale)

    asyncio.run(main())


def test_a_second_merge_waits_for_the_first_and_then_conflicts(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"))
            first, second = await decide(store, ("a@x", "2")), await decide(other, ("b@x", "3"))
            with holding(url, "lock table event in exclusive mode"):
                winner = asyncio.create_task(store.commit(DEFAULT_TENANT, first))
                await waits_for_a_lock(url)  # with its locks, and all but its events written
                loser = asyncio.create_task(other.commit(DEFAULT_TENANT, second))
                await waits_for_a_lock(url, 2)
                assert (await who(store, "a@x")).emails == ["a@x"]  # readers wait for nobody
            await winner
            with pytest.raises(Conflict, match="An identity has changed"):
                await loser
            await assert_clean(store)

    asyncio.run(main())


def test_ages_and_ids_are_taken_after_the_locks(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            late = await decide(store, ("a@x", "3"))
            unrelated = await decide(other, ("b@x", "4"))
            with holding(url, "select from identity where id = 1 for update"):
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, late))
                await waits_for_a_lock(url)
                before = await other.commit(DEFAULT_TENANT, unrelated)
            after = await waiting
            assert before.ids < after.ids
            assert before.created_at < after.created_at

    asyncio.run(main())


def test_the_error_about_a_value_that_is_taken_does_not_quote_it(url):
    async def main():
        async with stores(of_postgres(url), 2) as (store, other):
            changes = await decide(store, ("a@x", "1"))
            await write(other, ("a@x", "2"))
            return msgspec.json.encode(changes).decode()

    document = asyncio.run(main())
    with connected(url) as connection, connection.transaction(force_rollback=True):
        # To an owner whom row level security binds PostgreSQL does not quote values anyway.
        connection.execute("alter function bitespeed.commit owner to current_user")
        with pytest.raises(psycopg.errors.UniqueViolation) as raised:
            connection.execute("select bitespeed.commit('default', %s)", [document])
    told = raised.value.diag
    for part in (told.message_primary, told.message_detail, told.message_hint, told.context):
        assert part is None or "a@x" not in part


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_races_under_a_stricter_isolation_are_conflicts_and_no_errors(postgres, isolation):
    async def main(url):
        async with stores(of_postgres(url), 2) as (store, other):
            await write(store, ("a@x", "1"))
            for held, sent in (
                ("select from identity where id = 1 for update", [("a@x", "2"), ("a@x", "3")]),
                (
                    "lock table event in exclusive mode",
                    [("new@x", "8"), ("new@x", "9")],
                ),
            ):
                changes = [await decide(store, sent[0]), await decide(other, sent[1])]
                with holding(url, held):
                    first = asyncio.create_task(store.commit(DEFAULT_TENANT, changes[0]))
                    await waits_for_a_lock(url)
                    second = asyncio.create_task(other.commit(DEFAULT_TENANT, changes[1]))
                    await waits_for_a_lock(url, 2)
                outcomes = await asyncio.gather(first, second, return_exceptions=True)
                assert sorted(isinstance(o, Conflict) for o in outcomes) == [False, True], outcomes
            async with service_on(store) as one, service_on(other) as two:
                strangers = [observe(f"{n}@x", str(n)) for n in range(30)]
                await asyncio.gather(
                    *map(one.identify, strangers), *map(two.identify, strangers[::-1])
                )
            await assert_clean(store)

    with postgres.fresh_database() as url:
        name = sql.Identifier(database_of(url))
        setting = sql.SQL("alter database {} set default_transaction_isolation = {}")
        with connected(url) as connection:
            connection.execute(setting.format(name, sql.Literal(isolation)))
        asyncio.run(main(url))


def test_a_commit_that_could_outlive_its_fence_gives_up(postgres):
    """Each of its waits is bounded, but there may be many."""

    async def main(url):
        async with stores(of_postgres(url)) as (store,):
            changes = await decide(store, ("a@x", "1"))
            script = text("bitespeed.stores.postgres", "migrations/0003_commit.sql")
            assert "'100 s'" in script
            hasty = script.replace("'100 s'", f"'{MOMENT} s'")
            execute(url, hasty.replace("create function", "create or replace function"))
            with holding(url, "lock table identifier in exclusive mode"):
                committing = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
                await waits_for_a_lock(url)
                await asyncio.sleep(2 * MOMENT)
            with pytest.raises(StoreUnavailable, match="took too long"):
                await committing
            assert (await store.read(DEFAULT_TENANT, emails=["a@x"])).emails == {}
            await store.commit(DEFAULT_TENANT, changes)

    with postgres.fresh_database() as url:
        asyncio.run(main(url))


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_commit_that_waited_for_another_epoch_knows_of_it(postgres, isolation):
    """Its snapshot may be from before it waited, and tell of the epoch that was."""

    async def main(url, odd):
        async with stores(of_postgres(odd)) as (store,):
            changes = await decide(store, ("a@x", "1"))
            execute(
                url,
                "update bitespeed.cache set epoch = 'was', is_suspended = true, since = 'epoch'",
            )
            with connected(url) as connection, connection.transaction():
                connection.execute("select bitespeed.cache_resume('was', 'is')")
                waiting = asyncio.create_task(store.commit(DEFAULT_TENANT, changes, "was"))
                await waits_for_a_lock(url)
            with pytest.raises((Conflict, EpochOver)):
                await waiting
            await store.commit(DEFAULT_TENANT, changes, "is")

    setting = isolation.replace(" ", "%5C%20")
    with postgres.fresh_database() as url:
        asyncio.run(main(url, f"{url}?options=-cdefault_transaction_isolation%3D{setting}"))


@pytest.mark.parametrize("asks", ["?client_encoding=latin1", "?options=-cclient_encoding%3Dlatin1"])
def test_values_are_the_same_whatever_encoding_the_url_asks_for(url, asks):
    async def main():
        async with stores(of_postgres(url)) as (plain,), stores(of_postgres(url + asks)) as (odd,):
            await write(odd, ("jörg@müller.example", "1"))
            assert (await who(plain, "jörg@müller.example")).phones == ["1"]
            await write(plain, ("日本@例え.example", "1"))
            assert "日本@例え.example" in (await who(odd, phone="1")).emails

    asyncio.run(main())


def test_a_database_in_another_encoding_refuses_what_it_has_no_room_for(postgres):
    async def main(url):
        async with stores(of_postgres(url)) as (store,):
            await write(store, ("jörg@müller.example", "1"))
            with connected(url) as connection:
                stored = connection.execute("select email from contact").fetchall()
            assert stored == [("jörg@müller.example",)]
            with pytest.raises(InvalidInput, match="UTF-8"):
                await who(store, "日本@例え.example")

    with postgres.fresh_database(options="encoding 'LATIN1' locale 'C'") as url:
        asyncio.run(main(url))


def test_a_database_that_is_read_only_refuses_commits_and_answers_reads(postgres):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2")), await decide(store, ("b@x", "2"))
        with connected(url) as connection:
            name = sql.Identifier(database_of(url))
            read_only = sql.SQL("alter database {} set default_transaction_read_only = on")
            connection.execute(read_only.format(name))
        terminate(url)
        await until(lambda: sessions(url) == 0)
        await asyncio.sleep(MOMENT)
        for one in changes:
            with pytest.raises(StoreUnavailable, match="read-only"):
                await store.commit(DEFAULT_TENANT, one)
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])

    with postgres.fresh_database() as url:
        on(url, test)


def test_a_database_not_prepared_any_more_is_told(postgres):
    async def test(store):
        execute(url, "drop schema bitespeed cascade")
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await store.ping()
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await who(store, "a@x")
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            await store.commit(DEFAULT_TENANT, Changes([], [], []))
        with pytest.raises(StoreDamaged, match="run bitespeed migrate"):
            async with aclosing(store.scan()) as pages:
                await anext(pages)

    with postgres.fresh_database() as url:
        on(url, test)


# Scans


def test_a_scan_whose_connection_is_lost_says_so(url, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 1)
    monkeypatch.setattr(scanning, "ROWS", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        async with aclosing(store.scan()) as pages:
            await anext(pages)
            terminate(url)
            with pytest.raises(StoreUnavailable):
                async for _ in pages:
                    pass
        await assert_clean(store)

    on(url, test)


def test_a_scan_given_up_while_it_waits_leaves_no_connection(url):
    async def test(store):
        async def scan():
            async with aclosing(store.scan()) as pages:
                async for _ in pages:
                    pass

        await write(store, ("a@x", "1"))
        with holding(url, READS_WAIT):
            scanning = asyncio.create_task(scan())
            await waits_for_a_lock(url)
            scanning.cancel()
            await asyncio.sleep(MOMENT)
        with pytest.raises(asyncio.CancelledError):
            await scanning
        await until(lambda: sessions(url) == 1)

    on(url, test)


def test_a_scan_given_up_while_it_connects_holds_up_nobody(url):
    healed = threading.Event()

    def heal():
        line.heal()
        healed.set()

    async def test(store):
        line.stall()
        scan = asyncio.create_task(assert_clean(store))
        await asyncio.sleep(MOMENT)
        timer = threading.Timer(1.0, heal)
        timer.start()
        try:
            scan.cancel()
            await asyncio.sleep(MOMENT)
            assert not healed.is_set()  # others have gone on meanwhile
        finally:
            await asyncio.to_thread(timer.join)
        with pytest.raises(asyncio.CancelledError):
            await scan

    with proxied(url) as (line, by_way_of):
        on(by_way_of, test)
    nobody_is_left(url)


def test_a_scan_ended_by_the_server_since_its_reader_was_slow_says_so(postgres, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 1)
    monkeypatch.setattr(scanning, "ROWS", 1)

    async def test(store):
        await write(store, *[(f"{n}@x", f"{n}") for n in range(5)])
        with connected(url) as connection:
            name = sql.Identifier(database_of(url))
            limit = "alter database {} set idle_in_transaction_session_timeout = '50ms'"
            connection.execute(sql.SQL(limit).format(name))
        async with aclosing(store.scan()) as pages:
            await anext(pages)
            await until(lambda: sessions(url) == 1)
            with pytest.raises(StoreUnavailable):
                await anext(pages)

    with postgres.fresh_database() as url:
        on(url, test)


# The published view


def test_the_contact_view_has_exactly_the_published_columns_and_instants_in_utc(url):
    async def test(store):
        await write(store, ("a@x", "1"), (None, "1"), ("b@x", "1"))
        await delete(store, 1)
        execute(
            url,
            "update contact_record set created_at = 1700000000123456, updated_at = created_at",
            "update contact_record set deleted_at = 1700000060123456 where id = 1",
        )

    on(url, test)
    with connected(url) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        cursor = connection.execute("select * from contact order by id")
        assert [column.name for column in cursor.description] == [
            "id",
            "phonenumber",
            "email",
            "linkedid",
            "linkprecedence",
            "createdat",
            "updatedat",
            "deletedat",
        ]
        first, second = cursor.fetchall()
    assert first[:5] == (1, "1", "a@x", 2, "secondary")
    assert second[:5] == (2, "1", "b@x", None, "primary")
    assert [str(instant) for instant in (first[5], first[7], second[7])] == [
        "2023-11-14 22:13:20.123456",
        "2023-11-14 22:14:20.123456",
        "None",
    ]


# Who may do what


@pytest.fixture
def role(own, own_url):
    """A login that owns nothing."""
    execute(own_url, "create role serving login password 'secret'")
    try:
        yield "serving"
    finally:
        execute(own_url, "drop owned by serving", "drop role serving")


def test_nobody_has_anything_by_default(own_url, role):
    granted = """
    select p.proname from pg_proc p
    where p.pronamespace = 'bitespeed'::regnamespace
        and has_function_privilege('serving', p.oid, 'execute')
    union all
    select c.relname from pg_class c
    where c.relnamespace = 'bitespeed'::regnamespace and case c.relkind
        when 'S' then has_sequence_privilege('serving', c.oid, 'usage, select, update')
        when 'i' then false
        else has_table_privilege('serving', c.oid, 'select, insert, update, delete, truncate')
        end
    union all
    select 'schema' where has_schema_privilege('serving', 'bitespeed', 'usage, create')
    """
    assert rows(own_url, granted) == []


def test_row_level_security_is_on_for_every_table_with_values(own_url):
    open_tables = """
    select relname from pg_class
    where relnamespace = 'bitespeed'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
    """
    assert rows(own_url, open_tables) == [("migration",)]


DOCUMENTED = Path(__file__).parents[1] / "docs" / "postgres.md"
SERVING = [  # as operators are told to do it
    statement.replace("shop", "serving")
    for statement in re.findall(r"^grant [^;]*", DOCUMENTED.read_text(), re.MULTILINE)
]


def test_a_login_that_may_only_call_the_functions_serves_and_sees_no_row(own_url, role):
    execute(own_url, *SERVING)
    as_serving = as_user(own_url, role, "secret")

    async def test(store):
        async with service_on(store) as service:
            await service.ping()
            await service.identify(observe("a@x", "1"))
            answer = await service.identify(observe("b@x", "1"))
            assert answer == Answer(1, ["a@x", "b@x"], ["1"], [2])
            await service.delete(1)
            await service.erase(Subject(phone=Phone("1")))
        assert await store.secret()
        assert await store.keys() == []
        await store.cache_resume(None, "epoch")
        await store.cache_suspend("epoch", 0.0)
        await store.cache_feed(None, 1)
        with pytest.raises(StoreUnavailable, match="may not do this"):
            async with aclosing(store.scan()) as pages:
                await anext(pages)

    on(as_serving, test, Options(migrate=False))
    on(as_serving, pinged, Options(migrate=True))
    for table in ("identity", "contact_record", "identifier", "event", "contact"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(as_serving, f"select from bitespeed.{table}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(as_serving, "select nextval('bitespeed.contact_id')")


async def pinged(store):
    await store.ping()


def test_rows_stay_unseen_even_by_whom_the_tables_are_granted_to(own_url, role):
    execute(own_url, *SERVING, "grant select, delete on all tables in schema bitespeed to serving")
    execute(own_url, "revoke select on bitespeed.contact from serving")
    as_serving = as_user(own_url, role, "secret")

    async def test(store):
        await write(store, ("a@x", "1"))

    on(own_url, test)
    for table in ("identity", "contact_record", "identifier", "event"):
        assert rows(as_serving, f"select count(*) from bitespeed.{table}") == [(0,)]


def test_a_login_without_the_right_to_call_is_told(own_url, role):
    execute(own_url, *SERVING[::2])

    async def test(store):
        with pytest.raises(StoreUnavailable, match="may not do this"):
            await who(store, "a@x")

    on(as_user(own_url, role, "secret"), test, Options(migrate=False))


HOSTILE = """
create table if not exists public.identity (like bitespeed.identity);
create table if not exists public.identifier (like bitespeed.identifier);
create table if not exists public.contact_record (like bitespeed.contact_record);
create function public.liar(a text, b text) returns boolean language sql as 'select true';
create function public.liar(a bigint, b bigint) returns boolean language sql as 'select true';
create function public.jsonb_array_elements(a jsonb) returns setof jsonb
    language sql as $$select '["email", "a@x", null]'::jsonb$$;
create function public.json_build_array(variadic a "any") returns json
    language internal as 'json_build_array';
create function public.clock_timestamp() returns timestamptz
    language sql as $$select timestamptz '1999-01-01'$$;
create operator public.= (leftarg = text, rightarg = text, function = public.liar);
create operator public.= (leftarg = bigint, rightarg = bigint, function = public.liar);
"""


def test_hostile_objects_on_the_search_path_change_no_answer(postgres):
    async def test(store):
        await write(store, ("a@x", "1"), ("b@x", "2"), ("b@x", "3"))
        snapshot = await snapshot_for(store, [observe("b@x", "9")])
        assert (snapshot.emails, snapshot.phones) == ({"b@x": 2}, {})
        await write(store, ("b@x", "1"))
        assert await who(store, "b@x") == Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3])
        await delete(store, 1)

    with postgres.fresh_database() as url:
        prepared(url)
        with connected(url) as connection:
            connection.execute(HOSTILE)
            name = sql.Identifier(database_of(url))
            path = sql.SQL("alter database {} set search_path = public, pg_catalog, bitespeed")
            connection.execute(path.format(name))
        on(url, test, Options(migrate=False))
        with connected(url) as connection:
            connection.execute(sql.SQL("alter database {} reset search_path").format(name))
        on(url, assert_clean)


# Plans

CONTACTS = 50_000
TABLES = ("identity", "contact_record", "identifier", "event")

FEW = 400


def fill(first, last):
    """Contacts in identities of ten, each of five that have merged."""
    return f"""
    create temporary table n as select n, n - (n - 1) % 2 as born, n - (n - 1) % 10 as root
    from generate_series({first}, {last}) as n;
    insert into identity
    select n, 'default', root, root, root, 10, 1 from n where n = born;
    insert into contact_record (id, tenant, identity_id, email, phone, created_at, updated_at)
    select n, 'default', born, n || '@x', n::text, n, n from n;
    insert into identifier
    select 'default', 'email', n || '@x', born from n
    union all select 'default', 'phone', n::text, born from n;
    insert into event (tenant, at, kind, identity_id, version)
    select 'default', n, 'contact.created', born, 1 from n;
    select setval('contact_id', {last});
    drop table n;
    """


EXPLAINED = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_format = json;
set auto_explain.log_analyze = on;
set client_min_messages = log;
"""

HARMLESS = {
    "Aggregate",
    "Append",
    "Function Scan",
    "Limit",
    "LockRows",
    "ModifyTable",
    "Nested Loop",
    "ProjectSet",
    "Result",
    "Sort",
    "Subquery Scan",
    "WindowAgg",
}


class Explained:
    """A session in which the plans of all that functions execute are told."""

    def __init__(self, connection):
        self._connection = connection
        self._notices = []
        connection.add_notice_handler(lambda notice: self._notices.append(notice.message_primary))
        connection.execute(EXPLAINED)

    def execute(self, statement):
        self._connection.execute(statement)

    def call(self, function, document):
        """What is wrong with the plans of one call; its changes are undone."""
        self._notices.clear()
        with self._connection.transaction(force_rollback=True):
            call = sql.SQL("select bitespeed.{}('default', %s)").format(sql.Identifier(function))
            self._connection.execute(call, [json.dumps(document)])
        plans = [json.loads(n.partition("plan:\n")[2]) for n in self._notices if "plan:\n" in n]
        assert any("Plan" in plan for plan in plans)
        found = [f for plan in plans for f in faults(plan)]
        tables = {t for plan in plans for t in touched(plan["Plan"])}
        return found, tables


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def touched(plan):
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}


def faults(plan):
    if "JIT" in plan:
        yield "JIT"
    for node in nodes(plan["Plan"]):
        kind, table = node["Node Type"], node.get("Relation Name")
        if kind in ("Index Scan", "Index Only Scan"):
            if "Index Cond" not in node:
                yield f"{kind} of all of {table}"
            if node.get("Rows Removed by Filter", 0) > 10:
                yield f"{kind} of {table} with a filter"
        elif kind not in HARMLESS:
            yield f"{kind} of {table}"


def asked(values=(), contact=None, members=True, remembered=()):
    return {
        "values": list(values),
        "contact": contact,
        "members": members,
        "remembered": list(remembered),
    }


def changes(identities=(), contacts=(), events=(), **others):
    none = {"deleted": [], "freed_emails": [], "freed_phones": []}
    lists = {"identities": list(identities), "contacts": list(contacts), "events": list(events)}
    return none | lists | others


BATCH = [["email", f"{n}@x", None] for n in range(1, 400, 2)]
CALLS = [
    ("read", asked([["email", "101@x", None], ["phone", "102", None], ["phone", "no", None]])),
    ("read", asked([["email", "101@x", None]], members=False)),
    ("read", asked(contact=107)),
    ("read", asked(BATCH)),
    ("read", asked([["email", "101@x", 101], *BATCH], remembered=[[101, 1], [201, 9]])),
    (
        "commit",
        changes(
            [[-1, -1, -1, None, 1, 0], [101, 101, 101, 101, 11, 1]],
            [
                [-1, "new@x", "new1", None, None, True, True, 0],
                [101, "new@y", "101", None, None, True, False, 101],
            ],
            [["contact.created", -1, 1, -1, None, None, None]],
        ),
    ),
    (
        "commit",
        changes(
            [[101, 101, 101, 101, 20, 1], [201, 101, 201, 201, 10, 1]],
            events=[["identities.merged", 101, 2, None, 201, "101@x", "201"]],
        ),
    ),
    (
        "commit",
        changes(
            [[101, 101, 101, 101, 9, 1]],
            events=[["contact.deleted", 101, 2, 102, None, None, None]],
            deleted=[102],
            freed_emails=["102@x"],
            freed_phones=["102"],
        ),
    ),
]


@contextmanager
def explained(postgres):
    with postgres.fresh_database() as url:
        prepared(url)
        with connected(url) as connection:
            for table in TABLES:
                connection.execute(f"alter table {table} set (autovacuum_enabled = off)")
            yield Explained(connection)


def all_faults(session):
    """What is wrong with the plans of every statement in the functions."""
    found, tables = [], set()
    for function, document in CALLS:
        wrong, touched = session.call(function, document)
        found += [f"{function}: {fault}" for fault in wrong]
        tables |= touched
    assert tables == {*TABLES, "cache"}
    return found


def plans_made_while_nearly_empty(session):
    """Then filled; plans are kept until something tells the server that tables have changed."""
    session.execute(f"truncate {', '.join(TABLES)}")
    session.execute(f"analyze {', '.join(TABLES)}")
    session.execute(fill(1, FEW))
    all_faults(session)
    session.execute(fill(FEW + 1, CONTACTS))


def make_statistics_lie(session, random):
    for table in TABLES:
        tuples, pages = random.choice([-1, 0, 1, 1e4, 1e9]), random.choice([0, 1, 1000, 10**6])
        session.execute(
            f"update pg_class set reltuples = {tuples}, relpages = {pages}"
            f" where oid = '{table}'::regclass"
        )
    session.execute(
        f"update pg_statistic set stadistinct = {random.choice([1, 2, -1, -0.0001])},"
        f" stanullfrac = {random.choice([0, 0.5, 1])}, stawidth = {random.choice([1, 10_000])}"
    )
    session.execute("alter table identity set (autovacuum_enabled = off)")  # plans are made anew
    for table in TABLES:
        session.execute(f"alter table {table} set (autovacuum_enabled = off)")


def test_without_what_holds_the_planner_to_the_keys_that_would_be_noticed(postgres):
    with explained(postgres) as session:
        for name in ("0002_read.sql", "0003_commit.sql"):
            script = text("bitespeed.stores.postgres", f"migrations/{name}")
            loose = re.sub(r"(?m)^set (enable_\w+ = off|plan_cache_mode .*)\n|offset 0", "", script)
            assert loose != script
            session.execute(loose.replace("create function", "create or replace function"))
        plans_made_while_nearly_empty(session)
        found = all_faults(session)
        assert any("Seq Scan" in fault for fault in found), found
