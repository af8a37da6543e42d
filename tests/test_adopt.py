"""Taking over the table that people have: nothing is lost, everything is told, all or nothing."""

import asyncio
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitespeed.errors import BitespeedError, InvalidInput, StoreUnavailable, Unavailable
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe, parse_email, parse_phone
from bitespeed.model.identity import Answer
from bitespeed.rules.erase import Subject
from bitespeed.service.service import Service
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import Adopted, Wishes, adopt
from bitespeed.stores.postgres.bulk.adopt.repairs import KINDS, Repair
from bitespeed.stores.postgres.store import PostgresStore
from support.database_url import database_of
from support.postgres_server import Postgres, server
from support.processes import heed_interrupts
from support.reference_table import REFERENCE, UNCHECKED, Row, dump, fill, query, run, state

T = TypeVar("T")

TRIES = 10  # each waits for up to four seconds
HOUR = 3_600_000_000  # microseconds
NEW_YEAR = 1_704_067_200_000_000  # 2024, UTC

DOCUMENT = Path(__file__).parent.parent / "docs" / "adopt.md"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with server() as postgres:
        yield postgres


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    with postgres.fresh_database() as url:
        yield url


def nothing(*_: object) -> None:
    pass


def adopted(url: str, **wishes: Any) -> tuple[Adopted, list[Repair]]:
    """Adopt, and see that the result is sound."""
    repairs: list[Repair] = []
    result = adopt(url, Options(), Wishes(**wishes), repairs.append, nothing)
    assert result is not None
    if not wishes.get("dry_run"):
        assert on_store(url, check) == []
    return result, repairs


def on_store(url: str, work: Callable[[PostgresStore], Awaitable[T]]) -> T:
    async def opened() -> T:
        store = await PostgresStore.open(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def on_service(url: str, work: Callable[[Service], Awaitable[T]]) -> T:
    async def serving(store: PostgresStore) -> T:
        service = Service(store)
        try:
            return await work(service)
        finally:
            await service.drain()

    return on_store(url, serving)


def roles(url: str) -> dict[int, tuple[int | None, str]]:
    return {
        id_: (linked_id, precedence)
        for id_, linked_id, precedence in query(
            url, "select id, linkedid, linkprecedence from contact"
        )
    }


def kinds(repairs: Sequence[Repair]) -> dict[str, list[tuple[int, ...]]]:
    found: dict[str, list[tuple[int, ...]]] = {}
    for repair in repairs:
        found.setdefault(repair.kind, []).append(repair.contacts)
    return found


ORDERLY = [
    Row(1, "lorraine@hillvalley.edu", "123456"),
    Row(2, "mcfly@hillvalley.edu", "123456", 1, "secondary", created_at=1),
    Row(4, "doc@hillvalley.edu", "888888", created_at=2),
    Row(5, "doc@hillvalley.edu", "999", 4, "secondary", created_at=3, deleted_at=9),
    Row(7, None, "777", created_at=4, updated_at=50),
]

COLUMNS = "id, phonenumber, email, linkedid, linkprecedence, createdat, updatedat, deletedat"


def test_an_orderly_table_is_taken_over_as_it_is(database: str) -> None:
    fill(database, ORDERLY)
    before = query(database, "select * from contact order by id")
    result, repairs = adopted(database)
    assert query(database, "select * from contact order by id") == before
    assert repairs == []
    assert (result.contacts, result.deleted, result.identities) == (5, 1, 3)


def test_the_old_table_is_kept_row_by_row(database: str) -> None:
    fill(database, [*ORDERLY, Row(9, " ", "12-34", 7, "primary", None, None)])
    before = query(database, "select * from contact order by id")
    adopted(database)
    assert query(database, "select * from bitespeed.adopted_contact order by id") == before


P, S = "primary", "secondary"
MESSES: dict[
    str, tuple[list[Row], dict[int, tuple[int | None, str]], dict[str, list[tuple[int, ...]]]]
] = {
    "two primaries share an email": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "two primaries share a value in two spellings": (
        [Row(1, "A@x", "1"), Row(2, "a@x ", "2", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"respelled": [(1,), (2,)], "joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "two primaries share all": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "1", created_at=1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "repeat": [(2,)], "demoted": [(2,)]},
    ),
    "a chain": (
        [
            Row(1, "a@x", "1"),
            Row(2, "a@x", "2", 1, S, 1),
            Row(3, "a@x", "3", 2, S, 2),
            Row(4, "b@x", "3", 3, S, 3),
        ],
        {1: (None, P), 2: (1, S), 3: (1, S), 4: (1, S)},
        {"chain": [(3,), (4,)]},
    ),
    "secondaries of a primary that has to yield": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", created_at=1), Row(3, "c@x", "2", 2, S, 2)],
        {1: (None, P), 2: (1, S), 3: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)], "relinked": [(3,)]},
    ),
    "a secondary older than its primary": (
        [Row(1, "a@x", "1", 2, S, 0), Row(2, "a@x", "2", None, P, 1)],
        {1: (None, P), 2: (1, S)},
        {"promoted": [(1,)], "demoted": [(2,)]},
    ),
    "a ring": (
        [Row(1, "a@x", "1", 2, S), Row(2, "b@x", "2", 1, S, 1)],
        {1: (None, P), 2: (1, S)},
        {"ring": [(2, 1)], "promoted": [(1,)]},
    ),
    "linked to itself": (
        [Row(1, "a@x", "1", 1, P), Row(2, "b@x", "2", 2, S)],
        {1: (None, P), 2: (None, P)},
        {"ring": [(1,), (2,)], "unlinked": [(1,)], "promoted": [(2,)]},
    ),
    "linked to nobody who is there": (
        [Row(1, "a@x", "1", 77, S), Row(2, "b@x", "2", 77, S)],
        {1: (None, P), 2: (None, P)},
        {"lost": [(1,), (2,)], "promoted": [(1,), (2,)]},
    ),
    "a secondary without a link": (
        [Row(1, "a@x", "1"), Row(2, "a@x", "2", None, S, 1)],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "linked": [(2,)]},
    ),
    "a primary with a link": (
        [Row(1, "a@x", "1"), Row(2, "b@x", "2", 1, P, 1)],
        {1: (None, P), 2: (1, S)},
        {"demoted": [(2,)]},
    ),
    "neither primary nor secondary": (
        [Row(1, "a@x", "1", None, None), Row(2, "b@x", "2", 1, None, 1)],
        {1: (None, P), 2: (1, S)},
        {"unnamed": [(1,), (2,)]},
    ),
    "a primary deleted": (
        [
            Row(1, "a@x", "1", deleted_at=9),
            Row(2, "a@x", "2", 1, S, 1),
            Row(3, "b@x", "1", 1, S, 2),
        ],
        {1: (2, S), 2: (None, P), 3: (2, S)},
        {"demoted": [(1,)], "promoted": [(2,)], "relinked": [(3,)]},
    ),
    "all of a person deleted": (
        [Row(1, "a@x", "1", deleted_at=9), Row(2, "a@x", "2", 1, S, 1, deleted_at=9)],
        {1: (None, P), 2: (None, P)},
        {"released": [(2,)]},
    ),
    "linked by one that is deleted": (
        [
            Row(1, "a@x", "1"),
            Row(2, "a@x", "2", 1, S, 1, deleted_at=9),
            Row(3, "c@x", "3", 2, S, 2),
        ],
        {1: (None, P), 2: (1, S), 3: (1, S)},
        {"chain": [(3,)]},
    ),
    "a value of one that is deleted and was not linked": (
        [Row(1, "a@x", "1", deleted_at=9), Row(2, "a@x", "2", created_at=1)],
        {1: (None, P), 2: (None, P)},
        {},
    ),
    "equally old": (
        [Row(2, "a@x", "1"), Row(1, "b@x", "1")],
        {1: (None, P), 2: (1, S)},
        {"joined": [(1, 2)], "demoted": [(2,)]},
    ),
    "blanks shared": (
        [Row(1, "", "1"), Row(2, " ", "2"), Row(3, "a@x", "\t"), Row(4, "b@x", "")],
        {1: (None, P), 2: (None, P), 3: (None, P), 4: (None, P)},
        {"blank": [(1,), (2,), (3,), (4,)]},
    ),
    "unreadable values shared": (
        [Row(1, "none", "1"), Row(2, "none", "2"), Row(3, "a@x", "n/a"), Row(4, "b@x", "n/a")],
        {1: (None, P), 2: (None, P), 3: (None, P), 4: (None, P)},
        {"unreadable": [(1,), (2,), (3,), (4,)]},
    ),
    "nothing left": (
        [Row(1, "", " "), Row(2, "a@x", None, 1, S, 1), Row(3, None, None), Row(4, "?", None)],
        {1: (None, P), 2: (1, S), 3: (None, P), 4: (None, P)},
        {"blank": [(1,), (1,)], "unreadable": [(4,)], "empty": [(1,), (3,), (4,)]},
    ),
}


