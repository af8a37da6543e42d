"""The ASGI application: its routes, their errors, and what is open while it runs."""

import gc
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bitespeed import __version__
from bitespeed.api import documentation
from bitespeed.api.access import Access
from bitespeed.api.asgi import (
    JSON,
    REQUEST,
    Handler,
    Message,
    Receive,
    Scope,
    Send,
    send_error,
)
from bitespeed.api.endpoints import Endpoints
from bitespeed.api.keyring import Keyring
from bitespeed.api.rates import Rates
from bitespeed.errors import BitespeedError, MethodNotAllowed, UnknownPath
from bitespeed.runtime import OpenStore, open_configured_store, open_runtime, open_telemetry
from bitespeed.settings import METRICS_DIR, Settings, load_settings
from bitespeed.telemetry import metrics, requests
from bitespeed.telemetry.failures import failed
from bitespeed.telemetry.logs import log
from bitespeed.telemetry.shared_counters import shared_counters
from bitespeed.wire.errors import encode_error


class Application:
    """The whole service as one ASGI application.

    `/identify` is answered before the router, which would cost it a third of its time.
    """

    def __init__(self, settings: Settings, open_: OpenStore = open_configured_store) -> None:
        self._settings = settings
        self._open = open_
        self._identify: _Endpoint | None = None
        self.endpoints: Endpoints | None = None
        """The endpoints, once the application has started."""
        self._rest = Starlette(lifespan=self._lifespan)
        self._rest.router.redirect_slashes = False
        self._rest.add_exception_handler(HTTPException, _refuse)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
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
            access = Access(keyring, needs_key=settings.needs_key)
            self._start_answering(
                Endpoints(runtime.tenants, access, settings.region, runtime.queue)
            )
            log.info("server.ready", version=__version__, pid=os.getpid())
            try:
                yield
            finally:
                log.info("server.draining", pid=os.getpid())

    def _start_answering(self, endpoints: Endpoints) -> None:
        self._rest.router.routes[:] = routes(endpoints)
        self._identify = _Endpoint("identify", endpoints.guarded("/identify", endpoints.identify))
        self.endpoints = endpoints
        gc.freeze()  # nothing made so far goes away; collecting it again cost a tenth of the time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run through the lifespan."""
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, _without_words(send))
            return
        request = scope[REQUEST] = requests.Request(dict(scope["headers"]))
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (requests.HEADER, request.id)]
            await send(message)

        try:
            await self._answer(scope, receive, send_with_id)
        finally:
            request.answered(getattr(scope.get("endpoint"), "name", metrics.OTHER), status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        identify = self._identify
        if scope["path"] == "/identify" and scope["method"] == "POST" and identify is not None:
            scope["endpoint"] = identify
            await identify(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def from_environment() -> Application:
    """The application of one worker process."""
    return Application(load_settings())


def _share_counters(folder: Path) -> None:
    """Count in the folder that all workers share, perhaps in the file of one that has died."""
    if shared_counters.share(folder):
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


def _without_words(send: Send) -> Send:
    """Keep uvicorn from logging a failure of the lifespan, which we have logged already."""

    async def send_less(message: Message) -> None:
        if "message" in message:
            message["message"] = ""
        await send(message)

    return send_less


class _Endpoint:
    """A handler with every failure answered as the contract has it."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name = name
        """What it is called in the metrics."""
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._handler(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - answered and logged as one place knows how
            await send_error(send, error, scope[REQUEST])


def routes(endpoints: Endpoints) -> list[Route]:
    """Every path with what answers there."""
    return [
        *(
            Route(path, _Endpoint(name, handler), methods=methods)
            for path, name, handler, methods in endpoints.routes()
        ),
        *documentation.routes(),
    ]


async def _refuse(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, or a method that the path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    headers = dict(error.headers or {})
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    is_unknown = error.status_code == 404
    problem = UnknownPath() if is_unknown else MethodNotAllowed(headers.get("Allow", ""))
    return Response(encode_error(problem), error.status_code, headers, JSON.decode())
