"""Why two are one person, and what happened to an identity.

Nothing is written, and nothing is read whole: a chain is searched step by step, events come in
pages.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from bitespeed.errors import AnswerTooLarge, NotFound
from bitespeed.model.facts import PUBLISHED_NAMES, Fact, Happening, Node, Value
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Answer, Contact, Identity
from bitespeed.rules.answer import consolidate
from bitespeed.rules.look_up import contact_not_found
from bitespeed.rules.near import MAX_COMPARED, Near, near_misses
from bitespeed.rules.why import MAX_FACTS, Reading, TooManyFacts, contacts_in, gather, search
from bitespeed.service.pages import limited
from bitespeed.stores.protocols import Store

T = TypeVar("T")


class End(NamedTuple):
    """A value or a contact at one end of a chain."""

    value: Value | None = None
    contact: int | None = None


class Why(NamedTuple):
    """Whether two are one person, and the chain of facts between them.

    ``chain`` is None where there is none, or where it was not found among ``searched`` facts.
    ``near`` are values of the two that differ by little, where they are not one person.
    """

    are_together: bool
    chain: list[Fact] | None
    searched: int | None = None
    near: Sequence[Near] = ()


class Explanations:
    """Explains the identities of one tenant."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def why(self, one: End, other: End, as_of: int | None = None) -> Why:
        """Why the two are one person, or that they are not.

        With ``as_of``, in microseconds since 1970, by what was known then. Raises `NotFound` when
        nobody has one of the values, or there is no such contact.
        """
        start, goal = await self._node(one), await self._node(other)
        try:
            chain = await self._read(search(start, goal), as_of)
        except TooManyFacts:
            return Why(await self._are_together(start, goal), None, MAX_FACTS)
        if chain is not None:
            return Why(are_together=True, chain=chain)
        return Why(are_together=False, chain=None, near=await self._near(start, goal))

    async def contact_as_of(self, contact: int, as_of: int) -> Answer:
        """The identity that a contact belonged to at an instant. Raises `NotFound` where there was
        no such contact then, and `AnswerTooLarge` beyond `MAX_FACTS` facts.
        """
        own = await self._store.facts(self._tenant, [], contacts=[contact], as_of=as_of, limit=1)
        if not own:
            raise contact_not_found()
        try:
            facts = await self._read(gather(own[0].anchor_node), as_of)
        except TooManyFacts:
            (person,) = await self._holders(own[0].anchor_node)
            raise AnswerTooLarge(
                f"The identity has more than {MAX_FACTS:,} facts, too many to show it as of a time",
                person.primary_id,
            ) from None
        members = contacts_in(facts, as_of)
        if all(member.id != contact for member in members):
            raise contact_not_found()
        return consolidate(members)

    async def _read(self, reading: Reading[T], as_of: int | None) -> T:
        """What comes of reading the facts that it wants. Raises `TooManyFacts`."""
        try:
            values, limit = next(reading)
            while True:
                found = await self._store.facts(self._tenant, values, as_of=as_of, limit=limit)
                values, limit = reading.send(found)
        except StopIteration as end:
            return end.value

    async def history(self, contact: int, after: int, limit: int) -> list[Happening]:
        """The events of the contact's identity above a number, in order. Raises `NotFound` when
        there is no such contact, live or deleted.
        """
        events = await self._store.history(self._tenant, contact, after=after, limit=limited(limit))
        if not events and not await self._store.facts(
            self._tenant, [], contacts=[contact], limit=1
        ):
            raise contact_not_found()
        return events

    async def _node(self, end: End) -> Node:
        if end.contact is not None:
            facts = await self._store.facts(self._tenant, [], contacts=[end.contact], limit=1)
            if not facts or facts[0].anchor_node.until is not None:
                raise contact_not_found()
            return facts[0].anchor_node
        assert end.value is not None  # noqa: S101 - it is one of the two
        node = Node(*end.value)
        if not await self._holders(node):
            raise NotFound(f"No contact has this {PUBLISHED_NAMES[node.kind]}")
        return node

    async def _are_together(self, one: Node, other: Node) -> bool:
        return len({identity.id for identity in await self._holders(one, other)}) == 1

    async def _near(self, one: Node, other: Node) -> list[Near]:
        """Pairs of values of the two identities that differ by little; none of large ones."""
        for node in (one, other):
            if any(person.contacts > MAX_COMPARED for person in await self._holders(node)):
                return []
        ours, theirs = [await self._members(node) for node in (one, other)]
        return near_misses(ours, theirs)

    async def _members(self, node: Node) -> list[Contact]:
        (person,) = await self._holders(node, members=True)
        return person.members

    async def _holders(self, *nodes: Node, members: bool = False) -> list[Identity]:
        """The identities that have the values by now."""
        snapshot = await self._store.read(
            self._tenant,
            emails=[Email(node.value) for node in nodes if node.kind == "email"],
            phones=[Phone(node.value) for node in nodes if node.kind == "phone"],
            members=members,
        )
        return list(snapshot.identities.values())
