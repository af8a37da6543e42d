"""The connections of the PostgreSQL store: how they are made, kept and lost."""

import asyncio
import gc
import json
import shutil
import socket
import threading
from contextlib import ExitStack
from urllib.parse import quote

import psycopg
import pytest
import trustme
import uvloop
from psycopg import OperationalError, pq

from bitespeed.errors import Conflict, StoreDamaged, StoreUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.postgres import handshake as connecting
from bitespeed.stores.postgres import pool as pool_module
from bitespeed.stores.postgres.handshake import conninfo, parameters
from bitespeed.stores.postgres.pool import Pool
from bitespeed.stores.postgres.statement_connection import StatementConnection
from bitespeed.stores.postgres.store import PostgresStore
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    TIMEOUT,
    of_postgres,
    prepared,
    sessions,
    stores,
    waits_for_a_lock,
)
from support.database_url import as_user
from support.invariants import assert_clean
from support.postgres_server import own_server
from support.postgres_store import (
    BRIEF,
    COMMITS_WAIT,
    MOMENT,
    READS_WAIT,
    SERVING,
    everything_said_by,
    execute,
    holding,
    nobody_is_left,
    on,
    pinged,
    terminate,
    until,
)
from support.processes import SOMEBODY, home, somebody
from support.server import free_port
from support.stores import decide, service_on, who, write
from support.tcp_proxy import proxied


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
def test_connections_closed_while_idle_are_replaced_without_error(url, runner):
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


def test_connection_lost_during_commit_is_reported_and_replaced(url):
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


def test_read_is_repeated_when_its_connection_is_lost(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        with holding(url, READS_WAIT):
            read = asyncio.create_task(who(store, "a@x"))
            await waits_for_a_lock(url)
            terminate(url)
            await waits_for_a_lock(url)
        assert await read == Answer(1, ["a@x"], ["1"], [])

    on(url, test)


def test_caller_who_gives_up_leaves_next_caller_undisturbed(url):
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


def test_caller_who_gives_up_while_connecting_leaves_no_session(url):
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


def test_late_answer_is_reported_and_its_connection_replaced(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        with (
            holding(url, READS_WAIT),
            pytest.raises(StoreUnavailable, match="did not answer in time"),
        ):
            await who(store, "a@x")
        assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])

    on(url, test, BRIEF)


def test_busy_connections_are_reported_in_time(url):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with holding(url, COMMITS_WAIT):
            commits = [asyncio.create_task(store.commit(DEFAULT_TENANT, changes)) for _ in range(2)]
            await waits_for_a_lock(url, 2)
            store._pool._timeout = 0.05
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


