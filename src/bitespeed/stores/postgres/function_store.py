"""The functions in the database: the documents that they take and return.

`read` and `commit` take the tenant and one JSON document and return one, so that the same calls
go over a connection to PostgreSQL and over HTTPS.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from bitespeed.errors import Conflict, Contention, NotAdopted
from bitespeed.model.api_keys import ApiKey
from bitespeed.model.changes import Changes, Committed, Tombstones
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Identity, Snapshot
from bitespeed.stores.epochs import (
    MAX_EPOCHS,
    UNCACHED_SUSPENSION,
    CacheState,
    EpochOver,
    Feed,
    fresh_epoch,
)
from bitespeed.stores.recent import Recent

if TYPE_CHECKING:
    from bitespeed.model.facts import Fact, Happening, Value
    from bitespeed.model.records import IdentityRecords, SequenceRecord
    from bitespeed.stores.feed import EventPage, Position

T = TypeVar("T", Email, Phone)

Function = Literal[
    "read",
    "commit",
    "records",
    "tombstones",
    "cache_state",
    "cache_resume",
    "cache_suspend",
    "cache_feed",
    "keys",
    "put_key",
    "sequences",
    "inventory",
    "facts",
    "history",
    "merges",
    "partners",
    "events",
    "awaits_adoption",
]
READS: set[Function] = {
    "read",
    "records",
    "tombstones",
    "cache_state",
    "cache_feed",
    "keys",
    "sequences",
    "inventory",
    "facts",
    "history",
    "merges",
    "partners",
    "events",
    "awaits_adoption",
}
"""The functions that write nothing, so that a lost call may be repeated."""

Arguments = Mapping[str, str | int | float | msgspec.Raw | None]


class _ReadRequest(msgspec.Struct):
    """See functions/read.sql; beside each value the identity remembered to hold it."""

    values: list[tuple[str, str, int | None]]
    contact: int | None
    members: bool
    remembered: list[tuple[int, int]]


class _ReadReply(msgspec.Struct):
    holders: list[int | None]
    roots: list[tuple[int, int]]
    identities: list[Identity]


class _CommitReply(msgspec.Struct):
    """What a commit gave out, or the state of the cache in which it was not admitted."""

    ids: list[int] = []
    created_at: list[int] = []
    at: int = 0
    cache: CacheState | None = None


_encode = msgspec.json.Encoder().encode
_read_reply = msgspec.json.Decoder(_ReadReply)
_commit_reply = msgspec.json.Decoder(_CommitReply)
_state = msgspec.json.Decoder(CacheState)
_feed = msgspec.json.Decoder(Feed)
_tombstones = msgspec.json.Decoder(Tombstones)
_keys = msgspec.json.Decoder(list[ApiKey])


class FunctionStore(ABC):
    """A `CacheableStore` but for the way to the database, helped by what was read not long ago."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._epoch: str | None = None  # in which commits of a process without a cache are admitted

    @abstractmethod
    async def _call(self, function: Function, arguments: Arguments) -> bytes | None:
        """Call a function with its arguments, in their order; the document that it returns."""

    async def read(
        self,
        tenant: str,
        *,
        emails: Collection[Email] = (),
        phones: Collection[Phone] = (),
        contact: int | None = None,
        members: bool = True,
        max_contacts: int | None = None,  # noqa: ARG002 - one statement finds and reads
    ) -> Snapshot:
        """See `Store.read`. One call."""
        emails, phones = list(emails), list(phones)
        holders = self._recent.holders(tenant, (*emails, *phones)) if members else {}
        remembered = {id_: self._recent.use(id_) for id_ in set(holders.values())}
        request = _ReadRequest(
            [
                *[("email", email, holders.get(email)) for email in emails],
                *[("phone", phone, holders.get(phone)) for phone in phones],
            ],
            contact,
            members,
            [(identity.id, identity.stamp) for identity in remembered.values()],
        )
        reply = _read_reply.decode(
            await self._fetch("read", {"tenant": tenant, "wanted": msgspec.Raw(_encode(request))})
        )
        roots = dict(reply.roots)
        roots_now = [None if id_ is None else roots.get(id_, id_) for id_ in reply.holders]
        identities = {identity.id: identity for identity in reply.identities}
        for id_ in roots_now:
            if id_ is not None and id_ not in identities:
                identities[id_] = remembered[id_]  # confirmed
        if members:
            for identity in reply.identities:
                self._recent.remember(tenant, identity)
        return Snapshot(
            identities, _holders(emails, roots_now), _holders(phones, roots_now[len(emails) :])
        )

    async def commit(
        self, tenant: str, changes: Changes, state: CacheState | None = None
    ) -> Committed:
        """See `CacheableStore.commit`. One call, unless a cache has to be suspended first."""
        if state is not None:
            return await self._commit(tenant, changes, state.epoch)
        for _ in range(MAX_EPOCHS):
            try:
                return await self._commit(tenant, changes, self._epoch)
            except EpochOver as over:
                state = over.state
                if state.epoch is not None and (state.is_over or not state.is_suspended):
                    state = await self.cache_suspend(state.epoch, UNCACHED_SUSPENSION)
                await asyncio.sleep(state.wait)
                self._epoch = state.epoch
        raise Contention("Others keep resuming the cache; try again")

    async def _commit(self, tenant: str, changes: Changes, epoch: str | None) -> Committed:
        for change in changes.identities:
            self._recent.forget(change.id)
        document = msgspec.Raw(_encode(changes))
        answer = await self._call("commit", {"tenant": tenant, "changes": document, "epoch": epoch})
        if answer is None:
            raise Conflict("An identity has changed since it was read")
        reply = _commit_reply.decode(answer)
        if reply.cache is not None:
            raise EpochOver(reply.cache)
        return Committed(reply.ids, reply.created_at, reply.at)

    async def records(
        self, tenant: str, values: Collection[Email | Phone], contact: int | None = None
    ) -> "list[IdentityRecords]":
        """See `Store.records`. One call."""
        from bitespeed.stores.pages import identities_in  # not at a cold start of a Lambda function

        wanted = msgspec.Raw(_encode({"values": list(values), "contact": contact}))
        rows = await self._fetch("records", {"tenant": tenant, "wanted": wanted})
        return identities_in(rows)

    async def tombstones(self, tenant: str, pseudonyms: Collection[str] = ()) -> Tombstones:
        """See `Store.tombstones`. One call."""
        arguments = {"tenant": tenant, "wanted": msgspec.Raw(_encode(list(pseudonyms)))}
        return _tombstones.decode(await self._fetch("tombstones", arguments))

    async def secret(self) -> str:
        """See `Store.secret`."""
        return (await self.cache_state()).secret

    async def cache_state(self) -> CacheState:
        """See `CacheableStore.cache_state`."""
        return _state.decode(await self._fetch("cache_state", {}))

    async def cache_resume(self, expected: str | None, fresh: str) -> CacheState:
        """See `CacheableStore.cache_resume`."""
        arguments = {"expected": expected, "fresh": fresh}
        return _state.decode(await self._fetch("cache_resume", arguments))

    async def cache_suspend(self, expected: str, seconds: float) -> CacheState:
        """See `CacheableStore.cache_suspend`."""
        arguments = {"expected": expected, "fresh": fresh_epoch(), "seconds": seconds}
        return _state.decode(await self._fetch("cache_suspend", arguments))

    async def cache_feed(self, since: str | None, limit: int) -> Feed:
        """See `CacheableStore.cache_feed`."""
        return _feed.decode(await self._fetch("cache_feed", {"since": since, "max_events": limit}))

    async def keys(self, ids: Collection[str] | None = None) -> list[ApiKey]:
        """See `KeyStore.keys`."""
        wanted = None if ids is None else msgspec.Raw(_encode(list(ids)))
        return _keys.decode(await self._fetch("keys", {"ids": wanted}))

    async def put_key(self, key: ApiKey) -> None:
        """See `KeyStore.put_key`."""
        await self._call("put_key", {"key": msgspec.Raw(_encode(key))})

    async def faults(self) -> list[str]:
        """See `ScannableStore.faults`."""
        from bitespeed.stores.postgres.faults import faults  # as above

        return faults(await self._fetch("inventory", {}))

    async def sequences(self) -> "list[SequenceRecord]":
        """See `ScannableStore.sequences`."""
        from bitespeed.model.records import SequenceRecord  # as above

        return msgspec.json.decode(await self._fetch("sequences", {}), type=list[SequenceRecord])

    async def facts(
        self,
        tenant: str,
        values: "Collection[Value]",
        *,
        contacts: Collection[int] = (),
        as_of: int | None = None,
        limit: int,
    ) -> "list[Fact] | None":
        """See `Store.facts`. One call."""
        from bitespeed.model.facts import Fact  # as above

        wanted = {
            "values": list(values),
            "contacts": list(contacts),
            "as_of": as_of,
            "limit": limit,
        }
        arguments = {"tenant": tenant, "wanted": msgspec.Raw(_encode(wanted))}
        document = await self._call("facts", arguments)
        return None if document is None else msgspec.json.decode(document, type=list[Fact])

    async def history(
        self, tenant: str, contact: int, *, after: int, limit: int
    ) -> "list[Happening]":
        """See `Store.history`. One call."""
        wanted = {"contact": contact, "after": after, "limit": limit}
        return await self._happenings("history", tenant, wanted)

    async def merges(
        self, tenant: str, *, before: int, since: int, limit: int
    ) -> "list[Happening]":
        """See `Store.merges`. One call."""
        wanted = {"before": before, "since": since, "limit": limit}
        return await self._happenings("merges", tenant, wanted)

    async def partners(self, tenant: str, values: "Sequence[Value]", *, limit: int) -> list[int]:
        """See `Store.partners`. One call."""
        document = await self._wanted("partners", tenant, {"values": values, "limit": limit})
        return msgspec.json.decode(document, type=list[int])

    async def events(self, after: "Position", limit: int) -> "EventPage":
        """See `Store.events`. One call."""
        from bitespeed.stores.pages import events_in  # as above

        wanted = msgspec.Raw(_encode({"after": after, "limit": limit}))
        return events_in(await self._fetch("events", {"wanted": wanted}))

    async def _happenings(
        self, function: Function, tenant: str, wanted: Mapping[str, object]
    ) -> "list[Happening]":
        from bitespeed.model.facts import Happening  # as above

        document = await self._wanted(function, tenant, wanted)
        return msgspec.json.decode(document, type=list[Happening])

    async def _wanted(self, function: Function, tenant: str, wanted: Mapping[str, object]) -> bytes:
        arguments = {"tenant": tenant, "wanted": msgspec.Raw(_encode(wanted))}
        return await self._fetch(function, arguments)

    async def require_adopted(self) -> None:
        """Raise `NotAdopted` if `public.contact` has contacts to adopt and our tables are empty."""
        if await self._fetch("awaits_adoption", {}) == b"true":
            raise NotAdopted

    async def _fetch(self, function: Function, arguments: Arguments) -> bytes:
        """`_call` of a function that always returns a document."""
        answer = await self._call(function, arguments)
        assert answer is not None  # noqa: S101 - these functions return no null
        return answer


def _holders(values: Sequence[T], roots: Sequence[int | None]) -> dict[T, int]:
    """Each value that an identity has, with the identity."""
    return {v: root for v, root in zip(values, roots, strict=False) if root is not None}
