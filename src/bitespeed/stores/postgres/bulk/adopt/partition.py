"""Which contacts are one person."""

from array import array


class Partition:
    """Contacts by their place in the order of ids, each in the set called after its oldest.

    Arrays of numbers, so that a million contacts take a dozen megabytes.
    """

    def __init__(self) -> None:
        self._ages: array[int] = array("q")
        self._parents: array[int] = array("q")

    def add(self, age: int) -> int:
        """A contact on its own; returns its place."""
        place = len(self._ages)
        self._ages.append(age)
        self._parents.append(place)
        return place

    def oldest(self, place: int) -> int:
        """The oldest of the set, by age and then by place."""
        parents = self._parents
        while parents[place] != place:
            parents[place] = place = parents[parents[place]]
        return place

    def join(self, one: int, other: int) -> bool:
        """Make one set of two; False when they are one already."""
        one, other = self.oldest(one), self.oldest(other)
        if one == other:
            return False
        elder, younger = sorted((one, other), key=lambda place: (self._ages[place], place))
        self._parents[younger] = elder
        return True
