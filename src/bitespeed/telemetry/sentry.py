"""Reports errors to Sentry, as events that are built here.

Left to itself, its SDK would send the error's text, local variables, earlier log lines and the
request. So all of its integrations are off, and it sends only the events built here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitespeed import __version__
from bitespeed.errors import InvalidInput
from bitespeed.extras import extra

if TYPE_CHECKING:
    from sentry_sdk import Client

CLOSE_TIMEOUT = 2.0  # seconds to send the remaining errors when the process ends

Frame = tuple[str, int, str]
"""File, line and function."""

_client: "Client | None" = None


def open_(dsn: str) -> None:
    """Start a thread that sends errors, from a queue of 100. Raises `InvalidInput`."""
    global _client
    with extra("sentry"):
        from sentry_sdk import Client
        from sentry_sdk.utils import BadDsn, Dsn
    try:
        Dsn(dsn)
    except BadDsn:  # its text quotes the DSN, which may be almost right and so secret
        raise InvalidInput("SENTRY_DSN must look like https://key@host/1") from None
    _client = Client(
        dsn,
        release=f"bitespeed-identity@{__version__}",
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
    )


def report(
    event: str,
    error: str,
    frames: Sequence[Frame],
    about: Mapping[str, object],
    sentence: str | None = None,
) -> None:
    """Send the types and the place of an error, if Sentry is configured.

    ``sentence`` is the text of an error of ours; no other text may be sent.
    """
    if _client is None:
        return
    places = [
        {"filename": file, "lineno": line, "function": function} for file, line, function in frames
    ]
    exception = {"type": error, "value": sentence, "stacktrace": {"frames": places}}
    _client.capture_event(
        {
            "level": "error",
            "transaction": event,
            "tags": {name: str(value) for name, value in about.items()},
            "exception": {"values": [exception]},
        }
    )


def close() -> None:
    """Send the remaining errors, for `CLOSE_TIMEOUT` seconds at most."""
    if _client is not None:
        _client.close(timeout=CLOSE_TIMEOUT)
