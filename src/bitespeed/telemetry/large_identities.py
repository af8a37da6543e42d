"""An alarm for identities that grow beyond what a person has: two who share a till's phone number,
or somebody who tries what happens.
"""

import time

from bitespeed.model.changes import Changes, Committed
from bitespeed.telemetry import metrics
from bitespeed.telemetry.logs import log

LARGE_IDENTITY = 1000  # contacts; people have a few, and each answer lists all of them
PAUSE = 3600.0  # seconds in which an identity is told once
MAX_REMEMBERED = 10_000  # identities told lately


class LargeIdentities:
    """Tells of large identities."""

    def __init__(self, large: int) -> None:
        self._large = large
        self._told: dict[int, float] = {}

    def notice(self, tenant: str, changes: Changes, committed: Committed) -> None:
        """Tell of identities that have grown, or merged, to a size that gives cause for concern."""
        for change in changes.identities:
            if change.contacts >= self._large and change.root == change.id:
                self._notice(tenant, committed.id_of(change.id), change.contacts)

    def _notice(self, tenant: str, identity: int, contacts: int) -> None:
        now = time.monotonic()
        if now < self._told.get(identity, -PAUSE) + PAUSE:
            return
        if len(self._told) >= MAX_REMEMBERED:
            self._told.clear()
        self._told[identity] = now
        metrics.large_identities.add()
        log.warning("identity.large", tenant=tenant, identity=identity, contacts=contacts)
