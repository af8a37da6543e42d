"""The server process: uvicorn around the application."""

import os

import uvicorn

from bitespeed.http.connection import Connection
from bitespeed.settings import Settings

KEEP_ALIVE = 75  # seconds an idle connection is kept; longer than the usual 60 of load balancers
BACKLOG = 2048  # connections that may wait to be accepted
DRAIN = 10  # seconds beyond a request's deadline that a shutdown waits for requests accepted


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
        http=Connection,
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
