"""Keys and values of the entries in the cache."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Email, Observation, Phone
from bitespeed.model.identity import Answer, Identity, KeptAnswer, Snapshot
from bitespeed.model.pseudonyms import Pseudonyms

MAX_CONTACTS = 200  # of a cached identity; a write must fence each of its values
MAX_PAIRS = 400  # in an entry, two for each contact; beyond it an email with a phone is a miss
MIN_COMPRESSED_BYTES = 1024  # a shorter answer would hardly get shorter
DIGEST_BYTES = 16  # of a key; two of a billion billion values may have the same
MAX_TENANTS = 1000  # whose key prefixes are remembered


class Unreadable(Exception):
    """An entry has no form of ours, so somebody else has written to the cache."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeptAnswer).decode


def keys_of(secret: str, epoch: str, tenant: str, values: Iterable[str]) -> list[bytes]:
    """The keys of the values' entries: epoch, tenant, and a hash of the value with the secret.

    The braces keep all keys on one node of a cluster, as scripts need it.
    """
    prefix, pseudonym = _prefix_and_pseudonyms(secret, epoch, tenant)
    return [prefix + pseudonym(value).encode() for value in values]


@lru_cache(MAX_TENANTS)
def _prefix_and_pseudonyms(secret: str, epoch: str, tenant: str) -> tuple[bytes, Pseudonyms]:
    return f"{{bitespeed}}:{epoch}:{tenant}:".encode(), Pseudonyms(secret, DIGEST_BYTES)


@lru_cache(1)
def mark_of(epoch: str) -> bytes:
    """The key of the epoch's mark. If it is missing, the server has lost data."""
    return f"{{bitespeed}}:{epoch}:mark".encode()


def counts_of(epoch: str) -> bytes:
    """The key of the counts of all processes."""
    return f"{{bitespeed}}:{epoch}:counts".encode()


def hit(observation: Observation, entries: Mapping[str, bytes | None]) -> KeptAnswer | None:
    """The answer, if all values of the observation are of one identity at one stamp, which has seen
    them together: else the pair is new and has to be kept.

    Raises `Unreadable`.
    """
    first, *others = [entries[value] for value in values_of(observation)]
    entry = _entry(first)
    if entry is None or not others:
        return entry
    if others[0] != first:
        other = _entry(others[0])
        if other is None or (other.identity, other.stamp) != (entry.identity, entry.stamp):
            return None
    return entry if _has_seen(entry, observation) else None


def _has_seen(entry: KeptAnswer, observation: Observation) -> bool:
    if entry.pairs is None:
        return bytes(entry.secondary_ids) == b"[]"
    return (observation.email, observation.phone) in entry.pairs


def _entry(text: bytes | None) -> KeptAnswer | None:
    """The answer in an entry; None for a fence (``F``) or a lease (``L``). Raises `Unreadable`."""
    if text is None or text[:1] in {b"F", b"L"}:
        return None
    try:
        return _decode(zlib.decompress(b64decode(text[1:])) if text[:1] == b"Z" else text[1:])
    except (msgspec.DecodeError, zlib.error, ValueError) as error:
        raise Unreadable from error


def text_of(identity: Identity, answer: Answer) -> bytes:
    """The entry of an answer, in ASCII, since the REST API of Upstash stores text only."""
    pairs = _pairs(identity) if answer.secondary_ids else None
    text = _encode((identity.id, identity.stamp, *msgspec.structs.astuple(answer), pairs))
    return (
        b"E" + text if len(text) < MIN_COMPRESSED_BYTES else b"Z" + b64encode(zlib.compress(text))
    )


def _pairs(identity: Identity) -> list[tuple[str | None, str | None]] | None:
    """The pairs that the identity has seen; None for too many."""
    pairs = {(c.email, c.phone) for c in identity.members if c.email and c.phone}
    pairs |= {(one, other) for _, one, _, other in identity.pairs}
    return sorted(pairs) if len(pairs) <= MAX_PAIRS else None


def is_cacheable(identity: Identity) -> bool:
    """Whether the identity is small enough for the cache."""
    return identity.contacts <= MAX_CONTACTS


def values_of(observation: Observation) -> list[Email | Phone]:
    """The email and the phone of the observation, without those it lacks."""
    return [value for value in (observation.email, observation.phone) if value is not None]


def values_touched(snapshot: Snapshot, changes: Changes) -> set[str]:
    """All values under which answers of the changed identities may be cached."""
    values: set[str] = set()
    for change in changes.identities:
        identity = snapshot.identities.get(change.id)
        if identity is not None and is_cacheable(identity):
            for contact in identity.members:
                values.update(v for v in (contact.email, contact.phone) if v is not None)
    return values
