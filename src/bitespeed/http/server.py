"""The server process: uvicorn around the application."""

import os
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn

from bitespeed.http.app import BOARD
from bitespeed.http.connection import Connection
from bitespeed.settings import Settings

KEEP_ALIVE = 75  # seconds an idle connection is kept; longer than the usual 60 of load balancers
BACKLOG = 2048  # connections that may wait to be accepted
DRAIN = 10  # seconds beyond a request's deadline that a shutdown waits for requests accepted

OPTIONS: dict[str, Any] = {
    "loop": "uvloop" if os.name == "posix" else "asyncio",
    "http": Connection,
    "ws": "none",
    "lifespan": "on",
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "log_config": None,
    "log_level": "warning",
    "timeout_keep_alive": KEEP_ALIVE,
    "backlog": BACKLOG,
}
"""How uvicorn is run here; the benchmark's ceiling is run in the same way."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return."""
    os.environ.update(settings.to_environment())  # where worker processes read them from
    with ExitStack() as folders:
        if settings.workers > 1:
            os.environ[BOARD] = folders.enter_context(TemporaryDirectory(prefix="bitespeed-"))
        uvicorn.run(
            "bitespeed.http.app:from_environment",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            timeout_graceful_shutdown=int(settings.deadline) + DRAIN,
            **OPTIONS,
        )