@pytest.mark.parametrize(("rows", "expected", "repaired"), MESSES.values(), ids=MESSES.keys())
def test_a_mess_is_put_right_and_told(
    database: str,
    rows: list[Row],
    expected: dict[int, tuple[int | None, str]],
    repaired: dict[str, list[tuple[int, ...]]],
) -> None:
    fill(database, rows, UNCHECKED)
    _, repairs = adopted(database)
    assert roles(database) == expected
    assert kinds(repairs) == repaired


def test_every_kind_of_repair_has_its_mess() -> None:
    assert {kind for _, _, repaired in MESSES.values() for kind in repaired} == KINDS.keys() - {
        "undated"
    }


def test_what_cannot_be_read_is_kept_and_shown(database: str) -> None:
    fill(database, [Row(1, "none", "12-34"), Row(2, "A@X", "n/a"), Row(3, " ", "1")])
    adopted(database)
    assert query(
        database,
        "select id, email, phone, raw_email, raw_phone from bitespeed.contact_record order by id",
    ) == [
        (1, None, "1234", "none", "12-34"),
        (2, "a@x", None, "A@X", "n/a"),
        (3, None, "1", None, None),
    ]
    assert query(database, "select id, email, phonenumber from contact order by id") == [
        (1, "none", "1234"),
        (2, "a@x", "n/a"),
        (3, None, "1"),
    ]


def test_phone_numbers_are_read_as_of_the_region(database: str) -> None:
    fill(
        database, [Row(1, "a@x", "(212) 555-0123"), Row(2, "b@x", "+1 212 555 0123", created_at=1)]
    )
    adopted(database, region="US")
    assert query(database, "select distinct phonenumber from contact") == [("+12125550123",)]
    assert roles(database)[2] == (1, S)


