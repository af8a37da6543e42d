"""The servers that other tests rest on really do what they say."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from support import postgres_server, server_programs
from support.pgbouncer import POOL, pgbouncer
from support.postgres_server import OwnPostgres, Postgres, own_server, server, standby
from support.postgrest import DataApi, create_roles, jwt, postgrest
from support.processes import POLL_INTERVAL, START, children, is_alive, somebody
from support.tcp_proxy import proxied

A_WHILE = 0.2  # seconds in which an answer would have come, were it to come
TIMEOUT = 15.0  # seconds to wait for an answer; those that come take milliseconds

KNOWN_STATEMENTS = "select exists (select from pg_prepared_statements where name = 'answer')"
WHO_SERVES = "select pg_backend_pid()"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A private server that tests may stop, if they start it again."""
    with own_server() as postgres:
        yield postgres


@contextmanager
def connected(url: str, **parameters: Any) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection in which every statement is a transaction."""
    connection = psycopg.connect(url, autocommit=True, connect_timeout=10, **parameters)
    try:
        yield connection
    finally:
        connection.close()


def value(url: str, query: str) -> Any:
    """The one value that a query gives."""
    with connected(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def execute(url: str, statement: str) -> None:
    with connected(url) as connection:
        connection.execute(statement)


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + START
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)


# PostgreSQL that is shared


def test_fresh_database_is_dropped_despite_open_connection(
    postgres: Postgres,
) -> None:
    with ExitStack() as stack:
        with postgres.fresh_database() as url:
            connection = stack.enter_context(connected(url))
            connection.execute("create table note ()")
            with postgres.fresh_database() as other:
                assert value(other, "select to_regclass('note')") is None
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(url)


def test_a_fresh_database_may_be_a_copy_of_another(postgres: Postgres, database: str) -> None:
    execute(database, "create table note as select 'copied' as words")
    with postgres.fresh_database(template=database) as copy:
        assert value(copy, "select words from note") == "copied"


def test_databases_of_a_run_killed_long_ago_are_dropped(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1_000_000_000)
        abandoned = postgres.fresh_database()
        url = abandoned.__enter__()
    postgres.drop_abandoned()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    assert value(database, "select 1") == 1
    abandoned.__exit__(None, None, None)


def test_unreachable_test_server_is_named_and_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        monkeypatch.setenv("TEST_DATABASE_URL", f"postgresql://postgres@127.0.0.1:{port}/postgres")
        with pytest.raises(AssertionError, match="TEST_DATABASE_URL names no server"), server():
            pass


def test_where_no_server_runs_one_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        local = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        monkeypatch.setattr(postgres_server, "LOCAL", local)
        with server() as started, started.fresh_database() as url:
            assert isinstance(started, OwnPostgres)
            assert value(url, "show fsync") == "off"


# PostgreSQL that is private


def test_killed_database_server_keeps_committed_rows(
    own: OwnPostgres,
) -> None:
    execute(own.url(), "create table kept as select 'durable' as words")
    with connected(own.url()) as connection:
        processes = [own.pid, *children(own.pid)]
        assert len(processes) > 3
        own.kill()
        assert not own.is_running()
        assert not any(is_alive(pid) for pid in processes)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    own.start()
    assert value(own.url(), "select words from kept") == "durable"
    assert "database system was not properly shut down" in own.log()


def test_a_private_server_is_durable_and_takes_settings(own: OwnPostgres) -> None:
    assert value(own.url(), "show fsync") == "on"
    own.restart(max_connections=10, statement_timeout="50ms")
    try:
        assert value(own.url(), "show max_connections") == "10"
        with pytest.raises(psycopg.errors.QueryCanceled):
            execute(own.url(), "select pg_sleep(10)")
    finally:
        own.restart(max_connections=100, statement_timeout=0)


def test_a_server_that_does_not_start_says_why(own: OwnPostgres) -> None:
    own.stop()
    with pytest.raises(AssertionError, match="no_such_setting"):
        own.start(no_such_setting=1)
    del own._settings["no_such_setting"]
    own.start()


def test_database_server_with_full_disk_answers_reads() -> None:
    with own_server(disk=64) as small, connected(small.url()) as connection:
        connection.execute("create table filler (words text)")
        connection.execute("alter table filler alter words set storage external")
        insert = "insert into filler select repeat('x', 1000000) from generate_series(1, %s)"
        connection.execute(insert, [1])
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute(insert, [100])
        assert value(small.url(), "select count(*) from filler") == 1


def test_a_standby_follows_and_may_only_be_read(own: OwnPostgres) -> None:
    with standby(own) as copy:
        execute(own.url(), "create table followed as select 'read' as words")
        copy.wait_for(own)
        assert value(copy.url(), "select words from followed") == "read"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            execute(copy.url(), "delete from followed")


ORPHAN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from support.processes import children
from support.postgres_server import own_server
with own_server() as own:
    print(own.pid, *children(own.pid), own._folder, flush=True)
    sys.stdin.read()
"""


