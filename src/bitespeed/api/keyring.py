"""The API keys that a process has looked up.

A key is looked up in the store once and then trusted for seconds. While it is in use it is looked
up again in the background. Look-ups that come together share one statement, so that somebody who
guesses keys costs the database one statement at a time.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection
from hmac import compare_digest

import msgspec

from bitespeed.api.rates import Bucket, Rates, SharedBucket
from bitespeed.errors import Overloaded
from bitespeed.model.api_keys import SCOPES, ApiKey, Scope
from bitespeed.model.sources import NO_SOURCE, Source
from bitespeed.stores.protocols import KeyStore
from bitespeed.tenant import DEFAULT_TENANT

FRESH = 2.0  # seconds; a key in use is looked up again after them
TRUSTED = 5.0  # seconds; a key is not admitted after them without a new look-up
MAX_REMEMBERED = 20_000  # ids, good and bad; about 10 MB
MAX_WAITING = 1000  # ids that may wait to be looked up; one statement takes all of them

NO_KEY = ""  # the id under which callers without a key have their entry


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Whose request it is, and what it may do."""

    tenant: str
    scopes: frozenset[Scope]
    source: Source = NO_SOURCE
    """What the facts that the caller brings are kept under."""
    bucket: Bucket | SharedBucket | None = None
    """Limits the rate of the key; None without a limit."""


ANYBODY = Caller(DEFAULT_TENANT, frozenset(SCOPES))
"""Whoever sends no key while the store has none."""
NOBODY = Caller(DEFAULT_TENANT, frozenset())
"""The caller of an operation that needs no key; nobody looks at its headers."""


class Entry(msgspec.Struct):
    """What the store had under an id; instants are on the keyring's clock."""

    key: ApiKey | None
    caller: Caller | None
    """Whom the key stands for; None when it is unknown, expired or revoked."""
    fresh_until: float
    trusted_until: float
    proved: bytes = b""
    """The text whose hash was that of the key. Comparing it costs a sixth of hashing it again."""

    def fits(self, text: bytes) -> bool:
        """See `ApiKey.fits`."""
        if self.proved and compare_digest(text, self.proved):
            return True
        if self.key is None or not self.key.fits(text):
            return False
        self.proved = text
        return True


class Keyring:
    """Keys by their ids, as the store has them or had them seconds ago.

    The entry of `NO_KEY` admits to everything as long as the store has no key at all.
    """

    def __init__(
        self, store: KeyStore, rates: Rates, now: Callable[[], float] | None = None
    ) -> None:
        """``now`` is the clock by which keys are trusted; by default the event loop's."""
        self._store = store
        self._rates = rates
        self._loop = asyncio.get_running_loop()
        self._now = now or self._loop.time
        self._entries: dict[str, Entry] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._lookup: asyncio.Task[None] | None = None

    def get(self, id_: str) -> Entry | None:
        """The entry, if it can still be trusted. Has it looked up again once it is not fresh."""
        entry = self._entries.get(id_)
        now = self._now()
        if entry is None or now >= entry.trusted_until:
            return None
        if now >= entry.fresh_until:
            entry.fresh_until = now + FRESH  # no other look-up until then, even if this one fails
            self._request_lookup(id_)
        return entry

    async def look_up(self, id_: str) -> Entry:
        """The entry, looked up if it cannot be trusted. Raises `Unavailable`."""
        entry = self.get(id_)
        if entry is not None:
            return entry
        if len(self._waiting) >= MAX_WAITING and id_ not in self._waiting:
            raise Overloaded("Too many unknown API keys at once; try again in a moment")
        await asyncio.shield(self._request_lookup(id_))
        return self._entries[id_]

    def last_known(self, id_: str) -> Entry | None:
        """The entry of the last look-up, however long ago; None if the key has expired since."""
        entry = self._entries.get(id_)
        if entry is None or entry.key is None:
            return entry
        return entry if entry.key.seconds_left(time.time()) > 0 else None

    async def close(self) -> None:
        """Wait for the look-up that is under way."""
        if self._lookup is not None:
            await self._lookup

    def _request_lookup(self, id_: str) -> asyncio.Future[None]:
        """Have an id looked up soon; the future is done when it has been."""
        if id_ not in self._waiting:
            self._waiting[id_] = self._loop.create_future()
        if self._lookup is None or self._lookup.done():
            self._lookup = self._loop.create_task(self._look_up_waiting())
        return self._waiting[id_]

    async def _look_up_waiting(self) -> None:
        while self._waiting:
            wanted, self._waiting = self._waiting, {}
            now = self._now()
            try:
                keys = await self._read(wanted)
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                for future in wanted.values():
                    future.set_exception(error)
                    future.exception()  # or asyncio complains where nobody waits
            else:
                self._remember(keys, now)
                for future in wanted.values():
                    future.set_result(None)

    async def _read(self, ids: Collection[str]) -> dict[str, ApiKey | None]:
        """The key that the store has under each id; under `NO_KEY` any key, if it has one."""
        stored = {key.id: key for key in await self._store.keys(ids)}
        keys = {id_: stored.get(id_) for id_ in ids}
        if NO_KEY in keys:
            keys[NO_KEY] = next(iter(await self._store.keys()), None)
        return keys

    def _remember(self, keys: dict[str, ApiKey | None], read_at: float) -> None:
        if len(self._entries) + len(keys) > MAX_REMEMBERED:
            self._entries = {
                id_: entry
                for id_, entry in self._entries.items()
                if entry.caller is not None and read_at < entry.trusted_until
            }
        for id_, key in keys.items():
            self._entries[id_] = self._entry(id_, key, read_at)

    def _entry(self, id_: str, key: ApiKey | None, read_at: float) -> Entry:
        fresh_until, trusted_until = read_at + FRESH, read_at + TRUSTED
        if id_ == NO_KEY:
            if key is None:
                return Entry(None, ANYBODY, fresh_until, trusted_until)
            return Entry(None, None, math.inf, math.inf)  # no key is ever removed
        left = 0 if key is None else key.seconds_left(time.time())
        if key is None or left <= 0:
            return Entry(key, None, fresh_until, trusted_until)
        before = self._entries.get(id_)
        is_same = before is not None and before.key == key
        caller = before.caller if before is not None and is_same else None
        bucket = self._rates.bucket(id_, caller and caller.bucket)
        caller = caller or Caller(key.tenant, frozenset(key.scopes), Source(id_), bucket)
        return Entry(key, caller, fresh_until, min(trusted_until, read_at + left))
