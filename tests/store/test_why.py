"""Why two are one person, on every store, by the exact answers of short scenarios.

`a1` is an observation of a@x.co and the phone number 1; `a-` and `-1` are one value alone. An
answer is written p|emails|phones|secondaries, a chain as its facts.
"""

from collections.abc import Awaitable, Callable
from itertools import permutations

import pytest

from bitespeed.errors import NotFound
from bitespeed.model.facts import Fact
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer
from bitespeed.service.explanations import End
from bitespeed.service.service import Service
from bitespeed.stores.protocols import AnyStore
from support.backends import on_one_store, rows

PATH = ("a1", "b1", "b2", "c2")


def observation(text: str) -> Observation:
    letter, digit = text
    return observe(f"{letter}@x.co" if letter != "-" else None, digit if digit != "-" else None)


def end(value: str) -> End:
    return End(value=("phone", value) if value.isdigit() else ("email", f"{value}@x.co"))


def shown(answer: Answer) -> str:
    emails = [email.removesuffix("@x.co") for email in answer.emails]
    lists = emails, answer.phones, map(str, answer.secondary_ids)
    return "|".join([str(answer.primary_id), *(",".join(values) or "-" for values in lists)])


class Shop:
    """A tenant, in the words of the scenarios."""

    def __init__(self, store: AnyStore, tenant: str = "default") -> None:
        self._service = Service(store, tenant=tenant)

    async def identify(self, *texts: str) -> str:
        """The answer to the last one."""
        answers = [await self._service.identify(observation(text)) for text in texts]
        return shown(answers[-1])

    async def contact(self, id_: int) -> str:
        return shown(await self._service.contact(id_))

    async def delete(self, *contacts: int) -> None:
        for contact in contacts:
            await self._service.delete(contact)

    async def facts(self, one: str, other: str, as_of: int | None = None) -> list[Fact]:
        """The chain; empty for two persons."""
        return (await self._service.why(end(one), end(other), as_of)).chain or []

    async def why(self, one: str, other: str, as_of: int | None = None) -> list[str]:
        """The same as texts."""
        chain = await self.facts(one, other, as_of)
        return ["".join(node.value.removesuffix("@x.co") for node in f.nodes) for f in chain]

    async def drain(self) -> None:
        await self._service.drain()


def in_shop(backend, scenario: Callable[[Shop], Awaitable[None]]) -> None:
    """Run it with one shop, then check the invariants."""

    async def test(store: AnyStore) -> None:
        shop = Shop(store)
        await scenario(shop)
        await shop.drain()

    on_one_store(backend, test)


def test_four_facts_in_any_order_leave_two_ways(backend):
    """Two values of each kind, each seen with each, in all 24 orders: no pair is forgotten."""

    async def test(store):
        for place, order in enumerate(permutations(["a1", "a2", "b1", "b2"])):
            shop = Shop(store, f"shop-{place}")
            await shop.identify(*order)
            before = rows(backend)
            answer = await shop.identify(*order)
            assert rows(backend) == before
            primary, emails, phones, secondaries = answer.split("|")
            assert (sorted(emails), sorted(phones)) == (sorted("a,b"), sorted("1,2"))
            assert len({primary, *secondaries.split(",")}) in {2, 3}
            oldest = next(text[1] for text in order if text[0] == "a")
            assert await shop.why("a", "b") == [f"a{oldest}", f"b{oldest}"]
            for text in order:
                assert await shop.why(*text) == [text]
            await shop.drain()

    on_one_store(backend, test)


def test_freed_phone_is_another_one_when_it_comes_again(backend):
    async def scenario(shop):
        assert await shop.identify("a-") == "1|a|-|-"
        assert await shop.identify("a1") == "1|a|1|2"
        (old,) = await shop.facts("a", "1")
        await shop.delete(2)
        assert await shop.identify("b1") == "3|b|1|-"
        assert await shop.why("a", "b") == []
        assert await shop.identify("a1") == "1|a,b|1|3"
        (merge,) = await shop.facts("a", "1")
        assert merge.contact is None
        assert merge.number > old.number
        first, second = await shop.facts("a", "b")
        assert first == merge
        assert (second.contact, second.number) == (3, merge.number - 1)
        assert await shop.why("a", "b") == ["a1", "b1"]

    in_shop(backend, scenario)


