"""What adoption repairs in a table. A repair names contacts by their ids, so it may be printed."""

from collections.abc import Callable
from typing import NamedTuple

KINDS = {
    "blank": "blank values: now null",
    "respelled": "values not in canonical form: now canonical, the old spelling is the raw value",
    "unreadable": "values that are no email or phone number: kept, but no lookup finds them",
    "empty": "contacts without any value: kept",
    "undated": "missing instants: derived from others",
    "lost": "links to contacts that do not exist: dropped",
    "ring": "links in a ring: dropped",
    "joined": "identities that share a value: now one",
    "demoted": "primaries of an identity with an older contact: now secondary",
    "promoted": "secondaries that are the oldest live contact: now primary",
    "chain": "secondaries of a secondary: now linked to the primary",
    "relinked": "secondaries of an identity with another primary now: linked to that one",
    "linked": "secondaries without a link: now linked to the primary",
    "unlinked": "primaries with a link: now without",
    "unnamed": "contacts that were neither primary nor secondary: now one of the two",
    "released": "contacts of identities without a live contact: shown without a link",
    "repeat": "contacts that brought nothing new: kept",
}
"""What each kind of repair does, in the order in which they are printed."""


class Repair(NamedTuple):
    """One repair, of one of `KINDS`."""

    kind: str
    contacts: tuple[int, ...]
    what: str


OnRepair = Callable[[Repair], None]

_ROLES = {
    "demoted": "was primary, is secondary of {}",
    "promoted": "was secondary, is primary",
    "chain": "was linked to a secondary, is linked to its primary {}",
    "relinked": "was linked to a primary that is now secondary, is linked to {}",
    "linked": "was secondary without a link, is secondary of {}",
    "unlinked": "was primary with a link, is primary without",
    "unnamed": "was neither primary nor secondary, belongs to primary {}",
    "released": "belongs to an identity without live contacts, is shown without a link",
}


def role(kind: str, contact: int, primary: int | None) -> Repair:
    """The repair of a contact that has another role or another primary now."""
    return Repair(kind, (contact,), _ROLES[kind].format(primary))
