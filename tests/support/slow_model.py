"""Who is who, from scratch at every step: too simple to be wrong, and never fast.

Values are plain texts; an email has an `@`. A value that nobody has any more may come again, as
another one: so a node is a value with the number of times that it was given up before.
"""

from collections import deque
from math import inf
from typing import NamedTuple

from bitespeed.model.identity import Answer


class Node(NamedTuple):
    value: str
    generation: int


class Fact(NamedTuple):
    number: int
    nodes: tuple[Node, ...]


class Contact(NamedTuple):
    id: int
    nodes: tuple[Node, ...]
    anchor: Node
    created_at: float
    is_live: bool = True


class SlowModel:
    """All facts and all contacts; everything else is worked out from these."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.contacts: list[Contact] = []
        self.generations: dict[str, int] = {}

    def observe(self, *values: str, at: float = inf) -> Answer:
        """The answer to an observation of an email, a phone number or both; ``at`` is the date that
        it brings, or later than every one.
        """
        nodes = tuple(self._node(value) for value in values)
        known = self.held()
        is_new = not any(fact.nodes == nodes for fact in self.facts)
        news = [node for node in nodes if node not in known]
        if news:
            self.contacts.append(Contact(len(self.contacts) + 1, nodes, news[0], at))
        if is_new and (news or len(nodes) == 2):
            self.facts.append(Fact(len(self.facts) + 1, nodes))
        return self.answer(nodes[0])

    def delete(self, contact_id: int) -> None:
        """Delete a contact; what nobody shows any more is given up."""
        before = self.held()
        gone = self.contacts[contact_id - 1]
        self.contacts[contact_id - 1] = gone._replace(is_live=False)
        for node in before - self.held():
            self.generations[node.value] = node.generation + 1

    def answer(self, node: Node) -> Answer:
        part = self._part(node)
        own = [c for c in self.live() if part.intersection(c.nodes)]
        own.sort(key=lambda c: (c.created_at, c.id))
        shown = [n.value for c in own for n in c.nodes if not self._is_over(n)]
        emails = [value for value in dict.fromkeys(shown) if "@" in value]
        phones = [value for value in dict.fromkeys(shown) if "@" not in value]
        return Answer(own[0].id, emails, phones, [c.id for c in own[1:]])

    def live(self) -> list[Contact]:
        return [contact for contact in self.contacts if contact.is_live]

    def parts(self) -> set[frozenset[int]]:
        """The contacts, live and deleted, that belong together."""
        parts = [self._part(contact.anchor) for contact in self.contacts]
        return {frozenset(c.id for c in self.contacts if c.anchor in part) for part in parts}

    def shown_facts(self) -> list[list[tuple[str, bool]]]:
        """The values of each fact in their order, and whether somebody has had them since."""
        return [[(n.value, not self._is_over(n)) for n in fact.nodes] for fact in self.facts]

    def why(self, one: str, other: str) -> list[Fact] | None:
        """The shortest chain; among equals that of the oldest facts, from the start on."""
        start, goal = self._node(one), self._node(other)
        came: dict[Node, tuple[Fact, Node] | None] = {start: None}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node == goal:
                chain = []
                while (step := came[node]) is not None:
                    fact, node = step
                    chain.append(fact)
                return chain[::-1]
            for fact in self.facts:
                if node in fact.nodes:
                    for next_ in fact.nodes:
                        if next_ not in came:
                            came[next_] = fact, node
                            queue.append(next_)
        return None

    def partners(self, value: str) -> int:
        """With how many others it was seen together, of what somebody has now."""
        own = {fact.nodes for fact in self.facts if self._node(value) in fact.nodes}
        nodes = {n for pair in own if not any(map(self._is_over, pair)) for n in pair}
        return len(nodes - {self._node(value)})

    def _node(self, value: str) -> Node:
        return Node(value, self.generations.get(value, 0))

    def _is_over(self, node: Node) -> bool:
        return node.generation < self.generations.get(node.value, 0)

    def held(self) -> set[Node]:
        """What a live contact shows."""
        return {n for c in self.live() for n in c.nodes if not self._is_over(n)}

    def _part(self, node: Node) -> set[Node]:
        """All nodes that facts join to one."""
        part = {node}
        while True:
            larger = part.union(*(f.nodes for f in self.facts if part.intersection(f.nodes)))
            if larger == part:
                return part
            part = larger
