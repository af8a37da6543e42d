"""A copy explains as its source does: facts, their sources and labels, and the ends of values."""

import asyncio
from pathlib import Path

from bitespeed.jobs.copy import Comparison, Difference, compare, copy
from bitespeed.model.identifiers import observe
from bitespeed.model.sources import Source
from bitespeed.service.explanations import End
from bitespeed.service.merges import WantedMerges
from bitespeed.service.service import Service
from bitespeed.stores.protocols import AnyStore
from bitespeed.wire.answers import encode_answer
from bitespeed.wire.explanations import encode_history, encode_merges, encode_why
from support.copies import opened, query

SENT = [("a@x", "1"), (" A@x", "2-"), ("b@x", "2"), ("b@x", "1"), ("c@x", "3"), ("c@x", "1")]
PAGE = 100


async def fill(store: AnyStore) -> int:
    """People with a pair that no contact shows, a merge, and a value that was brought twice.

    Returns an instant before the last deletion.
    """
    service = Service(store)
    for number, (email, phone) in enumerate(SENT):
        source = Source("key", f"request-{number}", f"label {number}")
        await service.identify(observe(email, phone), source=source)
    *_, last = await service.history(1, 0, PAGE)
    await service.delete(2)
    await service.identify(observe("d@x", "2"))
    await service.drain()
    return last.at


async def explained(store: AnyStore, at: int) -> list[bytes]:
    """What the API would answer."""
    service = Service(store)
    ends = [End(("email", "a@x")), End(("email", "c@x")), End(("phone", "2")), End(contact=3)]
    whys = [await service.why(one, other) for one in ends for other in ends]
    histories = [await service.history(contact, 0, PAGE) for contact in range(1, 6)]
    return [
        *map(encode_why, whys),
        *(encode_history(history, PAGE) for history in histories),
        encode_merges(await service.merges(WantedMerges())),
        *[encode_answer(await service.contact_as_of(contact, at)) for contact in (1, 2, 4)],
    ]


def test_copy_to_postgres_and_back_explains_the_same(database: str, tmp_path: Path) -> None:
    async def test() -> None:
        urls = f"sqlite:///{tmp_path}/one.db", database, f"sqlite:///{tmp_path}/back.db"
        async with opened(*urls) as (file, server, back):
            at = await fill(file)
            expected = await explained(file, at)
            assert any(b'"label":"label 3"' in answer for answer in expected)
            for source, target in ((file, server), (server, back)):
                await copy(source, target)
                assert await explained(target, at) == expected

    asyncio.run(test())


def test_pair_that_is_missing_in_a_copy_is_reported(tmp_path: Path) -> None:
    async def test() -> Comparison:
        urls = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/other.db"
        async with opened(*urls) as (file, other):
            await fill(file)
            copied = await copy(file, other)
            query(urls[1], "delete from event_record where kind = 'pair.seen'")
            return await compare(file, other, copied)

    assert asyncio.run(test()) == Comparison(differences=[Difference(1, "events 4")])
