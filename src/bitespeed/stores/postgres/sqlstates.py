"""What PostgreSQL's failures mean here. Its own texts may quote values, so none of them goes on."""

from bitespeed.errors import (
    AccessRefused,
    BitespeedError,
    Conflict,
    InvalidInput,
    SequenceBehind,
    StoreDamaged,
    StoreUnavailable,
)

AWAY = "The database cannot be reached; try again"

_MEANING: tuple[tuple[str, type[BitespeedError], str], ...] = (
    ("22P05", InvalidInput, "The database has no room for such a character: is it in UTF-8?"),
    ("23503", StoreUnavailable, "Another table refers to what is to be erased; see docs/adopt.md"),
    ("23505", Conflict, "A new value has been taken since it was read"),
    ("25006", StoreUnavailable, "The database cannot be written: it is read-only"),
    ("25P03", StoreUnavailable, "The database has ended a transaction that was idle for too long"),
    ("25P04", StoreUnavailable, "The database has ended a transaction that took too long"),
    ("28", AccessRefused, "The database refuses the user or the password"),
    ("3D", StoreUnavailable, "The server has no such database"),
    ("3F", StoreDamaged, "The database is not prepared; run bitespeed migrate"),
    ("40", Conflict, "The database gave this transaction up for another one"),
    ("42501", StoreUnavailable, "The database user may not do this; see docs/postgres.md"),
    ("42883", StoreDamaged, "The database is not prepared; run bitespeed migrate"),
    ("42P01", StoreDamaged, "The database is not prepared; run bitespeed migrate"),
    ("53100", StoreUnavailable, "The disk that holds the database is full"),
    ("53300", StoreUnavailable, "The database has no connection left"),
    ("53", StoreUnavailable, "The database has run out of memory or of another resource"),
    ("55P03", StoreUnavailable, "Others hold a lock for too long; try again"),
    ("57014", StoreUnavailable, "The database took too long and gave up; try again"),
    ("57", StoreUnavailable, "The database is starting or shutting down; try again"),
    ("58", StoreUnavailable, "The database's disk reports an error"),
    ("XX001", StoreDamaged, "The database is damaged"),
    ("XX002", StoreDamaged, "The database is damaged"),
)
"""By SQLSTATE or its beginning; the first that fits."""


KEYS_OF_SEQUENCES = {
    "contact_record_pkey",
    "identity_pkey",
    "event_record_pkey",
    "contact_record_number",
}
"""What is violated when a sequence gives out a number in use."""


def meaning(sqlstate: str | None, constraint: str | None = None) -> BitespeedError | None:
    """The error of ours for a SQLSTATE, None where it must be a mistake of ours.

    Without a SQLSTATE the connection failed. ``constraint`` is the one that was violated.
    """
    if constraint in KEYS_OF_SEQUENCES:
        return SequenceBehind()
    if sqlstate is None or sqlstate.startswith("08"):
        return StoreUnavailable(AWAY)
    for start, error, text in _MEANING:
        if sqlstate.startswith(start):
            return error(text)
    return None
