"""Many observations in one body."""

from collections.abc import Sequence

import msgspec

from bitespeed.api.access import over_rate
from bitespeed.api.keyring import Caller
from bitespeed.errors import TooLarge
from bitespeed.queues.messages import MAX_OBSERVATIONS
from bitespeed.wire.observations import decode_array

Item = bytes | msgspec.Raw
"""An observation not yet decoded."""


def items_in(body: bytes, *, is_ndjson: bool) -> Sequence[Item]:
    """The items of a batch. Raises `TooLarge` for more than `MAX_OBSERVATIONS`."""
    items: Sequence[Item]
    if is_ndjson:
        items = [line for line in body.split(b"\n") if line.strip()]
    else:
        items = decode_array(body)
    if len(items) > MAX_OBSERVATIONS:
        raise TooLarge(f"A batch may have at most {MAX_OBSERVATIONS} observations")
    return items


async def charge(caller: Caller, items: Sequence[object]) -> None:
    """Count the items against the rate of the key; the request itself counts as the first one.

    To be called before any work is done for them. Raises `TooManyRequests` where other batches of
    the key have used up its rate since this one was admitted.
    """
    if caller.bucket is not None and len(items) > 1:
        wait = await caller.bucket.charge_or_wait(len(items) - 1)
        if wait:
            raise over_rate(wait)
