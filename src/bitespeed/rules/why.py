"""Why two values are one person's: the shortest chain of facts from the one to the other."""

from collections import defaultdict, deque
from collections.abc import Collection, Generator, Iterable
from itertools import chain
from typing import TypeVar

from bitespeed.model.facts import Fact, Node, Value
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Contact
from bitespeed.rules.partition import links

T = TypeVar("T")

MAX_FACTS = 2_000  # read for one chain: a tenth of a second; a person's chain takes a few dozen

Reading = Generator[tuple[set[Value], int], list[Fact] | None, T]
"""Reads facts as they are needed: yields values with a limit, and is sent all facts about them, or
None where there are more than that."""


class TooManyFacts(Exception):
    """A chain was not found among as many facts as may be read."""


def shortest_chain(facts: Iterable[Fact], start: Node, goal: Node) -> list[Fact] | None:
    """The shortest chain, in its order from the start; None if there is none.

    Among equally long ones that whose facts are oldest, from the start on: breadth first, each
    value's facts by their numbers. None may come twice.
    """
    ties: defaultdict[Node, list[tuple[Fact, Node]]] = defaultdict(list)
    for fact in links(facts):
        one, other = fact.nodes
        ties[one].append((fact, other))
        ties[other].append((fact, one))
    came: dict[Node, tuple[Fact, Node] | None] = {start: None}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            return _walked(came, node)
        for fact, other in ties[node]:
            if other not in came:
                came[other] = fact, node
                queue.append(other)
    return None


def _walked(came: dict[Node, tuple[Fact, Node] | None], node: Node) -> list[Fact]:
    chain: list[Fact] = []
    while (step := came[node]) is not None:
        fact, node = step
        chain.append(fact)
    return chain[::-1]


def search(start: Node, goal: Node, limit: int = MAX_FACTS) -> Reading[list[Fact] | None]:
    """`shortest_chain` among facts that are read as they are needed, ``limit`` at most.

    From both ends at once, a step further from the end that has fewer values next. An end stays
    where it is once its next step takes too many facts. So a phone number that a hundred thousand
    share is reached, and not looked at beyond. Raises `TooManyFacts`.
    """
    ends = _End(start), _End(goal)
    moving = list(ends)
    read: set[int] = set()
    meeting = {start} & {goal}
    while not meeting:
        if not moving:
            raise TooManyFacts
        end = min(moving, key=lambda end: (len(end.frontier), end.steps))
        if not end.frontier:
            return None
        found = yield end.values(), limit - len(read)
        if found is None:
            moving.remove(end)
            continue
        read.update(fact.number for fact in found)
        end.advance(found)
        meeting = ends[0].frontier & ends[1].ties.keys()
    # Every shortest chain leads through one of these, and all of its facts are ties of the ends.
    ways = [end.facts_to(meeting) for end in ends]
    return shortest_chain(chain.from_iterable(ways), start, goal)


def gather(start: Node, limit: int = MAX_FACTS) -> Reading[list[Fact]]:
    """All facts that hang together with a value, read as in `search`. Raises `TooManyFacts`."""
    end = _End(start)
    facts: dict[int, Fact] = {}
    while end.frontier:
        found = yield end.values(), limit - len(facts)
        if found is None:
            raise TooManyFacts
        facts |= {f.number: f for f in found if not end.ties.keys().isdisjoint(f.nodes)}
        end.advance(found)
    return list(facts.values())


def contacts_in(facts: Iterable[Fact], as_of: int) -> list[Contact]:
    """The contacts that were live then, with what was theirs; values given up by then are not."""
    members: list[Contact] = []
    for fact in facts:
        if fact.contact is not None and (fact.deleted_at is None or fact.deleted_at > as_of):
            shown = {node.kind: node.value for node in fact.nodes if node.until is None}
            email = Email(shown["email"]) if "email" in shown else None
            phone = Phone(shown["phone"]) if "phone" in shown else None
            members.append(Contact(fact.contact, fact.created_at, email, phone))
    return members


class _End:
    """All values up to some number of facts away from one of the two.

    ``ties`` has each of them, with the facts that lead to it from one step before.
    """

    def __init__(self, node: Node) -> None:
        self.ties: dict[Node, list[tuple[Fact, Node]]] = {node: []}
        self.frontier = {node}
        self.steps = 0

    def values(self) -> set[Value]:
        """What is next."""
        return {(node.kind, node.value) for node in self.frontier}

    def advance(self, facts: Iterable[Fact]) -> None:
        """Go one fact further."""
        reached: defaultdict[Node, list[tuple[Fact, Node]]] = defaultdict(list)
        for fact in links(facts):
            one, other = fact.nodes
            if one in self.frontier and other not in self.ties:
                reached[other].append((fact, one))
            elif other in self.frontier and one not in self.ties:
                reached[one].append((fact, other))
        self.ties |= reached
        self.frontier = set(reached)
        self.steps += 1

    def facts_to(self, nodes: Collection[Node]) -> list[Fact]:
        """The facts of the shortest chains to some of the values."""
        facts: dict[int, Fact] = {}
        while nodes:
            steps = [step for node in nodes for step in self.ties[node]]
            facts |= {fact.number: fact for fact, _ in steps}
            nodes = {node for _, node in steps}
        return list(facts.values())
