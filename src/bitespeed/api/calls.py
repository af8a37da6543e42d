"""What a handler gets: the open parts of the process, and one call of its operation."""

from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.api.access import Access
from bitespeed.api.http import Headers
from bitespeed.api.keyring import Caller
from bitespeed.errors import InvalidInput
from bitespeed.model.sources import Source, parse_label
from bitespeed.queues import Queue
from bitespeed.service.service import Service
from bitespeed.service.tenants import Tenants
from bitespeed.telemetry.requests import Request

_MAX_DIGITS = 18  # of a number in a query; databases count no further


class Backend(NamedTuple):
    """What operations work with."""

    tenants: Tenants
    access: Access
    region: str | None
    """ISO 3166 code of the country whose phone numbers come without a country code."""
    queue: Queue | None = None


class Call(NamedTuple):
    """One request to an operation, whose caller may make it."""

    caller: Caller
    headers: Headers
    path_parameters: Mapping[str, str]
    query: bytes
    body: bytes
    request: Request

    @property
    def source(self) -> Source:
        """See `source_of`."""
        return source_of(self.caller, self.headers)

    def service(self, backend: Backend) -> Service:
        """The service of the caller's tenant."""
        return backend.tenants.of(self.caller.tenant)


def source_of(caller: Caller, headers: Headers) -> Source:
    """Where what the caller brings comes from, with the label in the header ``X-Source``.

    Raises `InvalidInput` for a label that is too long or no line of text.
    """
    label = headers.get(b"x-source")
    if label is None:
        return caller.source
    return Source(caller.source.name, None, parse_label(label.decode("utf-8", "replace")))


def flag(query: bytes, name: str) -> bool:
    """Whether a query has ``name=true``. Raises `InvalidInput` for values but true and false.

    An operation's table entry and its handler both read a flag with this function, so that the
    scope that was checked is that of what is then done.
    """
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    values = {value for found, _, value in pairs if found == name.encode()}
    if values <= {b"true"} or values <= {b"false"}:
        return b"true" in values
    raise InvalidInput(f"{name} must be true or false")


def text_parameter(query: bytes, name: str) -> str | None:
    """What a query gives to a name, unquoted, a plus sign as itself; None where it gives nothing.

    Raises `InvalidInput` unless it is one text in UTF-8.
    """
    from urllib.parse import unquote  # not at a cold start of a Lambda function

    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    values = [value for found, _, value in pairs if found == name.encode()]
    if not values:
        return None
    try:
        (text,) = {unquote(value.decode(), errors="strict") for value in values}
    except ValueError:
        raise InvalidInput(f"{name} must be given once, in UTF-8") from None
    return text


def number(query: bytes, name: str, default: int) -> int:
    """The whole number that a query gives to a name. Raises `InvalidInput` for anything else."""
    text = text_parameter(query, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        raise InvalidInput(f"{name} must be a whole number")
    return int(text)


def refuse_parameters_but(query: bytes, *names: str) -> None:
    """Raise `InvalidInput` when a query has a parameter with another name.

    For operations where a misspelt one must not be ignored: it may have meant less of what cannot
    be undone, or another page.
    """
    given = {pair.partition(b"=")[0] for pair in query.split(b"&") if pair}
    if not given <= {name.encode() for name in names}:
        raise InvalidInput(f"The query may have no parameter but {', '.join(names)}")
