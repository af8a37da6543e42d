"""How many requests a key may send: a bucket of tokens, which fills at the rate of the key.

Without a cache each process has a bucket of its own. With one there is a single bucket in Redis,
from which processes take tokens in portions before they run out, so that requests do not wait for
it. While the cache is away each process lends to itself.
"""

import asyncio
import math

from bitespeed.caches.engine import LEND, Engine, run
from bitespeed.errors import CacheUnavailable

BURST = 2.0  # seconds of the rate that may come at once after a pause
PORTION = 0.1  # seconds of the rate that a process takes at once; some more is wasted when it idles


class Bucket:
    """The tokens of one key in this process, 1 for a request; debts are paid before others pass."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * BURST)
        self._tokens = self._most
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()

    def take(self) -> bool:
        """Take a token, if there is one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take_patiently(self) -> float:
        """The same, asking for more where that helps; seconds until there may be one, else 0."""
        return 0 if self.take() else (1 - self._tokens) / self._rate

    def charge(self, tokens: int) -> None:
        """Take so many, whether they are there or not."""
        self._tokens -= tokens

    def lend(self, wanted: int) -> tuple[int, float]:
        """How many are lent, and if none, the seconds until there will be one."""
        self._fill()
        lent = min(wanted, max(0, int(self._tokens)))
        self._tokens -= lent
        return lent, 0 if lent else (1 - self._tokens) / self._rate

    def _fill(self) -> None:
        now = self._loop.time()
        if now > self._at:  # uvloop's clock stands still within a turn of the loop
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
            self._at = now


class SharedBucket:
    """A `Bucket` that several processes share."""

    def __init__(self, rate: float, engine: Engine, key: str) -> None:
        self._rate = rate
        self._engine = engine
        self._name = f"{{bitespeed}}:rate:{key}".encode()
        self._own = Bucket(rate)
        self._portion = math.ceil(rate * PORTION)
        self._tokens = 0
        self._empty_until = 0.0  # on the event loop's clock
        self._loop = asyncio.get_running_loop()
        self._borrowing: asyncio.Task[None] | None = None

    def take(self) -> bool:
        """See `Bucket.take`."""
        if self._tokens <= self._portion // 2:
            self._borrow()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take_patiently(self) -> float:
        """See `Bucket.take_patiently`."""
        if self.take():
            return 0
        if self._borrowing is not None:
            await asyncio.shield(self._borrowing)
        return 0 if self.take() else max(0.001, self._empty_until - self._loop.time())

    def charge(self, tokens: int) -> None:
        """See `Bucket.charge`."""
        self._tokens -= tokens

    def _borrow(self) -> None:
        if self._borrowing is None and self._loop.time() >= self._empty_until:
            self._borrowing = self._loop.create_task(self._borrow_portion())

    async def _borrow_portion(self) -> None:
        wanted = self._portion - min(0, self._tokens)
        try:
            arguments = [str(self._rate), str(max(1.0, self._rate * BURST)), wanted]
            lent, wait = await run(self._engine, LEND, [self._name], arguments)
            wait /= 1000
        except CacheUnavailable:
            lent, wait = self._own.lend(wanted)
        finally:
            self._borrowing = None
        self._tokens += lent
        self._empty_until = self._loop.time() + wait


class Rates:
    """Makes the bucket of each key."""

    def __init__(self, rate: float | None, engine: Engine | None) -> None:
        self._rate = rate
        self._engine = engine

    def bucket(self, key: str) -> Bucket | SharedBucket | None:
        """The bucket of the key with this id; None where there is no limit."""
        if self._rate is None:
            return None
        if self._engine is None:
            return Bucket(self._rate)
        return SharedBucket(self._rate, self._engine, key)
