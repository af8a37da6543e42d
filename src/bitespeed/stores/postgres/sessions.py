"""Connections for work that takes longer than a statement, by the whole of psycopg: only who does
such work imports this.
"""

from typing import Any

import psycopg

from bitespeed.stores.postgres.connecting import conninfo, parameters

_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,  # a pooler in between would hand each statement to another server
}


def connect(url: str, patience: float) -> psycopg.Connection[Any]:
    """A connection to be used in a thread."""
    return psycopg.connect(_told(url, patience), **_OPTIONS)


async def connect_async(url: str, patience: float) -> psycopg.AsyncConnection[Any]:
    """The same on the event loop."""
    return await psycopg.AsyncConnection[Any].connect(_told(url, patience), **_OPTIONS)


def _told(url: str, patience: float) -> str:
    return conninfo(parameters(url, patience)).decode()
