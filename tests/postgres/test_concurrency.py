"""Many clients at several processes on one PostgreSQL server, all about the same few people: is
every answer right, and all that is stored, without a deadlock? And would it be noticed if not?

TEST_LOAD=10 makes everything that is sent under load ten times as much.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psycopg
import pytest

from bitespeed.jobs.check import check
from bitespeed.model.changes import Changes
from bitespeed.stores import open_store
from bitespeed.stores.protocols import AnyStore
from support.cluster import COUNTING_SERVER, SLEEPY_SERVER
from support.load_trial import Trial, contention, damage, under_load
from support.log_lines import unexpected_errors
from support.pgbouncer import pgbouncer
from support.postgres_server import OwnPostgres, own_server
from support.processes import POLL_INTERVAL, START
from support.sleepy_functions import Stops, stop_at
from support.stores import decide, write

GAVE_UP = "Others keep changing the same identity; try again"
T = TypeVar("T")

LOAD = int(os.environ.get("TEST_LOAD", "1"))
ANSWERS = 30.0  # seconds until a session must have answered; those that do take milliseconds
DOWNWARDS = "options=-c%20stops.downwards%3Dyes"  # of a URL, see the mistake
HOLD = 0.05  # seconds at most between two locks, where everybody is to meet somebody else
POOL = 6  # connections of the pooler to the server, for four processes

# Where to stop: when the first identity is locked, when all are and nothing has been written.
LOCKED = "for no key update;"
ALL_LOCKED = "end loop;"

ERASE = "erase"
# What has to do with these is not come to.
NOT_THERE = "cache|admit_commit|'erasure'|secret|adopted|isolation|statement_timestamp"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A private server, whose log tells of every deadlock, and of whoever waits for long."""
    with own_server(deadlock_timeout="200ms", log_lock_waits=True) as postgres:
        yield postgres


@pytest.fixture
def database(own: OwnPostgres) -> Iterator[str]:
    """The URL of a fresh database with our schema."""
    with own.fresh_database() as url:
        on_store(url, lambda store: store.ping())
        yield url


@contextmanager
def deadlocks(own: OwnPostgres) -> Iterator[list[str]]:
    """Those that the log tells of in the meantime, once it is over."""
    before = len(own.log())
    told: list[str] = []
    yield told
    told += deadlocks_since(own, before)


def deadlocks_since(own: OwnPostgres, before: int) -> list[str]:
    """Those that the log tells of after so many characters of it."""
    return [line for line in own.log()[before:].splitlines() if "deadlock detected" in line]


def on_store(url: str, work: Callable[[AnyStore], Awaitable[T]]) -> T:
    """What the work makes of a store of the test's own."""

    async def run() -> T:
        store = await open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def assert_right(trial: Trial, length: int) -> None:
    """Every promise is kept, and enough was asked and answered that this says something."""
    print(contention(trial).summary())
    assert trial.violations() == []
    assert len(trial.history) >= length
    assert trial.statuses().keys() <= {200, 204, 404, 503}
    assert trial.statuses()[503] < 0.01 * length  # a slow machine may run out of time
    assert all(op.refusal != GAVE_UP for op in trial.history)
    assert trial.merges() + len(trial.erased) > length / 20  # of who is erased, no merge is told
    assert contention(trial).conflicts.total() > 0
    assert unexpected_errors(trial.log) == []


# Under load


