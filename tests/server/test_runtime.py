"""What a process works with is opened in order, and closed in reverse whatever fails."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitespeed import runtime, telemetry
from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import observe
from bitespeed.runtime import open_only_store, open_runtime, open_telemetry
from bitespeed.service.tenants import Tenants
from bitespeed.settings import Settings
from bitespeed.stores.sqlite import SqliteStore


class Cache:
    """A cache that records when it is closed."""

    engine = None

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def close(self) -> None:
        self._log.append("cache")
        raise OSError("the cache cannot be closed")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=f"sqlite:///{tmp_path}/contacts.db")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What has been closed, in this order."""
    log: list[str] = []

    def recording(name: str, original: Any) -> Any:
        async def close(*arguments: Any) -> None:
            log.append(name)
            await original(*arguments)

        return close

    monkeypatch.setattr(Tenants, "drain", recording("tenants", Tenants.drain))
    monkeypatch.setattr(SqliteStore, "close", recording("store", SqliteStore.close))
    exporters = recording("exporters", telemetry.close_exporters)
    monkeypatch.setattr(telemetry, "close_exporters", exporters)
    return log


def test_parts_are_closed_in_reverse(settings: Settings, closed: list[str]) -> None:
    async def test() -> None:
        async with open_telemetry(settings), open_runtime(settings) as opened:
            service = opened.tenants.of("default")
            assert (await service.identify(observe(None, "1"))).primary_id == 1
            assert (opened.cache, opened.queue) == (None, None)
            assert closed == []

    asyncio.run(test())
    assert closed == ["tenants", "store", "exporters"]


def test_part_that_fails_to_close_keeps_none_open(
    settings: Settings, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "open_cache", lambda *_: Cache(closed))
    monkeypatch.setattr(runtime, "Tenants", lambda store, **_: Tenants(store))

    async def test() -> None:
        async with open_telemetry(settings), open_runtime(settings):
            pass

    with pytest.raises(OSError, match="cannot be closed"):
        asyncio.run(test())
    assert closed == ["tenants", "cache", "store", "exporters"]


def test_part_that_cannot_be_opened_closes_those_before(
    settings: Settings, closed: list[str]
) -> None:
    async def test() -> None:
        without_queue = Settings(database=settings.database, sqs_url="https://sesame")
        async with open_telemetry(without_queue), open_runtime(without_queue):
            raise AssertionError

    with pytest.raises(InvalidInput, match="BITESPEED_SQS_URL"):
        asyncio.run(test())
    assert closed == ["tenants", "store", "exporters"]


def test_store_alone_is_closed_after_a_failure(settings: Settings, closed: list[str]) -> None:
    async def test() -> None:
        async with open_only_store(settings):
            raise RuntimeError("a command failed")

    with pytest.raises(RuntimeError, match="a command failed"):
        asyncio.run(test())
    assert closed == ["store"]
