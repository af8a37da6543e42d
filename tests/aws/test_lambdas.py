"""Two hundred Lambda functions at once on one PostgreSQL server: each has a connection and a
service of its own and one request at a time, so nothing is gathered and everybody meets everybody.

TEST_LOAD=10 makes the load ten times as much.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from bitespeed.errors import Conflict, Unavailable
from bitespeed.model.changes import Changes, Committed
from bitespeed.model.identifiers import observe
from bitespeed.model.records import IdentityRecords
from bitespeed.service.attempts import MAX_ATTEMPTS
from bitespeed.service.batching import Limits
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from support.backends import prepared
from support.history_checker import Answer, Operation, check
from support.load_clients import Request, mix, run
from support.load_trial import damage
from support.postgres_server import OwnPostgres, own_server

LOAD = int(os.environ.get("TEST_LOAD", "1"))
LAMBDAS = 200
RETRIES = 40  # of a caller who is told to come again
LIMITS = Limits(deadline=30.0)  # 200 share two cores here, on AWS each has its own
DEADLOCK = "deadlock detected"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    with own_server(max_connections=LAMBDAS + 20, deadlock_timeout="200ms") as postgres:
        yield postgres


@pytest.fixture
def database(own: OwnPostgres) -> Iterator[str]:
    with own.fresh_database() as url:
        prepared(url)
        yield url


class Counting:
    """A store that counts how often a commit was in somebody's way."""

    def __init__(self, store: Any, told: Counter[str]) -> None:
        self._store = store
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, tenant: str, changes: Changes) -> Committed:
        self._told["commits"] += 1
        try:
            return await self._store.commit(tenant, changes)
        except Conflict:
            self._told["conflicts"] += 1
            raise


class Outcome(NamedTuple):
    history: list[Operation]
    final: list[IdentityRecords]
    told: Counter[str]


async def all_at_once(url: str, requests: list[Request]) -> Outcome:
    """The requests, each taken by whichever function is free."""
    history: list[Operation] = []
    told: Counter[str] = Counter()
    waiting = iter(requests)
    options = Options(pool_size=1, migrate=False, timeout=LIMITS.deadline)

    async def function(number: int) -> None:
        store = await open_store(url, options)
        service = Service(Counting(store, told), limits=LIMITS)
        for request in waiting:
            for attempt in range(RETRIES):
                operation = await asked(service, number, request)
                history.append(operation)
                if operation.status == 200:
                    break
                told["503"] += 1
                told["most"] = max(told["most"], attempt + 1)
                await asyncio.sleep(random.uniform(0, 0.2))
        await service.drain()
        await store.close()

    await asyncio.gather(*(function(number) for number in range(LAMBDAS)))
    store = await open_store(url)
    final = [identity async for page in store.scan() for identity in page]
    await store.close()
    return Outcome(history, final, told)


async def asked(service: Service, number: int, request: Request) -> Operation:
    begin = time.monotonic_ns()
    answer, status = None, 200
    try:
        told = await service.identify(observe(*request))
    except Unavailable:
        status = 503
    else:
        lists = tuple(told.emails), tuple(told.phones), tuple(told.secondary_ids)
        answer = Answer(told.primary_id, *lists)
    return Operation(number, begin, time.monotonic_ns(), *request, answer, status)


def assert_right(own: OwnPostgres, outcome: Outcome, length: int) -> None:
    history, final, told = outcome
    print(
        f"{length} requests of {LAMBDAS}: {told['commits']} commits, {told['conflicts']} conflicts,"
        f" {told['503']} times 503, of one request {told['most']} times at most"
    )
    assert check(history, final) == []
    assert damage(final) == []
    assert sum(operation.status == 200 for operation in history) == length
    assert told["conflicts"] > 0
    assert told["commits"] <= MAX_ATTEMPTS * len(history)
    assert DEADLOCK not in own.log()


def test_a_mixed_load(own: OwnPostgres, database: str) -> None:
    requests = list(mix(21, 2000 * LOAD))
    assert_right(own, run(all_at_once(database, requests)), len(requests))


def test_all_on_one_hot_identity(own: OwnPostgres, database: str) -> None:
    length = 200 * LOAD
    requests = [Request("hot@hillvalley.edu", f"+77{n:06}") for n in range(length)]
    outcome = run(all_at_once(database, requests))
    assert_right(own, outcome, length)
    (identity,) = outcome.final
    assert len(identity.contacts) == length
