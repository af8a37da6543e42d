"""The whole way through, on real files, against a model too simple to be wrong."""

import asyncio
import copy
import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bitespeed.errors import NotFound
from bitespeed.model.identifiers import Email, Observation, Phone, observe
from bitespeed.model.identity import Answer
from bitespeed.rules.erase import Subject
from bitespeed.service.service import Service
from bitespeed.stores.sqlite import SqliteStore
from support.invariants import assert_clean
from support.stores import store_at

EMAILS = [f"{letter}@x" for letter in "abcdef"]
PHONES = ["1", "2", "3", "4", "5", "6"]

OBSERVATIONS = st.one_of(
    st.builds(observe, st.sampled_from(EMAILS), st.sampled_from(PHONES)),
    st.builds(observe, st.sampled_from(EMAILS), st.none()),
    st.builds(observe, st.none(), st.sampled_from(PHONES)),
)
BATCHES = st.lists(OBSERVATIONS, min_size=1, max_size=8)
SIDES = st.sampled_from([0, 1])


class Model:
    """Contacts as nodes of a union-find; a deleted contact goes on holding its group together."""

    def __init__(self) -> None:
        self.live: dict[int, Observation] = {}
        self.kept: dict[int, Observation] = {}  # deleted ones too
        self.holders: dict[str, int] = {}
        self.erased: set[str] = set()
        self._parents: dict[int, int] = {}

    @property
    def last_id(self) -> int:
        return len(self._parents)

    def identify(self, observation: Observation) -> Answer:
        values = values_of(observation)
        new = [value for value in values if value not in self.holders]
        groups = {self._group(self.holders[value]) for value in values if value in self.holders}
        if new:
            contact = self.last_id + 1
            self._parents[contact] = contact
            self.live[contact] = self.kept[contact] = observation
            self.holders.update(dict.fromkeys(new, contact))
            groups.add(contact)
        for group in groups:
            self._parents[group] = min(groups)
        return self.answer(min(groups))

    def delete(self, contact: int) -> None:
        gone = self.live.pop(contact)
        kept = {v for c, o in self.live.items() if self._are_one(c, contact) for v in values_of(o)}
        for value in values_of(gone):
            if value not in kept:
                del self.holders[value]

    def erase(self, value: str | None, contact: int | None) -> int:
        """The number of contacts removed."""
        groups = {self._group(c) for c in self.kept if c == contact}
        groups |= {self._group(self.holders[value])} if value in self.holders else set()
        while True:
            values = {v for c in self._of(groups) for v in values_of(self.kept[c])} | {value}
            taken = {v for v, c in self.holders.items() if self._group(c) not in groups}
            nobody = {
                self._group(c)
                for c, o in self.kept.items()
                if not (values - taken).isdisjoint(values_of(o))
            } - {self._group(c) for c in self.live}
            if nobody <= groups:
                break
            groups |= nobody
        gone = self._of(groups) | {
            c
            for c, o in self.kept.items()
            if c not in self.live and not (values - taken).isdisjoint(values_of(o))
        }
        if gone:
            self.erased |= values - taken
        self.holders = {v: c for v, c in self.holders.items() if self._group(c) not in groups}
        for c in gone:
            del self.kept[c]
            self.live.pop(c, None)
        return len(gone)

    def _of(self, groups: set[int]) -> set[int]:
        return {contact for contact in self.kept if self._group(contact) in groups}

    def answer(self, contact: int) -> Answer:
        ids = sorted(c for c in self.live if self._are_one(c, contact))
        emails = dict.fromkeys(self.live[c].email for c in ids)
        phones = dict.fromkeys(self.live[c].phone for c in ids)
        return Answer(
            ids[0],
            [e for e in emails if e is not None],
            [p for p in phones if p is not None],
            ids[1:],
        )

    def look_up(self, observation: Observation) -> Answer | None:
        holders = [self.holders[v] for v in values_of(observation) if v in self.holders]
        if len({self._group(holder) for holder in holders}) != 1:
            return None
        return self.answer(holders[0])

    def _are_one(self, contact: int, other: int) -> bool:
        return self._group(contact) == self._group(other)

    def _group(self, contact: int) -> int:
        while self._parents[contact] != contact:
            contact = self._parents[contact]
        return contact