def test_concurrent_requests_leave_history_in_order(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    length = 20_000 * LOAD
    with deadlocks(own) as told:
        trial = under_load(tmp_path, COUNTING_SERVER, length, seed=11, database=database)
    assert_right(trial, length)
    assert told == []


def test_concurrent_deletions_leave_history_linear(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    length = 5000 * LOAD
    with deadlocks(own) as told:
        trial = under_load(
            tmp_path, COUNTING_SERVER, length, seed=12, database=database, deletes=0.15
        )
    assert_right(trial, length)
    assert trial.deletions() > length / 20
    assert told == []


@pytest.mark.parametrize("removals", [{}, {"deletes": 0.1}, {"erases": 0.1}], ids=str)
def test_pauses_at_every_step_leave_history_linear(
    own: OwnPostgres, database: str, tmp_path: Path, removals: dict[str, float]
) -> None:
    length = (500 if "erases" in removals else 1500) * LOAD
    stops = Stops(database)
    stops.make_sleepy()
    with deadlocks(own) as told:
        trial = under_load(tmp_path, SLEEPY_SERVER, length, seed=13, database=database, **removals)
    assert_right(trial, length)
    assert stops.places > 40
    of_erasures = "erases" in removals
    unused = [
        code
        for file, code in stops.never_passed()
        if (file == ERASE) == of_erasures and not re.search(NOT_THERE, code)
    ]
    assert not removals or unused == []
    assert told == []


def test_pooler_of_statements_leaves_history_linear(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    length = 4000 * LOAD
    with deadlocks(own) as told, pgbouncer(database, default_pool_size=POOL) as pooled:
        trial = under_load(
            tmp_path, COUNTING_SERVER, length, seed=14, database=database, ways=[pooled]
        )
    assert_right(trial, length)
    assert told == []


def test_history_check_notices_commits_that_compare_nothing(database: str, tmp_path: Path) -> None:
    Stops(database, "compares nothing").make_sleepy()
    trial = under_load(tmp_path, SLEEPY_SERVER, 300, seed=15, database=database)
    assert {"torn", "order"} & trial.kinds()
    assert damage(trial.final)


def test_deadlocks_are_noticed_under_the_same_load(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    """Half of the servers lock in the other direction. Answers are right all the same: a deadlock
    ends as a conflict, so the server's log alone tells. When the first two merges of the same
    persons cross is up to chance; the load goes on until then."""
    stops = Stops(database, "half lock downwards")
    stops.make_sleepy(HOLD, only=stops.place(LOCKED))
    ways = [database, f"{database}?{DOWNWARDS}"]
    before = len(own.log())
    trial = under_load(
        tmp_path,
        SLEEPY_SERVER,
        10_000,
        seed=16,
        until=lambda: deadlocks_since(own, before) != [],
        database=database,
        ways=ways,
    )
    assert trial.violations() == []
    assert deadlocks_since(own, before)


# Scripted: sessions that wait for each other where chance would seldom have it so


class Session:
    """A connection that may be kept waiting."""

    def __init__(self, url: str, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.connection = psycopg.connect(url, autocommit=True)

    def begin(self, function: str, document: object) -> "Future[Any]":
        """What the function answers, or raises, in the end; it waits for a lock, or has ended."""
        statement = f"select bitespeed.{function}('default', %s)"
        json = msgspec.json.encode(document).decode()
        answer = self._threads.submit(self._value, statement, json)
        deadline = time.monotonic() + START
        while not answer.done() and not self._waits():
            assert time.monotonic() < deadline
            time.sleep(POLL_INTERVAL)
        return answer

    def _value(self, statement: str, *values: object) -> Any:
        row = self.connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def _waits(self) -> bool:
        query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
        with psycopg.connect(self.connection.info.dsn) as other:
            return other.execute(query, [self.connection.info.backend_pid]).fetchone() == (True,)


@pytest.fixture
def sessions(database: str) -> Iterator[Callable[..., Session]]:
    """Makes sessions, with parameters to the URL."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())

        def session(parameters: str = "") -> Session:
            made = Session(f"{database}?{parameters}", threads)
            stack.callback(made.connection.close)
            return made

        yield session


def outcome(answer: "Future[Any]") -> Any:
    """What a session answered, or the type of the error."""
    try:
        return answer.result(ANSWERS)
    except psycopg.Error as error:
        return type(error)


def stored(url: str, *sent: tuple[str, str]) -> None:
    """Commit the observations, one after the other."""
    on_store(url, lambda store: write(store, *sent))


def decided(url: str, *sent: tuple[str, str]) -> Changes:
    """What the present state makes of observations in one batch."""
    return on_store(url, lambda store: decide(store, *sent))


def is_sound(url: str) -> bool:
    """Whether all invariants hold, but for the functions, which tests here have replaced."""
    return [v for v in on_store(url, check) if v.invariant != "I12"] == []


with_and_without = pytest.mark.parametrize("has_mistake", [False, True], ids=["right", "mistaken"])


def mistakes(has_mistake: bool, name: str) -> list[str]:
    return [name] if has_mistake else []


@with_and_without
def test_commit_of_changed_identity_gives_up(
    database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    Stops(database, *mistakes(has_mistake, "compares nothing"))
    stored(database, ("a@x", "1"))
    stale = decided(database, ("a@x", "2"))
    stored(database, ("a@x", "3"))
    committed = outcome(sessions().begin("commit", stale))
    assert (committed is None) != has_mistake
    assert is_sound(database) != has_mistake


@with_and_without
def test_commit_waits_for_concurrent_change_and_gives_up(
    database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    stops = Stops(database, *mistakes(has_mistake, "locks nothing"))
    stored(database, ("a@x", "1"))
    changes = [decided(database, ("a@x", phone)) for phone in ("2", "3")]
    first, second = sessions(), sessions()
    with stops.shut():
        stop_at(first.connection, stops.place(ALL_LOCKED))
        slow = first.begin("commit", changes[0])
        fast = second.begin("commit", changes[1])
        assert fast.done() == has_mistake
    assert outcome(slow) is not None
    assert (outcome(fast) is None) != has_mistake
    assert is_sound(database) != has_mistake


@with_and_without
def test_commit_gives_up_before_waiting_with_ended_identity_locked(
    own: OwnPostgres, database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    """Identity 2 has ended in 1, which is to end in 3. One who had not seen the first wants to
    merge 2 and 3; if it went on to 3 with the lock of 2, whoever relabels 2 would wait for it."""
    stops = Stops(database, *mistakes(has_mistake, "compares after all locks"))
    stored(database, ("a@x", "1"), ("b@x", "2"), ("c@x", "3"), ("c@x", "33"))
    unaware = decided(database, ("b@x", "3"))
    stored(database, ("a@x", "2"))
    changes = decided(database, ("c@x", "1"))
    one, other = sessions(), sessions()
    with deadlocks(own) as told:
        with stops.shut():
            stop_at(one.connection, stops.place(ALL_LOCKED))
            merge = one.begin("commit", changes)
            late = other.begin("commit", unaware)
            assert late.done() != has_mistake
        outcomes = [outcome(merge), outcome(late)]
    assert (psycopg.errors.DeadlockDetected in outcomes) == has_mistake
    assert len(told) == has_mistake
    assert has_mistake or (outcomes[0] is not None and outcomes[1] is None)
    assert is_sound(database)


@with_and_without
def test_identities_are_locked_by_all_in_one_direction(
    own: OwnPostgres, database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    stops = Stops(database, *mistakes(has_mistake, "half lock downwards"))
    stored(database, ("a@x", "1"), ("b@x", "2"))
    changes = [decided(database, sent) for sent in (("a@x", "2"), ("b@x", "1"))]
    up, down = sessions(), sessions(DOWNWARDS)
    with deadlocks(own) as told:
        with stops.shut():
            stop_at(up.connection, stops.place(LOCKED))
            begun = [up.begin("commit", changes[0]), down.begin("commit", changes[1])]
        outcomes = [outcome(answer) for answer in begun]
    assert (psycopg.errors.DeadlockDetected in outcomes) == has_mistake
    assert len(told) == has_mistake
    assert has_mistake or (outcomes[0] is not None and outcomes[1] is None)
    assert is_sound(database)


@with_and_without
def test_new_values_are_inserted_by_all_in_one_order(
    own: OwnPostgres, database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    """Somebody holds up m, between h and g as they come; in their order m is the last one."""
    Stops(database, *mistakes(has_mistake, "keys as they come"))
    three = decided(database, ("h@x", "1"), ("m@x", "2"), ("g@x", "3"))
    two = decided(database, ("g@x", "4"), ("h@x", "5"))
    with deadlocks(own) as told:
        with psycopg.connect(database) as holder:
            holder.execute("insert into bitespeed.identifier values ('default', 'email', 'm@x', 0)")
            begun = [sessions().begin("commit", three), sessions().begin("commit", two)]
            holder.rollback()
        outcomes = [outcome(answer) for answer in begun]
    assert (psycopg.errors.DeadlockDetected in outcomes) == has_mistake
    assert len(told) == has_mistake
    assert has_mistake or outcomes[1] is psycopg.errors.UniqueViolation
    assert is_sound(database)


@with_and_without
def test_read_is_one_snapshot_during_concurrent_merge(
    database: str, sessions: Callable[..., Session], has_mistake: bool
) -> None:
    stops = Stops(database, *mistakes(has_mistake, "reads as of several instants"))
    stored(database, ("a@x", "1"), ("b@x", "2"))
    asked = {
        "values": [["email", "b@x", None]],
        "contact": None,
        "members": True,
        "remembered": [],
    }
    before = outcome(sessions().begin("read", asked))
    session = sessions()
    with stops.shut():
        stop_at(session.connection, stops.place("i.tenant = read.tenant;"))
        reading = session.begin("read", asked)
        assert not reading.done()
        stored(database, ("a@x", "2"))
    assert (outcome(reading) == before) != has_mistake
    after = outcome(sessions().begin("read", asked))
    assert outcome(reading) != after
    assert after != before
