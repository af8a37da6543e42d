"""What has to be true of a store whatever was done to it."""

from bitespeed.jobs.check import check
from bitespeed.stores import Store


async def assert_clean(store: Store) -> None:
    assert await check(store) == []
