"""Whatever becomes of the database or of the line to it: a clear refusal or a wait, never a wrong
answer; what was acknowledged is there; and servers come back by themselves.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg
import pytest
import uvloop

from bitespeed.model.identifiers import observe
from bitespeed.stores.postgres.store import PostgresStore
from support.cluster import Member, cluster
from support.database_url import database_of
from support.history_checker import Operation
from support.kills_under_load import (
    CLIENTS,
    ENDLESS,
    load_during,
    look_up_acknowledged,
    repeat_unknown,
    violations,
)
from support.load_clients import Request, mix, run, send
from support.load_trial import damage
from support.log_lines import unexpected_errors
from support.postgres_server import OwnPostgres, own_server, standby
from support.processes import POLL_INTERVAL, START, is_alive
from support.server import TIMEOUT, Reply, ask
from support.tcp_proxy import proxied

T = TypeVar("T")

PARTITION = 3.0  # seconds
MANY = 1000  # more than fit
MEANWHILE = 300  # requests of those whom the partition does not affect

WAITS = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
LOCKED = "Others hold a lock for too long; try again"
CANCELLED = "The database took too long and gave up; try again"
LOST = "The connection to the database was lost; try again"
AWAY = "The database cannot be reached; try again"
LATE = "The database did not answer in time; try again"
READ_ONLY = "The database cannot be written: it is read-only"
FULL = "The disk that holds the database is full"
TOO_MANY = "The database has no connection left"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A private server, as durable as in production."""
    with own_server(deadlock_timeout="200ms") as postgres:
        yield postgres


@pytest.fixture
def database(own: OwnPostgres) -> Iterator[str]:
    with own.fresh_database() as url:
        yield url


@contextmanager
def serving(
    folder: Path, database: str, way: str | None = None, **environ: str
) -> Iterator[Member]:
    """One server, which must get through the test without ending or a mistake of ours."""
    ways = [way] if way else []
    with cluster(folder, 1, database=database, ways=ways, **environ) as servers:
        (member,) = servers.members
        yield member
        assert member.process.poll() is None
        assert unexpected_errors(member.log()) == []
        assert damage(servers.stored()) == []


def to(member: Member, method: str, target: str, value: object = None) -> Reply:
    """What the server answers to one request."""
    body = None if value is None else msgspec.json.encode(value)
    with closing(HTTPConnection("127.0.0.1", member.port, timeout=TIMEOUT)) as connection:
        return ask(connection, method, target, body)


def identify(member: Member, email: str, phone: str) -> Reply:
    return to(member, "POST", "/identify", {"email": email, "phoneNumber": phone})


def look_up(member: Member, email: str) -> Reply:
    return to(member, "GET", f"/contacts?email={email}")


def assert_refused(reply: Reply, *sentences: str) -> None:
    """With 503, so that whoever asked tries again, and says in a sentence why."""
    assert reply.status == 503, reply
    assert reply.headers["retry-after"] == "1"
    assert reply.error in sentences


UNBOUND = "-c statement_timeout=0 -c default_transaction_read_only=off"  # sessions of ours


def value(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True, options=UNBOUND) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True, options=UNBOUND) as connection:
        connection.execute(statement.encode())


def contacts(url: str) -> int:
    return value(url, "select count(*) from bitespeed.contact_record")


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(POLL_INTERVAL)


@contextmanager
def held_up(url: str, email: str) -> Iterator[None]:
    """Whoever wants to insert this email waits meanwhile."""
    insert = "insert into bitespeed.identifier values ('default', 'email', %s, 0)"
    with psycopg.connect(url) as holder:
        holder.execute(insert, [email])
        yield
        holder.rollback()


def wait_until_held_up(url: str) -> None:
    wait_until(lambda: value(url, WAITS) > 0)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """What waits for an answer does so there."""
    with ThreadPoolExecutor() as threads:
        yield threads


# The line


