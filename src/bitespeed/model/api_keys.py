"""API keys: their form, and what is kept of them.

A key is `bsk_<id>_<secret>`. Scanners for leaked secrets recognise the prefix, and people identify
a key by its id. Only the SHA-256 of a key is kept. A fast hash will do, since nobody can guess 256
random bits; a slow one is for passwords that people choose, and would delay every request.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Literal, get_args

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.tenant import tenant_name

Scope = Literal["identify", "read", "explain", "delete", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ID = 6  # bytes
_SECRET = 32  # bytes
_KEY = re.compile(rf"bsk_([0-9a-f]{{{2 * _ID}}})_[0-9a-f]{{{2 * _SECRET}}}", re.ASCII)


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it is kept; instants in microseconds since 1970, UTC."""

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    hash: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def seconds_left(self, now: float) -> float:
        """Seconds from ``now`` until the key expires; 0 or less when it is no longer valid."""
        if self.revoked_at is not None:
            return 0
        return math.inf if self.expires_at is None else self.expires_at / 1e6 - now

    def fits(self, text: bytes) -> bool:
        """Whether the text is this key; takes equally long however much of it is right."""
        return compare_digest(_hash(text), self.hash)


def new_key(
    tenant: str,
    scopes: Iterable[str],
    now: int,
    expires_at: int | None = None,
    *,
    random_bytes: Callable[[int], bytes],
) -> tuple[ApiKey, str]:
    """A key, and its text, which is kept nowhere. Raises `InvalidInput`.

    ``random_bytes`` must be fit for secrets, as `os.urandom` is.
    """
    id_ = random_bytes(_ID).hex()
    text = f"bsk_{id_}_{random_bytes(_SECRET).hex()}"
    try:
        granted = msgspec.convert(sorted(set(scopes)), tuple[Scope, ...])
    except msgspec.ValidationError:
        granted = ()
    if not granted:
        raise InvalidInput(f"A key needs scopes, of {', '.join(SCOPES)}")
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("The key would have expired already")
    return ApiKey(id_, tenant_name(tenant), granted, _hash(text.encode()), now, expires_at), text


def id_in(text: str) -> str | None:
    """The id of a text that has the form of a key, else None."""
    match = _KEY.fullmatch(text)
    return match and match[1]


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
