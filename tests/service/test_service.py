"""The service: its limits, draining, lists of observations, lookups and deletions."""

import asyncio

import pytest

from bitespeed.errors import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    StoreUnavailable,
    Unavailable,
)
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.service.batching import MAX_BATCH, MAX_IN_FLIGHT, Limits
from bitespeed.service.service import Service
from support.invariants import assert_clean
from support.log_lines import captured_log_lines
from support.service_requests import TIMEOUT, ask, fill_flight, run, run_ready_tasks, strangers
from support.stores import failing, service_on, store_at, watched, write

# Limits

FEW = Limits(max_waiting=3, deadline=2.0)


def test_beyond_the_queue_requests_are_refused(path):
    async def main():
        async with watched(path, FEW) as (store, service):
            store.reading.shut()
            accepted = ask(service, strangers(3))
            await store.reading.has_come.wait()
            with pytest.raises(Overloaded, match="Too many requests are waiting"):
                await service.identify(observe("a@x", None))
            with pytest.raises(Overloaded):
                await service.identify_all(strangers(2))
            store.reading.open()
            await asyncio.gather(*accepted)
            assert (await service.identify(observe("a@x", None))).primary_id == 4

    run(main())


def test_listed_observations_count_for_the_queue(path):
    async def main():
        async with watched(path, FEW) as (store, service):
            with pytest.raises(Overloaded):
                await service.identify_all(strangers(4))
            assert store.reads == []
            store.reading.shut()
            request = asyncio.create_task(service.identify_all(strangers(2)))
            await store.reading.has_come.wait()
            (third,) = ask(service, [observe("a@x", None)])
            await run_ready_tasks()
            with pytest.raises(Overloaded):
                await service.identify(observe("b@x", None))
            store.reading.open()
            await asyncio.gather(request, third)
            assert len(await service.identify_all(strangers(3))) == 3

    run(main())


SHORT = Limits(deadline=0.05)


@pytest.mark.parametrize(
    "ask_for",
    [
        lambda service: service.identify(observe("a@x", "1")),
        lambda service: service.look_up("a@x", None),
        lambda service: service.contact(1),
        lambda service: service.delete(1),
    ],
    ids=["identify", "look_up", "contact", "delete"],
)
def test_past_its_deadline_a_request_is_refused(path, ask_for):
    async def main():
        async with watched(path, SHORT) as (store, service):
            await write(store, ("a@x", "1"))
            store.reading.shut()
            with pytest.raises(DeadlineExceeded, match="in time"):
                await ask_for(service)
            store.reading.open()

    run(main())


def test_listed_observations_past_deadline_are_refused_each_alone(path):
    async def main():
        async with watched(path, SHORT) as (store, service):
            store.reading.shut()
            async with asyncio.timeout(TIMEOUT / 5):
                outcomes = await service.identify_all(strangers(3))
            assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3

    run(main())


def test_queued_requests_past_their_deadline_are_refused(path):
    async def main():
        async with watched(path, Limits(deadline=0.3)) as (store, service):
            held_up = await fill_flight(store, service)
            outcomes = await asyncio.gather(
                *held_up, *ask(service, strangers(3)), return_exceptions=True
            )
            assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
            store.committing.open()

    run(main())


def test_request_refused_for_its_deadline_may_be_repeated(path):
    async def main():
        async with watched(path, SHORT) as (store, service):
            store.committing.shut()
            with pytest.raises(DeadlineExceeded):
                await service.identify(observe("a@x", "1"))
            store.committing.open()
            await run_ready_tasks()
            async with service_on(store) as patient:
                assert await patient.identify(observe("a@x", "1")) == Answer(1, ["a@x"], ["1"], [])
            await assert_clean(store)

    run(main())


# Draining


def test_draining_answers_accepted_requests_and_refuses_new_ones(path):
    async def main():
        async with watched(path) as (store, service):
            held_up = await fill_flight(store, service)
            queued = ask(service, strangers(5))
            await run_ready_tasks()
            draining = asyncio.create_task(service.drain())
            await run_ready_tasks()
            with pytest.raises(Unavailable, match="shutting down"):
                await service.identify(observe("a@x", None))
            with pytest.raises(Unavailable, match="shutting down"):
                await service.identify_all(strangers(1))
            with pytest.raises(Unavailable, match="shutting down"):
                await service.ping()
            assert not draining.done()
            store.committing.open()
            await draining
            assert all(request.done() for request in held_up + queued)
            answers = await asyncio.gather(*held_up, *queued)
            assert len({answer.primary_id for answer in answers}) == MAX_IN_FLIGHT + 5

    run(main())


def test_draining_waits_for_what_is_taken_in_turn(path):
    async def main():
        async with watched(path) as (store, service):
            store.committing.shut()
            request = asyncio.create_task(service.identify_all(strangers(2)))
            await store.committing.has_come.wait()
            draining = asyncio.create_task(service.drain())
            await run_ready_tasks()
            assert not draining.done()
            store.committing.open()
            await draining
            assert [answer.primary_id for answer in await request] == [1, 2]

    run(main())


def test_draining_at_rest_returns_at_once(path):
    async def main():
        async with watched(path) as (_, service):
            await service.drain()
            await service.drain()

    run(main())


# Many in turn


def test_listed_observations_are_answered_in_their_order(path):
    async def main():
        async with watched(path) as (store, service):
            sent = [("a@x", "1"), ("b@x", "2"), ("a@x", "2"), ("b@x", None), ("c@x", "2")]
            answers = await service.identify_all([observe(*one) for one in sent])
            both = Answer(1, ["a@x", "b@x"], ["1", "2"], [2])
            assert answers == [
                Answer(1, ["a@x"], ["1"], []),
                Answer(2, ["b@x"], ["2"], []),
                both,
                both,
                Answer(1, ["a@x", "b@x", "c@x"], ["1", "2"], [2, 3]),
            ]
            assert len(store.commits) == 1

    run(main())


