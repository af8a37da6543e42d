"""How requests become batches, and what a conflict or a failure does to each of them."""

import asyncio

import pytest

from bitespeed.errors import (
    Conflict,
    Contention,
    StoreDamaged,
    StoreUnavailable,
    Unexpected,
)
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer
from bitespeed.service import commits
from bitespeed.service.attempts import MAX_ATTEMPTS
from bitespeed.service.batching import MAX_BATCH, MAX_IN_FLIGHT
from support.invariants import assert_clean
from support.service_requests import ask, fill_flight, run, run_ready_tasks, strangers
from support.stores import failing, store_at, watched, write

# Gathering


def test_callback_gets_its_answer_before_the_commit_is_logged(path, monkeypatch):
    """A callback runs before the log line of its commit; an awaited answer comes after it."""
    order = []
    monkeypatch.setattr(commits, "report_commit", lambda *_: order.append("log"))

    async def main():
        async with watched(path) as (_, service):
            service.submit(observe("a@x", None), lambda _: order.append("answer"))
            await run_ready_tasks()
            await service.drain()
            assert order == ["answer", "log"]
        async with watched(path) as (_, service):
            await service.identify(observe("b@x", None))
            assert order == ["answer", "log", "log"]

    run(main())


def test_a_lone_request_runs_at_once(path):
    async def main():
        async with watched(path) as (store, service):
            store.reading.shut()
            (request,) = ask(service, strangers(1))
            await run_ready_tasks()
            assert len(store.reads) == 1
            store.reading.open()
            assert (await request).primary_id == 1
            assert (len(store.reads), len(store.commits)) == (1, 1)

    run(main())


def test_concurrent_requests_are_one_read_and_one_commit(path):
    async def main():
        async with watched(path) as (store, service):
            answers = await asyncio.gather(*ask(service, strangers(100)))
            assert (len(store.reads), len(store.commits)) == (1, 1)
            assert [answer.primary_id for answer in answers] == list(range(1, 101))

    run(main())


def test_requests_during_batches_are_gathered_into_the_next(path):
    async def main():
        async with watched(path) as (store, service):
            requests = await fill_flight(store, service)
            for observation in strangers(50):
                requests += ask(service, [observation])
                await run_ready_tasks()
            assert len(store.reads) == MAX_IN_FLIGHT
            store.committing.open()
            await asyncio.gather(*requests)
            assert len(store.reads) == len(store.commits) == MAX_IN_FLIGHT + 1
            assert len(store.commits[-1].contacts) == 50

    run(main())


def test_a_batch_has_a_largest_size(path):
    async def main():
        async with watched(path) as (store, service):
            await asyncio.gather(*ask(service, strangers(MAX_BATCH + 1)))
            assert [len(c.contacts) for c in store.commits] == [MAX_BATCH, 1]

    run(main())


def test_concurrent_requests_are_answered_as_in_sequence(path):
    async def main():
        async with watched(path) as (store, service):
            sent = [("a@x", "1"), ("b@x", "2"), ("a@x", "1"), ("b@x", "1"), ("a@x", "3")]
            answers = await asyncio.gather(*ask(service, [observe(*one) for one in sent]))
            assert answers == [
                Answer(1, ["a@x"], ["1"], []),
                Answer(2, ["b@x"], ["2"], []),
                Answer(1, ["a@x"], ["1"], []),
                Answer(1, ["a@x", "b@x"], ["1", "2"], [2]),
                Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3]),
            ]
            assert len(store.commits) == 1

    run(main())


def test_a_repeat_commits_nothing(path):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"))
            store.commits.clear()
            for sent in [("a@x", "1"), ("a@x", None), (None, "1")]:
                assert await service.identify(observe(*sent)) == Answer(1, ["a@x"], ["1"], [])
            assert store.commits == []

    run(main())


def test_replies_without_changes_precede_the_commit_of_others(path):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"))
            store.committing.shut()
            stranger, known, other = ask(
                service, [observe("new@x", None), observe("a@x", None), observe("a@x", "2")]
            )
            assert await known == Answer(1, ["a@x"], ["1"], [])
            await store.committing.has_come.wait()
            await run_ready_tasks()
            assert not stranger.done()
            assert not other.done()
            store.committing.open()
            assert (await stranger).primary_id == 2
            assert await other == Answer(1, ["a@x"], ["1", "2"], [3])
            assert len(store.reads) == 2  # one of them by `write`

    run(main())


# Conflicts


def test_a_conflict_is_read_and_decided_again(path):
    async def main():
        async with watched(path) as (store, service), store_at(path) as other:
            await write(other, ("a@x", "1"))

            async def somebody_is_faster():
                await write(other, ("b@x", "1"))

            store.committing.hooks = [somebody_is_faster]
            answer = await service.identify(observe("c@x", "1"))
            assert answer == Answer(1, ["a@x", "b@x", "c@x"], ["1"], [2, 3])
            assert (len(store.reads), len(store.commits)) == (2, 2)
            await assert_clean(store)

    run(main())


def test_only_what_is_not_answered_yet_is_tried_again(path):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"))
            store.reads.clear()
            store.committing.hooks = [failing(Conflict())]
            await asyncio.gather(*ask(service, [observe("a@x", None), observe("b@x", None)]))
            assert store.reads == [{"a@x", "b@x"}, {"b@x"}]

    run(main())