def values_of(observation: Observation) -> list[str]:
    return [value for value in (observation.email, observation.phone) if value is not None]


async def or_none(answer) -> Answer | None:
    try:
        return await answer
    except NotFound:
        return None


class ServiceAndModel(RuleBasedStateMachine):
    """Two services with connections of their own to one file; each step goes to one of them."""

    @initialize()
    def open(self) -> None:
        self.model = Model()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stores, self.services = self.runner.run(self._open())

    async def _open(self) -> tuple[list[SqliteStore], list[Service]]:
        path = str(Path(self.folder.name) / "identities.db")
        stores = [await SqliteStore.open(path) for _ in range(2)]
        return stores, [Service(store) for store in stores]

    @rule(side=SIDES, observation=OBSERVATIONS)
    def identify(self, side: int, observation: Observation) -> None:
        answer = self.runner.run(self.services[side].identify(observation))
        assert answer == self.model.identify(observation)

    @rule(side=SIDES, batch=BATCHES)
    def identify_in_turn(self, side: int, batch: list[Observation]) -> None:
        answers = self.runner.run(self.services[side].identify_all(batch))
        assert answers == [self.model.identify(observation) for observation in batch]

    @rule(side=SIDES, batch=BATCHES)
    def identify_at_once(self, side: int, batch: list[Observation]) -> None:
        async def gathered() -> list[Answer]:
            return await asyncio.gather(*[self.services[side].identify(o) for o in batch])

        assert self.runner.run(gathered()) == [self.model.identify(o) for o in batch]

    @rule(one=OBSERVATIONS, other=OBSERVATIONS)
    def identify_on_both_sides_at_once(self, one: Observation, other: Observation) -> None:
        async def raced() -> list[Answer]:
            return await asyncio.gather(
                self.services[0].identify(one), self.services[1].identify(other)
            )

        answers = self.runner.run(raced())
        one_first, other_first = copy.deepcopy(self.model), copy.deepcopy(self.model)
        expected = [one_first.identify(one), one_first.identify(other)]
        expected_reversed = [other_first.identify(other), other_first.identify(one)]
        if answers == expected:
            self.model = one_first
        else:
            assert answers == expected_reversed[::-1]
            self.model = other_first

    @rule(side=SIDES, batch=BATCHES)
    def absorb(self, side: int, batch: list[Observation]) -> None:
        changes, left_out = self.runner.run(self.services[side].absorb(batch))
        contacts_before = self.model.last_id
        kept = [o for o in batch if self.model.erased.isdisjoint(values_of(o))]
        for observation in kept:
            self.model.identify(observation)
        assert len(changes.contacts) == self.model.last_id - contacts_before
        assert left_out == len(batch) - len(kept)

    @rule(side=SIDES, data=st.data())
    def delete(self, side: int, data: st.DataObject) -> None:
        contact = data.draw(st.integers(1, self.model.last_id + 1), label="contact")
        if contact in self.model.live:
            self.runner.run(self.services[side].delete(contact))
            self.model.delete(contact)
        else:
            self._is_not_there(self.services[side].delete(contact))

    @rule(side=SIDES, value=st.sampled_from(EMAILS + PHONES))
    def erase(self, side: int, value: str) -> None:
        subject = Subject(Email(value)) if "@" in value else Subject(phone=Phone(value))
        self._erase(side, subject, self.model.erase(value, None))

    @rule(side=SIDES, data=st.data())
    def erase_by_contact(self, side: int, data: st.DataObject) -> None:
        contact = data.draw(st.integers(1, self.model.last_id + 1), label="contact")
        self._erase(side, Subject(contact=contact), self.model.erase(None, contact))

    def _erase(self, side: int, subject: Subject, contacts: int) -> None:
        if contacts:
            receipt = self.runner.run(self.services[side].erase(subject))
            assert receipt.contacts == contacts
        else:
            self._is_not_there(self.services[side].erase(subject))

    def _is_not_there(self, request) -> None:
        try:
            self.runner.run(request)
        except NotFound:
            return
        raise AssertionError("NotFound was expected")

    @rule(side=SIDES, observation=OBSERVATIONS)
    def look_up(self, side: int, observation: Observation) -> None:
        asked = self.services[side].look_up(observation.email, observation.phone)
        assert self.runner.run(or_none(asked)) == self.model.look_up(observation)

    @rule(side=SIDES, data=st.data())
    def contact(self, side: int, data: st.DataObject) -> None:
        contact = data.draw(st.integers(1, self.model.last_id + 1), label="contact")
        expected = self.model.answer(contact) if contact in self.model.live else None
        assert self.runner.run(or_none(self.services[side].contact(contact))) == expected

    @invariant()
    def both_sides_know_every_value_of_the_last_contact(self) -> None:
        last = self.model.live.get(self.model.last_id)
        if last is not None:
            expected = self.model.answer(self.model.last_id)
            for service in self.services:
                assert self.runner.run(service.look_up(last.email, last.phone)) == expected

    def teardown(self) -> None:
        if not hasattr(self, "services"):
            return
        try:
            self.runner.run(self._close())
        finally:
            self.runner.close()
            self.folder.cleanup()

    async def _close(self) -> None:
        try:
            for service, contact in itertools.product(self.services, self.model.live):
                assert await service.contact(contact) == self.model.answer(contact)
            await assert_clean(self.stores[0])
        finally:
            for service, store in zip(self.services, self.stores, strict=True):
                await service.drain()
                await store.close()


