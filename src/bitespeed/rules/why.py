"""Why two values are one person's: the shortest chain of facts from the one to the other."""

from collections import defaultdict, deque
from collections.abc import Generator, Iterable

from bitespeed.model.facts import Fact, Node, Value
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Contact
from bitespeed.rules.partition import links

MAX_FACTS = 2_000  # read for one chain: a tenth of a second; a person's chain takes a few dozen


class TooManyFacts(Exception):
    """A chain was not found among as many facts as may be read."""


def shortest_chain(facts: Iterable[Fact], start: Node, goal: Node) -> list[Fact] | None:
    """The shortest chain, in its order from the start; None if there is none.

    Among equally long ones that whose facts are oldest, from the start on: breadth first, each
    value's facts by their numbers.
    """
    ties: defaultdict[Node, list[tuple[Fact, Node]]] = defaultdict(list)
    for fact in links(set(facts)):
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


def search(
    start: Node, goal: Node, limit: int = MAX_FACTS
) -> Generator[set[Value], list[Fact], list[Fact] | None]:
    """`shortest_chain` among facts that are read as they are needed: yields values, and is sent all
    facts about them, up to ``limit`` and one more.

    From both ends at once, a step further from the end that has fewer values next. So a phone
    number that a hundred thousand share is not looked at beyond the two who are asked about. Raises
    `TooManyFacts`.
    """
    ends = _End(start), _End(goal)
    facts: set[Fact] = set()
    while not ends[0].seen & ends[1].seen:
        end = min(ends, key=lambda end: (len(end.frontier), end.steps))
        if not end.frontier:
            return None
        found = yield {(node.kind, node.value) for node in end.frontier}
        if len(found) + len(facts) > limit:
            raise TooManyFacts
        facts.update(found)
        end.advance(found)
    return shortest_chain(facts, start, goal)


def gather(start: Node, limit: int = MAX_FACTS) -> Generator[set[Value], list[Fact], set[Fact]]:
    """All facts that hang together with a value, read as in `search`. Raises `TooManyFacts`."""
    end = _End(start)
    facts: set[Fact] = set()
    while end.frontier:
        found = yield {(node.kind, node.value) for node in end.frontier}
        if len(found) + len(facts) > limit:
            raise TooManyFacts
        facts.update(fact for fact in found if not end.seen.isdisjoint(fact.nodes))
        end.advance(found)
    return facts


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
    """All values up to some number of facts away from one of the two."""

    def __init__(self, node: Node) -> None:
        self.seen = {node}
        self.frontier = {node}
        self.steps = 0

    def advance(self, facts: Iterable[Fact]) -> None:
        """Go one fact further."""
        reached = {
            other
            for fact in facts
            if not self.frontier.isdisjoint(fact.nodes)
            for other in fact.nodes
        }
        self.frontier = reached - self.seen
        self.seen |= reached
        self.steps += 1
