"""Connections for work that takes longer than a statement, by the whole of psycopg: only who does
such work imports this.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg

from bitespeed.errors import InvalidInput
from bitespeed.stores.postgres.handshake import BEGUN, UNKNOWN, conninfo, parameters

_NOT_BEGUN = "connection is bad: "  # psycopg's words before those of libpq

_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "prepare_threshold": None,  # a pooler in between would hand each statement to another server
}


def connect(url: str, patience: float) -> psycopg.Connection[Any]:
    """A connection to be used in a thread."""
    with _understood():
        return psycopg.connect(_told(url, patience), **_OPTIONS)


async def connect_async(url: str, patience: float) -> psycopg.AsyncConnection[Any]:
    """The same on the event loop."""
    with _understood():
        return await psycopg.AsyncConnection[Any].connect(_told(url, patience), **_OPTIONS)


@contextmanager
def _understood() -> Generator[None]:
    """Raise `InvalidInput` for a value in the URL with which libpq does not even begin."""
    try:
        yield
    except psycopg.OperationalError as error:
        if _NOT_BEGUN in str(error) and BEGUN not in str(error):
            raise InvalidInput(UNKNOWN) from None
        raise


def _told(url: str, patience: float) -> str:
    return conninfo(parameters(url, patience)).decode()
