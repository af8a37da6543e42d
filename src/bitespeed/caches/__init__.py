"""Caches: answers stored in Redis, Valkey or Upstash, which are never stale.

`answers.py` is the protocol, `redis.py` and `upstash.py` send commands to a server.
docs/decisions/0009-cache.md argues why a cached answer contains every write acknowledged before.
"""

import msgspec

from bitespeed.caches.answers import TTL, AnswerCache
from bitespeed.caches.engine import Engine
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.stores.protocols import CacheableStore, Store


class CacheOptions(msgspec.Struct, frozen=True):
    """Address of the cache; false if no cache is configured."""

    redis_url: str | None = None
    upstash_url: str | None = None
    upstash_token: str | None = None
    ttl: int = TTL
    """Seconds that an answer is kept."""

    def __bool__(self) -> bool:
        return bool(self.redis_url or self.upstash_url)


def open_cache(options: CacheOptions, store: Store, *, follows: bool = True) -> AnswerCache | None:
    """The cache in front of a store, or None if no cache is configured.

    Connects in the background. Unless it ``follows`` the epoch, answers are neither read from the
    cache nor stored there. Raises `InvalidInput` for a SQLite file, which is as fast without.
    """
    if not options:
        return None
    if not isinstance(store, CacheableStore):
        raise InvalidInput(
            "A cache needs PostgreSQL or Supabase. A SQLite file is as fast without one:"
            " remove REDIS_URL and UPSTASH_REDIS_REST_URL"
        )
    return AnswerCache(_engine(options), store, ttl=options.ttl, follows=follows)


def _engine(options: CacheOptions) -> Engine:
    if options.redis_url is not None:
        with extra("redis"):
            from bitespeed.caches.redis import RedisEngine
        return RedisEngine(options.redis_url)
    with extra("upstash"):
        from bitespeed.caches.upstash import UpstashEngine
    return UpstashEngine(options.upstash_url or "", options.upstash_token)
