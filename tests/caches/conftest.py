"""Redis servers for the tests of the cache, and options for reaching them."""

from collections.abc import Iterator

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.caches.redis import RedisEngine
from bitespeed.caches.upstash import UpstashEngine
from support.redis_server import RedisServer, redis_server
from support.upstash_server import upstash_server


@pytest.fixture(autouse=True)
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long timeouts, so that a busy machine does not look like a cache that is away."""
    for engine in (RedisEngine, UpstashEngine):
        monkeypatch.setattr(engine, "read_timeout", 2.0)
        monkeypatch.setattr(engine, "write_timeout", 2.0)


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server that only this test uses, so that it may be disturbed."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["redis", "upstash"])
def options(request: pytest.FixtureRequest, shared_redis: RedisServer) -> Iterator[CacheOptions]:
    """Redis itself, and the same server behind the REST API of Upstash."""
    if request.param == "redis":
        yield CacheOptions(shared_redis.url)
    else:
        with upstash_server(shared_redis) as upstash:
            yield CacheOptions(upstash_url=upstash.url, upstash_token=upstash.token)
