"""Search a whole store for broken invariants."""

import time
from collections.abc import Callable
from contextlib import aclosing

from bitespeed.rules.invariants import (
    Violation,
    violations_of,
    violations_of_schema,
    violations_of_sequence,
    violations_of_values,
)
from bitespeed.stores.protocols import ScannableStore

MAX_VIOLATIONS = 1000  # the search ends there, as the cause matters then, not the number


async def check(
    store: ScannableStore, on_page: Callable[[int], None] = lambda _: None
) -> list[Violation]:
    """Every broken invariant in the store, up to `MAX_VIOLATIONS`; empty for a sound store.

    Raises `InvalidInput` where the functions of the database only forward to other servers.
    ``on_page`` is called with the number of live identities in each page that was checked.
    """
    now = time.time_ns() // 1000
    violations: list[Violation] = [*violations_of_schema(await store.faults())]
    for sequence in await store.sequences():
        violations.extend(violations_of_sequence(sequence))
    async with aclosing(store.scan()) as pages:
        async for page in pages:
            for identity in page:
                violations.extend(violations_of(identity))
                violations.extend(violations_of_values(identity, now))
            on_page(sum(identity.root_id is not None for identity in page))
            if len(violations) >= MAX_VIOLATIONS:
                break
    return violations[:MAX_VIOLATIONS]