def test_missing_instants_come_from_what_is_known(database: str) -> None:
    fill(
        database,
        [
            Row(1, "a@x", created_at=None, updated_at=None),  # as old as the oldest
            Row(2, "b@x", created_at=5, updated_at=None),
            Row(3, "c@x", created_at=None, updated_at=900, deleted_at=900),  # as the one before
            Row(4, "d@x", created_at=3),
            Row(5, "e@x", created_at=700),
            Row(6, "f@x", created_at=None, updated_at=-700),  # updated before the one before
        ],
    )
    run(
        database,
        "insert into contact"
        " values (7, 'x', 'g@x', null, 'primary', 'infinity', null, '-infinity')",
    )
    _, repairs = adopted(database)
    month = 31 * 24
    assert query(
        database,
        "select id, (created_at - %s) / %s, (updated_at - %s) / %s, deleted_at is not null"
        " from bitespeed.contact_record order by id",
        *(NEW_YEAR, HOUR) * 2,
    ) == [
        (1, 3, 3, False),
        (2, 5, 5, False),
        (3, 5, month + 900, True),
        (4, 3, month, False),
        (5, 700, month, False),
        (6, month - 700, month - 700, False),
        (7, month - 700, month - 700, True),
    ]
    assert kinds(repairs)["undated"] == [(1,), (2,), (3,), (6,), (7,)]
    assert repairs[-1].contacts == (7,)


def test_a_table_without_any_age_or_any_row_is_adopted(postgres: Postgres) -> None:
    for rows in ([], [Row(1, "a@x", created_at=None), Row(2, "a@x", created_at=None)]):
        with postgres.fresh_database() as database:
            fill(database, rows)
            result, _ = adopted(database)
            assert result.contacts == len(rows)
            answer = on_service(database, lambda service: service.identify(observe("a@x", "5")))
            assert answer.primary_id == 1


def test_instants_are_those_of_the_zone_they_were_written_in(database: str) -> None:
    run(database, f"alter database \"{database_of(database)}\" set timezone = 'America/New_York'")
    fill(database, [Row(1, "a@x")])
    before = query(database, "select * from contact")
    result, _ = adopted(database)
    assert result.time_zone == "America/New_York"
    stored = query(database, "select created_at from bitespeed.contact_record")
    assert stored == [(NEW_YEAR + 5 * HOUR,)]
    run(database, f"alter database \"{database_of(database)}\" set timezone = 'Asia/Tokyo'")
    assert query(database, "select * from contact") == before


def test_the_zone_may_be_told(database: str) -> None:
    fill(database, [Row(1, "a@x")])
    with pytest.raises(InvalidInput, match="knows no time zone Europe/Atlantis"):
        adopted(database, time_zone="Europe/Atlantis")
    result, _ = adopted(database, time_zone="Europe/Berlin")
    assert result.time_zone == "Europe/Berlin"
    assert query(database, "select created_at from bitespeed.contact_record") == [
        (NEW_YEAR - HOUR,)
    ]
    assert query(database, "select createdat::text from contact") == [("2024-01-01 00:00:00",)]


# Any table at all

emails = st.sampled_from([None, "", " ", "a@x", "A@x ", "b@x", "c@x", "d@x", "nonsense"])
phones = st.sampled_from([None, "", "1", "(1)", "2", "3", "4", "n/a"])
hours = st.one_of(st.none(), st.integers(0, 6))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    ids = sorted(draw(st.sets(st.integers(1, 30), max_size=14)))
    links = st.one_of(st.none(), st.sampled_from([*ids, 99]))
    return [
        Row(
            id_,
            draw(emails),
            draw(phones),
            draw(links),
            draw(st.sampled_from([P, P, S, S, None])),
            draw(hours),
            draw(hours),
            draw(st.one_of(st.none(), st.none(), st.integers(0, 6))),
        )
        for id_ in ids
    ]


def canonical(parse: Callable[[str], str | None], text: str | None) -> str | None:
    try:
        return parse(text) if text is not None else None
    except InvalidInput:
        return None


def naive_partition(rows: list[Row]) -> set[frozenset[int]]:
    """Merge whatever two sets have a reason to be one, until none has."""
    sets = [{row.id} for row in rows]
    reasons = [{row.id, row.linked_id} for row in rows if row.linked_id]
    live = [row for row in rows if row.deleted_at is None]
    for one in live:
        for other in live:
            same_email = canonical(parse_email, one.email) == canonical(parse_email, other.email)
            same_phone = canonical(parse_phone, one.phone) == canonical(parse_phone, other.phone)
            if (same_email and canonical(parse_email, one.email)) or (
                same_phone and canonical(parse_phone, one.phone)
            ):
                reasons.append({one.id, other.id})
    for reason in reasons:
        touched = [s for s in sets if s & reason]
        sets = [s for s in sets if not s & reason] + [set().union(*touched)]
    return {frozenset(s) for s in sets}


def test_any_table_is_adopted_rightly(database: str) -> None:
    run(database, UNCHECKED)
    sample = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

    @sample
    @given(tables())
    def holds(rows: list[Row]) -> None:
        run(database, "drop table contact")
        fill(database, rows, UNCHECKED)
        try:
            _is_adopted_rightly(database, rows)
        finally:
            run(
                database,
                "drop view if exists contact",
                "drop table if exists bitespeed.adopted_contact",
                "truncate bitespeed.contact_record, bitespeed.identity, bitespeed.identifier,"
                " bitespeed.event",
                "create table if not exists contact()",
            )

    holds()


