"""A circuit breaker: after some failures in a row the cache is left alone for a while."""

import asyncio

from bitespeed.telemetry.logs import log
from bitespeed.telemetry.metrics import cache_breaker_open, cache_failures

FAILURES = 5  # in a row until the cache counts as away
PAUSE = 1.0  # seconds until one look-up tries again


class Breaker:
    """Tells whether to ask; says in the log when that changes, not at each request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._failures = 0
        self._closed_at = 0.0

    def allows(self) -> bool:
        """Whether to ask now."""
        if self._failures < FAILURES:
            return True
        now = self._loop.time()
        if now < self._closed_at:
            return False
        self._closed_at = now + PAUSE  # one tries, the others wait for what comes of it
        return True

    def failed(self) -> None:
        """The cache did not answer."""
        self._failures += 1
        cache_failures.add()
        if self._failures == FAILURES:
            self._closed_at = self._loop.time() + PAUSE
            cache_breaker_open.set(1)
            log.warning("cache.away")

    def succeeded(self) -> None:
        """The cache answered."""
        if self._failures >= FAILURES:
            cache_breaker_open.set(0)
            log.warning("cache.back")
        self._failures = 0
