"""What the PostgreSQL store sends to the server, and what the server's log keeps of it."""

import asyncio
import re

import psycopg
import pytest

from bitespeed.errors import Conflict, StoreUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    connected,
)
from support.postgres_server import own_server
from support.postgres_store import (
    CANARY,
    CANARY_PHONE,
    COMMITS_WAIT,
    everything_said_by,
    execute,
    holding,
    on,
    rows,
    until,
)
from support.stores import decide, service_on, who, write


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


def test_batch_is_one_read_and_at_most_one_commit(own, own_url):
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


def test_conflict_puts_no_value_in_log_or_error(own_url, canaries):
    async def test(store):
        sent = (CANARY, CANARY_PHONE)
        stale = await decide(store, sent)
        await write(store, sent)
        for changes in (stale, await stale_link(store)):
            with pytest.raises(Conflict) as conflict:
                await store.commit(DEFAULT_TENANT, changes)
            canaries.append(everything_said_by(conflict.value))

    async def stale_link(store):
        changes = await decide(store, (CANARY, "1"))
        await write(store, (CANARY, "1"))
        return changes

    on(own_url, test)


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
def test_timeout_puts_no_value_in_log_or_error(own_url, canaries, setting):
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
                canaries.append(everything_said_by(error.value))
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
    assert CANARY in everything_said_by(error.value)
    assert CANARY in own.log()[offset:]


def test_full_disk_error_contains_no_value():
    async def test(store):
        await write(store, (CANARY, CANARY_PHONE))
        refusals = []
        for n in range(200):
            sent = [(f"{n}.{m}." + "y" * 200 + CANARY, None) for m in range(500)]
            try:
                await store.commit(DEFAULT_TENANT, await decide(store, *sent))
            except StoreUnavailable as error:
                refusals.append(everything_said_by(error))
                break
        assert "full" in "".join(refusals)
        assert "canary" not in "".join(refusals)
        assert (await who(store, CANARY)).phones == [CANARY_PHONE]
        await store.ping()

    with own_server(disk=64, fsync=False) as small:
        on(small.url(), test)
        assert "could not extend file" in small.log()
        assert "canary" not in small.log()