def _is_adopted_rightly(database: str, rows: list[Row]) -> None:
    before = {row[0]: row for row in query(database, f"select {COLUMNS} from contact")}
    _, planned = adopted(database, dry_run=True)
    _, repairs = adopted(database)
    assert repairs == planned

    stored = {row[0]: row for row in query(database, STORED)}
    assert stored.keys() == {row.id for row in rows}
    members: dict[int, set[int]] = {}
    for id_, identity_id, *_ in stored.values():
        members.setdefault(identity_id, set()).add(id_)
    assert set(map(frozenset, members.values())) == naive_partition(rows)
    for identity_id, ids in members.items():
        assert identity_id == min(ids, key=lambda id_: (stored[id_][2], id_))
    for row in rows:
        _, _, created_at, is_deleted = stored[row.id]
        assert is_deleted == (row.deleted_at is not None)
        assert row.created_at is None or created_at == NEW_YEAR + row.created_at * HOUR

    after = {row[0]: row for row in query(database, f"select {COLUMNS} from contact")}
    told = {id_ for repair in repairs for id_ in repair.contacts}
    assert {id_ for id_ in before if before[id_] != after[id_]} <= told


STORED = "select id, identity_id, created_at, deleted_at is not null from bitespeed.contact_record"


# All or nothing

LIVELY = [
    Row(1, "a@x", "1"),
    Row(2, "a@x", "2", created_at=1),
    Row(3, " ", "2", 2, S, created_at=2),
    Row(4, "d@x", "n/a", 3, S, created_at=3, deleted_at=5),
]


def test_a_dry_run_changes_nothing(database: str) -> None:
    fill(database, LIVELY)
    before, dumped = state(database), dump(database)
    result, repairs = adopted(database, dry_run=True)
    assert (result.contacts, len(repairs)) == (4, 7)
    assert state(database) == before
    assert dump(database) == dumped
    adopted(database)
    assert state(database) != before


