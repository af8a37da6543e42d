"""A circuit breaker: after some failures in a row, the cache is not used for a while."""

import asyncio

from bitespeed.telemetry.logs import log
from bitespeed.telemetry.metrics import cache_breaker_open, cache_failures

MAX_FAILURES = 5  # in a row; one slow answer is no outage
RETRY_INTERVAL = 1.0  # seconds between look-ups that try again; each costs its batch a timeout


class Breaker:
    """Decides whether to use the cache, and logs when that changes, not at each request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._failures = 0
        self._retry_at = 0.0

    def allows(self) -> bool:
        """Whether to use the cache now."""
        if self._failures < MAX_FAILURES:
            return True
        now = self._loop.time()
        if now < self._retry_at:
            return False
        self._retry_at = now + RETRY_INTERVAL  # this one tries, the others do without until then
        return True

    def failed(self) -> None:
        """Count a command that the cache did not answer."""
        self._failures += 1
        cache_failures.add()
        if self._failures == MAX_FAILURES:
            self._retry_at = self._loop.time() + RETRY_INTERVAL
            cache_breaker_open.set(1)
            log.warning("cache.away")

    def succeeded(self) -> None:
        """Use the cache again, since it answered."""
        if self._failures >= MAX_FAILURES:
            cache_breaker_open.set(0)
            log.warning("cache.back")
        self._failures = 0
