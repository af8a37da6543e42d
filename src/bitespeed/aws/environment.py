"""One execution environment of Lambda: the service, opened once and used by each invocation.

Lambda freezes the process between invocations, for seconds or for hours. So what holds for a time
only is not trusted afterwards, and after a long pause everything is opened anew.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from bitespeed import telemetry
from bitespeed.api.access import Access
from bitespeed.api.calls import Backend
from bitespeed.api.keyring import Keyring
from bitespeed.api.rates import Rates
from bitespeed.caches.answers import AnswerCache
from bitespeed.errors import BitespeedError, DeadlineExceeded, InvalidInput
from bitespeed.runtime import open_runtime
from bitespeed.settings import SETTINGS_ARN, Settings, load_settings
from bitespeed.stores import open_store
from bitespeed.stores.protocols import AnyStore
from bitespeed.telemetry.logs import log

T = TypeVar("T")

MAX_PAUSE = 60.0  # seconds; poolers, gateways and firewalls drop an idle connection after minutes
ANSWER_RESERVE = 0.25  # seconds kept of an invocation, for answering 503 when all else is too late
RENEW_INTERVAL = 10.0  # seconds between reads of the secret while the database refuses its password


class Context(Protocol):
    """What Lambda says about an invocation."""

    aws_request_id: str
    function_name: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        ...


class Opened(NamedTuple):
    """What answers invocations, and how to close it."""

    backend: Backend
    cache: AnswerCache | None
    settings: Settings
    closing: AsyncExitStack


Work = Callable[[Opened], Awaitable[T]]


class Environment:
    """Opens the service at once; if that fails, each invocation tries again."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._opened: Opened | None = None
        self._used = 0.0
        self._renewed = -RENEW_INTERVAL
        try:
            self._loop.run_until_complete(self._open())
        except BitespeedError as error:
            log.error("function.failed", message=str(error))
        gc.freeze()
        gc.enable()

    def run(self, work: Work[T], context: Context) -> T:
        """Do the work of one invocation. Raises `DeadlineExceeded` just before Lambda ends it."""
        return self._loop.run_until_complete(self._run(work, context))

    async def _run(self, work: Work[T], context: Context) -> T:
        left = context.get_remaining_time_in_millis() / 1000 - ANSWER_RESERVE
        try:
            async with asyncio.timeout(left):
                return await work(await self._ready())
        except TimeoutError:
            raise DeadlineExceeded("No answer was ready in time; try again") from None
        finally:
            self._used = time.time()

    async def _ready(self) -> Opened:
        """The open service, without what a freeze may have made untrue."""
        await asyncio.sleep(0)  # the loop notices connections that were closed meanwhile
        if self._opened is not None and abs(time.time() - self._used) > MAX_PAUSE:
            await self._close(self._opened)
        opened = self._opened or await self._open()
        if opened.cache is not None:
            opened.cache.forget_licence()  # the clock may have stood still
        return opened

    async def _open(self) -> Opened:
        settings = await _settings()
        telemetry.configure(replace(settings.telemetry, format="json"))
        closing = AsyncExitStack()
        try:
            runtime = await closing.enter_async_context(open_runtime(settings, self._open_store))
        except InvalidInput as error:
            raise BitespeedError(str(error)) from error  # the settings are wrong, not the request
        rates = Rates(settings.rate_limit, runtime.cache and runtime.cache.engine)
        keyring = Keyring(runtime.store, rates, time.time)  # which runs on through a freeze
        closing.push_async_callback(keyring.close)
        access = Access(keyring, needs_key=not settings.public)  # it never listens on loopback
        backend = Backend(runtime.tenants, access, settings.region, runtime.queue)
        self._used = time.time()
        self._opened = Opened(backend, runtime.cache, settings, closing)
        return self._opened

    async def _open_store(self, settings: Settings) -> AnyStore:
        """Without migrating: what migrates is not in a function's package."""
        options = replace(settings.options, renew=self._renew, migrate=False)
        return await open_store(settings.database, options)

    async def _close(self, opened: Opened) -> None:
        self._opened = None
        await opened.closing.aclose()

    async def _renew(self) -> tuple[str, str | None]:
        """See `Options.renew`. Reads the secret once in `RENEW_INTERVAL`, since a rotation takes a
        while to get through.
        """
        if self._opened is not None and time.time() - self._renewed < RENEW_INTERVAL:
            return self._opened.settings.database, self._opened.settings.key
        self._renewed = time.time()
        settings = await _settings()
        if self._opened is not None:
            self._opened = self._opened._replace(settings=settings)
        return settings.database, settings.key


async def _settings() -> Settings:
    """The settings of the environment, and over them those of the secret, where there is one."""
    arn = os.environ.get(SETTINGS_ARN)
    try:
        return load_settings(environ={**os.environ, **(await _secret(arn) if arn else {})})
    except InvalidInput as error:
        raise BitespeedError(str(error)) from error


async def _secret(arn: str) -> dict[str, str]:
    from bitespeed.aws.secrets import fetch  # imported only where there is a secret

    return await fetch(arn)