def test_a_conflict_that_made_the_observation_known_writes_nothing(path):
    async def main():
        async with watched(path) as (store, service), store_at(path) as other:

            async def somebody_says_the_same():
                await write(other, ("a@x", "1"))

            store.committing.hooks = [somebody_says_the_same]
            assert await service.identify(observe("a@x", "1")) == Answer(1, ["a@x"], ["1"], [])
            assert len(store.commits) == 1
            await assert_clean(store)

    run(main())


EACH_THAT_WRITES = pytest.mark.parametrize(
    "ask_for",
    [
        lambda service: service.identify(observe("a@x", "2")),
        lambda service: service.absorb([observe("a@x", "2")]),
        lambda service: service.delete(1),
    ],
    ids=["identify", "absorb", "delete"],
)


@EACH_THAT_WRITES
def test_the_last_attempt_counts(path, ask_for):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"))
            store.reads.clear()
            store.committing.hooks = [failing(Conflict())] * (MAX_ATTEMPTS - 1)
            await ask_for(service)
            assert len(store.reads) == MAX_ATTEMPTS

    run(main())


@EACH_THAT_WRITES
def test_attempts_are_bounded(path, ask_for):
    async def main():
        async with watched(path) as (store, service):
            await write(store, ("a@x", "1"))
            store.reads.clear()
            store.committing.hooks = [failing(Conflict())] * MAX_ATTEMPTS
            with pytest.raises(Contention, match="Others keep changing the same identity"):
                await ask_for(service)
            assert len(store.reads) == MAX_ATTEMPTS
            assert await service.contact(1) == Answer(1, ["a@x"], ["1"], [])

    run(main())


@pytest.mark.parametrize("conflicts", [1, MAX_ATTEMPTS - 1])
def test_changes_absorbed_after_conflicts_are_reported_once(path, conflicts):
    async def main():
        async with watched(path) as (store, service):
            store.committing.hooks = [failing(Conflict())] * conflicts
            changes, _ = await service.absorb([observe("a@x", "1"), observe("b@x", "1")])
            assert len(changes.contacts) == 2
            assert len((await service.contact(1)).secondary_ids) == 1

    run(main())


# Failures

UNWRITABLE = Observation("\ud800@x", None)


def test_a_poisoned_observation_fails_alone(path):
    async def main():
        async with watched(path) as (store, service):
            sent = [*strangers(10), UNWRITABLE, *strangers(10, start=10)]
            outcomes = await asyncio.gather(*ask(service, sent), return_exceptions=True)
            poisoned = outcomes.pop(10)
            assert type(poisoned) is Unexpected
            assert str(poisoned) == "Internal error"
            assert [o.emails for o in outcomes] == [[f"stranger{n}@x"] for n in range(20)]
            await assert_clean(store)

    run(main())


def test_poisoned_observation_of_a_list_fails_alone(path):
    async def main():
        async with watched(path) as (_, service):
            outcomes = await service.identify_all([*strangers(3), UNWRITABLE, *strangers(3)])
            assert type(outcomes.pop(3)) is Unexpected
            assert [answer.primary_id for answer in outcomes] == [1, 2, 3, 1, 2, 3]

    run(main())


def test_a_failure_is_logged_without_what_was_sent(path, capfd):
    async def main():
        async with watched(path) as (store, service):
            store.committing.hooks = [failing(RuntimeError("mcfly@hillvalley.edu 5550123"))]
            with pytest.raises(Unexpected, match="Internal error"):
                await service.identify(observe("mcfly@hillvalley.edu", "5550123"))
            with pytest.raises(Unexpected, match="Internal error"):
                await service.identify(UNWRITABLE)

    run(main())
    told = capfd.readouterr().err
    assert '"event":"observation.undecided","error":"RuntimeError"' in told
    assert "UnicodeEncodeError" in told
    assert "in commit" in told
    for secret in ("mcfly", "hillvalley", "5550123", "ud800", "@x"):
        assert secret not in told


def test_an_unavailable_store_refuses_the_whole_batch_once(path):
    async def main():
        async with watched(path) as (store, service):
            store.committing.hooks = [failing(StoreUnavailable("The disk is full"))]
            outcomes = await asyncio.gather(*ask(service, strangers(10)), return_exceptions=True)
            assert {str(outcome) for outcome in outcomes} == {"The disk is full"}
            assert len(store.commits) == 1
            assert (await service.identify(observe("a@x", None))).primary_id == 1

    run(main())


def test_damaged_store_is_reported_as_damaged(path):
    async def main():
        async with watched(path) as (store, service):
            store.reading.hooks = [failing(StoreDamaged("The database file is damaged"))]
            with pytest.raises(StoreDamaged, match="damaged"):
                await service.identify(observe("a@x", None))

    run(main())


def test_a_caller_who_gives_up_harms_nobody_else(path):
    async def main():
        async with watched(path) as (store, service):
            store.reading.shut()
            gone, neighbour = ask(service, strangers(2))
            await store.reading.has_come.wait()
            gone.cancel()
            store.reading.open()
            assert (await neighbour).emails == ["stranger1@x"]
            assert gone.cancelled()

    run(main())


def test_cancelled_request_is_left_out_of_its_batch(path):
    async def main():
        async with watched(path) as (store, service):
            held_up = await fill_flight(store, service)
            gone, neighbour = ask(service, strangers(2))
            await run_ready_tasks()
            gone.cancel()
            await run_ready_tasks()
            store.committing.open()
            await asyncio.gather(*held_up, neighbour)
            assert store.reads[-1] == {"stranger1@x", "1"}

    run(main())