def test_commit_with_lost_answer_adds_nothing_when_repeated(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    with proxied(database) as (line, way), serving(tmp_path, database, way) as member:
        known = identify(member, "a@x.test", "1").contact
        with held_up(database, "b@x.test"):
            answer = threads.submit(identify, member, "b@x.test", "1")
            wait_until_held_up(database)
            line.swallow()
        assert_refused(answer.result(TIMEOUT), LOST)
        wait_until(lambda: contacts(database) == 2)
        line.heal()
        again = identify(member, "b@x.test", "1").contact
        assert contacts(database) == 2
        assert again["primaryContatctId"] == known["primaryContatctId"]
        assert again["emails"] == ["a@x.test", "b@x.test"]


def test_request_cut_before_commit_adds_once_when_repeated(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    with proxied(database) as (line, way), serving(tmp_path, database, way) as member:
        with held_up(database, "a@x.test"):
            answer = threads.submit(identify, member, "a@x.test", "1")
            wait_until_held_up(database)
            line.cut()
            assert_refused(answer.result(TIMEOUT), LOST)
        for _ in range(2):
            assert identify(member, "a@x.test", "1").contact["emails"] == ["a@x.test"]
        assert contacts(database) == 1


def test_missing_answer_is_refused_in_time(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    settings = {"BITESPEED_DATABASE_TIMEOUT": "1"}
    with proxied(database) as (line, way), serving(tmp_path, database, way, **settings) as member:
        identify(member, "a@x.test", "1")
        with held_up(database, "b@x.test"):
            answer = threads.submit(identify, member, "b@x.test", "1")
            wait_until_held_up(database)
            line.swallow(then_cut=False)
        assert_refused(answer.result(TIMEOUT), LATE)
        line.heal()
        assert identify(member, "b@x.test", "1").contact["secondaryContactIds"] == [2]
        assert contacts(database) == 2


def test_read_is_answered_after_idle_connection_was_cut(database: str, tmp_path: Path) -> None:
    with proxied(database) as (line, way), serving(tmp_path, database, way) as member:
        identify(member, "a@x.test", "1")
        line.cut()
        assert look_up(member, "a@x.test").contact["phoneNumbers"] == ["1"]


def test_last_message_and_reset_at_once_are_both_noticed(database: str) -> None:
    """A backend that ends with a statement of ours unread says so and resets the connection. uvloop
    tells of a reset once: who takes the words alone waits for an answer that will not come.
    """

    async def read_while_terminated() -> Any:
        store = await PostgresStore.open(database)
        try:
            await store.ping()
            backend = value(database, BACKEND)
            os.kill(backend, signal.SIGSTOP)
            reading = asyncio.ensure_future(store.read("default", emails=LONG))
            for _ in range(5):
                await asyncio.sleep(0)
            value(database, f"select pg_terminate_backend({backend})")
            os.kill(backend, signal.SIGCONT)
            wait_until(lambda: not is_alive(backend))  # the loop sees nothing of it until then
            return await reading
        finally:
            await store.close()

    assert uvloop.run(read_while_terminated()).emails == {}


LONG = [email for n in range(3000) if (email := observe(f"a{n}@x.test", None).email)]
BACKEND = "select pid from pg_stat_activity where application_name = 'bitespeed'"


# A partition


def test_partition_of_one_server_does_not_delay_another(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """It begins while a commit of the one server is under way, on the person that everybody at the
    other one asks about and adds to."""
    with proxied(database) as (line, way), ExitStack() as stack:
        servers = stack.enter_context(cluster(tmp_path, 2, database=database, ways=[way, database]))
        parted, other = servers.members
        identify(other, "hot@x.test", "0")
        with held_up(database, "b@x.test"):
            unknown = threads.submit(identify, parted, "b@x.test", "0")
            wait_until_held_up(database)
            line.stall()
        begin = time.monotonic()
        late = threads.submit(run, send([parted.port], hot("late", 4), 4))
        history = run(send([other.port], hot("meanwhile", MEANWHILE), CLIENTS))
        time.sleep(max(0, begin + PARTITION - time.monotonic()))
        line.heal()  # not before those at the other server have all been answered
        history += late.result(TIMEOUT)
        assert unknown.result(TIMEOUT).status in {200, 503}
        parted.wait_until_ready()
        history += run(send([parted.port], hot("afterwards", 50), CLIENTS))
        stalls = sorted(op.end - op.begin for op in history[:MEANWHILE])
        print(f"longest stall of the unaffected {stalls[-1] / 1e9:.2f} s")
        assert [op.status for op in history[:MEANWHILE]] == [200] * MEANWHILE
        assert [op.status for op in history[-50:]] == [200] * 50
        assert {op.status for op in history} <= {200, 503}
        history += repeat_unknown(servers, history)
        unknown_one = Operation(0, 0, 0, "b@x.test", "0", None, 0)
        founder = Operation(0, 0, 0, "hot@x.test", "0", None, 0)
        assert violations(servers, [founder, unknown_one, *history]) == []
        assert unexpected_errors(servers.log()) == []


def hot(name: str, count: int) -> list[Request]:
    """Requests that all add to one person."""
    return [Request(f"{name}{n}@x.test", "0") for n in range(count)]


def test_partition_during_open_transaction_delays_every_commit(
    database: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """The control: it is because a commit is one statement that nobody is held up."""
    with (
        proxied(database) as (line, way),
        serving(tmp_path, database) as member,
        psycopg.connect(way) as transaction,
    ):
        identify(member, "hot@x.test", "0")
        transaction.execute("select from bitespeed.identity for no key update")
        line.stall()
        answer = threads.submit(identify, member, "b@x.test", "0")
        wait_until_held_up(database)
        assert not answer.done()
        line.heal()
        transaction.rollback()
        assert answer.result(TIMEOUT).status == 200


def test_repeated_connection_cuts_leave_data_sound(database: str, tmp_path: Path) -> None:
    with proxied(database) as (line, way):

        def cut_again_and_again() -> None:
            for after in (0, 20, 200, 2000):
                line.cut()
                time.sleep(0.1)
                line.swallow(after=after)
                time.sleep(0.2)
                line.heal()
                time.sleep(0.1)

        ways = [way, database]
        with cluster(tmp_path, 2, database=database, ways=ways) as servers:
            load = load_during(servers.ports, mix(31, ENDLESS), cut_again_and_again, before=0.3)
            history = run(load)
            history += look_up_acknowledged(servers.ports[0], history)
            history += repeat_unknown(servers, history)
            assert unexpected_errors(servers.log()) == []
    assert violations(servers, history) == []
    assert {op.status for op in history} == {200, 503}


# The server


def test_lock_kept_too_long_is_reported(database: str, tmp_path: Path) -> None:
    """The time is shortened, lest the server's own timeout ends before."""
    with serving(tmp_path, database) as member:
        execute(database, "alter function bitespeed.commit set lock_timeout = '200ms'")
        with held_up(database, "a@x.test"):
            assert_refused(identify(member, "a@x.test", "1"), LOCKED)
        assert identify(member, "a@x.test", "1").status == 200
        assert contacts(database) == 1


def test_cancelled_statement_is_reported(database: str, tmp_path: Path) -> None:
    with serving(tmp_path, database) as member:
        identify(member, "a@x.test", "1")
        change_settings(database, "set statement_timeout = '500ms'")
        with held_up(database, "b@x.test"):
            assert_refused(identify(member, "b@x.test", "1"), CANCELLED)
            assert look_up(member, "a@x.test").contact["emails"] == ["a@x.test"]
        assert identify(member, "b@x.test", "1").status == 200
        assert contacts(database) == 2
        change_settings(database, "reset statement_timeout")


def change_settings(url: str, change: str) -> None:
    """Of whoever connects from now on, which they must."""
    execute(url, f"alter database {database_of(url)} {change}")
    end_others(url)


def end_others(url: str) -> None:
    """Whoever is connected has to connect again."""
    execute(
        url,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )


def test_server_without_free_connection_is_reported(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    """All are taken by others; the ones that we had are gone."""
    with serving(tmp_path, database) as member, ExitStack() as others:
        identify(member, "a@x.test", "1")
        end_others(database)
        occupy_all(own, others)
        assert_refused(identify(member, "a@x.test", "1"), TOO_MANY, AWAY)
        assert_refused(look_up(member, "a@x.test"), TOO_MANY, AWAY)
        assert_refused(to(member, "GET", "/ready"), TOO_MANY, AWAY)
        assert to(member, "GET", "/health").status == 200
        others.close()
        assert identify(member, "a@x.test", "1").contact["emails"] == ["a@x.test"]


def occupy_all(own: OwnPostgres, others: ExitStack) -> None:
    with suppress(psycopg.OperationalError):
        for _ in range(MANY):
            others.enter_context(closing(psycopg.connect(own.url())))
        raise AssertionError("It lets everybody in")


def test_read_only_server_refuses_changes_and_answers_reads(database: str, tmp_path: Path) -> None:
    with serving(tmp_path, database) as member:
        identify(member, "a@x.test", "1")
        change_settings(database, "set default_transaction_read_only = on")
        assert_refused(identify(member, "b@x.test", "1"), READ_ONLY)
        assert_refused(to(member, "DELETE", "/contacts/1"), READ_ONLY)
        assert identify(member, "a@x.test", "1").contact["emails"] == ["a@x.test"]
        assert look_up(member, "a@x.test").contact["phoneNumbers"] == ["1"]
        change_settings(database, "reset default_transaction_read_only")
        assert identify(member, "b@x.test", "1").contact["emails"] == ["a@x.test", "b@x.test"]


def test_standby_answers_known_values_and_refuses_new_ones(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with serving(tmp_path / "first", database) as member:
        identify(member, "a@x.test", "1")
    with standby(own) as copy:
        copy.wait_for(own)
        way = copy.url(database_of(database))
        with serving(tmp_path / "second", way) as member:
            assert identify(member, "a@x.test", "1").contact["phoneNumbers"] == ["1"]
            assert look_up(member, "a@x.test").status == 200
            assert_refused(identify(member, "b@x.test", "1"), READ_ONLY)
    assert contacts(database) == 1


def test_full_disk_refuses_commits_until_there_is_room(
    tmp_path: Path,
) -> None:
    with own_server(disk=64) as small, serving(tmp_path, small.url()) as member:
        identify(member, "a@x.test", "1")
        fill(small.url())
        acknowledged: list[Request] = []
        for number in range(20_000):
            reply = identify(member, f"{'long' * 50}{number}@x.test", f"{number:050}")
            if reply.status != 200:
                break
            acknowledged.append(Request(f"{'long' * 50}{number}@x.test", f"{number:050}"))
        assert_refused(reply, FULL)
        assert look_up(member, "a@x.test").contact["phoneNumbers"] == ["1"]
        assert identify(member, "a@x.test", "1").status == 200
        execute(small.url(), "drop table filler")
        assert identify(member, "b@x.test", "1").contact["emails"] == ["a@x.test", "b@x.test"]
        print(f"{len(acknowledged)} acknowledged until the disk was full")
        for request in acknowledged:
            assert identify(member, *request).status == 200
        assert contacts(small.url()) == len(acknowledged) + 2


def fill(url: str) -> None:
    """Leave less than a page to a table."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table filler (words text)")
        connection.execute("alter table filler alter words set storage external")
        for size in (1_000_000, 100_000, 5000):
            with suppress(psycopg.errors.DiskFull):
                for _ in range(MANY):
                    connection.execute("insert into filler select repeat('x', %s)", [size])
                raise AssertionError("The disk is too large")
