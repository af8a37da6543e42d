"""What a handler gets: the open parts of the process, and one call of its operation."""

from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.api.access import Access
from bitespeed.api.http import Headers
from bitespeed.api.keyring import Caller
from bitespeed.errors import InvalidInput
from bitespeed.queues import Queue
from bitespeed.service.service import Service
from bitespeed.service.tenants import Tenants
from bitespeed.telemetry.requests import Request


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

    def service(self, backend: Backend) -> Service:
        """The service of the caller's tenant."""
        return backend.tenants.of(self.caller.tenant)


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


def refuse_parameters_but(query: bytes, *names: str) -> None:
    """Raise `InvalidInput` when a query has a parameter with another name.

    For operations that cannot be undone, where a misspelt flag must not be ignored.
    """
    given = {pair.partition(b"=")[0] for pair in query.split(b"&") if pair}
    if not given <= {name.encode() for name in names}:
        raise InvalidInput(f"The query may have no parameter but {', '.join(names)}")
