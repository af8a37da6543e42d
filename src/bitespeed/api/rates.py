"""How many requests a key may send: a token bucket that fills at the rate of the key.

Without a cache each process has its own bucket. With a cache there is one bucket in Redis, from
which each process takes tokens in portions before its own run out, so that requests do not wait for
Redis. While the cache is away, each process limits the rate by itself.
"""

import asyncio
import math

from bitespeed.caches.engine import LEND, Engine, run
from bitespeed.errors import CacheUnavailable

BURST = 2.0  # seconds of the rate that may come at once after a pause
MAX_BUCKETS = 10_000  # beyond them full ones are dropped, which are like new; about 3 MB
PORTION = 0.1  # seconds of the rate that a process takes at once; an idle process wastes so much


class Bucket:
    """The tokens of one key in this process, one for each request. A debt is paid off first."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._limit = max(1.0, rate * BURST)
        self._tokens = self._limit
        self._loop = asyncio.get_running_loop()
        self._filled_at = self._loop.time()

    def take(self) -> bool:
        """Take a token. False if there is none."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def take_or_wait(self) -> float:
        """Take a token: 0, or the seconds until there may be one."""
        return 0 if self.take() else (1 - self._tokens) / self._rate

    def charge(self, tokens: int) -> None:
        """Take so many tokens, running into debt if there are fewer."""
        self._tokens -= tokens

    async def charge_or_wait(self, tokens: int) -> float:
        """`charge` and 0, or the seconds until a debt is paid off that is there already."""
        self._fill()
        if self._tokens < 0:
            return -self._tokens / self._rate
        self.charge(tokens)
        return 0

    def is_full(self) -> bool:
        """Whether it is like a new one."""
        self._fill()
        return self._tokens >= self._limit

    def lend(self, wanted: int) -> tuple[int, float]:
        """Lend up to so many tokens: how many, and the seconds until there is one if none."""
        self._fill()
        lent = min(wanted, max(0, int(self._tokens)))
        self._tokens -= lent
        return lent, 0 if lent else (1 - self._tokens) / self._rate

    def _fill(self) -> None:
        now = self._loop.time()
        if now > self._filled_at:  # uvloop's clock stands still within a turn of the loop
            self._tokens = min(self._limit, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now


class SharedBucket:
    """A `Bucket` that several processes share, in Redis."""

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

    async def take_or_wait(self) -> float:
        """Take a token, after a portion under way has come: 0, or seconds as from `Bucket`."""
        if self.take():
            return 0
        if self._borrowing is not None:
            await asyncio.shield(self._borrowing)
        return 0 if self.take() else max(0.001, self._empty_until - self._loop.time())

    def charge(self, tokens: int) -> None:
        """See `Bucket.charge`."""
        self._tokens -= tokens

    async def charge_or_wait(self, tokens: int) -> float:
        """See `Bucket.charge_or_wait`. A debt is first paid off with what the cache lends."""
        for _ in range(2):  # a portion under way may have been wanted before there was a debt
            if self._tokens < 0:
                self._borrow()
            if self._tokens < 0 and self._borrowing is not None:
                await asyncio.shield(self._borrowing)
        if self._tokens < 0:
            return max(-self._tokens / self._rate, self._empty_until - self._loop.time())
        self.charge(tokens)
        return 0

    def is_full(self) -> bool:
        """Whether a new one would let no more through; the rest is in the cache."""
        return self._tokens >= 0 and self._borrowing is None and self._own.is_full()

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
    """The buckets of keys. One that is not full stays, however long its key is not looked up."""

    def __init__(self, rate: float | None, engine: Engine | None) -> None:
        self._rate = rate
        self._engine = engine
        self._buckets: dict[str, Bucket | SharedBucket] = {}
        self._limit = MAX_BUCKETS

    def bucket(
        self, key: str, used: Bucket | SharedBucket | None = None
    ) -> Bucket | SharedBucket | None:
        """The bucket of the key with this id, by default the ``used`` one; None without a limit."""
        if self._rate is None:
            return None
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = used or self._new(self._rate, key)
            if len(self._buckets) > self._limit:
                self._drop_full()
        return bucket

    def _new(self, rate: float, key: str) -> Bucket | SharedBucket:
        if self._engine is None:
            return Bucket(rate)
        return SharedBucket(rate, self._engine, key)

    def _drop_full(self) -> None:
        """Keep what is not full: as many keys as sent something lately, and no unknown one."""
        self._buckets = {key: b for key, b in self._buckets.items() if not b.is_full()}
        self._limit = max(MAX_BUCKETS, 2 * len(self._buckets))  # else each new one would search
