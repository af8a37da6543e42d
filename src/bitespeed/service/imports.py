"""Write what the rows of an import bring."""

from collections.abc import Sequence

from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Observation, emails_and_phones
from bitespeed.rules.erase import erased_rows, not_erased
from bitespeed.rules.identify import absorb as decide
from bitespeed.service.attempts import until_committed
from bitespeed.service.commits import Commits
from bitespeed.service.erasures import read_erasures
from bitespeed.stores.protocols import Store


async def absorb(
    store: Store,
    commits: Commits,
    tenant: str,
    observations: Sequence[Observation],
    made_at: Sequence[int | None],
    rows: Sequence[int] | None,
) -> tuple[Changes, int]:
    """See `Service.absorb`."""
    emails, phones = emails_and_phones(observations)

    async def attempt() -> tuple[Changes, int]:
        snapshot = await store.read(tenant, emails=emails, phones=phones, members=False)
        # Look up tombstones after the read. If an erasure commits later, it has changed an
        # identity that we read, so our commit conflicts and we decide again.
        erased_at = await read_erasures(store, tenant, observations)
        if rows is None:
            kept = not_erased(observations, made_at, erased_at)
            left_out = len(observations) - len(kept)
        else:
            erased = erased_rows(observations, made_at, rows, erased_at)
            kept = [o for o, row in zip(observations, rows, strict=True) if row not in erased]
            left_out = len(erased)
        changes = decide(snapshot, kept)
        if changes:
            await commits.commit_without_cache(changes)
        return changes, left_out

    return await until_committed(attempt)
