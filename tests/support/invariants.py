"""What has to be true of a store whatever was done to it."""

from collections.abc import Container

from bitespeed.jobs.check import check
from bitespeed.stores.protocols import AnyStore


async def assert_clean(store: AnyStore, *, besides: Container[str] = ()) -> None:
    """All invariants hold, ``besides`` those that the test itself breaks."""
    assert [v for v in await check(store) if v.invariant not in besides] == []
