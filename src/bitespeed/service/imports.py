"""Write what the rows of an import bring."""

from collections.abc import Sequence

from bitespeed.errors import Conflict
from bitespeed.model.changes import Changes
from bitespeed.model.identifiers import Observation, emails_and_phones
from bitespeed.model.identity import Snapshot
from bitespeed.model.sources import SameSource, Source
from bitespeed.rules.erase import erased_rows
from bitespeed.rules.identify import absorb, may_confirm
from bitespeed.service.attempts import until_committed
from bitespeed.service.commits import Commits
from bitespeed.service.erasures import read_erasures
from bitespeed.stores.protocols import Store


class Absorbing:
    """Writes observations of one source, many at a time."""

    def __init__(self, store: Store, commits: Commits, tenant: str, source: Source) -> None:
        self._store = store
        self._commits = commits
        self._tenant = tenant
        self._sources = SameSource(source)

    async def absorb(
        self,
        observations: Sequence[Observation],
        made_at: Sequence[int | None],
        rows: Sequence[int] | None,
    ) -> tuple[Changes, int]:
        """See `Service.absorb`."""
        made_at = made_at or [None] * len(observations)
        rows = range(len(observations)) if rows is None else rows
        dated = list(zip(observations, made_at, rows, strict=True))

        async def attempt() -> tuple[Changes, int]:
            snapshot = await self._read(observations)
            # Look up tombstones after the read. If an erasure commits later, it has changed an
            # identity that we read, so our commit conflicts and we decide again.
            erased_at = await read_erasures(self._store, self._tenant, observations)
            erased = erased_rows(dated, erased_at)
            kept = [(observation, at) for observation, at, row in dated if row not in erased]
            dates = [at for _, at in kept]
            changes = absorb(snapshot, (o for o, _ in kept), self._sources, dates)
            if changes:
                await self._commits.commit_without_cache(changes)
            return changes, len(erased)

        return await until_committed(attempt)

    async def _read(self, observations: Sequence[Observation]) -> Snapshot:
        """A snapshot that has members only where deciding needs them. Raises `Conflict` when an
        identity changes between its two reads.
        """
        emails, phones = emails_and_phones(observations)
        snapshot = await self._store.read(self._tenant, emails=emails, phones=phones, members=False)
        emails, phones = emails_and_phones(may_confirm(snapshot, observations))
        if not emails:
            return snapshot
        whole = await self._store.read(self._tenant, emails=emails, phones=phones)
        for id_, identity in whole.identities.items():
            before = snapshot.identities.get(id_)
            if before is None or before.stamp != identity.stamp:
                raise Conflict("An identity has changed since it was read")
        return Snapshot(snapshot.identities | whole.identities, snapshot.emails, snapshot.phones)
