"""What adoption changes in what was there, told by ids, so that it may be printed and kept."""

from collections.abc import Callable
from typing import NamedTuple

KINDS = {
    "blank": "blanks stored as values: now no value",
    "respelled": "values not in canonical form: brought into it, the old spelling kept beside it",
    "unreadable": "values that are no email or phone number: kept, but nobody is found by them",
    "empty": "contacts without any value left: kept",
    "undated": "instants that were missing: taken from what is known",
    "lost": "links to contacts that are not there: dropped",
    "ring": "links that led round in a ring: dropped",
    "joined": "persons that share a value: now one",
    "demoted": "primaries of a person with an older contact: now secondary",
    "promoted": "secondaries that are the oldest live contact: now primary",
    "chain": "secondaries of a secondary: now linked straight to the primary",
    "relinked": "secondaries whose primary is another now: linked to that one",
    "linked": "secondaries without a link: now linked to the primary",
    "unlinked": "primaries with a link: now without",
    "unnamed": "contacts that were neither primary nor secondary: now the one or the other",
    "released": "contacts of persons without any live one: shown without a link",
    "repeat": "contacts that brought nothing new: kept",
}
"""In the order in which they are told."""


class Repair(NamedTuple):
    """One thing that was put right, of one of `KINDS`."""

    kind: str
    contacts: tuple[int, ...]
    what: str


OnRepair = Callable[[Repair], None]

_ROLES = {
    "demoted": "was primary, is secondary of {}",
    "promoted": "was secondary, is primary",
    "chain": "was linked to a secondary, is linked to its primary {}",
    "relinked": "was linked to a primary that is none any more, is linked to {}",
    "linked": "was secondary without a link, is secondary of {}",
    "unlinked": "was primary with a link, is primary without",
    "unnamed": "was neither primary nor secondary, belongs to primary {}",
    "released": "belongs to a person without live contacts, is linked to nobody",
}


def role(kind: str, contact: int, primary: int | None) -> Repair:
    """A contact that has another role now, or another primary."""
    return Repair(kind, (contact,), _ROLES[kind].format(primary))
