"""Identities of thousands of contacts: their answers hold up nobody, and are bounded together."""

import asyncio
import threading

import pytest

from bitespeed.errors import AnswerTooLarge, StoreUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer, Contact, Identity, Snapshot
from bitespeed.rules import draft
from bitespeed.rules.identify import identify
from bitespeed.service import service as service_module
from bitespeed.service.batching import MAX_BATCH, MAX_BATCH_CONTACTS, Limits
from bitespeed.service.large_answers import LARGE_ANSWER, MAX_REMEMBERED, LargeAnswers
from bitespeed.wire import answers as wire
from bitespeed.wire.answers import encode_answer, encode_outcomes
from support.invariants import assert_clean
from support.service_requests import run, strangers
from support.stores import failing, service_on, store_at, watched

LARGE = observe("large0@x", None)


async def make_large(service, contacts=LARGE_ANSWER, phone="1"):
    """An identity of so many contacts, which nobody knows to be large."""
    await service.absorb([observe(f"large{n}@x", phone) for n in range(contacts)])


def test_batch_request_in_flight_holds_up_no_lone_request(path):
    async def main():
        async with watched(path) as (store, service):
            known = await service.identify(observe("known@x", None))
            store.committing.shut()
            batch = asyncio.create_task(service.identify_all(strangers(MAX_BATCH)))
            await store.committing.has_come.wait()
            assert await service.identify(observe("known@x", None)) == known
            store.committing.open()
            await batch

    run(main())


def test_large_identity_waits_for_its_turn_alone(path):
    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await make_large(service)
            first = await service.identify(LARGE)
            assert len(first.secondary_ids) == LARGE_ANSWER - 1
            async with service._large.turn:
                requests = [
                    asyncio.create_task(work)
                    for work in (
                        service.identify(LARGE),
                        service.look_up("large0@x", None),
                        service.identify_all([LARGE]),
                    )
                ]
                small = await service.identify(observe("small@x", "2"))
                assert (await service.look_up("small@x", None)) == small
                assert not any(request.done() for request in requests)
            assert await asyncio.gather(*requests) == [first, first, [first]]
            await assert_clean(store)

    run(main())


def test_unknown_name_of_large_identity_waits_its_turn(path):
    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await make_large(service)
            async with service._large.turn:
                requests = [
                    asyncio.create_task(work)
                    for work in (
                        service.identify(observe("large1@x", None)),
                        service.look_up("large2@x", None),
                        service.contact(3),
                        service.identify_all([observe("large4@x", None)]),
                    )
                ]
                together = [service.identify(observe("large5@x", None))]
                together += [service.identify(observe("small@x", "2"))]
                waiting, small = map(asyncio.create_task, together)
                await small
                assert (await service.look_up("small@x", None)) == small.result()
                assert not any(request.done() for request in (*requests, waiting))
            first, *others, (last,) = await asyncio.gather(*requests)
            assert others == [first, first]
            assert last == await waiting == first
            await service._batching.drain()
            assert service._batching.is_idle
            assert service._batching._load.waiting == 0
            await assert_clean(store)

    run(main())


def test_mixed_names_of_large_identity_are_few_reads(path):
    async def main():
        async with watched(path) as (store, service):
            await make_large(service)
            known = [observe(f"large{n}@x", None) for n in range(0, 200, 2)]
            answer, *_ = await service.identify_all(known)
            store.reads.clear()
            both = [observe(f"large{n}@x", None) for n in range(200)]
            store.reading.hooks.append(failing(StoreUnavailable()))
            assert await service.identify_all(both) == [answer] * 200
            store.reads.clear()
            both = [observe(f"large{n}@x", None) for n in range(400)]
            assert await service.identify_all(both) == [answer] * 400
            assert len(store.reads) <= 5

    run(main())


def test_answer_is_made_anew_only_after_a_change(path, monkeypatch):
    made = []

    def consolidate(members):
        made.append(members)
        return original(members)

    original = draft.consolidate
    monkeypatch.setattr(draft, "consolidate", consolidate)

    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await make_large(service)
            first = await service.identify(LARGE)
            assert await service.identify(observe("large1@x", None)) is first
            assert await service.look_up("large2@x", None) is first
            assert len(made) == 1
            second = await service.identify(observe("new@x", "1"))
            assert second.secondary_ids == [*first.secondary_ids, LARGE_ANSWER + 1]
            assert await service.identify(LARGE) == second

    run(main())


def test_identity_that_has_become_small_waits_no_more(path):
    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await make_large(service)
            answer = await service.identify(LARGE)
            await service.delete(answer.secondary_ids[-1])
            await service.identify(LARGE)
            async with service._large.turn:
                await service.identify(LARGE)

    run(main())


@pytest.mark.parametrize("contacts", [LARGE_ANSWER - 1, LARGE_ANSWER])
def test_only_large_answer_is_made_on_the_thread(path, monkeypatch, contacts):
    threads = []

    def consolidate(members):
        threads.append(threading.current_thread())
        return original(members)

    original = draft.consolidate
    monkeypatch.setattr(draft, "consolidate", consolidate)

    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await make_large(service, contacts)
            requests = [service.identify(LARGE) for _ in range(10)]
            assert len({id(answer) for answer in await asyncio.gather(*requests)}) == 1
            (thread,) = threads
            is_main = thread is threading.main_thread()
            assert is_main == (contacts < LARGE_ANSWER)

    run(main())


