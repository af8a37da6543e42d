"""Which identities were merged, newest first: all, or those that look wrong.

Two strangers who were joined by mistake show themselves in two ways. Both had contacts of their own
before (`minimum`), or the value that joined them goes with very many others (`partners`): a
landline, a default value in a form.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bitespeed.errors import InvalidInput
from bitespeed.model.facts import Happening
from bitespeed.service.pages import MAX_NUMBER, PAGE, limited
from bitespeed.stores.protocols import Store

MAX_READ = 1_000  # merges that are looked at for a page, shown or not; about 300 KB
MAX_PARTNERS = 100  # that may be asked for: so many rows at most are read of each value
CHUNK = 25  # merges whose values are counted in one call: 5,000 rows at most, about 20 ms


class WantedMerges(NamedTuple):
    """A page of merges: below the number ``before``, not before the instant ``since``."""

    before: int = MAX_NUMBER
    since: int = 0
    limit: int = PAGE
    minimum: int = 0
    """Contacts that each of the two had before; none asks for nothing."""
    partners: int = 0
    """Others that one of the values in the merge goes with by now; none asks for nothing."""


class MergesPage(NamedTuple):
    """Merges, and the number below which the next page begins; None behind the last merge."""

    merges: Sequence[Happening]
    next: int | None


async def read_merges(store: Store, tenant: str, wanted: WantedMerges) -> MergesPage:
    """The newest of the merges that are wanted, among `MAX_READ` at most: a page may have few, or
    none, and yet a next one. Raises `InvalidInput`.
    """
    limit = limited(wanted.limit)
    if not 0 <= wanted.partners <= MAX_PARTNERS:
        raise InvalidInput(f"partners must be from 0 to {MAX_PARTNERS}")
    size = MAX_READ if wanted.minimum or wanted.partners else limit
    read = await store.merges(tenant, before=wanted.before, since=wanted.since, limit=size)
    found: Sequence[Happening] = [merge for merge in read if _smaller(merge) >= wanted.minimum]
    if wanted.partners:
        found = await _with_partners(store, tenant, found, wanted.partners, limit)
    if len(found) >= limit:
        return MergesPage(found[:limit], found[limit - 1].number)
    return MergesPage(found, read[-1].number if len(read) == size else None)


def _smaller(merge: Happening) -> int:
    """The contacts of the smaller of the two before."""
    return min(merge.size or 0, merge.merged_size or 0)


async def _with_partners(
    store: Store, tenant: str, merges: Sequence[Happening], partners: int, limit: int
) -> list[Happening]:
    """Those of the merges of which a value goes with so many others; at least ``limit`` of them, as
    far as there are.
    """
    found: list[Happening] = []
    for start in range(0, len(merges), CHUNK):
        chunk = merges[start : start + CHUNK]
        values = list({value for merge in chunk for value in merge.between})
        counts = await store.partners(tenant, values, limit=partners)
        hubs = {value for value, count in zip(values, counts, strict=True) if count >= partners}
        found += [merge for merge in chunk if not hubs.isdisjoint(merge.between)]
        if len(found) >= limit:
            break
    return found
