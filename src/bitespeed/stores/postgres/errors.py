"""psycopg's errors become ours in one place."""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from bitespeed.errors import InvalidInput, StoreUnavailable
from bitespeed.stores.postgres.sqlstates import AWAY, meaning


@contextmanager
def translated() -> Generator[None]:
    """Raise the database's own failures as ours; a mistake of ours stays what it is."""
    try:
        yield
    except psycopg.OperationalError as error:
        sqlstate = error.sqlstate or _refusal(str(error))
        raise (meaning(sqlstate) or StoreUnavailable(AWAY)) from error
    except psycopg.Error as error:
        ours = meaning(error.sqlstate) if error.sqlstate else None
        if ours is None:
            raise
        raise ours from error


@contextmanager
def translated_url() -> Generator[None]:
    """Raise `InvalidInput` for a URL that libpq does not understand; its words may quote it."""
    try:
        yield
    except psycopg.ProgrammingError:
        raise InvalidInput(_UNKNOWN) from None
    except psycopg.OperationalError as error:
        if _NOT_BEGUN in str(error) and _BEGUN not in str(error):
            raise InvalidInput(_UNKNOWN) from None
        raise


_UNKNOWN = "The database URL has a part that PostgreSQL does not know"
_NOT_BEGUN, _BEGUN = "connection is bad: ", "connection to server"  # psycopg's words and libpq's


_REFUSALS = {
    "too many clients": "53300",
    "remaining connection slots": "53300",
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "is not permitted to log in": "28000",
    'FATAL:  role "': "28000",
    'FATAL:  database "': "3D000",
    "starting up": "57P03",
    "shutting down": "57P03",
}
"""What a server says, in English, that lets nobody in; libpq does not tell the SQLSTATE then."""


def _refusal(text: str) -> str | None:
    return next((sqlstate for words, sqlstate in _REFUSALS.items() if words in text), None)
