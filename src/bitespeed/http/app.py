"""The ASGI application: routes, their errors, and the life of the store and the service."""

import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bitespeed import settings as settings_of
from bitespeed import wire
from bitespeed.caches import open_cache
from bitespeed.errors import BitespeedError, NotFound
from bitespeed.http import documentation
from bitespeed.http.access import SCOPES, Access
from bitespeed.http.asgi import JSON, send_error
from bitespeed.http.endpoints import Endpoints
from bitespeed.http.keyring import Caller, Keyring
from bitespeed.http.rates import Rates
from bitespeed.settings import Settings
from bitespeed.stores import Store, open_store
from bitespeed.tenants import Tenants

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
GuardedHandler = Callable[[Caller, Scope, Receive, Send], Awaitable[None]]
OpenStore = Callable[[], Awaitable[Store]]


class Application:
    """The whole service as one ASGI application.

    `/identify` is answered before the router, which would cost it a third of its time.
    """

    def __init__(self, settings: Settings, open_: OpenStore | None = None) -> None:
        self._settings = settings
        self._open = open_ or (lambda: open_store(settings.database, settings.options))
        self._identify: ASGIApp | None = None
        self.endpoints: Endpoints | None = None
        """What answers, while the application is up."""
        self._rest = Starlette(lifespan=self._lifespan)
        self._rest.router.redirect_slashes = False
        self._rest.add_exception_handler(HTTPException, _refuse)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        store = await self._open()
        cache = open_cache(self._settings.cache, store)
        tenants = Tenants(store, limits=self._settings.limits, cache=cache)
        keyring = Keyring(store, Rates(self._settings.rate, cache and cache.engine))
        access = Access(keyring, needs_key=self._settings.needs_key)
        endpoints = Endpoints(tenants, access, self._settings.region)
        self._rest.router.routes[:] = routes(endpoints)
        self._identify = _Guarded(access, "/identify", endpoints.identify)
        self.endpoints = endpoints
        gc.freeze()  # what was made so far stays; looking through it again cost a tenth of the time
        try:
            yield
        finally:
            await tenants.drain()
            await keyring.close()
            if cache is not None:
                await cache.close()
            await store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run through the lifespan."""
        if (
            scope["type"] == "http"
            and scope["path"] == "/identify"
            and scope["method"] == "POST"
            and self._identify is not None
        ):
            await self._identify(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def from_environment() -> Application:
    """The application of one worker process."""
    return Application(settings_of.load())


class _Open:
    """A handler that anybody may ask, with every failure answered as the contract has it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._handler(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - answered and logged as one place knows how
            await send_error(send, error)


class _Guarded(_Open):
    """A handler for those whose key has the scope that it takes."""

    def __init__(self, access: Access, path: str, handler: GuardedHandler) -> None:
        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            caller = await access.admit(dict(scope["headers"]), SCOPES[method, path])
            await handler(caller, scope, receive, send)

        super().__init__(admitted)


def routes(endpoints: Endpoints) -> list[Route]:
    """Every path with what answers there."""
    guarded = partial(_Guarded, endpoints.access)
    contact = guarded("/contacts/{id}", endpoints.contact)
    return [
        Route("/identify", guarded("/identify", endpoints.identify), methods=["POST"]),
        Route(
            "/identify/batch",
            guarded("/identify/batch", endpoints.identify_batch),
            methods=["POST"],
        ),
        Route("/contacts", guarded("/contacts", endpoints.look_up), methods=["GET"]),
        Route("/contacts/{id}", contact, methods=["GET", "DELETE"]),
        Route("/erase", guarded("/erase", endpoints.erase), methods=["POST"]),
        Route("/health", _Open(endpoints.health), methods=["GET"]),
        Route("/ready", _Open(endpoints.ready), methods=["GET"]),
        *documentation.routes(),
    ]


async def _refuse(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, or a method that the path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    headers = dict(error.headers or {})
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    if error.status_code == 404:
        problem: BitespeedError = NotFound(
            "There is nothing at this path; /docs shows what there is"
        )
    else:
        problem = BitespeedError(f"This path takes {headers.get('Allow', 'other methods')}")
    return Response(wire.encode_error(problem), error.status_code, headers, JSON.decode())
