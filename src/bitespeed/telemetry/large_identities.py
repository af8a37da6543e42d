"""Warns of identities with far more contacts than one person has.

Usually many people share a value, such as a shop's own phone number, or somebody tests the limits.
"""

import time

from bitespeed.model.changes import Changes, Committed
from bitespeed.telemetry import metrics
from bitespeed.telemetry.logs import log

LARGE_IDENTITY = 1000  # contacts; people have a few, and each answer lists all of them
WARNING_INTERVAL = 3600.0  # seconds between two warnings about one identity
MAX_REMEMBERED = 10_000  # identities; beyond, all are forgotten and may be warned of again


class LargeIdentities:
    """Warns of identities with ``large`` contacts or more, each at most once an hour."""

    def __init__(self, large: int) -> None:
        self._large = large
        self._warned_at: dict[int, float] = {}

    def check(self, tenant: str, changes: Changes, committed: Committed) -> None:
        """Warn of every live identity that the changes left large."""
        for change in changes.identities:
            if change.contacts >= self._large and change.root == change.id:
                self._warn(tenant, committed.id_of(change.id), change.contacts)

    def _warn(self, tenant: str, identity: int, contacts: int) -> None:
        now = time.monotonic()
        if now < self._warned_at.get(identity, -WARNING_INTERVAL) + WARNING_INTERVAL:
            return
        if len(self._warned_at) >= MAX_REMEMBERED:
            self._warned_at.clear()
        self._warned_at[identity] = now
        metrics.large_identities.add()
        log.warning("identity.large", tenant=tenant, identity=identity, contacts=contacts)
