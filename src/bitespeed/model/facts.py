"""Facts as a store finds them: what was seen together, when, and by whose word."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

Value = tuple[str, str]
"""An identifier: its kind, ``email`` or ``phone``, and its canonical form."""

PUBLISHED_NAMES = {"email": "email", "phone": "phoneNumber"}
"""Of the kinds of values, in JSON."""


class Node(NamedTuple):
    """A value from when somebody brings it until nobody has it any more.

    ``until`` is the number of the event after which nobody had it; None as long as somebody has.
    """

    kind: str
    value: str
    until: int | None = None


def anchor_among(nodes: Sequence[Node], kind: str | None) -> Node:
    """The value that a contact goes with: its email, unless it brought only the other one, of that
    ``kind``.
    """
    first, *others = nodes
    return others[0] if others and others[0].kind == kind else first


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One observation that was new, by the number of its event.

    It is about two values, ``one`` and ``other``, or either: that of a contact that shows no more.
    ``identity`` is the one it was filed under, ``contact`` the contact that was created by it; a
    pair of known values has none. ``at`` is in microseconds since 1970, UTC. The anchor is as in
    `anchor_node`.
    """

    number: int
    at: int
    identity: int
    contact: int | None
    one: Node | None
    other: Node | None
    source: str | None = None
    label: str | None = None
    anchor: str | None = None
    created_at: int = 0
    """Of the contact, as for ``deleted_at``."""
    deleted_at: int | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its two values, or the one."""
        return tuple(filter(None, (self.one, self.other)))

    @property
    def anchor_node(self) -> Node:
        """Of its contact."""
        return anchor_among(self.nodes, self.anchor)


class Happening(msgspec.Struct, frozen=True, array_like=True):
    """One event as it is shown; see `model.records.EventRecord`."""

    number: int
    at: int
    kind: str
    identity: int
    contact: int | None
    merged: int | None
    primary: int | None
    kind_of_value: str | None
    value: str | None
    kind_of_other: str | None
    other: str | None
    source: str | None
    label: str | None
    merged_primary: int | None
    size: int | None
    merged_size: int | None

    @property
    def between(self) -> list[Value]:
        """The values that were seen in it."""
        pairs = (self.kind_of_value, self.value), (self.kind_of_other, self.other)
        return [(kind, value) for kind, value in pairs if kind is not None and value is not None]
