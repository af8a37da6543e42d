"""Identities that were read recently, so that a repeat need not read them in full again.

A remembered identity is used only after the database has confirmed, within the present snapshot,
that it is live at the remembered stamp. Every change draws another stamp, so it has not changed.
A version would not do: after a restore, or a failover that lost commits, it comes twice.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from bitespeed.model.identity import Identity

MAX_CONTACTS = 50_000  # in memory, about 30 MB
MAX_IDENTITY = 25_000  # contacts of a remembered identity; a larger one would replace most others


class Recent:
    """The most recently used identities, up to `MAX_CONTACTS` contacts."""

    def __init__(self, max_identity: int = MAX_IDENTITY) -> None:
        """Identities of more than ``max_identity`` contacts are not remembered."""
        self._max_identity = max_identity
        # Least recently used first. A plain dict would iterate over the places of removed entries.
        self._identities: OrderedDict[int, tuple[str, Identity]] = OrderedDict()
        self._holders: defaultdict[str, dict[str, int]] = defaultdict(
            dict
        )  # by tenant: value to id
        self._contacts = 0

    def holders(self, tenant: str, values: Iterable[str]) -> dict[str, int]:
        """The remembered identity of each value; values that are not remembered are absent."""
        holders = self._holders.get(tenant, {})
        return {value: holders[value] for value in values if value in holders}

    def is_at(self, id_: int, stamp: int | None) -> bool:
        """Whether the remembered identity has this stamp."""
        return self._identities[id_][1].stamp == stamp

    def use(self, id_: int) -> Identity:
        """The identity, now the most recently used one."""
        self._identities.move_to_end(id_)
        return self._identities[id_][1]

    def remember(self, tenant: str, identity: Identity) -> None:
        """Remember an identity that was just read with its members."""
        self.forget(identity.id)
        if identity.contacts > self._max_identity:
            return
        self._identities[identity.id] = (tenant, identity)
        self._contacts += identity.contacts
        for value in _values(identity):
            self._holders[tenant][value] = identity.id
        while self._contacts > MAX_CONTACTS:
            self.forget(next(iter(self._identities)))

    def forget(self, id_: int) -> None:
        """Forget an identity, if it is remembered."""
        kept = self._identities.pop(id_, None)
        if kept is None:
            return
        tenant, identity = kept
        self._contacts -= identity.contacts
        holders = self._holders[tenant]
        for value in _values(identity):
            if holders.get(value) == id_:
                del holders[value]


def _values(identity: Identity) -> Iterable[str]:
    """Emails and phones; none is both, since only emails have an ``@``."""
    for contact in identity.members:
        if contact.email is not None:
            yield contact.email
        if contact.phone is not None:
            yield contact.phone
