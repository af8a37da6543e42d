"""Who may do what: known by the head of a request, before any of its body is read."""

import math
from collections.abc import Mapping

from bitespeed.api.asgi import Headers
from bitespeed.api.keyring import NO_KEY, Caller, Entry, Keyring
from bitespeed.errors import Forbidden, TooManyRequests, Unauthorized, Unavailable
from bitespeed.model.api_keys import Scope, id_in

SCOPES: Mapping[tuple[str, str], Scope] = {
    ("POST", "/identify"): "identify",
    ("POST", "/identify/batch"): "identify",
    ("POST", "/observations"): "identify",
    ("GET", "/contacts"): "read",
    ("GET", "/contacts/{id}"): "read",
    ("DELETE", "/contacts/{id}"): "delete",
    ("POST", "/erase"): "admin",
    ("GET", "/metrics"): "metrics",
}
"""What each operation takes; `openapi.yaml` says the same. Those not named here are anybody's."""

_HOW = "send it as Authorization: Bearer bsk_..."


class Access:
    """Lets requests pass or refuses them.

    Without ``needs_key`` those who send none are the default tenant, as long as the store has
    no key at all.
    """

    def __init__(self, keyring: Keyring, *, needs_key: bool) -> None:
        self._keyring = keyring
        self._needs_key = needs_key

    def known(self, headers: Headers, scope: Scope) -> Caller | None:
        """Who asks, where that can be told at once and nothing is against it; else see `admit`."""
        text = _presented(headers)
        if text is None and self._needs_key:
            return None
        entry = self._keyring.get(NO_KEY if text is None else text[4:16].decode("latin-1"))
        if entry is None or (text is not None and not entry.fits(text)):
            return None
        caller = entry.caller
        if caller is None or scope not in caller.scopes:
            return None
        return caller if caller.bucket is None or caller.bucket.take() else None

    async def admit(self, headers: Headers, scope: Scope) -> Caller:
        """Who asks. Raises `Unauthorized`, `Forbidden` or `TooManyRequests`, or `Unavailable` when
        it cannot be told.
        """
        text = _presented(headers)
        if text is None and self._needs_key:
            raise Unauthorized(f"An API key is needed; {_HOW}")
        id_ = NO_KEY if text is None else id_in(text.decode("latin-1"))
        if id_ is None:
            raise Unauthorized(f"This is not one API key; {_HOW}")
        entry = await self._look_up(id_, scope)
        caller = entry.caller
        if caller is None and text is None:
            raise Unauthorized(f"An API key is needed; {_HOW}")
        if caller is None or (text is not None and not entry.fits(text)):
            raise Unauthorized("The API key is unknown, has expired or was revoked")
        if scope not in caller.scopes:
            raise Forbidden(f"The API key lacks the scope {scope}")
        if caller.bucket is not None and (wait := await caller.bucket.take_patiently()):
            raise TooManyRequests("The API key sends more than its rate", math.ceil(wait))
        return caller

    async def _look_up(self, id_: str, scope: Scope) -> Entry:
        """See `Keyring.look_up`. Metrics are there for whom they were there before while the
        database is away: that is when they are looked at, and they tell nothing of customers.
        """
        try:
            return await self._keyring.look_up(id_)
        except Unavailable:
            entry = self._keyring.last_known(id_) if scope == "metrics" else None
            if entry is None:
                raise
            return entry


def _presented(headers: Headers) -> bytes | None:
    """The key that a request brings; None without any, and no key at all where two differ."""
    own, usual = headers.get(b"x-api-key"), headers.get(b"authorization")
    if usual is None or not (usual.startswith(b"Bearer ") or usual[:7].lower() == b"bearer "):
        return own if own is None else own.strip()
    text = usual[7:].strip()
    return text if own is None or own.strip() == text else b""
