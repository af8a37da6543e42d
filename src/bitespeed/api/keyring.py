"""The API keys that a process knows.

A key is looked up in the store once and trusted for seconds, in which it is looked up again behind
the back of its callers. Look-ups that come together go together, so that guessing costs the
database one statement at a time.
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
from bitespeed.stores.protocols import KeyStore
from bitespeed.tenant import DEFAULT_TENANT

FRESH = 2.0  # seconds after which a key in use is looked up again
TRUSTED = 5.0  # seconds after which it is not taken without that any more
MAX_REMEMBERED = 20_000  # ids, good and bad; some 10 MB
MAX_ASKED = 1000  # ids that may wait to be looked up; one look-up takes all of them

NO_KEY = ""  # where others have an id, those who send no key


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Who asks."""

    tenant: str
    scopes: frozenset[Scope]
    bucket: Bucket | SharedBucket | None = None
    """What is left of the rate of the key; None without a limit."""


ANYBODY = Caller(DEFAULT_TENANT, frozenset(SCOPES))


class Entry(msgspec.Struct):
    """What the store has said of an id; instants are on the keyring's clock."""

    key: ApiKey | None
    caller: Caller | None
    """Subject the key stands for; None when it is unknown or good for nothing any more."""
    fresh_until: float
    trusted_until: float
    proved: bytes = b""
    """The text that was hashed and found to be the key; to hash it again costs six times as much
    as to compare it.
    """

    def fits(self, text: bytes) -> bool:
        """See `Key.fits`."""
        if self.proved and compare_digest(text, self.proved):
            return True
        if self.key is None or not self.key.fits(text):
            return False
        self.proved = text
        return True


class Keyring:
    """Keys by their ids, as the store has them now or had them seconds ago.

    The entry of `NO_KEY` is good for everything as long as the store has no key at all.
    """

    def __init__(
        self, store: KeyStore, rates: Rates, now: Callable[[], float] | None = None
    ) -> None:
        """``now`` is the clock by which keys are trusted, else that of the event loop."""
        self._store = store
        self._rates = rates
        self._loop = asyncio.get_running_loop()
        self._now = now or self._loop.time
        self._entries: dict[str, Entry] = {}
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None

    def get(self, id_: str) -> Entry | None:
        """The entry, where it can be trusted without asking."""
        entry = self._entries.get(id_)
        now = self._now()
        if entry is None or now >= entry.trusted_until:
            return None
        if now >= entry.fresh_until:
            entry.fresh_until = now + FRESH  # until then nobody asks again, even if this fails
            self._ask(id_)
        return entry

    async def look_up(self, id_: str) -> Entry:
        """The entry, asked for if need be. Raises `Unavailable`."""
        entry = self.get(id_)
        if entry is not None:
            return entry
        if len(self._asked) >= MAX_ASKED and id_ not in self._asked:
            raise Overloaded("Too many unknown API keys at once; try again in a moment")
        await asyncio.shield(self._ask(id_))
        return self._entries[id_]

    def last_known(self, id_: str) -> Entry | None:
        """The entry as it was heard of last, however long ago; what has expired since is not."""
        entry = self._entries.get(id_)
        if entry is None or entry.key is None:
            return entry
        return entry if entry.key.seconds_left(time.time()) > 0 else None

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._asking is not None:
            await self._asking

    def _ask(self, id_: str) -> asyncio.Future[None]:
        """Have an id looked up; the future is done when it has been."""
        if id_ not in self._asked:
            self._asked[id_] = self._loop.create_future()
        if self._asking is None or self._asking.done():
            self._asking = self._loop.create_task(self._look_up_asked())
        return self._asked[id_]

    async def _look_up_asked(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            now = self._now()
            try:
                found = await self._read(asked)
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                for future in asked.values():
                    future.set_exception(error)
                    future.exception()  # nobody need wait
            else:
                self._remember(found, now)
                for future in asked.values():
                    future.set_result(None)

    async def _read(self, ids: Collection[str]) -> dict[str, ApiKey | None]:
        """What the store has under each id; under `NO_KEY` any key, if it has one."""
        keys = {key.id: key for key in await self._store.keys(ids)}
        found = {id_: keys.get(id_) for id_ in ids}
        if NO_KEY in found:
            found[NO_KEY] = next(iter(await self._store.keys()), None)
        return found

    def _remember(self, found: dict[str, ApiKey | None], asked_at: float) -> None:
        if len(self._entries) + len(found) > MAX_REMEMBERED:
            self._entries = {
                id_: entry
                for id_, entry in self._entries.items()
                if entry.caller is not None and asked_at < entry.trusted_until
            }
        for id_, key in found.items():
            self._entries[id_] = self._entry(id_, key, asked_at)

    def _entry(self, id_: str, key: ApiKey | None, asked_at: float) -> Entry:
        fresh_until, trusted_until = asked_at + FRESH, asked_at + TRUSTED
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
        caller = caller or Caller(key.tenant, frozenset(key.scopes), self._rates.bucket(id_))
        return Entry(key, caller, fresh_until, min(trusted_until, asked_at + left))
