"""Errors to Sentry, as events that we make ourselves.

Its SDK would take the error's text, the values of local variables, what was logged before and the
request. So none of its integrations is on, and it carries what is made here and nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitespeed import __version__
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra

if TYPE_CHECKING:
    from sentry_sdk import Client

LAST_WORDS = 2.0  # seconds at the end of the process for what has not been sent

Frame = tuple[str, int, str]
"""File, line and function."""

_client: "Client | None" = None


def open_(dsn: str) -> None:
    """Send errors from now on, by a thread with a queue of 100. Raises `InvalidInput`."""
    global _client
    with extra("sentry"):
        from sentry_sdk import Client
        from sentry_sdk.utils import BadDsn, Dsn
    try:
        Dsn(dsn)
    except BadDsn:  # which quotes it, and it may be nearly right
        raise InvalidInput("SENTRY_DSN must look like https://key@host/1") from None
    _client = Client(
        dsn,
        release=f"bitespeed-identity@{__version__}",
        default_integrations=False,
        auto_enabling_integrations=False,
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
    )


def report(event: str, error: str, frames: Sequence[Frame], about: Mapping[str, object]) -> None:
    """Send an error by the names of its types and its place, where there is a Sentry."""
    if _client is None:
        return
    places = [
        {"filename": file, "lineno": line, "function": function} for file, line, function in frames
    ]
    _client.capture_event(
        {
            "level": "error",
            "transaction": event,
            "tags": {name: str(value) for name, value in about.items()},
            "exception": {"values": [{"type": error, "stacktrace": {"frames": places}}]},
        }
    )


def close() -> None:
    """Send what has not been sent, for `LAST_WORDS` at most."""
    if _client is not None:
        _client.close(timeout=LAST_WORDS)