def test_notices_and_notifications_do_not_disturb_answers(url):
    execute(url, CHATTY)

    async def main():
        connection = await StatementConnection.open(url, TIMEOUT)
        try:
            connection._server.nonblocking = 0
            connection._server.exec_(b"listen news")
            connection._server.nonblocking = 1
            for size in (1, 5_000_000, 10):
                execute(url, "notify news, 'from elsewhere'")
                answer = (
                    await connection.fetch(b"select chatty($1)", [b"%d" % size], TIMEOUT)
                    if (False)
                    else await connection.fetch(
                        b"select public.chatty($1)", [b"%d" % size], TIMEOUT
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
        connection = await StatementConnection.open(url, TIMEOUT)
        try:
            if answer == b"":
                with pytest.raises((StoreUnavailable, psycopg.Error)):
                    await connection.fetch(answer, [], TIMEOUT)
            else:
                expected = b"1" if b";" in answer else None
                assert await connection.fetch(answer, [], TIMEOUT) == expected
            assert await connection.fetch(b"select 2", [], TIMEOUT) == b"2"
        finally:
            connection.close()

    asyncio.run(main())


def large(megabytes):
    """A document that the function `read` ignores but for its size."""
    ballast = b"[" + b"0," * (megabytes * 500_000) + b"0]"
    return b'{"values":[],"contact":null,"members":true,"remembered":[],"ballast":' + ballast + b"}"


READ = b"select bitespeed.read($1, $2)"


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_statement_may_be_larger_than_the_socket_buffers(url, runner):
    async def main(line, by_way_of):
        connection = await StatementConnection.open(by_way_of, TIMEOUT)
        try:
            for megabytes in (1, 3, 8):
                answer = await connection.fetch(READ, [b"", large(megabytes)], TIMEOUT)
                assert json.loads(answer) == {"holders": [], "roots": [], "identities": []}
            await asyncio.to_thread(line.stall)
            slow = asyncio.create_task(connection.fetch(READ, [b"", large(8)], TIMEOUT))
            await asyncio.sleep(MOMENT)
            assert not slow.done()
            await asyncio.to_thread(line.heal)
            assert json.loads(await slow)["roots"] == []
        finally:
            connection.close()

    with proxied(url) as (line, by_way_of):
        runner(main(line, by_way_of))


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_connection_cut_while_sending_is_reported_and_replaced(url, runner, caplog):
    async def main(line, by_way_of):
        pool = Pool(by_way_of, 1, TIMEOUT)
        try:
            for _ in range(3):
                async with pool.connection() as connection:
                    await asyncio.to_thread(line.stall)
                    much = asyncio.create_task(connection.fetch(READ, [b"", large(20)], TIMEOUT))
                    await asyncio.sleep(MOMENT)
                    assert not much.done()
                    await asyncio.to_thread(line.cut)
                    await asyncio.to_thread(line.heal)
                    with pytest.raises(StoreUnavailable, match="was lost"):
                        await much
                async with pool.connection() as connection:
                    assert await connection.fetch(b"select 1", [], TIMEOUT) == b"1"
        finally:
            await pool.close()
        gc.collect()

    with proxied(url) as (line, by_way_of):
        runner(main(line, by_way_of))
    assert "never retrieved" not in caplog.text
    assert "_on_readable" not in caplog.text


def test_statement_that_cannot_be_sent_in_time_fails(url):
    async def main(line, by_way_of):
        pool = Pool(by_way_of, 1, TIMEOUT)
        try:
            async with pool.connection() as connection:
                await asyncio.to_thread(line.stall)
                with pytest.raises(StoreUnavailable, match="did not answer in time"):
                    await connection.fetch(READ, [b"", large(20)], 0.1)
            await asyncio.to_thread(line.heal)
            async with pool.connection() as connection:
                assert await connection.fetch(b"select 1", [], TIMEOUT) == b"1"
        finally:
            await pool.close()

    with proxied(url) as (line, by_way_of):
        asyncio.run(main(line, by_way_of))


def test_repeat_of_commit_with_lost_answer_adds_nothing(url):
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


def test_unreachable_server_is_reported_in_time(url):
    async def main(by_way_of):
        pool = Pool(by_way_of, 1, 0.1)
        with pytest.raises(StoreUnavailable, match="cannot be reached in time"):
            async with pool.connection():
                pass

    with proxied(url) as (line, by_way_of):
        line.stall()
        asyncio.run(main(by_way_of))


def test_missing_server_is_reported(url):
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        asyncio.run(open_store(nowhere))


def test_missing_database_is_reported(postgres):
    with pytest.raises(StoreUnavailable, match="no such database"):
        asyncio.run(open_store(postgres.url("bitespeed_no_such_database")))


def test_missing_user_is_reported(postgres):
    with pytest.raises(StoreUnavailable, match="refuses the user"):
        asyncio.run(open_store(as_user(postgres.url(), "bitespeed_no_such_user", "secret")))


def test_of_several_hosts_one_that_answers_is_enough(url):
    with proxied(url) as (_, by_way_of):
        host, _, database = by_way_of.partition("@")[2].partition("/")
        hosts = f"127.0.0.1:{free_port()},{host.replace('127.0.0.1', 'localhost')}"
        on(f"postgresql://postgres@{hosts}/{database}", pinged, Options(migrate=False))


def test_host_names_are_resolved_outside_the_event_loop(monkeypatch):
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
def test_special_characters_in_the_url_arrive_unchanged(text):
    told = parameters(f"postgresql://{quote(text)}:{quote(text)}@[::1]/{quote(text)}", 1)
    assert told["user"] == told["password"] == told["dbname"] == text
    assert connecting._values(pq.Conninfo.parse(conninfo(told))) == told


def test_wrong_password_is_reported(own, own_url, role):
    access = own._folder / "disk" / "data" / "pg_hba.conf"
    before = access.read_text()
    access.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
    execute(own_url, "select pg_reload_conf()", *SERVING)
    try:
        on(as_user(own_url, role, "secret"), pinged, Options(migrate=False))
        with pytest.raises(StoreUnavailable, match="refuses the user or the password") as refusal:
            on(as_user(own_url, role, "hunter2"), pinged, Options(migrate=False))
        assert "hunter2" not in everything_said_by(refusal.value)
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
        connection = await StatementConnection.open(encrypted, TIMEOUT)
        try:
            for power in range(8, 23):
                for size in (2**power - 45, 2**power, 2**power + 3):
                    answer = await connection.fetch(
                        b"select public.chatty($1)", [b"%d" % size], TIMEOUT
                    )
                    assert answer == b"x" * size
            for megabytes in (1, 8):
                assert await connection.fetch(READ, [b"", large(megabytes)], TIMEOUT)
            used = b"select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"
            assert await connection.fetch(used, [], TIMEOUT) == b"true"
        finally:
            connection.close()

    runner(main())


def test_null_character_does_not_end_a_tenant(url):
    async def test(store):
        await store.commit("shop", await decide(store, ("a@x", "1"), tenant="shop"))
        with pytest.raises(Exception, match="null character"):
            await store.read("shop\0other", emails=["a@x"])

    on(url, test)