def test_killed_test_run_leaves_no_servers() -> None:
    command = [sys.executable, "-c", ORPHAN, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout
        *pids, folder = run.stdout.readline().split()
        run.send_signal(signal.SIGKILL)
    wait_until_gone(*map(int, pids))
    deadline = time.monotonic() + START
    while Path(os.fsdecode(folder)).exists():
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)


def test_nobody_runs_as_root(own: OwnPostgres) -> None:
    assert Path(f"/proc/{own.pid}").stat().st_uid != 0
    assert bool(somebody()) == (os.geteuid() == 0)


# PgBouncer


def test_pooler_serves_a_session_by_several_connections(database: str) -> None:
    with pgbouncer(database) as url, ExitStack() as stack:
        sessions = [stack.enter_context(connected(url, prepare_threshold=None)) for _ in range(8)]
        in_transactions = set()
        with ExitStack() as transactions:
            for session in sessions[:POOL]:
                transactions.enter_context(session.transaction())
                in_transactions.add(session.execute(WHO_SERVES).fetchone())
        assert len(in_transactions) == POOL
        assert {sessions[-1].execute(WHO_SERVES).fetchone() for _ in range(8)} == in_transactions


def test_the_pooler_keeps_no_state_of_a_session(database: str) -> None:
    with pgbouncer(database) as url, ExitStack() as stack:
        one, other = (
            stack.enter_context(connected(url, prepare_threshold=None)) for _ in range(POOL)
        )
        with one.transaction(), other.transaction():
            one.execute("prepare answer as select 42")
            other.execute("select 1")
        known = [other.execute(KNOWN_STATEMENTS).fetchone() for _ in range(POOL)]
        assert sorted(known) == [(False,), (True,)]  # by what another session left, or not


# PostgREST


@pytest.fixture(scope="module")
def data_api(postgres: Postgres) -> Iterator[DataApi]:
    with postgres.fresh_database() as url:
        create_roles(url)
        execute(
            url,
            """
            create schema bitespeed;
            create table bitespeed.secret as select 'told' as words;
            alter table bitespeed.secret enable row level security;
            create function bitespeed.whoami() returns text language sql as 'select current_user';
            create function bitespeed.double(number int) returns int language sql
                as 'select 2 * number';
            grant usage on schema bitespeed to anon, service_role;
            grant select on bitespeed.secret to anon, service_role;
            """,
        )
        with postgrest(url) as api:
            yield api


