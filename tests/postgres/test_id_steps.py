"""Contact ids and event numbers of several servers of one installation never meet."""

import asyncio

import pytest
from psycopg import errors

from bitespeed.stores import open_store
from support.backends import connected, prepared
from support.invariants import assert_clean
from support.stores import write

STEP = 3
CUSTOMERS = 7


async def numbers(url, name):
    """The contact ids and event numbers that a server gives out for new customers."""
    store = await open_store(url)
    try:
        await write(store, *((f"{name}{n}@x", None) for n in range(CUSTOMERS)))
        await assert_clean(store)
    finally:
        await store.close()
    with connected(url) as connection:
        ids = connection.execute("select id from bitespeed.contact_record").fetchall()
        events = connection.execute("select seq from bitespeed.event").fetchall()
    return {n for (n,) in ids}, {n for (n,) in events}


def set_step(url, step, shift):
    with connected(url) as connection:
        connection.execute("select bitespeed.set_id_step(%s, %s)", [step, shift])


@pytest.mark.parametrize("at_first", [0, CUSTOMERS])
def test_servers_with_different_shifts_share_no_number(postgres, at_first):
    given = []
    for shift in range(STEP):
        with postgres.fresh_database() as url:
            prepared(url)
            before = asyncio.run(numbers(url, "before")) if at_first else (set(), set())
            set_step(url, STEP, shift)
            ids, events = asyncio.run(numbers(url, "after"))
            given.append((ids - before[0], events - before[1]))
            assert min(given[-1][0]) > max(before[0], default=0)
    for kind in (0, 1):
        assert len(set().union(*(one[kind] for one in given))) == STEP * CUSTOMERS


def test_without_steps_the_numbers_of_two_servers_meet(postgres):
    given = []
    for _ in range(2):
        with postgres.fresh_database() as url:
            prepared(url)
            given.append(asyncio.run(numbers(url, "a")))
    assert given[0] == given[1]


@pytest.mark.parametrize(
    ("step", "shift", "floor", "expected"),
    [(1, 0, 0, 1), (1, 0, 41, 42), (4, 0, 0, 4), (4, 2, 1, 2), (4, 2, 2, 6), (4, 2, 100, 102)],
)
def test_a_sequence_continues_above_what_was_loaded(database, step, shift, floor, expected):
    prepared(database)
    set_step(database, step, shift)
    with connected(database) as connection:
        connection.execute("select bitespeed.continue_above('bitespeed.contact_id', %s)", [floor])
        first = connection.execute("select nextval('bitespeed.contact_id')").fetchone()
        connection.execute("select bitespeed.continue_above('bitespeed.contact_id', 0)")
        following = connection.execute("select nextval('bitespeed.contact_id')").fetchone()
        assert (first, following) == ((expected,), (expected + step,))


@pytest.mark.parametrize(("step", "shift"), [(0, 0), (-1, 0), (2, 2), (2, -1)])
def test_a_step_that_makes_no_sense_is_refused(database, step, shift):
    prepared(database)
    with pytest.raises(errors.InvalidParameterValue, match="shift from 0 to step - 1"):
        set_step(database, step, shift)