def test_long_list_is_absorbed_batch_by_batch(path):
    async def main():
        async with watched(path) as (store, service):
            sent = [observe(f"{n}@x", str(n // 2)) for n in range(2 * MAX_BATCH + 10)]
            answers = await service.identify_all(sent)
            assert [len(c.contacts) for c in store.commits] == [MAX_BATCH, MAX_BATCH, 10]
            assert [a.primary_id for a in answers] == [n - n % 2 + 1 for n in range(len(sent))]
            await assert_clean(store)

    run(main())


def test_none_are_answered_with_nothing(path):
    async def main():
        async with watched(path) as (store, service):
            assert await service.identify_all([]) == []
            assert store.reads == []

    run(main())


def test_listed_observations_that_cannot_commit_are_each_refused(path):
    async def main():
        async with watched(path) as (store, service):
            first_batch = strangers(MAX_BATCH)
            store.committing.hooks = [failing(StoreUnavailable("The disk is full"))]
            outcomes = await service.identify_all([*first_batch, observe("a@x", None)])
            assert {type(outcome) for outcome in outcomes[:-1]} == {StoreUnavailable}
            assert outcomes[-1] == Answer(1, ["a@x"], [], [])

    run(main())


# The rest


def test_absorbing_is_one_read_without_members_and_one_commit(path):
    async def main():
        async with watched(path) as (store, service):
            changes, _ = await service.absorb([observe(f"{n}@x", "1") for n in range(1000)])
            assert (len(store.reads), len(store.commits)) == (1, 1)
            assert len(changes.contacts) == 1000
            again, _ = await service.absorb([observe(f"{n}@x", "1") for n in range(1000)])
            assert not again
            assert len(store.commits) == 1
            assert (await service.contact(1000)).primary_id == 1

    run(main())


def test_lookup_writes_nothing(path):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"), ("b@x", "2"))
            store.commits.clear()
            assert await service.look_up("a@x", None) == Answer(1, ["a@x"], ["1"], [])
            assert await service.look_up("a@x", "9") == Answer(1, ["a@x"], ["1"], [])
            with pytest.raises(NotFound, match="No contact has this"):
                await service.look_up("c@x", "9")
            with pytest.raises(NotFound, match="belong to different identities"):
                await service.look_up("a@x", "2")
            assert store.commits == []

    run(main())


def test_a_deleted_contact_is_not_found_again(path):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"), ("b@x", "1"))
            await service.delete(1)
            assert await service.contact(2) == Answer(2, ["b@x"], ["1"], [])
            for request in (service.contact(1), service.delete(1), service.delete(99)):
                with pytest.raises(NotFound, match="There is no contact"):
                    await request
            assert await service.identify(observe("a@x", None)) == Answer(3, ["a@x"], [], [])

    run(main())


def test_a_deletion_that_conflicts_is_decided_again(path):
    async def main():
        async with watched(path) as (store, service), store_at(path) as other:
            await write(other, ("a@x", "1"))

            async def somebody_links():
                await write(other, ("b@x", "1"))

            store.committing.hooks = [somebody_links]
            await service.delete(1)
            assert await service.look_up(None, "1") == Answer(2, ["b@x"], ["1"], [])
            await assert_clean(store)

    run(main())


def test_services_of_two_tenants_share_nothing(path):
    async def main():
        async with store_at(path) as store:
            one, other = Service(store, tenant="one"), Service(store, tenant="other")
            await one.identify(observe("a@x", "1"))
            assert await other.identify(observe("a@x", "2")) == Answer(2, ["a@x"], ["2"], [])
            for request in (one.look_up(None, "2"), one.contact(2), one.delete(2)):
                with pytest.raises(NotFound):
                    await request
            await one.drain()
            await other.drain()
            await assert_clean(store)

    run(main())


def test_services_on_one_file_see_each_others_contacts(path):
    async def main():
        async with watched(path) as (store, one), store_at(path) as other_store:
            async with service_on(other_store) as other:
                for n in range(20):
                    answer = await (one, other)[n % 2].identify(observe(f"{n}@x", "1"))
                    assert answer.emails == [f"{m}@x" for m in range(n + 1)]
            await assert_clean(store)

    run(main())


def test_services_on_one_file_create_the_same_strangers_once(path):
    async def main():
        async with watched(path) as (store, one), store_at(path) as other_store:
            async with service_on(other_store) as other:
                requests = [*ask(one, strangers(40)), *ask(other, strangers(40)[::-1])]
                answers = await asyncio.gather(*requests)
            assert answers[:40] == answers[:39:-1]
            assert {answer.primary_id for answer in answers} == set(range(1, 41))
            await assert_clean(store)

    run(main())


def test_large_identity_is_reported_once(tmp_path):
    async def test():
        async with (
            store_at(tmp_path / "c.db") as store,
            service_on(store, Limits(large_identity=5)) as service,
        ):
            for n in range(8):
                await service.identify(observe("mcfly@hillvalley.edu", str(n)))
            for n in range(8):
                await service.identify(observe("doc@hillvalley.edu", f"9{n}"))
            at_once = [observe("marty@hillvalley.edu", f"8{n}") for n in range(5)]
            await service.identify_all(at_once)

    with captured_log_lines() as told:
        asyncio.run(test())
    line = {"event": "identity.large", "log_level": "warning", "tenant": "default", "contacts": 5}
    assert told == [{**line, "identity": id_} for id_ in (1, 9, 17)]
