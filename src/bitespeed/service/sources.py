"""The source of what a request brings."""

from bitespeed.model.sources import Source
from bitespeed.telemetry.requests import Request


def of_request(source: Source, request: Request | None) -> Source:
    """The source with the id of the request, if there is one."""
    return Source(source.name, request and request.id.decode(), source.label)
