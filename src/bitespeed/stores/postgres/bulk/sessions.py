"""Connections for work of more than one statement.

These use all of psycopg, so only code that does such work imports this module.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.handshake import BEGUN, UNKNOWN, conninfo, parameters

_NOT_BEGUN = "connection is bad: "  # what psycopg puts before the message of libpq

_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,  # a pooler may send each statement to another server process
}


def connect(url: str, connect_timeout: float) -> psycopg.Connection[Any]:
    """A connection for use in a thread. ``connect_timeout`` is in seconds."""
    with _translated_refusal():
        return psycopg.connect(_conninfo(url, connect_timeout), **_OPTIONS)


async def connect_async(url: str, connect_timeout: float) -> psycopg.AsyncConnection[Any]:
    """A connection for use on the event loop. ``connect_timeout`` is in seconds."""
    with _translated_refusal():
        return await psycopg.AsyncConnection[Any].connect(
            _conninfo(url, connect_timeout), **_OPTIONS
        )


@contextmanager
def _translated_refusal() -> Generator[None]:
    """Raise `InvalidInput` for a URL that libpq refuses before it connects."""
    try:
        yield
    except psycopg.OperationalError as error:
        if _NOT_BEGUN in str(error) and BEGUN not in str(error):
            raise InvalidInput(UNKNOWN) from None
        raise


def _conninfo(url: str, connect_timeout: float) -> str:
    return conninfo(parameters(url, connect_timeout)).decode()
