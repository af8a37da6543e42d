"""Admits callers: from the head of a request, before any of its body is read."""

import math
from typing import TYPE_CHECKING

from bitespeed.api.http import Headers
from bitespeed.api.keyring import ANYBODY, NO_KEY, Caller, Entry, Keyring
from bitespeed.errors import Forbidden, TooManyRequests, Unauthorized, Unavailable
from bitespeed.model.api_keys import Scope, id_in

if TYPE_CHECKING:
    from bitespeed.api.origins import Origins  # a Lambda function has no use for it

_HOW_TO_SEND = "send it as Authorization: Bearer bsk_..."


class Access:
    """Admits requests by their API keys.

    Without ``needs_key``, a caller that sends no key is the default tenant, as long as the store
    has no key at all and ``origins``, where there are any, allow the request.
    """

    def __init__(
        self, keyring: Keyring, *, needs_key: bool, origins: "Origins | None" = None
    ) -> None:
        self._keyring = keyring
        self._needs_key = needs_key
        self._origins = origins

    def admit_at_once(self, headers: Headers, scope: Scope) -> Caller | None:
        """The caller, if it can be admitted without a look-up or a wait; else None: use `admit`."""
        text = _presented(headers)
        if text is None and self._needs_key:
            return None
        entry = self._keyring.get(NO_KEY if text is None else text[4:16].decode("latin-1"))
        if entry is None or (text is not None and not entry.fits(text)):
            return None
        caller = entry.caller
        if caller is None or scope not in caller.scopes:
            return None
        if caller is ANYBODY:
            is_allowed = self._origins is None or self._origins.allows_at_once(headers)
            return caller if is_allowed else None
        return caller if caller.bucket is None or caller.bucket.take() else None

    async def admit(self, headers: Headers, scope: Scope, *, is_mounted: bool = False) -> Caller:
        """The caller. Raises `Unauthorized`, `Forbidden`, `TooManyRequests`, or `Unavailable` when
        the key cannot be looked up. For ``is_mounted`` see `Origins.check`.
        """
        text = _presented(headers)
        if text is None and self._needs_key:
            raise Unauthorized(f"An API key is needed; {_HOW_TO_SEND}")
        id_ = NO_KEY if text is None else id_in(text.decode("latin-1"))
        if id_ is None:
            raise Unauthorized(f"This is not one API key; {_HOW_TO_SEND}")
        entry = await self._look_up(id_, scope)
        caller = entry.caller
        if caller is None and text is None:
            raise Unauthorized(f"An API key is needed; {_HOW_TO_SEND}")
        if caller is None or (text is not None and not entry.fits(text)):
            raise Unauthorized("The API key is unknown, has expired or was revoked")
        if scope not in caller.scopes:
            raise Forbidden(f"The API key lacks the scope {scope}")
        if caller is ANYBODY and self._origins is not None:
            self._origins.check(headers, is_mounted=is_mounted)
        if caller.bucket is not None and (wait := await caller.bucket.take_or_wait()):
            raise over_rate(wait)
        return caller

    async def admit_to_page(
        self, headers: Headers, *, opens_in_browser: bool, is_mounted: bool
    ) -> None:
        """Admit a caller to what needs no key. Raises `Forbidden`, but never while the store has a
        key: other names may lead here then, such as that of a proxy.
        """
        if self._origins is None:
            return
        try:
            entry = await self._keyring.look_up(NO_KEY)
        except Unavailable:
            entry = self._keyring.last_known(NO_KEY)
        if entry is None or entry.caller is ANYBODY:
            self._origins.check(headers, opens_in_browser=opens_in_browser, is_mounted=is_mounted)

    async def _look_up(self, id_: str, scope: Scope) -> Entry:
        """See `Keyring.look_up`. For metrics, the last known entry will do while the database is
        away: that is when people need them, and they say nothing about customers.
        """
        try:
            return await self._keyring.look_up(id_)
        except Unavailable:
            entry = self._keyring.last_known(id_) if scope == "metrics" else None
            if entry is None:
                raise
            return entry


def over_rate(wait: float) -> TooManyRequests:
    """The refusal of a key over its rate, which may try again after so many seconds."""
    return TooManyRequests("The API key sends more than its rate", math.ceil(wait))


def _presented(headers: Headers) -> bytes | None:
    """The text of the key in a request: None without one, empty where two headers differ."""
    own, usual = headers.get(b"x-api-key"), headers.get(b"authorization")
    if usual is None or not (usual.startswith(b"Bearer ") or usual[:7].lower() == b"bearer "):
        return own if own is None else own.strip()
    text = usual[7:].strip()
    return text if own is None or own.strip() == text else b""
