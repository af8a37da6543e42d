"""API keys: how they look, and what is kept of them.

A key is `bsk_<id>_<secret>`: scanners for leaked secrets know it by its beginning, and the id tells
people which one it is. Only the SHA-256 of it is kept. The secret has 256 random bits, which nobody
finds by trying; a slow hash is for passwords, which people choose, and would be in each request's
way here.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable
from hmac import compare_digest
from typing import Literal, get_args

import msgspec

from bitespeed.errors import InvalidInput

Scope = Literal["identify", "read", "delete", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_ID = 6  # bytes
_SECRET = 32  # bytes
_KEY = re.compile(rf"bsk_([0-9a-f]{{{2 * _ID}}})_[0-9a-f]{{{2 * _SECRET}}}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class ApiKey(msgspec.Struct, frozen=True):
    """What is kept of a key; instants in microseconds since 1970, UTC."""

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    hash: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def seconds_left(self, now: float) -> float:
        """How long it is good for, seen from an instant in seconds; 0 or less when no more."""
        if self.revoked_at is not None:
            return 0
        return math.inf if self.expires_at is None else self.expires_at / 1e6 - now

    def fits(self, text: bytes) -> bool:
        """Whether this is the key, in a time that does not depend on how much of it is right."""
        return compare_digest(_hash(text), self.hash)


def new_key(
    tenant: str, scopes: Iterable[str], now: int, expires_at: int | None = None
) -> tuple[ApiKey, str]:
    """A key, and its text, which is nowhere else. Raises `InvalidInput`."""
    id_ = os.urandom(_ID).hex()
    text = f"bsk_{id_}_{os.urandom(_SECRET).hex()}"
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
    """The id of what looks like a key, else None."""
    found = _KEY.fullmatch(text)
    return found and found[1]


def tenant_name(text: str) -> str:
    """The name of a tenant. Raises `InvalidInput` when it cannot be one."""
    if not _TENANT.fullmatch(text):
        raise InvalidInput(
            "A tenant is named by up to 64 letters, digits, dots, hyphens and underscores"
        )
    return text


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
