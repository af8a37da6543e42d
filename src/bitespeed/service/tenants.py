"""The tenants of one store: each has a service of its own, made when somebody asks for it."""

import asyncio
from functools import partial

from bitespeed.caches.answers import AnswerCache
from bitespeed.service.batching import Limits, Load
from bitespeed.service.service import Service
from bitespeed.stores.protocols import Store
from bitespeed.telemetry import metrics
from bitespeed.tenant import DEFAULT_TENANT

MAX_SERVICES = 1000  # kept though idle; each takes a few kilobytes and is soon made again


class Tenants:
    """The services on one store, which share its cache and what may wait in this process."""

    def __init__(
        self, store: Store, *, limits: Limits | None = None, cache: AnswerCache | None = None
    ) -> None:
        self._load = Load()
        limits = limits or Limits()
        metrics.queue_limit.set(limits.max_waiting)
        self._make = partial(Service, store, limits=limits, cache=cache, load=self._load)
        self._services: dict[str, Service] = {}

    def of(self, tenant: str) -> Service:
        """The service of a tenant, to be used at once: an idle one may be let go."""
        return self._services.get(tenant) or self._add(tenant)

    def _add(self, tenant: str) -> Service:
        if len(self._services) >= MAX_SERVICES:
            self._services = {t: s for t, s in self._services.items() if not s.is_idle}
        service = self._services[tenant] = self._make(tenant=tenant)
        return service

    async def ping(self) -> None:
        """See `Service.ping`."""
        await self.of(DEFAULT_TENANT).ping()

    async def drain(self) -> None:
        """See `Service.drain`."""
        self._load.is_draining = True
        await asyncio.gather(*[service.drain() for service in self._services.values()])
