"""Which merges are shown, page by page, on every store.

Four couples, each of an email and a phone number of its own until somebody comes with the email of
the one and the number of the other, make merges 1 to 3: of one and one contact, of two and two, and
of two and one by a phone number that several have. An email alone makes the last, by a number that
goes with nothing else.
"""

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import observe
from bitespeed.service import merges
from bitespeed.service.merges import MAX_PARTNERS, WantedMerges
from bitespeed.service.service import Service
from support.backends import on_one_store

SENT = {
    "one and one": [("a1@x.co", "1"), ("a2@x.co", "2"), ("a1@x.co", "2")],
    "two and two": [
        *[("b1@x.co", "3"), ("b2@x.co", "3"), ("b3@x.co", "4"), ("b4@x.co", "4")],
        ("b1@x.co", "4"),
    ],
    "hub": [
        *[("c1@x.co", "5"), ("c2@x.co", "5"), ("c3@x.co", "5"), ("c4@x.co", "6")],
        ("c4@x.co", "5"),
    ],
    "alone": [("d1@x.co", None), (None, "7"), ("d1@x.co", "7")],
}


def on_merges(backend, test):
    """Run a test with a service whose merges are these."""

    async def main(store):
        service = Service(store)
        for sent in SENT.values():
            for email, phone in sent:
                await service.identify(observe(email, phone))
        await test(service)
        await service.drain()

    on_one_store(backend, main)


async def shown(service, wanted=None):
    """The sizes of the two in each merge of a page, and the next page."""
    page = await service.merges(wanted or WantedMerges())
    return [(merge.size, merge.merged_size) for merge in page.merges], page.next


def test_merges_are_filtered_by_sizes_and_partners(backend):
    async def test(service):
        everything = [(1, 1), (3, 1), (2, 2), (1, 1)]
        assert await shown(service) == (everything, None)
        assert await shown(service, WantedMerges(minimum=1)) == (everything, None)
        assert await shown(service, WantedMerges(minimum=2)) == ([(2, 2)], None)
        assert await shown(service, WantedMerges(minimum=3)) == ([], None)
        assert await shown(service, WantedMerges(partners=2)) == (everything[1:], None)
        assert await shown(service, WantedMerges(partners=3)) == ([(3, 1), (2, 2)], None)
        assert await shown(service, WantedMerges(partners=4)) == ([(3, 1)], None)
        assert await shown(service, WantedMerges(partners=5)) == ([], None)
        assert await shown(service, WantedMerges(minimum=2, partners=4)) == ([], None)

    on_merges(backend, test)


def test_value_given_up_since_is_no_partner(backend):
    async def test(service):
        await service.delete(7)  # c1, the first with its number
        assert await shown(service, WantedMerges(partners=4)) == ([], None)
        assert await shown(service, WantedMerges(partners=3)) == ([(3, 1), (2, 2)], None)

    on_merges(backend, test)


def test_page_ends_where_enough_are_found_or_read(backend, monkeypatch):
    async def test(service):
        events = [merge.number for merge in (await service.merges(WantedMerges())).merges]
        hub, two = events[1:3]
        assert await shown(service, WantedMerges(limit=2)) == ([(1, 1), (3, 1)], hub)
        assert await shown(service, WantedMerges(limit=1, partners=3)) == ([(3, 1)], hub)
        assert await shown(service, WantedMerges(hub, limit=1, partners=3)) == ([(2, 2)], two)
        assert await shown(service, WantedMerges(two, limit=1, partners=3)) == ([], None)
        monkeypatch.setattr(merges, "MAX_READ", 2)
        assert await shown(service, WantedMerges(minimum=2)) == ([], hub)
        assert await shown(service, WantedMerges(hub, minimum=2)) == ([(2, 2)], events[3])
        assert await shown(service, WantedMerges(events[3], minimum=2)) == ([], None)

    on_merges(backend, test)


@pytest.mark.parametrize("partners", [-1, MAX_PARTNERS + 1])
def test_partners_out_of_bounds_are_refused(backend, partners):
    async def test(service):
        with pytest.raises(InvalidInput, match="partners must be from 0 to 100"):
            await service.merges(WantedMerges(partners=partners))

    on_merges(backend, test)
