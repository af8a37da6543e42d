"""Instants as the published JSON shows them, and as people write them."""

from datetime import UTC, datetime, timedelta

from bitespeed.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    at = _EPOCH + timedelta(microseconds=microseconds)
    return at.isoformat().replace("+00:00", "Z")


def parse_instant(text: str) -> int:
    """Microseconds since 1970 of an ISO 8601 date or date and time; UTC if it names no zone.

    Raises `InvalidInput`.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput("The date is not in ISO 8601, such as 2026-11-22T09:30:00Z") from None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return since // timedelta(microseconds=1)
