"""The service on each of the stores."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from bitespeed.errors import BitespeedError, InvalidInput, NotFound
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer
from bitespeed.service.service import Service
from bitespeed.wire.answers import encode_answer
from bitespeed.wire.errors import encode_error
from bitespeed.wire.observations import decode_observation
from support.backends import (
    contact_ids,
    on_one_store,
    on_two_stores,
    stores,
)
from support.contract_examples import CASES
from support.invariants import assert_clean
from support.stores import (
    Watched,
    service_on,
)


@asynccontextmanager
async def serving(backend, besides=()):
    """A watched store and a service on it; at the end the invariants hold, see `assert_clean`."""
    async with stores(backend) as (store,):
        watched = Watched(store)
        async with service_on(watched) as service:
            yield watched, service
        await assert_clean(store, besides=besides)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_example(backend, case):
    async def main():
        async with serving(backend) as (_, service):
            for step in case["steps"]:
                try:
                    observation = decode_observation(json.dumps(step["request"]).encode(), None)
                    told = encode_answer(await service.identify(observation))
                except InvalidInput as error:
                    told = encode_error(error)
                expected = json.dumps(step.get("expect") or step["expect_body"])
                for position, id_ in enumerate(contact_ids(backend), 1):
                    expected = expected.replace(f'"${position}"', str(id_))
                assert json.loads(told) == json.loads(expected)
            if "rows_after" in case:
                counts = "select count(*), count(*) filter (where linkprecedence = 'primary')"
                ((total, primary),) = backend.query(f"{counts} from contact")
                assert {"total": total, "primary": primary} == case["rows_after"]

    asyncio.run(main())


def test_simultaneous_requests_are_one_read_and_one_commit(backend):
    async def main():
        async with serving(backend) as (store, service):
            sent = [("a@x", "1"), ("b@x", "2"), ("a@x", "1"), ("b@x", "1"), ("a@x", "3")]
            answers = await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
            assert answers == [
                Answer(1, ["a@x"], ["1"], []),
                Answer(2, ["b@x"], ["2"], []),
                Answer(1, ["a@x"], ["1"], []),
                Answer(1, ["a@x", "b@x"], ["1", "2"], [2]),
                Answer(1, ["a@x", "b@x"], ["1", "2", "3"], [2, 3]),
            ]
            assert (len(store.reads), len(store.commits)) == (1, 1)
            again = await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
            assert again == [answers[-1]] * len(sent)
            assert (len(store.reads), len(store.commits)) == (2, 1)

    asyncio.run(main())


def test_service_finds_and_deletes_contacts(backend):
    async def main():
        async with serving(backend) as (_, service):
            for sent in [("a@x", "1"), ("b@x", "1"), ("c@x", "2")]:
                await service.identify(observe(*sent))
            await service.ping()
            assert (await service.look_up("b@x", None)).secondary_ids == [2]
            assert (await service.contact(2)).primary_id == 1
            with pytest.raises(NotFound, match="belong to different identities"):
                await service.look_up("a@x", "2")
            await service.delete(1)
            assert await service.contact(2) == Answer(2, ["b@x"], ["1"], [])
            for request in (service.contact(1), service.delete(1), service.look_up("a@x", None)):
                with pytest.raises(NotFound):
                    await request

    asyncio.run(main())


@pytest.mark.parametrize(
    "poison",
    [
        Observation("\ud800@x", None),
        Observation("\0@x", None),
        Observation("a@x", "1", "\0 a@x"),
    ],
    ids=["half a character", "a null character", "a null character as sent"],
)
def test_poisoned_observation_fails_alone(backend, poison):
    async def main():
        async with serving(backend, besides={"I14"}) as (_, service):
            sent = [observe(f"{n}@x", f"{n}") for n in range(8)]
            sent.insert(3, poison)
            outcomes = await asyncio.gather(*map(service.identify, sent), return_exceptions=True)
            poisoned = outcomes.pop(3)
            if isinstance(poisoned, Exception):  # SQLite stores what others cannot
                assert isinstance(poisoned, BitespeedError)
                assert isinstance(poisoned, InvalidInput) or str(poisoned) == "Internal error"
            assert [o.emails for o in outcomes] == [[f"{n}@x"] for n in range(8)]

    asyncio.run(main())


def test_services_of_two_tenants_share_nothing(backend):
    async def test(store):
        one, other = Service(store, tenant="one"), Service(store, tenant="other")
        await one.identify(observe("a@x", "1"))
        assert await other.identify(observe("a@x", "2")) == Answer(2, ["a@x"], ["2"], [])
        for request in (one.look_up(None, "2"), one.contact(2), one.delete(2)):
            with pytest.raises(NotFound):
                await request
        await one.drain()
        await other.drain()

    on_one_store(backend, test)


def test_service_sees_what_another_acknowledged(backend):
    async def test(store, other_store):
        async with service_on(store) as one, service_on(other_store) as other:
            for n in range(20):
                answer = await (one, other)[n % 2].identify(observe(f"{n}@x", "1"))
                assert answer.emails == [f"{m}@x" for m in range(n + 1)]

    on_two_stores(backend, test)


def test_two_services_create_the_same_identities_once(backend):
    async def test(store, other_store):
        strangers = [observe(f"stranger{n}@x", str(n)) for n in range(40)]
        async with service_on(store) as one, service_on(other_store) as other:
            answers = await asyncio.gather(
                *map(one.identify, strangers), *map(other.identify, strangers[::-1])
            )
        assert answers[:40] == answers[:39:-1]
        assert {answer.primary_id for answer in answers} == set(contact_ids(backend))
        assert len(contact_ids(backend)) == 40

    on_two_stores(backend, test)


def test_two_services_merge_a_chain_from_both_ends(backend):
    async def test(store, other_store):
        async with service_on(store) as one, service_on(other_store) as other:
            for n in range(20):
                await one.identify(observe(f"{n}@x", f"{n}"))
            joints = [observe(f"{n}@x", f"{n + 1}") for n in range(19)]
            await asyncio.gather(
                *[
                    (one, other)[n % 2].identify(joint)
                    for n, joint in enumerate([*joints, *joints[::-1]])
                ]
            )
            answer = await other.look_up("19@x", None)
            assert (answer.primary_id, len(answer.secondary_ids)) == (1, 19)

    on_two_stores(backend, test)
