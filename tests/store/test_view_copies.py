"""A copy of the view `contact` that another program keeps, by polling for what has been updated.

`docs/postgres.md` says how: it asks again for what may have become visible since, of a time before.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bitespeed.errors import NotFound
from bitespeed.model.identifiers import observe
from bitespeed.resources import text
from bitespeed.service.service import Service
from support.backends import PostgresBackend, Row, connected, on_one_store, stores
from support.invariants import assert_clean
from support.stores import service_on, write

PAGE = Path(__file__).parents[2] / "docs" / "postgres.md"

COLUMNS = "id, phonenumber, email, linkedid, linkprecedence, createdat, updatedat, deletedat"
UPDATED = COLUMNS.split(", ").index("updatedat")

REQUESTS = 1_000
WRITERS = 12  # at three stores
STORES = 3
DELETES = 0.1  # of the requests
VALUES = 400  # of each kind; each is seen with its neighbours, so there are merges all the time
POLL_INTERVAL = 0.02  # seconds

EMAIL_TAKEN = "insert into identifier values ('default', 'email', 'a@x', 99)"

VIEW_OF_POSTGRES = "pg_get_viewdef('contact'::regclass)"
VIEWS = {
    "sqlite": "select sql from sqlite_schema where name = 'contact'",
    "postgres": f"select 'create or replace view contact as ' || {VIEW_OF_POSTGRES}",
}
RELABELLED = {
    "sqlite": "max(c.updated_at, coalesce(r.relabelled_at, 0), coalesce(born.relabelled_at, 0))",
    "postgres": "GREATEST(c.updated_at, r.relabelled_at, born.relabelled_at)",
}


class Copy:
    """The rows of the view as far as the polls have found them."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.rows: dict[int, Row] = {}
        self.found: list[int] = []
        """The number of rows of each poll."""

    def poll(self, overlap: float) -> None:
        """Ask for what was updated since the newest row that is known, or ``overlap`` seconds
        before, and take it over.
        """
        where = ""
        if self.rows:
            newest = max(row[UPDATED] for row in self.rows.values())
            where = f"where updatedat >= {self._earlier(newest, overlap)}"
        rows = self._backend.query(f"select {COLUMNS} from contact {where}")
        self.rows |= {row[0]: row for row in rows}
        self.found.append(len(rows))

    def _earlier(self, instant: Any, overlap: float) -> str:
        if self._backend.name == "sqlite":  # where times are taken in the order of commits
            return f"'{instant}'"
        return f"timestamp '{instant}' - interval '{overlap} s'"

    def is_right(self) -> bool:
        """Whether it is what the view shows."""
        rows = self._backend.query(f"select {COLUMNS} from contact")
        return self.rows == {row[0]: row for row in rows}


class Commits:
    """The time that a commit takes at most: of those that are over or under way."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._begun: set[float] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        begin = time.monotonic()
        self._begun.add(begin)
        yield
        self._begun.discard(begin)
        self._longest = max(self._longest, time.monotonic() - begin)

    def longest(self) -> float:
        return max([self._longest, *(time.monotonic() - begin for begin in self._begun)])


async def send(service: Service, commits: Commits, rng: random.Random) -> None:
    """Send this writer's part of the requests, one after the other."""
    known = [0]
    for _ in range(REQUESTS // WRITERS + 1):
        async with commits.one():
            if rng.random() < DELETES:
                with suppress(NotFound):
                    await service.delete(rng.choice(known))
                continue
            place = rng.randrange(VALUES)
            neighbour = place + rng.choice([-1, 0, 0, 1])
            answer = await service.identify(observe(f"e{place}@x", f"{1000 + neighbour}"))
            known += [answer.primary_id, *answer.secondary_ids]


async def copied_under_load(backend: Any) -> Copy:
    """A copy that was polled for while many wrote, and once more afterwards."""
    copy, commits = Copy(backend), Commits()
    async with stores(backend, STORES) as opened:
        services = [Service(store) for store in opened]
        writers = [
            asyncio.create_task(send(services[n % STORES], commits, random.Random(n)))
            for n in range(WRITERS)
        ]
        while not all(writer.done() for writer in writers):
            await asyncio.to_thread(copy.poll, commits.longest())
            await asyncio.sleep(POLL_INTERVAL)
        await asyncio.gather(*writers)
        copy.poll(commits.longest())
        for service in services:
            await service.drain()
        await assert_clean(opened[0])
    return copy


@contextmanager
def view_of_contacts_alone(backend: Any) -> Iterator[None]:
    """The view without the times when rows got another primary."""
    on_one_store(backend, lambda store: store.ping())
    ((right,),) = backend.query(VIEWS[backend.name])
    wrong = right.replace(RELABELLED[backend.name], "c.updated_at")
    assert wrong != right
    replace_view(backend, wrong)
    try:
        yield
    finally:
        replace_view(backend, right)


def replace_view(backend: Any, statement: str) -> None:
    if backend.name == "sqlite":  # which has no other way
        backend.query("drop view contact")
    backend.query(statement)


def overlap_of_the_page() -> float:
    """In seconds, as `docs/postgres.md` recommends it."""
    (minutes,) = re.findall(r"updatedat.* - interval '(\d+) minutes'", PAGE.read_text())
    return 60 * int(minutes)


def test_overlap_of_the_page_outlasts_every_commit():
    commit = text("bitespeed.stores.postgres", "functions/commit.sql")
    (bound,) = re.findall(r"statement_timestamp\(\) \+ interval '(\d+) s'", commit)
    assert overlap_of_the_page() > int(bound)


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
def test_copy_equals_the_view_after_concurrent_requests(backend):
    copy = asyncio.run(copied_under_load(backend))
    kinds = dict(backend.query("select kind, count(*) from event group by kind"))
    print(f"{len(copy.rows)} rows, {len(copy.found)} polls, {sum(copy.found)} found; {kinds}")
    assert copy.is_right()
    assert min(kinds["identities.merged"], kinds["contact.deleted"]) > REQUESTS / 20
    assert copy.found[-1] < len(copy.rows)  # so that the polls have decided it


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
def test_copy_of_a_view_without_relabelled_times_is_wrong(backend):
    with view_of_contacts_alone(backend):
        copy = asyncio.run(copied_under_load(backend))
        assert not copy.is_right()


@pytest.mark.parametrize("backend", ["postgres", "pgbouncer", "data api"], indirect=True)
def test_overlap_finds_a_commit_that_becomes_visible_late(backend: PostgresBackend):
    """Somebody holds the email of a writer, who has taken the time of its commit by then."""

    async def main() -> None:
        with_overlap, without = Copy(backend), Copy(backend)
        async with stores(backend, 2) as (store, other), service_on(store) as service:
            with (
                connected(backend.direct) as connection,
                connection.transaction(force_rollback=True),
            ):
                connection.execute(EMAIL_TAKEN)
                late = asyncio.create_task(service.identify(observe("a@x", "1")))
                await backend.somebody_waits()
                await write(other, ("b@x", "2"))
                without.poll(0)
                with_overlap.poll(0)
            await late
        without.poll(0)
        with_overlap.poll(overlap_of_the_page())
        assert not without.is_right()
        assert with_overlap.is_right()

    asyncio.run(main())
