"""Redis servers for the tests of the cache, and options for reaching them."""

from collections.abc import Iterator

import pytest

from bitespeed.caches import CacheOptions
from bitespeed.caches.redis import RedisEngine
from bitespeed.caches.upstash import UpstashEngine
from support.redis_server import RedisServer, redis_server
from support.upstash_server import upstash_server


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of it, so that a busy machine does not look like a cache that is away."""
    for engine in (RedisEngine, UpstashEngine):
        monkeypatch.setattr(engine, "read_time", 2.0)
        monkeypatch.setattr(engine, "write_time", 2.0)


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server that the test may disturb."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["redis", "upstash"])
def options(request: pytest.FixtureRequest, shared_redis: RedisServer) -> Iterator[CacheOptions]:
    """Both ways to a server."""
    if request.param == "redis":
        yield CacheOptions(shared_redis.url)
    else:
        with upstash_server(shared_redis) as upstash:
            yield CacheOptions(upstash_url=upstash.url, upstash_token=upstash.token)
