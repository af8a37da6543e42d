"""The ASGI application: what is open while it runs, and how it answers."""

import gc
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from bitespeed import __version__
from bitespeed.api.access import Access
from bitespeed.api.calls import Backend
from bitespeed.api.dispatch import Incoming, answer
from bitespeed.api.keyring import Keyring
from bitespeed.api.operations import OPERATIONS, PAGES, Routes
from bitespeed.api.origins import Origins
from bitespeed.api.rates import Rates
from bitespeed.errors import BitespeedError
from bitespeed.runtime import OpenStore, open_configured_store, open_runtime, open_telemetry
from bitespeed.server.asgi import Receive, Scope, Send, read_body, send_reply
from bitespeed.settings import METRICS_DIR, Settings, load_settings
from bitespeed.telemetry import metrics
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.logs import log
from bitespeed.telemetry.requests import Request
from bitespeed.telemetry.shared_counters import shared_counters

ROUTES = Routes((*(o for o in OPERATIONS if o.served_by != "lambda"), *PAGES))


class Application:
    """The whole service as one ASGI application."""

    def __init__(self, settings: Settings, open_: OpenStore = open_configured_store) -> None:
        self._settings = settings
        self._open = open_
        self.backend: Backend | None = None
        """What operations work with, once the application has started."""

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as closing:
            with _reporting_failure():
                await closing.enter_async_context(open_telemetry(self._settings))
            with _reporting_failure():  # while the exporters are open
                async with self._up():
                    yield

    @asynccontextmanager
    async def _up(self) -> AsyncGenerator[None]:
        settings = self._settings
        if folder := os.environ.get(METRICS_DIR):
            _share_counters(Path(folder))
        async with AsyncExitStack() as closing:
            runtime = await closing.enter_async_context(open_runtime(settings, self._open))
            rates = Rates(settings.rate_limit, runtime.cache and runtime.cache.engine)
            keyring = Keyring(runtime.store, rates)
            closing.push_async_callback(keyring.close)
            origins = None if settings.needs_key else _origins(settings)
            access = Access(keyring, needs_key=settings.needs_key, origins=origins)
            self.backend = Backend(runtime.tenants, access, settings.region, runtime.queue)
            gc.freeze()  # what exists now stays; collecting it again cost a tenth of the time
            log.info("server.ready", version=__version__, pid=os.getpid())
            try:
                yield
            finally:
                log.info("server.draining", pid=os.getpid())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or start, wait and stop as the lifespan protocol has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self.backend is not None  # noqa: S101 - requests come after the start
        headers = dict(scope["headers"])
        request = Request(headers)
        mounted_at = scope.get("root_path", "")
        incoming = Incoming(
            scope["method"],
            scope["path"].removeprefix(mounted_at),
            scope["query_string"],
            headers,
            partial(read_body, scope, receive),
            is_mounted=bool(mounted_at),
        )
        endpoint, reply = await answer(self.backend, ROUTES, incoming, request)
        try:
            await send_reply(send, reply, request)
        finally:
            request.answered(endpoint, reply.status)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run from the startup message to the shutdown message. Failures have been logged."""
        phase = "startup"
        await receive()
        try:
            async with self._running():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
        except BaseException:
            await send({"type": f"lifespan.{phase}.failed"})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def from_environment() -> Application:
    """The application of one worker process."""
    return Application(load_settings())


def _origins(settings: Settings) -> Origins:
    """The rule for web pages, for as long as no key is needed."""
    names = settings.hostname_list
    return Origins(names, checks_host=settings.is_loopback or bool(names))


def _share_counters(folder: Path) -> None:
    """Count in the folder that all workers share, perhaps in the file of one that has died."""
    if shared_counters.open_in(folder):
        metrics.worker_replacements.add()
        log.warning("worker.replaced", pid=os.getpid())


@contextmanager
def _reporting_failure() -> Generator[None]:
    """Log what keeps the server from starting, or from ending as it should."""
    try:
        yield
    except BitespeedError as error:
        log.error("server.failed", message=str(error))
        raise
    except Exception as error:
        failed("server.failed", error)
        raise