TestServiceAndModel = ServiceAndModel.TestCase
TestServiceAndModel.settings = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def orders(draw) -> tuple[list[Observation], list[list[list[Observation]]]]:
    """Observations, and the same ones in several orders, each cut into batches."""
    observations = draw(st.lists(OBSERVATIONS, min_size=1, max_size=20))
    runs = []
    for _ in range(3):
        order = draw(st.permutations(observations))
        cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=6)) | {0, len(order)})
        runs.append([order[a:b] for a, b in itertools.pairwise(cuts)])
    return observations, runs


def components(observations: Iterable[Observation]) -> set[frozenset[str]]:
    """The values that belong together, whatever the order."""
    parts: list[set[str]] = []
    for observation in observations:
        values = set(values_of(observation))
        touched = [part for part in parts if part & values]
        parts = [part for part in parts if not part & values]
        parts.append(values.union(*touched))
    return {frozenset(part) for part in parts}


async def partition(service: Service, observations: list[Observation]) -> set[frozenset[str]]:
    answers = [await service.look_up(o.email, o.phone) for o in observations]
    return {frozenset([*answer.emails, *answer.phones]) for answer in answers}


def test_every_order_and_batching_ends_in_same_identities(tmp_path):
    async def main() -> None:
        async with store_at(tmp_path / "identities.db") as store:
            await search(store)
            await assert_clean(store)

    async def search(store: SqliteStore) -> None:
        loop = asyncio.get_running_loop()
        tenants = itertools.count()

        @settings(max_examples=100, deadline=None)
        @given(orders())
        def compare(case) -> None:
            asyncio.run_coroutine_threadsafe(ends_alike(*case), loop).result()

        async def ends_alike(observations, runs) -> None:
            singly = [[[o] for o in itertools.chain(*runs[0])]]
            for run in runs + singly:
                service = Service(store, tenant=f"shop {next(tenants)}")
                for batch in run:
                    await service.identify_all(batch)
                assert await partition(service, observations) == components(observations)
                await service.drain()

        await asyncio.to_thread(compare)

    asyncio.run(main())
