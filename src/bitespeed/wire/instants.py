"""Instants as the published JSON shows them."""

from datetime import UTC, datetime, timedelta


def rfc3339(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return at.isoformat().replace("+00:00", "Z")
