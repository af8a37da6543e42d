"""What links what, and the parts that come of it: each part is one person.

`parts_of` is the definition. It takes facts in the order of their numbers, and whatever decides or
verifies who belongs together goes by it, or by its steps: `Partition.link` for those who have
numbered what they compare, since a million places take a dozen megabytes.

A pair of values links them. A value alone links nothing.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from bitespeed.model.facts import Node


class Numbered(Protocol):
    """A fact, as far as parts come of it."""

    @property
    def number(self) -> int:
        """Of its first commit."""
        ...

    @property
    def nodes(self) -> Sequence[Node]:
        """Its two values, or the one."""
        ...


AnyFact = TypeVar("AnyFact", bound=Numbered)


class Partition:
    """Places (0, 1, 2 ...), each in one part; a part is known by its oldest place."""

    def __init__(self) -> None:
        self._ages: array[int] = array("q")
        self._parents: array[int] = array("q")

    def add(self, age: int = 0) -> int:
        """Add a part of one place, and return the place."""
        place = len(self._ages)
        self._ages.append(age)
        self._parents.append(place)
        return place

    def oldest(self, place: int) -> int:
        """The oldest place of the part, by age and then by place."""
        parents = self._parents
        while parents[place] != place:
            parents[place] = place = parents[parents[place]]
        return place

    def link(self, one: int, other: int) -> bool:
        """Make the parts of two places one; False when they are one already."""
        one, other = self.oldest(one), self.oldest(other)
        if one == other:
            return False
        elder, younger = sorted((one, other), key=lambda place: (self._ages[place], place))
        self._parents[younger] = elder
        return True


class Parts:
    """Nodes, each in one part."""

    def __init__(self) -> None:
        self._partition = Partition()
        self._places: dict[Node, int] = {}

    def of(self, node: Node) -> int:
        """The part of a node, as a number. One that no fact names is a part of its own."""
        return self._partition.oldest(self._place(node))

    def link(self, one: Node, other: Node) -> None:
        """Make the parts of two nodes one."""
        self._partition.link(self._place(one), self._place(other))

    def _place(self, node: Node) -> int:
        if node not in self._places:
            self._places[node] = self._partition.add()
        return self._places[node]


def parts_of(facts: Iterable[Numbered]) -> Parts:
    """The parts that the facts make, whatever order they come in."""
    parts = Parts()
    for fact in links(facts):
        parts.link(*fact.nodes)
    return parts


def links(facts: Iterable[AnyFact]) -> list[AnyFact]:
    """The facts that link their two values, in the order of their numbers."""
    pairs = (fact for fact in facts if len(fact.nodes) == 2)
    return sorted(pairs, key=lambda fact: fact.number)
