"""Commits of one tenant: to the store, through the cache, into metrics and log."""

import asyncio
from collections.abc import Sequence

from bitespeed.caches.answers import AnswerCache
from bitespeed.model.changes import Changes, Committed
from bitespeed.model.identifiers import emails_and_phones
from bitespeed.model.identity import Snapshot
from bitespeed.stores.protocols import Store
from bitespeed.telemetry.events import Origin, report_commit
from bitespeed.telemetry.large_identities import LargeIdentities
from bitespeed.telemetry.requests import Request
from bitespeed.telemetry.stages import stage


class Commits:
    """Writes what was decided; lives on one event loop."""

    def __init__(
        self, store: Store, cache: AnswerCache | None, tenant: str, large_identity: int
    ) -> None:
        self._store = store
        self._cache = cache
        self._tenant = tenant
        self._large_identities = LargeIdentities(large_identity)
        self._loop = asyncio.get_running_loop()

    async def commit(
        self,
        changes: Changes,
        snapshot: Snapshot,
        origins: Sequence[Origin] = (),
        request: Request | None = None,
    ) -> Committed:
        """Write the changes that were decided on the snapshot, and keep the cache consistent.

        ``origins`` are the observations behind the changes, each with its request; ``request`` is
        the origin of changes without an observation. Raises what `Store.commit` raises.
        """
        with stage("commit"):
            if self._cache is None:
                committed = await self._store.commit(self._tenant, changes)
            else:
                emails, phones = emails_and_phones([observation for observation, _ in origins])
                values = (*emails, *phones)
                committed = await self._cache.commit(self._tenant, changes, snapshot, values)
        self.record_commit(changes, committed, origins, request)
        return committed

    async def commit_without_cache(self, changes: Changes) -> None:
        """`commit` for imports: the store suspends the cache, which is cheaper than fencing."""
        committed = await self._store.commit(self._tenant, changes)
        self.record_commit(changes, committed)

    def record_commit(
        self,
        changes: Changes,
        committed: Committed,
        origins: Sequence[Origin] = (),
        request: Request | None = None,
    ) -> None:
        """Count and log a commit at the next turn of the loop, after the callers got their answers.

        What is sent to them in this turn leaves at the end of it.
        """
        self._loop.call_soon(report_commit, self._tenant, changes, committed, origins, request)
        self._loop.call_soon(self._large_identities.check, self._tenant, changes, committed)
