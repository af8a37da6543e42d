"""psycopg's errors become ours in one place."""

from collections.abc import Generator
from contextlib import contextmanager

from psycopg.errors import Error, OperationalError

from bitespeed.errors import StoreUnavailable
from bitespeed.stores.postgres.sqlstates import AWAY, meaning


@contextmanager
def translated() -> Generator[None]:
    """Raise the database's own failures as ours; a mistake of ours stays what it is."""
    try:
        yield
    except OperationalError as error:
        sqlstate = error.sqlstate or _refusal(str(error))
        raise (meaning(sqlstate) or StoreUnavailable(AWAY)) from error
    except Error as error:
        ours = meaning(error.sqlstate) if error.sqlstate else None
        if ours is None:
            raise
        raise ours from error


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
"""The English message of a server that accepts no connection; libpq reports no SQLSTATE then."""


def _refusal(text: str) -> str | None:
    return next((sqlstate for words, sqlstate in _REFUSALS.items() if words in text), None)
