"""Identities read not long ago, so that a repeat need not be read in full again.

Never trusted by itself: every change of an identity raises its version, so what was
remembered is as true as when it was read once the database confirms, within the
snapshot at hand, that the identity still lives at the version remembered.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from bitespeed.model.identity import Identity

MAX_CONTACTS = 50_000  # in memory, about 30 MB
MAX_SHARE = 10_000  # contacts of one identity; a larger one would push out too many others


class Recent:
    """The identities used last, up to `MAX_CONTACTS` contacts."""

    def __init__(self) -> None:
        # The one used longest ago first; a plain dict would walk past all that has left it before.
        self._identities: OrderedDict[int, tuple[str, Identity]] = OrderedDict()
        self._holders: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by tenant
        self._contacts = 0

    def holders(self, tenant: str, values: Iterable[str]) -> dict[str, int]:
        """Who held the values when they were read; values not remembered are absent."""
        holders = self._holders.get(tenant, {})
        return {value: holders[value] for value in values if value in holders}

    def is_at(self, id_: int, version: int | None) -> bool:
        """Whether what is remembered of the identity is as of this version."""
        return self._identities[id_][1].version == version

    def use(self, id_: int) -> Identity:
        """The identity, which then counts as used last."""
        self._identities.move_to_end(id_)
        return self._identities[id_][1]

    def remember(self, tenant: str, identity: Identity) -> None:
        """Keep an identity read just now, with all its members."""
        self.forget(identity.id)
        if identity.contacts > MAX_SHARE:
            return
        self._identities[identity.id] = (tenant, identity)
        self._contacts += identity.contacts
        for value in _values(identity):
            self._holders[tenant][value] = identity.id
        while self._contacts > MAX_CONTACTS:
            self.forget(next(iter(self._identities)))

    def forget(self, id_: int) -> None:
        """Let go of an identity, if it is remembered."""
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
    """Emails and phones alike; no email is a phone, since only emails have an ``@``."""
    for contact in identity.members:
        if contact.email is not None:
            yield contact.email
        if contact.phone is not None:
            yield contact.phone
