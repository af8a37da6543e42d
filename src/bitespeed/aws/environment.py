"""One execution environment of Lambda: the service, opened once and used by each invocation.

Nothing runs between invocations, for however long. So nothing is believed that only holds for a
time, and after a long lull everything is opened anew.
"""

import asyncio
import gc
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from msgspec.structs import replace

from bitespeed import settings as settings_of
from bitespeed import telemetry
from bitespeed.api.access import Access
from bitespeed.api.endpoints import Endpoints
from bitespeed.api.keyring import Keyring
from bitespeed.api.rates import Rates
from bitespeed.caches import open_cache
from bitespeed.caches.answers import AnswerCache, LookUp
from bitespeed.errors import BitespeedError, DeadlineExceeded, InvalidInput
from bitespeed.model.identity import Changes, Committed, KeptAnswer
from bitespeed.queues import open_queue
from bitespeed.service.tenants import Tenants
from bitespeed.settings import Settings
from bitespeed.stores import Store, open_store
from bitespeed.telemetry.logs import log, use_pseudonym_secret

T = TypeVar("T")

MAX_LULL = 60.0  # seconds; poolers, gateways and firewalls forget a connection after minutes
LAST_WORDS = 0.25  # seconds of an invocation that are left for answering when all else is too late
RENEWAL = 10.0  # seconds between looks at the secret while the database refuses what it says


class Context(Protocol):
    """What Lambda tells of an invocation."""

    aws_request_id: str
    function_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Until it is cut off."""
        ...


class Opened(NamedTuple):
    """What answers."""

    endpoints: Endpoints
    tenants: Tenants
    keyring: Keyring
    settings: Settings
    store: Store
    cache: AnswerCache | None
    happened: Counter[str]
    """What has been written and found, since somebody looked last."""


Work = Callable[[Opened], Awaitable[T]]


class Environment:
    """It is opened at once if that can be, else by the invocations."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._opened: Opened | None = None
        self._used = 0.0
        self._renewed = -RENEWAL
        try:
            self._loop.run_until_complete(self._open())
        except BitespeedError as error:
            log.error("function.failed", message=str(error))
        gc.freeze()
        gc.enable()

    def run(self, work: Work[T], context: Context) -> T:
        """Do the work of one invocation. Raises `DeadlineExceeded` shortly before it is cut off."""
        return self._loop.run_until_complete(self._run(work, context))

    async def _run(self, work: Work[T], context: Context) -> T:
        left = context.get_remaining_time_in_millis() / 1000 - LAST_WORDS
        try:
            async with asyncio.timeout(left):
                return await work(await self._thawed())
        except TimeoutError:
            raise DeadlineExceeded("No answer was ready in time; try again") from None
        finally:
            self._used = time.time()

    async def _thawed(self) -> Opened:
        """What answers, without what a freeze may have made untrue."""
        await asyncio.sleep(0)  # connections that were closed meanwhile are noticed here
        if self._opened is not None and abs(time.time() - self._used) > MAX_LULL:
            await self._close(self._opened)
        opened = self._opened or await self._open()
        if opened.cache is not None:
            opened.cache.forget_licence()  # the clock may have stood still
        return opened

    async def _open(self) -> Opened:
        settings = await _settings()
        telemetry.configure(replace(settings.telemetry, form="json"))
        # What migrates is not in the package.
        options = replace(settings.options, renew=self._renew, migrate=False)
        happened: Counter[str] = Counter()
        try:
            opened = await open_store(settings.database, options)
            store = cast("Store", _Store(opened, happened))
            use_pseudonym_secret(await store.secret())
            cache = open_cache(settings.cache, store)
        except InvalidInput as error:
            raise BitespeedError(str(error)) from error  # the settings', not the caller's
        watched = None if cache is None else cast("AnswerCache", _Cache(cache, happened))
        tenants = Tenants(store, limits=settings.limits, cache=watched)
        rates = Rates(settings.rate_limit, cache and cache.engine)
        keyring = Keyring(store, rates, time.time)  # which does not stand still, see `_thawed`
        access = Access(keyring, needs_key=not settings.public)  # it never listens on loopback
        self._used = time.time()
        queue = open_queue(settings.sqs_url)
        endpoints = Endpoints(tenants, access, settings.region, queue)
        self._opened = Opened(endpoints, tenants, keyring, settings, store, cache, happened)
        return self._opened

    async def _close(self, opened: Opened) -> None:
        self._opened = None
        await opened.tenants.drain()
        await opened.keyring.close()
        if opened.cache is not None:
            await opened.cache.close()
        await opened.store.close()

    async def _renew(self) -> tuple[str, str | None]:
        """See `Options.renew`; asked no more often than a rotation may take to get through."""
        if self._opened is not None and time.time() - self._renewed < RENEWAL:
            return self._opened.settings.database, self._opened.settings.key
        self._renewed = time.time()
        settings = await _settings()
        if self._opened is not None:
            self._opened = self._opened._replace(settings=settings)
        return settings.database, settings.key


async def _settings() -> Settings:
    """From the environment, and from what is kept secret."""
    arn = os.environ.get("BITESPEED_SETTINGS_ARN")
    try:
        return settings_of.load(environ={**os.environ, **(await _secret(arn) if arn else {})})
    except InvalidInput as error:
        raise BitespeedError(str(error)) from error


async def _secret(arn: str) -> dict[str, str]:
    from bitespeed.aws.secrets import fetch  # only who has a secret waits for it

    return await fetch(arn)


class _Store:
    """A `Store` that tells what was written."""

    def __init__(self, store: Store, happened: Counter[str]) -> None:
        self._store = store
        self._happened = happened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, tenant: str, changes: Changes, *epoch: str) -> Committed:
        committed = await self._store.commit(tenant, changes, *epoch)
        for event in changes.events:
            is_founding = event.kind == "contact.created" and event.version == 1
            self._happened["founded" if is_founding else event.kind] += 1
        return committed


class _Cache:
    """An `AnswerCache` that tells what was found."""

    def __init__(self, cache: AnswerCache, happened: Counter[str]) -> None:
        self._cache = cache
        self._happened = happened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def answers(self, found: LookUp) -> list[KeptAnswer | None]:
        answers = self._cache.answers(found)
        self._happened["hits"] += sum(answer is not None for answer in answers)
        return answers