def test_merges_with_a_large_identity_copy_no_contacts():
    members = [Contact(n, n, f"large{n}@x", None) for n in range(1, 100)]
    large = Identity(1, 1, 1, 1, 1, len(members), members)
    others = {
        n: Identity(n, 1, n, n, n, 1, [Contact(n, n, f"o{n}@x", None)]) for n in range(200, 300)
    }
    emails = {"large1@x": 1} | {f"o{n}@x": n for n in others}
    phones = {"7": 1}
    observations = [observe(f"o{n}@x", "7") for n in others]
    changes, replies = identify(Snapshot({1: large} | others, emails, phones), observations)
    assert len(changes.identities) == 101
    for count, reply in enumerate(replies, 1):
        assert any(part is members for part in reply.members)
        assert reply.contacts == len(members) + count == sum(map(len, reply.members))
        assert reply.primary_id() == reply.answer().primary_id == 1


class TestBatch:
    def test_answers_beyond_the_contacts_of_a_batch_are_refused(self, path, monkeypatch):
        monkeypatch.setattr(service_module, "MAX_BATCH_CONTACTS", 3 * LARGE_ANSWER + 10)

        async def main():
            async with store_at(path) as store, service_on(store) as service:
                await make_large(service)
                await service.identify_all([observe(f"s{n}@x", None) for n in range(10)])
                merges = [observe(f"s{n}@x", "1") for n in range(10)]
                outcomes = await service.identify_all(merges)
                assert [isinstance(outcome, Answer) for outcome in outcomes] == [True] * 3 + [
                    False
                ] * 7
                assert {outcome.primary_id for outcome in outcomes} == {outcomes[0].primary_id}
                answer = await service.identify(LARGE)
                assert len(answer.secondary_ids) == LARGE_ANSWER + 9  # all were written
                await assert_clean(store)

        run(main())

    def test_equal_answers_of_a_batch_count_once(self, path):
        async def main():
            async with store_at(path) as store, service_on(store) as service:
                await make_large(service)
                count = MAX_BATCH_CONTACTS // LARGE_ANSWER + MAX_BATCH
                outcomes = await service.identify_all([LARGE] * count)
                assert all(isinstance(outcome, Answer) for outcome in outcomes)

        run(main())

    def test_answers_beyond_the_bytes_of_a_batch_are_refused(self, monkeypatch):
        small, large = (
            Answer(1, ["a@b.c"], [], []),
            Answer(2, [f"{n}@b.c" for n in range(99)], [], []),
        )
        monkeypatch.setattr(wire, "MAX_BATCH_ANSWER", 2 * len(encode_answer(large)) + 100)
        texts = encode_outcomes([large, large, large, small, large])
        refused = (
            b'{"error":"The answers of this batch are too large together. The observation is'
            b' written; send it alone for its answer","code":"answer_too_large",'
            b'"primaryContatctId":2}'
        )
        assert texts == [encode_answer(large)] * 2 + [refused, encode_answer(small), refused]


class TestEncoding:
    def large(self):
        return Answer(1, [], ["1"], list(range(2, LARGE_ANSWER + 2)))

    def test_equal_answers_are_encoded_once(self):
        answer, other = self.large(), self.large()
        assert encode_answer(answer) is encode_answer(answer)
        assert encode_answer(other) == encode_answer(answer)
        assert len({id(text) for text in encode_outcomes([answer] * 3)}) == 1

    def test_text_of_a_large_answer_goes_with_it(self):
        encode_answer(self.large())
        assert wire._last_large._text == b""


class TestRemembered:
    def test_names_are_bounded_and_the_oldest_goes(self):
        large = LargeAnswers()
        for n in range(MAX_REMEMBERED + 1):
            large.remember("shop", [n], 7, LARGE_ANSWER)
        assert large.primary_of("shop", [0]) is None
        assert large.primary_of("shop", [1]) == large.primary_of("shop", [0, MAX_REMEMBERED]) == 7
        assert large.primary_of("rival", [1]) is None

    def test_small_identity_is_not_remembered(self):
        large = LargeAnswers()
        large.remember("shop", ["a@x"], 7, LARGE_ANSWER - 1)
        assert not large


class TestLimit:
    """BITESPEED_MAX_ANSWER."""

    def test_answer_beyond_the_limit_is_refused_but_written(self, path):
        async def main():
            async with store_at(path) as store, service_on(store, Limits(max_answer=3)) as service:
                for n in range(3):
                    answer = await service.identify(observe(f"a{n}@x", "1"))
                assert len(answer.secondary_ids) == 2
                new = observe("a3@x", "1")
                for work in (
                    service.identify(new),
                    service.identify(new),
                    service.look_up("a0@x", None),
                    service.contact(2),
                ):
                    with pytest.raises(AnswerTooLarge, match=r"4 contacts.* at most 3") as refusal:
                        await work
                    assert refusal.value.primary_id == answer.primary_id
                outcomes = await service.identify_all([new, observe("b@x", None)])
                assert [type(outcome) for outcome in outcomes] == [AnswerTooLarge, Answer]
                await service.delete(4)
                assert await service.look_up("a0@x", None) == answer

        run(main())

    def test_refusal_names_a_primary_that_was_just_created(self, path):
        async def main():
            async with store_at(path) as store, service_on(store, Limits(max_answer=1)) as service:
                outcomes = await service.identify_all(
                    [observe("x@x", None), observe("a@x", "1"), observe("b@x", "1")]
                )
                assert outcomes[2].primary_id == outcomes[1].primary_id == 2

        run(main())


def test_thread_is_started_by_the_first_large_answer(path):
    async def main():
        async with store_at(path) as store, service_on(store) as service:
            await service.identify_all(strangers(100))
            assert service._large._thread is None

    run(main())
