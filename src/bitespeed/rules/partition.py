"""What connects what: a union-find, in which a contact or a value is a place (0, 1, 2 ...)."""

from array import array


class Partition:
    """Places, each in one set; a set is known by its oldest place.

    Arrays of numbers, so that a million places take a dozen megabytes.
    """

    def __init__(self) -> None:
        self._ages: array[int] = array("q")
        self._parents: array[int] = array("q")

    def add(self, age: int = 0) -> int:
        """Add a set of one place, and return the place."""
        place = len(self._ages)
        self._ages.append(age)
        self._parents.append(place)
        return place

    def oldest(self, place: int) -> int:
        """The oldest place of the set, by age and then by place."""
        parents = self._parents
        while parents[place] != place:
            parents[place] = place = parents[parents[place]]
        return place

    def join(self, one: int, other: int) -> bool:
        """Join two sets; False when they are one already."""
        one, other = self.oldest(one), self.oldest(other)
        if one == other:
            return False
        elder, younger = sorted((one, other), key=lambda place: (self._ages[place], place))
        self._parents[younger] = elder
        return True