def test_chain_is_the_shortest_and_as_of_then(backend):
    async def scenario(shop):
        await shop.identify(*PATH)
        chain = await shop.facts("a", "c")
        assert await shop.why("a", "c") == [*PATH]
        assert await shop.identify("a3", "c3") == "1|a,b,c|1,2,3|2,3,4,5"
        assert await shop.why("a", "c") == ["a3", "c3"]
        assert await shop.why("c", "a") == ["c3", "a3"]
        assert await shop.why("1", "2") == ["b1", "b2"]
        then = chain[-1].at
        assert await shop.facts("a", "c", then) == chain
        assert await shop.why("a", "3", then) == []

    in_shop(backend, scenario)


def test_chain_leads_through_the_fact_of_a_merge(backend):
    async def scenario(shop):
        assert await shop.identify("a1", "b2") == "2|b|2|-"
        assert await shop.why("a", "b") == []
        assert await shop.identify("a2") == "1|a,b|1,2|2"
        assert await shop.why("1", "b") == ["a1", "a2", "b2"]
        assert [fact.contact for fact in await shop.facts("1", "b")] == [1, None, 2]
        await shop.identify("b1")
        assert await shop.why("1", "b") == ["b1"]

    in_shop(backend, scenario)


def test_chain_leads_through_two_merges(backend):
    async def scenario(shop):
        await shop.identify("c3", "b2", "a1")
        assert await shop.identify("b3") == "1|c,b|3,2|2"
        assert await shop.identify("a2") == "1|c,b,a|3,2,1|2,3"
        assert await shop.why("1", "3") == ["a1", "a2", "b2", "b3"]
        assert [fact.contact for fact in await shop.facts("1", "3")] == [3, None, 2, None]

    in_shop(backend, scenario)


def test_values_of_deleted_contacts_go_on_linking(backend):
    """b is given up with the contacts that showed it; what it linked stays linked."""

    async def scenario(shop):
        await shop.identify(*PATH)
        chain = await shop.why("a", "c")
        await shop.delete(2, 3)
        assert await shop.contact(4) == "1|a,c|1,2|4"
        assert await shop.why("a", "c") == chain
        first, second = [fact for fact in await shop.facts("a", "c") if fact.contact in {2, 3}]
        (until,) = {node.until for fact in (first, second) for node in fact.nodes if node.until}
        assert until > second.number
        with pytest.raises(NotFound):
            await shop.why("a", "b")
        assert await shop.identify("b9") == "5|b|9|-"
        assert await shop.why("a", "b") == []
        assert await shop.why("a", "c") == chain
        assert await shop.identify("b2") == "1|a,c,b|1,2,9|4,5"
        assert await shop.why("2", "b") == ["b2"]
        assert await shop.why("1", "9") == ["b1", "b2", "b2", "b9"]

    in_shop(backend, scenario)


def test_more_facts_than_the_limit_are_not_read(backend):
    """Of a phone with three emails: a deleted contact, a pair of known values, a live contact."""

    async def test(store):
        shop = Shop(store)
        await shop.identify("a1", "b-", "b1", "c1")
        await shop.delete(1)
        wanted = [("phone", "1")]
        assert await store.facts("default", wanted, limit=2) is None
        facts = await store.facts("default", wanted, limit=3)
        assert {(fact.contact, len(fact.nodes)) for fact in facts} == {(1, 2), (None, 2), (3, 2)}
        assert await store.facts("default", wanted, limit=0) is None
        assert await store.facts("default", [("phone", "2")], limit=0) == []
        await shop.drain()

    on_one_store(backend, test)