def ask(api: DataApi, target: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body of what it answers to a GET, or a POST if there is something to send."""
    with closing(HTTPConnection(urlsplit(api.url).netloc, timeout=TIMEOUT)) as connection:
        return ask_on(connection, target, body, **headers)


def ask_on(
    connection: HTTPConnection, target: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    sent = None if body is None else json.dumps(body)
    told = {"Content-Type": "application/json"} | headers
    connection.request("POST" if sent else "GET", target, sent, told)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def with_key(key: str) -> dict[str, str]:
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def test_data_api_answers_as_role_of_key(data_api: DataApi) -> None:
    whoami = "/rest/v1/rpc/whoami"
    for key, role in ((data_api.anon_key, "anon"), (data_api.service_key, "service_role")):
        assert ask(data_api, whoami, {}, **with_key(key)) == (200, role)
    assert ask(data_api, "/rest/v1/secret", **with_key(data_api.anon_key)) == (200, [])
    told = ask(data_api, "/rest/v1/secret", **with_key(data_api.service_key))
    assert told == (200, [{"words": "told"}])


def test_data_api_refuses_forged_and_expired_keys(data_api: DataApi) -> None:
    forged = jwt("service_role")[:-8] + "AAAAAAAA"
    for key in (forged, jwt("service_role", life=-60)):
        headers = {"apikey": data_api.anon_key, "Authorization": f"Bearer {key}"}
        status, _ = ask(data_api, "/rest/v1/rpc/whoami", {}, **headers)
        assert status == 401


def test_the_gateway_wants_a_key_and_knows_one_prefix(data_api: DataApi) -> None:
    bearer = {"Authorization": f"Bearer {data_api.service_key}"}
    status, said = ask(data_api, "/rest/v1/rpc/whoami", {}, **bearer)
    assert (status, said["message"]) == (401, "No API key found in request")
    status, said = ask(data_api, "/rest/v1/rpc/whoami", {}, apikey="another")
    assert (status, said["message"]) == (401, "Invalid API key")
    status, _ = ask(data_api, "/rpc/whoami", {}, **with_key(data_api.service_key))
    assert status == 404


def test_the_gateway_serves_many_requests_on_one_connection(data_api: DataApi) -> None:
    key = with_key(data_api.anon_key)
    with closing(HTTPConnection(urlsplit(data_api.url).netloc, timeout=TIMEOUT)) as connection:
        for number in range(20):
            answer = ask_on(connection, "/rest/v1/rpc/double", {"number": number}, **key)
            assert answer == (200, 2 * number)


def test_concurrent_runs_may_create_the_same_roles(postgres: Postgres) -> None:
    with ThreadPoolExecutor() as threads:
        for made in [threads.submit(create_roles, postgres.url()) for _ in range(8)]:
            made.result(TIMEOUT)
    roles = "select count(*) from pg_roles where rolname in ('anon', 'service_role')"
    assert value(postgres.url(), roles) == 2


# The line to a server


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """What waits for an answer does so there."""
    with ThreadPoolExecutor() as threads:
        yield threads


def test_a_line_forwards_and_can_be_cut(database: str) -> None:
    with proxied(database) as (line, url), connected(url) as connection:
        assert line.connections == 1
        line.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        assert value(url, "select 1") == 1


def test_commit_with_swallowed_answer_is_done(
    database: str,
) -> None:
    execute(database, "create table note (words text)")
    with proxied(database) as (line, url), connected(url) as connection:
        line.swallow()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("insert into note values ('committed')")
        assert value(database, "select words from note") == "committed"
        line.heal()
        assert value(url, "select words from note") == "committed"


def test_an_answer_swallowed_can_leave_the_client_waiting(
    database: str, threads: ThreadPoolExecutor
) -> None:
    with proxied(database) as (line, url), connected(url) as connection:
        line.swallow(after=10, then_cut=False)
        answer = threads.submit(connection.execute, "select 1")
        line.wait_until_swallowed()
        time.sleep(A_WHILE)
        assert not answer.done()
        line.cut()
        with pytest.raises(psycopg.OperationalError):
            answer.result(TIMEOUT)


def test_a_stalled_line_lets_nothing_through_and_breaks_nothing(
    database: str, threads: ThreadPoolExecutor
) -> None:
    with proxied(database) as (line, url), connected(url) as connection:
        line.stall()
        late = threads.submit(connection.execute, "create table note ()")
        new = threads.submit(value, url, "select 1")
        time.sleep(A_WHILE)
        assert not late.done()
        assert not new.done()
        assert value(database, "select to_regclass('note')") is None
        line.heal()
        late.result(TIMEOUT)
        assert new.result(TIMEOUT) == 1
        assert value(database, "select to_regclass('note')") == "note"


def test_a_line_to_a_dead_server_is_reset(own: OwnPostgres) -> None:
    with proxied(own.url()) as (_, url), connected(url) as connection:
        own.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        own.start()
        assert value(url, "select 1") == 1


# Where the servers come from


def test_missing_server_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_POSTGRES_BIN", "/nowhere")
    with pytest.raises(server_programs.Missing, match="TEST_POSTGRES_BIN: /nowhere has not all of"):
        server_programs.postgres()
