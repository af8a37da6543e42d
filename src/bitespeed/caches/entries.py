"""What is kept under which key."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Identity, KeptAnswer, Snapshot
from bitespeed.model.pseudonyms import Pseudonyms

MAX_CONTACTS = 200  # of an identity that is cached; a write must fence all that a larger one holds
COMPRESSED = 1024  # bytes; below, the head of a compressed text outweighs what it saves
DIGEST = 16  # bytes of a key; two values out of a billion billion may meet
TENANTS = 1000  # whose keys need not be begun anew each time


class Unreadable(Exception):
    """An entry is none of ours: somebody else has written to the cache."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeptAnswer).decode


def keys_of(secret: str, epoch: str, tenant: str, values: Iterable[str]) -> list[bytes]:
    """The keys of entries: epoch, tenant, and a hash of the value that only the secret
    makes.

    The braces keep all of them on one node of a cluster, as scripts need it.
    """
    prefix, pseudonym = _beginning(secret, epoch, tenant)
    return [prefix + pseudonym(value).encode() for value in values]


@lru_cache(TENANTS)
def _beginning(secret: str, epoch: str, tenant: str) -> tuple[bytes, Pseudonyms]:
    return f"{{bitespeed}}:{epoch}:{tenant}:".encode(), Pseudonyms(secret, DIGEST)


@lru_cache(1)
def mark_of(epoch: str) -> bytes:
    """The key that is lost when the server loses its data."""
    return f"{{bitespeed}}:{epoch}:mark".encode()


def counts_of(epoch: str) -> bytes:
    """The key of what all processes have counted."""
    return f"{{bitespeed}}:{epoch}:counts".encode()


def hit(observation: Observation, held: Mapping[str, bytes | None]) -> KeptAnswer | None:
    """The answer, if all that the observation names is held by one identity at one version."""
    first, *others = [held[value] for value in values_of(observation)]
    entry = _entry(first)
    if entry is None:
        return None
    if others and others[0] != first:
        other = _entry(others[0])
        if other is None or (other.identity, other.version) != (entry.identity, entry.version):
            return None
    return entry


def _entry(text: bytes | None) -> KeptAnswer | None:
    """What is kept, plain or compressed; a fence (``F``) and a lease (``L``) are no entries.

    Raises `Unreadable`.
    """
    if text is None or text[:1] in {b"F", b"L"}:
        return None
    try:
        return _decode(zlib.decompress(b64decode(text[1:])) if text[:1] == b"Z" else text[1:])
    except (msgspec.DecodeError, zlib.error, ValueError) as error:
        raise Unreadable from error


def text_of(identity: Identity, answer: Answer) -> bytes:
    """What is kept; as text, since one of the ways to a server knows nothing else."""
    kept = (identity.id, identity.version, *msgspec.structs.astuple(answer))
    text = _encode(kept)
    return b"E" + text if len(text) < COMPRESSED else b"Z" + b64encode(zlib.compress(text))


def is_kept(identity: Identity) -> bool:
    """Whether the identity is small enough."""
    return identity.contacts <= MAX_CONTACTS


def values_of(observation: Observation) -> list[Email | Phone]:
    """What the observation names."""
    return [value for value in (observation.email, observation.phone) if value is not None]


def values_touched(snapshot: Snapshot, changes: Changes) -> set[str]:
    """All identifiers under which the identities that change may be kept."""
    values: set[str] = set()
    for change in changes.identities:
        identity = snapshot.identities.get(change.id)
        if identity is not None and is_kept(identity):
            for contact in identity.members:
                values.update(v for v in (contact.email, contact.phone) if v is not None)
    return values