@pytest.mark.parametrize("at", range(7))
def test_a_failure_at_any_step_changes_nothing(database: str, at: int) -> None:
    fill(database, LIVELY)
    on_store(database, check)  # makes the tables
    before = state(database)
    steps = 0

    def fail(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt(database, Options(), Wishes(), nothing, fail)
    assert state(database) == before
    adopted(database)


@contextmanager
def held(url: str, name: str) -> Iterator[None]:
    """Somebody reads the table, and does not come to an end."""
    with psycopg.connect(url) as connection:
        connection.execute(f"lock table {name} in access share mode".encode())
        yield


ORDERS = "create table orders (contact integer references contact(id))"
AT_THE_END = "alter table % drop constraint%"


def waits(url: str, query_: str) -> int:
    """The process in the server that waits for a lock with such a statement."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = query(
            url,
            "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like %s"
            " and datname = current_database()",
            query_,
        )
        if found:
            return found[0][0]
        time.sleep(0.02)
    pytest.fail(f"Nobody waits: {query_}")


def command(*arguments: str | Path, cwd: Path, url: str) -> list[str]:
    return [sys.executable, "-m", "bitespeed", *map(str, arguments), "--database", url]


def bitespeed(*arguments: str | Path, cwd: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, cwd=cwd, url=url),
        cwd=cwd,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BITESPEED", "DATABASE"))}
    return clean | {"COLUMNS": "200"}


@pytest.mark.parametrize("end", ["kill", "interrupt", "server"])
def test_who_is_stopped_before_the_end_leaves_everything(
    database: str, tmp_path: Path, end: str
) -> None:
    fill(database, LIVELY)
    run(database, ORDERS)
    on_store(database, check)
    before = state(database)
    with held(database, "orders"):
        process = subprocess.Popen(
            command("adopt", "--drop-foreign-keys", cwd=tmp_path, url=database),
            cwd=tmp_path,
            env=_environment(),
            preexec_fn=heed_interrupts,
            stderr=subprocess.PIPE,
            text=True,
        )
        pid = waits(database, AT_THE_END)
        if end == "server":
            run(database, f"select pg_terminate_backend({pid})")
        else:
            process.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
        _, told = process.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while query(database, "select from pg_stat_activity where pid = %s", pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.returncode == {"kill": -9, "interrupt": 130, "server": 2}[end]
    if end != "kill":
        assert len(told.strip().splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
    assert state(database) == before
    adopted(database, drop_foreign_keys=True)


def test_who_has_to_wait_for_the_table_gives_up_soon(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitespeed.stores.postgres.bulk.adopt.LOCK_WAIT", "50ms")
    fill(database, LIVELY)
    with held(database, "contact"), pytest.raises(StoreUnavailable, match="hold a lock"):
        adopt(database, Options(), Wishes(), nothing, nothing)
    adopted(database)


def test_repeating_it_changes_nothing_and_says_so(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    adopted(database)
    before = state(database)
    assert adopt(database, Options(), Wishes(), nothing, nothing) is None
    assert adopt(database, Options(), Wishes(dry_run=True), nothing, nothing) is None
    done = bitespeed("adopt", cwd=tmp_path, url=database)
    assert (done.returncode, done.stdout) == (
        0,
        "public.contact has been adopted already; there is nothing to do.\n",
    )
    printed = bitespeed("adopt", "--json", cwd=tmp_path, url=database).stdout
    assert json.loads(printed) == {"already": True}
    assert state(database) == before


def test_of_two_at_once_one_adopts_and_the_other_says_so(database: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    results: list[Adopted | None] = []

    def work() -> None:
        results.append(adopt(database, Options(), Wishes(), nothing, nothing))

    threads = [threading.Thread(target=work) for _ in range(2)]
    with held(database, "contact"):
        for thread in threads:
            thread.start()
        waits(database, "lock table%")
    for thread in threads:
        thread.join(30)
    assert sorted(result is None for result in results) == [False, True]
    assert on_store(database, check) == []


async def insisting(service: Service, *sent: str | None) -> Answer:
    """The answer, also where a busy machine takes longer to adopt than a request waits."""
    for _ in range(TRIES):
        with suppress(Unavailable):
            return await service.identify(observe(*sent))
    pytest.fail("There was no answer.")


def test_a_request_that_comes_meanwhile_meets_the_adopted(database: str) -> None:
    fill(database, LIVELY)
    run(database, ORDERS)
    on_store(database, check)
    adoption = threading.Thread(target=lambda: adopted(database, drop_foreign_keys=True))

    async def meanwhile(service: Service) -> int:
        with held(database, "orders"):
            adoption.start()
            await asyncio.to_thread(waits, database, AT_THE_END)
            request = asyncio.create_task(insisting(service, "a@x", "12"))
            await asyncio.to_thread(waits, database, "select bitespeed.commit%")
        return (await request).primary_id

    assert on_service(database, meanwhile) == 1
    adoption.join(30)
    assert on_store(database, check) == []


def test_a_stranger_that_comes_meanwhile_gets_the_next_number(database: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    answers: list[int] = []

    def ask() -> None:
        answer = on_service(database, lambda service: insisting(service, "new@x", None))
        answers.append(answer.primary_id)

    asking = threading.Thread(target=ask)

    def ask_first(*_: object) -> None:
        if asking.ident is None:
            asking.start()
            waits(database, "select bitespeed.commit%")

    adopt(database, Options(), Wishes(), nothing, ask_first)
    asking.join(30)
    assert answers == [5]
    assert on_store(database, check) == []


# The view

COLUMNS_OF = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation::text
from pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0
order by a.attnum
"""

PRISMA = """
create type "LinkPrecedence" as enum ('primary', 'secondary');
create table "Contact" (
    "id" serial not null, "phoneNumber" text, "email" text, "linkedId" integer,
    "linkPrecedence" "LinkPrecedence" not null, "createdAt" timestamp(3) not null default now(),
    "updatedAt" timestamp(3) not null, "deletedAt" timestamp(3),
    constraint "Contact_pkey" primary key ("id"));
insert into "Contact" values
    (3, '12-34', 'A@x', null, 'primary', '2024-01-01 10:00:00.123', '2024-01-01', null),
    (4, '1234', 'b@x', 3, 'secondary', '2024-01-01 11:00:00.123', '2024-01-01', null);
"""

DRIZZLE = """
create schema shop;
create table shop."odd ""name" (
    createdat timestamptz(0), updatedat timestamptz, deletedat timestamptz,
    id bigint, linkedid bigint, email char(300) collate "C", linkprecedence text,
    phonenumber varchar(20));
insert into shop."odd ""name" (id, email, linkprecedence, createdat, updatedat, phonenumber)
values (3, 'a@x', 'primary', '2024-01-01 10:00+02', '2024-01-01 10:00+02', '5');
"""


@pytest.mark.parametrize(
    ("ddl", "table", "widened"),
    [
        (REFERENCE, "public.contact", {}),
        (PRISMA, 'public."Contact"', {}),
        (DRIZZLE, 'shop."odd ""name"', {"phonenumber": "character varying(50)"}),
    ],
    ids=["reference", "Prisma", "others"],
)
def test_the_view_has_the_columns_of_the_table(
    database: str, ddl: str, table: str, widened: dict[str, str]
) -> None:
    run(database, ddl)
    before = query(database, COLUMNS_OF, table)
    adopted(database, table=table)
    after = query(database, COLUMNS_OF, table)
    assert after == [(name, widened.get(name, type_), c) for name, type_, c in before]
    assert query(
        database, "select relkind::text from pg_class where oid = to_regclass(%s)", table
    ) == [("v",)]
    assert [n for n, _, _ in query(database, COLUMNS_OF, "bitespeed.adopted_contact")] == [
        n for n, _, _ in before
    ]


def test_the_view_shows_the_same_in_another_spelling_of_the_columns(database: str) -> None:
    run(database, PRISMA)
    adopted(database, table='public."Contact"')
    rows = query(
        database,
        'select "id", "phoneNumber", "email", "linkedId", "linkPrecedence"::text, "createdAt"::text'
        ' from "Contact" order by "id"',
    )
    assert rows == [
        (3, "1234", "a@x", None, "primary", "2024-01-01 10:00:00.123"),
        (4, "1234", "b@x", 3, "secondary", "2024-01-01 11:00:00.123"),
    ]


REPORT = """
select p.id, p.email, count(s.id), max(s.createdat) - p.createdat
from contact p
left join contact s on s.linkedid = p.id and s.deletedat is null
where p.linkprecedence = 'primary' and p.deletedat is null and p.createdat < '2030-01-01'
group by p.id, p.email, p.createdat
order by p.createdat, p.id
"""


def test_a_report_goes_on_working_and_sees_what_is_new(database: str) -> None:
    fill(database, ORDERLY)
    before = query(database, REPORT)
    adopted(database)
    assert query(database, REPORT) == before
    on_service(database, lambda service: service.identify(observe("doc@hillvalley.edu", "321")))
    counts = {id_: count for id_, _, count, _ in query(database, REPORT)}
    assert counts == {1: 1, 4: 1, 7: 0}


# What hangs on the table

TRIGGER = """
create trigger stamp before update on contact
for each row execute function suppress_redundant_updates_trigger()
"""

HINDRANCES = {
    "foreign key": (
        ORDERS,
        "orders_contact_fkey of public.orders",
    ),
    "materialised view": (
        "create materialized view summary as select count(*) from contact",
        "materialized view public.summary",
    ),
    "trigger": (
        TRIGGER,
        "trigger stamp on table public.contact",
    ),
    "policy": (
        "create policy own on contact using (id > 1)",
        "policy own on table public.contact",
    ),
    "rule": (
        "create rule nodelete as on delete to contact do instead nothing",
        "rule nodelete on table public.contact",
    ),
    "rule elsewhere": (
        "create table log (); create rule copy as on insert to log do select id from contact",
        "rule copy on table public.log",
    ),
    "child": ("create table more () inherits (contact)", "table public.more"),
    "parent": (
        "create table most (id integer not null); alter table contact inherit most",
        "table public.most",
    ),
    "publication": (
        "create publication feed for table contact",
        "publication of table public.contact in publication feed",
    ),
    "row type": (
        "create function shout(contact) returns text language sql as 'select 1::text'",
        "function public.shout(public.contact)",
    ),
    "column of the row type": (
        "create table archive (was contact)",
        "table public.archive",
    ),
    "name in the way": (
        "create table adopted_contact ()",
        'cannot be moved out of the way: relation "adopted_contact" already exists',
    ),
    "sequence in the way": (
        "alter sequence contact_id_seq rename to contact_id",
        'cannot be moved out of the way: relation "contact_id" already exists',
    ),
    "view that needs a table": (
        "create view people as select id, email from contact group by id",
        "view public.people cannot be made again",
    ),
}


@pytest.mark.parametrize(("ddl", "named"), HINDRANCES.values(), ids=HINDRANCES.keys())
def test_what_would_be_lost_is_named_and_refused(database: str, ddl: str, named: str) -> None:
    fill(database, LIVELY)
    run(database, ddl)
    on_store(database, check)
    before = state(database)
    with pytest.raises(InvalidInput, match=re.escape(named)) as refusal:
        adopt(database, Options(), Wishes(), nothing, nothing)
    assert "\n" not in str(refusal.value)
    assert state(database) == before


def test_foreign_keys_are_dropped_if_agreed(database: str) -> None:
    fill(database, LIVELY)
    run(
        database,
        ORDERS,
        "insert into orders values (2)",
    )
    result, _ = adopted(database, drop_foreign_keys=True)
    assert result.notes == ["foreign key orders_contact_fkey of public.orders: dropped"]
    assert query(database, "select email from orders join contact on contact.id = contact") == [
        ("a@x",)
    ]
    key = "alter table orders add constraint ours foreign key (contact) references"
    run(database, f"{key} bitespeed.contact_record")

    def erased() -> None:
        on_service(database, lambda service: service.erase(Subject(contact=2)))

    with pytest.raises(StoreUnavailable, match="refers to what is to be erased"):
        erased()
    run(database, "alter table orders drop constraint ours")
    run(database, f"{key} bitespeed.contact_record on delete set null")
    erased()
    assert query(database, "select contact from orders") == [(None,)]


def test_views_read_the_new_view(database: str) -> None:
    fill(database, LIVELY)
    run(
        database,
        "create schema reports",
        "create view reports.live with (security_barrier = true) as"
        " select *, email like '%x' as x from contact where deletedat is null",
        "create view reports.count as select count(*) as n, max(id) as last from reports.live",
        "create role adopt_reader",
        "grant select on reports.count to adopt_reader",
    )
    try:
        result, _ = adopted(database)
        assert result.notes == ["view reports.live: reads the new view"]
        on_service(database, lambda service: service.identify(observe("new@x", None)))
        assert query(database, "select n, last from reports.count") == [(4, 5)]
        assert query(database, "select linkedid from reports.live where id = 3") == [(1,)]
        options = "select reloptions from pg_class where oid = 'reports.live'::regclass"
        assert query(database, options) == [(["security_barrier=true"],)]
        may = "select has_table_privilege('adopt_reader', 'reports.count', 'select')"
        assert query(database, may) == [(True,)]
    finally:
        run(database, "drop owned by adopt_reader", "drop role adopt_reader")


@pytest.fixture
def readers(database: str) -> Iterator[str]:
    names = ["adopt_all", "adopt_column", "adopt_writer", "adopt_default", "adopt_passing"]
    run(database, *(f"create role {name}" for name in names), "alter role adopt_passing bypassrls")
    try:
        yield database
    finally:
        for name in names:
            run(database, f"drop owned by {name}", f"drop role {name}")


def may_read(url: str) -> set[str]:
    """Which roles may read what, by the columns."""
    found = query(
        url,
        "select rolname || ' ' || name from pg_roles, (values ('id'), ('email')) as c (name)"
        " where starts_with(rolname, 'adopt_')"
        " and has_column_privilege(rolname, 'contact', name, 'select')",
    )
    return {name for (name,) in found}


def test_who_might_read_the_table_may_read_the_view(readers: str) -> None:
    fill(readers, LIVELY)
    run(
        readers,
        "grant select on contact to adopt_all with grant option",
        "grant select (email) on contact to adopt_column",
        "grant insert, update on contact to adopt_writer",
        "alter default privileges in schema public grant all on tables to adopt_default",
    )
    before = may_read(readers)
    assert before == {"adopt_all id", "adopt_all email", "adopt_column email"}
    result, _ = adopted(readers)
    assert may_read(readers) == before
    assert result.notes == [
        "adopt_all, adopt_column: may read the view",
        "adopt_writer: may not write any more",
    ]
    again = "select has_table_privilege('adopt_all', 'contact', 'select with grant option')"
    assert query(readers, again) == [(True,)]


def test_everybody_might_and_may(readers: str) -> None:
    fill(readers, LIVELY)
    run(readers, "grant select on contact to public")
    result, _ = adopted(readers)
    assert "adopt_writer id" in may_read(readers)
    assert result.notes == ["public: may read the view"]


def test_row_level_security_without_a_policy_hides_the_view_as_well(readers: str) -> None:
    fill(readers, LIVELY)
    run(
        readers,
        "grant select on contact to adopt_all, adopt_passing",
        "alter table contact enable row level security",
    )
    result, _ = adopted(readers)
    assert may_read(readers) == {"adopt_passing id", "adopt_passing email"}
    assert "adopt_all: saw no row for want of a policy, may not read the view" in result.notes


def test_the_owner_may_go_on_reading(readers: str) -> None:
    fill(readers, LIVELY)
    run(readers, "alter table contact owner to adopt_writer")
    adopted(readers)
    assert may_read(readers) == {"adopt_writer id", "adopt_writer email"}


# Refusals

THIRD = "; insert into contact (linkprecedence) values ('third')"


@pytest.mark.parametrize(
    ("ddl", "wishes", "told"),
    [
        ("select 1", {}, "There is no table public.contact"),
        ("select 1", {"table": "a.b.c.d"}, "There is no table a.b.c.d"),
        ("select 1", {"table": 'public."'}, 'There is no table public."'),
        ("create view contact as select 1 as id", {}, "public.contact is not a plain table"),
        (
            "create table contact (id integer, email text)",
            {},
            "lacks the columns createdat, deletedat",
        ),
        (REFERENCE.replace("varchar(50)", "bigint"), {}, r"of other types: phonenumber \(int8\)"),
        (
            REFERENCE.replace("id serial", "id uuid", 1).replace(" references contact(id)", ""),
            {},
            "uuid",
        ),
        (f"{REFERENCE}; alter table contact add name text, add shop text", {}, "own: name, shop; "),
        (f'{REFERENCE}; alter table contact add "Email" text', {}, "columns of its own: Email; "),
        (f"{REFERENCE}; insert into contact (id) values (0)", {}, "no id, or one below 1"),
        (f"{REFERENCE}; insert into contact (id) values (-5)", {}, "no id, or one below 1"),
        (
            f"{UNCHECKED.replace('primary key', '')}; insert into contact (id) values (3), (3)",
            {},
            "Two contacts have the id 3",
        ),
        (
            REFERENCE.replace("'primary'", "'third'") + THIRD,
            {},
            "Contact 1 is neither primary nor secondary",
        ),
    ],
)
def test_a_table_that_cannot_be_adopted_is_refused_in_one_sentence(
    database: str, ddl: str, wishes: dict[str, Any], told: str
) -> None:
    run(database, ddl)
    on_store(database, check)
    before = state(database)
    for dry_run in (True, False):
        with pytest.raises(InvalidInput, match=told):
            adopt(database, Options(), Wishes(**wishes, dry_run=dry_run), nothing, nothing)
    assert state(database) == before


def test_a_stranger_to_the_table_may_look_and_not_take(database: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    run(
        database,
        "create role adopt_stranger login",
        "grant select on contact to adopt_stranger",
        "grant usage on schema bitespeed to adopt_stranger",
        "grant select on all tables in schema bitespeed to adopt_stranger",
    )
    url = database.replace("postgres@", "adopt_stranger@", 1)
    try:
        before = state(database)
        with pytest.raises(StoreUnavailable, match="user may not do this"):
            adopt(url, Options(), Wishes(), nothing, nothing)
        assert state(database) == before
    finally:
        run(database, "drop owned by adopt_stranger", "drop role adopt_stranger")


def test_tables_that_hold_contacts_take_no_more(database: str) -> None:
    fill(database, LIVELY)
    on_service(database, lambda service: service.identify(observe("a@x", None)))
    with pytest.raises(InvalidInput, match="hold contacts already"):
        adopt(database, Options(), Wishes(), nothing, nothing)


def test_a_second_table_is_refused(database: str) -> None:
    fill(database, LIVELY)
    adopted(database)
    run(
        database,
        "create schema other",
        "create table other.contact (like bitespeed.adopted_contact)",
    )
    with pytest.raises(InvalidInput, match="hold contacts already"):
        adopt(database, Options(), Wishes(table="other.contact"), nothing, nothing)


def test_columns_of_its_own_are_shown_if_agreed(database: str) -> None:
    fill(database, LIVELY)
    run(
        database,
        'alter table contact add "Name" text, add vip boolean default true',
        """update contact set "Name" = 'Ann' where id = 1""",
    )
    before = query(database, COLUMNS_OF, "contact")
    adopted(database, keep_extra_columns=True)
    on_service(database, lambda service: service.identify(observe("new@x", None)))
    assert query(database, COLUMNS_OF, "contact") == before
    assert query(database, 'select id, "Name", vip from contact order by id') == [
        (1, "Ann", True),
        (2, None, True),
        (3, None, True),
        (4, None, True),
        (5, None, None),
    ]


def test_only_postgresql_has_tables_to_adopt(tmp_path: Path) -> None:
    done = bitespeed("adopt", cwd=tmp_path, url="sqlite:///some.db")
    assert done.returncode == 2
    assert (
        done.stderr
        == "Error: Only a table in PostgreSQL can be adopted: --database postgresql://...\n"
    )
    assert list(tmp_path.iterdir()) == []


# Life goes on


def test_the_service_goes_on_with_the_adopted(database: str) -> None:
    fill(
        database,
        [
            Row(3, "a@x", "1"),
            Row(5, "a@x", "2", created_at=1),  # founded twice by a race
            Row(6, "b@x", "3", created_at=2),
            Row(8, "c@x", "3", 6, S, created_at=3),
            Row(9, "gone@x", "9", created_at=4, deleted_at=5),
            Row(11, "", "", created_at=5),
        ],
    )
    run(database, "select setval('contact_id_seq', 20)")  # 12 to 20 were deleted for good
    adopted(database)

    async def live(service: Service) -> None:
        known = await service.identify(observe("a@x", "2"))
        assert (known.primary_id, known.secondary_ids) == (3, [5])
        linked = await service.identify(observe("a@x", "4"))
        assert (linked.primary_id, linked.secondary_ids) == (3, [5, 21])
        merged = await service.identify(observe("c@x", "4"))
        assert (merged.primary_id, merged.secondary_ids) == (3, [5, 6, 8, 21])
        assert (await service.identify(observe("gone@x", None))).primary_id == 22
        assert (await service.contact(11)).emails == []
        for contact in (3, 11, 8):
            await service.delete(contact)
        rest = await service.identify(observe("a@x", None))
        assert (rest.primary_id, rest.secondary_ids) == (5, [6, 21])
        assert (await service.identify(observe("c@x", None))).primary_id == 23

    on_service(database, live)
    assert on_store(database, check) == []
    events = Counter(kind for (kind,) in query(database, "select kind from bitespeed.event"))
    assert events == {
        "contact.adopted": 6,
        "contact.created": 3,
        "contact.deleted": 4,
        "identities.merged": 1,
    }
    assert query(
        database, "select count(distinct seq), min(seq), max(seq) from bitespeed.event"
    ) == [(14, 1, 14)]


def test_the_contacts_are_the_tenants_and_the_view_is_its_alone(database: str) -> None:
    fill(database, LIVELY)
    adopted(database, tenant="shop-7")
    on_service(database, lambda service: service.identify(observe("a@x", None)))
    assert query(
        database, "select tenant, count(*) from bitespeed.contact_record group by 1 order by 1"
    ) == [
        ("default", 1),
        ("shop-7", 4),
    ]
    assert query(database, "select count(*), max(id) from contact") == [(4, 4)]


def test_the_documented_way_back_leads_back(database: str) -> None:
    fill(database, LIVELY)
    before = query(database, f"select {COLUMNS} from contact order by id")
    adopted(database)
    (way_back,) = re.findall(
        r"^```sql\n(begin;.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    run(database, way_back)
    assert query(database, f"select {COLUMNS} from contact order by id") == before
    assert query(database, "insert into contact (email) values ('z@x') returning id") == [(5,)]
    result, _ = adopted(database)
    assert result.contacts == 5


# The command


def test_the_command_tells_what_it_did(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    done = bitespeed("adopt", "--dry-run", cwd=tmp_path, url=database)
    assert done.returncode == 0, done.stderr
    assert "public.contact: 4 contacts, 1 of them deleted, would become 1 identities" in done.stdout
    assert done.stdout.endswith("Nothing has been changed.\n")

    done = bitespeed("adopt", cwd=tmp_path, url=database)
    assert done.returncode == 0, done.stderr
    assert "are now 1 identities" in done.stdout
    assert re.search(r"^chain +1 +secondaries of a secondary", done.stdout, re.MULTILINE)
    assert "demoted: contact 2: was primary, is secondary of 1\n" in done.stdout
    with (tmp_path / "adopt.report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {
        "kind": "joined",
        "contacts": "1 2",
        "what": "shared one email and were not linked",
    } in rows
    assert len(rows) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["adopt.report.csv"]


def test_many_repairs_are_in_the_report_alone(database: str, tmp_path: Path) -> None:
    fill(database, [Row(n, f"P{n}@x") for n in range(1, 40)])
    done = bitespeed("adopt", "--report", "all.ndjson", cwd=tmp_path, url=database)
    assert "respelled: contact" not in done.stdout
    lines = (tmp_path / "all.ndjson").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "kind": "respelled",
        "contacts": [1],
        "what": "email brought into canonical form",
    }
    assert len(lines) == 39


def test_scripts_get_json(database: str, tmp_path: Path) -> None:
    fill(database, ORDERLY)
    printed = bitespeed("adopt", "--json", cwd=tmp_path, url=database).stdout
    assert json.loads(printed) == {
        "already": False,
        "dry_run": False,
        "table": "public.contact",
        "contacts": 5,
        "deleted": 1,
        "identities": 3,
        "time_zone": query(database, "show timezone")[0][0],
        "notes": [],
        "repairs": {},
        "report": None,
    }
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_stops_it(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    done = bitespeed("adopt", "--report", "nowhere/report.csv", cwd=tmp_path, url=database)
    assert (done.returncode, done.stderr) == (
        2,
        "Error: The report nowhere/report.csv cannot be written\n",
    )
    assert query(database, "select count(*) from bitespeed.contact_record") == [(0,)]


def test_no_value_is_told(database: str, tmp_path: Path) -> None:
    fill(
        database,
        [Row(1, "Canary@x", "00-7 7"), Row(2, "canary@x", "canary", 1, S), Row(3, "canary")],
    )
    told = [bitespeed("adopt", cwd=tmp_path, url=database)]
    told += [bitespeed("adopt", "--table", "nowhere", cwd=tmp_path, url=database)]
    text = "".join(done.stdout + done.stderr for done in told)
    text += (tmp_path / "adopt.report.csv").read_text()
    assert "anary" not in text
    assert "00" not in text


def test_errors_are_ours(database: str) -> None:
    with pytest.raises(BitespeedError):
        adopt(f"{database}_not", Options(), Wishes(), nothing, nothing)
