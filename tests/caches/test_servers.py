"""Redis servers that the cache uses, and servers that it refuses."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from bitespeed.caches import CacheOptions
from bitespeed.caches import redis as redis_engine
from bitespeed.errors import CacheUnavailable
from support.cache_processes import (
    MARTY,
    POLL_INTERVAL,
    Process,
    on,
    process,
    until,
)
from support.log_lines import captured_log_lines
from support.redis_server import RedisServer, redis_server
from support.tcp_proxy import tcp_proxy


def test_user_password_and_database_of_the_url_are_used(database: str) -> None:
    async def test(one: Process) -> None:
        for _ in range(3):
            await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows(MARTY.email, MARTY.phone)

    with redis_server() as server:
        server.ask("ACL", "SETUSER", "shop", "on", ">p@ss/word", "~*", "+@all")
        server.ask("CONFIG", "SET", "requirepass", "secret")
        for user in (":secret@", "shop:p%40ss%2Fword@"):
            url = f"redis://{user}127.0.0.1:{server.port}/3"
            on(database, CacheOptions(url), test)


@pytest.mark.parametrize("user", ["", ":wrong@", "shop:secret@"])
def test_refusing_cache_server_is_unused_and_logged_once(
    database: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_engine, "RECONNECT_DELAY", POLL_INTERVAL)

    def refusals() -> list[Any]:
        return [line for line in lines if line["event"] == "cache.refused"]

    async def main(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            await until(lambda: bool(refusals()))
            assert (await one.service.identify(MARTY)).primary_id == 1
            assert (await one.service.identify(MARTY)).primary_id == 1
            assert one.cache.engine.server is None

    with redis_server() as server, captured_log_lines() as lines:
        server.ask("CONFIG", "SET", "requirepass", "secret")
        asyncio.run(main(f"redis://{user}127.0.0.1:{server.port}/0"))
    assert len(refusals()) == 1
    assert "secret" not in str(lines)


def test_encrypted_connection_needs_the_right_certificate(
    database: str, shared_redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    encryption = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(encryption)

    async def works(one: Process) -> None:
        for _ in range(3):
            await one.service.identify(MARTY)
            await one.is_filled()
        assert await one.knows(MARTY.email, MARTY.phone)

    async def does_without(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            with pytest.raises(CacheUnavailable):
                await one.cache.engine.wait_until_connected()
            assert (await one.service.identify(MARTY)).primary_id == 1

    with tcp_proxy(("127.0.0.1", shared_redis.port), encryption) as line:
        trust(authority, tmp_path, monkeypatch)
        on(database, CacheOptions(f"rediss://localhost:{line.port}/0"), works)
        asyncio.run(does_without(f"rediss://127.0.0.1:{line.port}/0"))  # not in the certificate
        trust(stranger, tmp_path, monkeypatch)
        asyncio.run(does_without(f"rediss://localhost:{line.port}/0"))


def trust(authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the authority be the only one that is trusted."""
    file = folder / "authority"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))


@pytest.mark.parametrize("info", [b"redis_version:7.0\r\nrun_id:\r\n", b"", None])
def test_server_without_identity_is_not_used(info: bytes | None) -> None:
    class Silent:
        async def request(self, *_: object) -> bytes | None:
            return info

    with pytest.raises(CacheUnavailable, match="does not send its run_id"):
        asyncio.run(redis_engine._run_id(Silent()))  # pyright: ignore[reportArgumentType] - a part


def test_server_that_may_drop_fences_is_not_used(database: str) -> None:
    async def main(url: str) -> None:
        async with process(database, CacheOptions(url)) as one:
            for _ in range(3):
                await one.service.identify(MARTY)
            assert one.cache.engine.server is None
            assert (await one.store.cache_state()).epoch is None

    policy = {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
    with redis_server(**policy) as server:
        asyncio.run(main(server.url))
