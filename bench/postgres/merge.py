"""One request that merges a very large identity under an older contact.

Measured twice, each time with identities that were made for it: over HTTP, from the request to
the last byte of an answer that lists every contact; and at the store, step by step. Each merge
comes right after a checkpoint, when every page that changes goes into the WAL as a whole.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from itertools import count, pairwise
from typing import NamedTuple

import msgspec
import uvloop

from bench import data, processes
from bench.failure import BenchmarkFailed
from bench.figures import Summary, summarise
from bench.postgres.databases import Connection, Databases, connect, run, value
from bench.scale import Scale
from bitespeed.model.identifiers import Observation, observe
from bitespeed.rules.identify import identify
from bitespeed.stores import open_store
from bitespeed.stores.postgres.bulk.migrate import migrate
from bitespeed.stores.protocols import AnyStore
from bitespeed.tenant import DEFAULT_TENANT
from bitespeed.wire.answers import encode_answer

WARM_UP = 1  # merges at the beginning that do not count

STEPS = ("read", "decide", "commit", "answer")


class Merge(msgspec.Struct, frozen=True):
    """Times in milliseconds, WAL in bytes."""

    contacts: int
    answer_bytes: int
    whole: Summary
    """The request over HTTP, with all of its answer."""
    repeat: Summary
    """The same once more, which reads and answers as much and writes nothing."""
    wal: Summary
    """Of that request."""
    steps: dict[str, Summary]
    """Of `STEPS`, in one process without HTTP; `commit` is all that writes."""


class Case(NamedTuple):
    """An older contact, and an identity that a request is going to merge under it."""

    elder: int
    contacts: int

    @property
    def observation(self) -> Observation:
        """The email of the one, the phone of the other."""
        return observe(data.customer(self.elder)[0], data.customer(self.elder + 1)[1])


class Whole(NamedTuple):
    """One request over HTTP."""

    millis: float
    repeat: float
    wal: int
    answer_bytes: int


def measure(scale: Scale, databases: Databases) -> Merge:
    """As many merges as the scale says, in both ways."""
    url = databases.fresh()
    cases = _cases(url, scale.merge_contacts)
    with connect(url) as connection:
        migrate(connection)
        wholes = _over_http(scale, url, connection, cases)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as uvicorn does
            merges = runner.run(_at_the_store(scale, url, connection, cases))
    return Merge(
        contacts=scale.merge_contacts,
        answer_bytes=wholes[-1].answer_bytes,
        whole=summarise([whole.millis for whole in wholes]),
        repeat=summarise([whole.repeat for whole in wholes]),
        wal=summarise([whole.wal for whole in wholes]),
        steps={step: summarise([merge[step] for merge in merges]) for step in STEPS},
    )


def _cases(url: str, contacts: int) -> Iterator[Case]:
    """One case after the other, each made when the iteration comes to it."""
    for elder in count(1, contacts + 1):
        make(url, Case(elder, contacts))
        yield Case(elder, contacts)


def make(url: str, case: Case) -> None:
    """Write both identities of a case, its ids unused so far, see merge.sql."""
    known = {"first": data.FIRST, "began": data.BEGAN, "tenant": DEFAULT_TENANT}
    run(url, "merge.sql", {**known, "elder": case.elder, "contacts": case.contacts})


def _over_http(
    scale: Scale, url: str, connection: Connection, cases: Iterator[Case]
) -> list[Whole]:
    with (
        processes.service(url, scale.work) as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as http,
    ):
        wholes = [_whole(http, connection, next(cases)) for _ in range(WARM_UP + scale.merges)]
    return wholes[WARM_UP:]


def _whole(http: HTTPConnection, connection: Connection, case: Case) -> Whole:
    connection.execute("checkpoint")
    before = _wal(connection)
    millis, answer = _post(http, case)
    wal = _wal(connection) - before
    repeat, again = _post(http, case)
    if again != answer:
        raise BenchmarkFailed("The same request was answered otherwise the second time")
    return Whole(millis, repeat, wal, len(answer))


def _post(http: HTTPConnection, case: Case) -> tuple[float, bytes]:
    """Milliseconds, and the answer."""
    observation = case.observation
    body = msgspec.json.encode({"email": observation.email, "phoneNumber": observation.phone})
    start = time.perf_counter()
    http.request("POST", "/identify", body, {"Content-Type": "application/json"})
    response = http.getresponse()
    answer = response.read()
    millis = (time.perf_counter() - start) * 1000
    if response.status != 200:
        raise BenchmarkFailed(f"The merge was refused: {answer[:2000].decode()}")
    require_merged(answer, case)
    return millis, answer


def require_merged(answer: bytes, case: Case) -> None:
    """Raise `BenchmarkFailed` unless the answer is that to a merge."""
    contact = msgspec.json.decode(answer)["contact"]
    ids = [contact["primaryContatctId"], *contact["secondaryContactIds"]]
    if ids != list(range(case.elder, case.elder + case.contacts + 1)):
        raise BenchmarkFailed("The answer to the merge does not list every contact by age")


async def _at_the_store(
    scale: Scale, url: str, connection: Connection, cases: Iterator[Case]
) -> list[dict[str, float]]:
    store = await open_store(url)
    try:
        merges = [
            await _stepwise(store, connection, next(cases)) for _ in range(WARM_UP + scale.merges)
        ]
    finally:
        await store.close()
    return merges[WARM_UP:]


async def _stepwise(store: AnyStore, connection: Connection, case: Case) -> dict[str, float]:
    """The milliseconds of what the service does with a lone request."""
    observation = case.observation
    assert observation.email is not None
    assert observation.phone is not None
    connection.execute("checkpoint")
    started = time.perf_counter()
    snapshot = await store.read(
        DEFAULT_TENANT, emails=[observation.email], phones=[observation.phone]
    )
    read = time.perf_counter()
    changes, (reply,) = identify(snapshot, [observation])
    decided = time.perf_counter()
    committed = await store.commit(DEFAULT_TENANT, changes)
    written = time.perf_counter()
    answer = encode_answer(reply.answer(committed))
    answered = time.perf_counter()
    require_merged(answer, case)
    instants = started, read, decided, written, answered
    millis = [(later - earlier) * 1000 for earlier, later in pairwise(instants)]
    return dict(zip(STEPS, millis, strict=True))


def _wal(connection: Connection) -> int:
    """Bytes of WAL that the server has written so far, for whomever."""
    return int(value(connection, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))
