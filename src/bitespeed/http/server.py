"""The server process: uvicorn around the application."""

import os

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bitespeed.settings import Settings

KEEP_ALIVE = 75  # seconds an idle connection is kept; longer than the usual 60 of load balancers
BACKLOG = 2048  # connections that may wait to be accepted
DRAIN = 10  # seconds beyond a request's deadline that a shutdown waits for requests accepted
LAST_REQUESTS = 1.0  # seconds in which a request that was on its way at a shutdown is answered


class Parting(HttpToolsProtocol):
    """At a shutdown, answers what is already on its way and asks the caller to leave.

    uvicorn would close an idle connection at once, also when a request has arrived in it
    that has not been read yet.
    """

    _is_parting = False

    def shutdown(self) -> None:
        """Let the connection end, soon."""
        self._is_parting = True
        self.loop.call_later(LAST_REQUESTS, super().shutdown)

    def on_headers_complete(self) -> None:
        """Begin a request; the last one of this connection when it is parting."""
        super().on_headers_complete()
        if self._is_parting:
            self.cycle.keep_alive = False


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return."""
    os.environ.update(settings.to_environment())  # where worker processes read them from
    uvicorn.run(
        "bitespeed.http.app:from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http=Parting,
        ws="none",
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.deadline) + DRAIN,
        backlog=BACKLOG,
    )
