"""Every store, beside a model that works everything out from scratch, and a replay of its facts."""

import asyncio
import time
from collections import defaultdict
from contextlib import aclosing
from itertools import chain, product
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitespeed.errors import NotFound
from bitespeed.model.facts import Fact
from bitespeed.model.identifiers import Observation, observe
from bitespeed.model.identity import Answer
from bitespeed.rules.partition import parts_of
from bitespeed.rules.record_parts import facts_of
from bitespeed.service.explanations import End
from bitespeed.service.service import Service
from bitespeed.stores.protocols import AnyStore
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import SqliteBackend, cleared
from support.invariants import assert_clean
from support.slow_model import SlowModel
from support.stores import service_on


class Dated(NamedTuple):
    """An observation that brings its age, as a row of a file does."""

    values: tuple[str, ...]
    at: int


EMAILS = [f"{letter}@x.co" for letter in "abcd"]
PHONES = ["1", "2", "3", "4"]
PAIRS = st.tuples(st.sampled_from(EMAILS), st.sampled_from(PHONES))
LONE = st.tuples(st.sampled_from(EMAILS + PHONES))
DELETED = st.integers(0, 20)
DATED = st.builds(Dated, PAIRS | LONE, st.integers(-2, 2))
STEPS = st.lists(PAIRS | PAIRS | LONE | DATED | DELETED, max_size=14)


def values_of(fact: Fact) -> tuple[str, ...]:
    return tuple(node.value for node in fact.nodes)


def end_of(value: str) -> End:
    return End(value=("email" if "@" in value else "phone", value))


def observation_of(values: tuple[str, ...]) -> Observation:
    email = next((value for value in values if "@" in value), None)
    phone = next((value for value in values if "@" not in value), None)
    return observe(email, phone)


async def take(service: Service, model: SlowModel, step: Any) -> None:
    """Take a step in both; the answers must be the same."""
    if isinstance(step, Dated):
        observation = observation_of(step.values)
        await service.absorb([observation], [step.at])
        expected = model.observe(*step.values, at=step.at)
        assert await service.look_up(observation.email, observation.phone) == expected
    elif not isinstance(step, int):
        assert await service.identify(observation_of(step)) == model.observe(*step)
    elif live := [contact.id for contact in model.live()]:
        model.delete(live[step % len(live)])
        await service.delete(live[step % len(live)])


async def compare(service: Service, store: AnyStore, steps: list[Any]) -> None:
    """Take the steps in both and compare what is kept after each, then every state there was, and
    the chains of the last.
    """
    model = SlowModel()
    states: list[tuple[int, dict[int, Answer]]] = []
    for step in steps:
        await take(service, model, step)
        await compare_parts(store, model)
        answers = {contact.id: model.answer(contact.anchor) for contact in model.live()}
        states.append((time.time_ns() // 1000, answers))
    for at, answers in states:
        for contact in model.contacts:
            if contact.id in answers:
                assert await service.contact_as_of(contact.id, at) == answers[contact.id]
            else:
                with pytest.raises(NotFound):
                    await service.contact_as_of(contact.id, at)
    await compare_partners(store, model)
    held = sorted(node.value for node in model.held())
    for one, other in product(held, held):
        await compare_chain(service, model, one, other)


async def compare_parts(store: AnyStore, model: SlowModel) -> None:
    """What became of the store step by step is what all its facts make, taken once more."""
    async with aclosing(store.scan()) as pages:
        identities = [identity async for page in pages for identity in page]
    facts = sorted(chain.from_iterable(facts_of(identity) for identity in identities))
    shown = [[(node.value, node.until is None) for node in fact.nodes] for fact in facts]
    assert shown == model.shown_facts()
    replayed, parts = defaultdict[int, set[int]](set), parts_of(facts)
    for contact in chain.from_iterable(identity.contacts for identity in identities):
        assert contact.anchor_node is not None
        replayed[parts.of(contact.anchor_node)].add(contact.id)
    stored = [frozenset(c.id for c in identity.contacts) for identity in identities]
    assert set(stored) == {frozenset(part) for part in replayed.values()}
    assert set(stored) == model.parts()


async def compare_partners(store: AnyStore, model: SlowModel) -> None:
    everything = [("email", email) for email in EMAILS] + [("phone", phone) for phone in PHONES]
    for limit in (1, 2, 9):
        counts = [min(model.partners(value), limit) for _, value in everything]
        assert await store.partners(DEFAULT_TENANT, everything, limit=limit) == counts


async def compare_chain(service: Service, model: SlowModel, one: str, other: str) -> None:
    why = await service.why(end_of(one), end_of(other))
    expected = model.why(one, other)
    assert why.are_together == (expected is not None)
    if expected is not None:
        found = [values_of(fact) for fact in why.chain or []]
        assert found == [tuple(n.value for n in fact.nodes) for fact in expected]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(STEPS)
def test_sqlite_agrees_with_the_model(tmp_path_factory, steps):
    backend = SqliteBackend(tmp_path_factory.mktemp("model") / "identities.db")

    async def main() -> None:
        store = await backend.open()
        try:
            async with service_on(store) as service:
                await compare(service, store, steps)
            await assert_clean(store)
        finally:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["postgres", "pgbouncer", "data api"], indirect=True)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8
)
@given(STEPS)
def test_other_stores_agree_with_the_model(backend, steps):
    async def main() -> None:
        cleared(backend.direct)
        store = await backend.open()
        try:
            async with service_on(store) as service:
                await compare(service, store, steps)
            await assert_clean(store)
        finally:
            await store.close()

    asyncio.run(main())
