"""Read snapshots, each in one transaction, so that all of it is as of one instant."""

import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Identity, Snapshot
from bitespeed.resources import named, text
from bitespeed.stores.recent import Recent
from bitespeed.stores.sqlite.database import roll_back

_SQL = named(text("bitespeed.stores.sqlite", "sql/read.sql"))

_UNLIMITED = 2**62  # contacts; more than there are

_numbers = msgspec.json.Decoder(list[int | None])
_identities = msgspec.json.Decoder(list[Identity])


class Reader:
    """Reads through one connection, and remembers in ``recent`` what it has read."""

    def __init__(self, connection: sqlite3.Connection, recent: Recent) -> None:
        self._connection = connection
        self._recent = recent

    def snapshot(
        self,
        tenant: str,
        emails: Sequence[Email],
        phones: Sequence[Phone],
        contact: int | None,
        max_members: int | None,
    ) -> Snapshot:
        """See `Store.read`. Identities of more contacts than ``max_members`` come without them.
        Raises what SQLite raises.
        """
        self._connection.execute("begin")
        try:
            known = self._confirmed(tenant, (*emails, *phones)) if max_members != 0 else {}
            holders = dict(known)
            self._find(holders, "roots_of_emails", tenant, emails)
            self._find(holders, "roots_of_phones", tenant, phones)
            roots = set(holders.values())
            if contact is not None:
                roots.update(self._root_of_contact(tenant, contact))
            identities = {root: self._recent.use(root) for root in set(known.values())}
            self._read(identities, tenant, roots - identities.keys(), max_members)
        finally:
            roll_back(self._connection)
        return Snapshot(
            identities,
            {email: holders[email] for email in emails if email in holders},
            {phone: holders[phone] for phone in phones if phone in holders},
        )

    def ping(self) -> None:
        """Return when the file can be read."""
        self._connection.execute("select 1 from identity limit 1").fetchone()

    def _confirmed(self, tenant: str, values: Sequence[str]) -> dict[str, int]:
        """The identity of each value, as far as it is remembered and has not changed since."""
        remembered = self._recent.holders(tenant, values)
        candidates = list(set(remembered.values()))
        if not candidates:
            return remembered
        stamps = _numbers.decode(self._one("stamps", ids=candidates))
        changed = {
            id_
            for id_, stamp in zip(candidates, stamps, strict=True)
            if not self._recent.is_at(id_, stamp)
        }
        for id_ in changed:
            self._recent.forget(id_)
        return {v: id_ for v, id_ in remembered.items() if id_ not in changed}

    def _find(
        self, holders: dict[str, int], query: str, tenant: str, values: Sequence[str]
    ) -> None:
        """Add the identities of the values that are not in ``holders`` yet."""
        wanted = [value for value in values if value not in holders]
        if wanted:
            roots = _numbers.decode(self._one(query, tenant=tenant, values=wanted))
            pairs = zip(wanted, roots, strict=True)
            holders.update((value, root) for value, root in pairs if root is not None)

    def _root_of_contact(self, tenant: str, contact: int) -> tuple[int, ...]:
        parameters = {"tenant": tenant, "contact": contact}
        return self._connection.execute(_SQL["root_of_contact"], parameters).fetchone() or ()

    def _read(
        self,
        identities: dict[int, Identity],
        tenant: str,
        roots: Collection[int],
        max_members: int | None,
    ) -> None:
        """Add the identities with these roots."""
        if not roots:
            return
        query = "identities_without_members" if max_members == 0 else "identities"
        limit = _UNLIMITED if max_members is None else max_members
        for identity in _identities.decode(self._one(query, limit=limit, ids=roots)):
            identities[identity.id] = identity
            if identity.members:
                self._recent.remember(tenant, identity)

    def _one(
        self, query: str, tenant: str = "", limit: int = 0, **values: Collection[object]
    ) -> str:
        """The single value that the query returns. Collections are passed as JSON."""
        parameters: dict[str, str | int] = {
            name: msgspec.json.encode(value).decode() for name, value in values.items()
        }
        parameters |= {"tenant": tenant, "max_members": limit}
        return self._connection.execute(_SQL[query], parameters).fetchone()[0]


def secret(connection: sqlite3.Connection) -> str:
    """See `Store.secret`."""
    ((value,),) = connection.execute("select secret from secret").fetchall()
    return value
