"""Caches: answers kept in Redis, Valkey or Upstash, which are never stale.

`answers.py` is the protocol, `redis.py` and `upstash.py` are the ways to a server. Why an answer
from the cache contains all that was acknowledged before is in docs/decisions/0009-cache.md.
"""

import msgspec

from bitespeed.caches.answers import TTL, AnswerCache
from bitespeed.caches.engine import Engine
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra
from bitespeed.stores.protocols import CacheableStore, Store


class CacheOptions(msgspec.Struct, frozen=True):
    """Where the cache is, if there is one."""

    redis_url: str | None = None
    upstash_url: str | None = None
    upstash_token: str | None = None
    ttl: int = TTL
    """Seconds an answer is kept."""

    def __bool__(self) -> bool:
        return bool(self.redis_url or self.upstash_url)


def open_cache(options: CacheOptions, store: Store) -> AnswerCache | None:
    """The cache in front of a store, or None where none is configured.

    Returns at once, also while the server is away. Raises `InvalidInput` for a store that
    cannot be cached: a SQLite file answers without a cache as fast.
    """
    if not options:
        return None
    if not isinstance(store, CacheableStore):
        raise InvalidInput(
            "A cache needs PostgreSQL or Supabase; without REDIS_URL and UPSTASH_REDIS_REST_URL,"
            " a SQLite file answers as fast"
        )
    return AnswerCache(_engine(options), store, ttl=options.ttl)


def _engine(options: CacheOptions) -> Engine:
    if options.redis_url is not None:
        with extra("redis"):
            from bitespeed.caches.redis import RedisEngine
        return RedisEngine(options.redis_url)
    with extra("upstash"):
        from bitespeed.caches.upstash import UpstashEngine
    return UpstashEngine(options.upstash_url or "", options.upstash_token)
