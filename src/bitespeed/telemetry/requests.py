"""One request as it is told of: its id, how long it took, what became of it."""

import os
import re
from collections.abc import Mapping
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from bitespeed.telemetry import metrics, tracing
from bitespeed.telemetry.logs import log, tells

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HEADER = b"x-request-id"

# A caller's own id may be neither an email nor a phone number, since it is logged.
_ID = re.compile(rb"(?=[0-9._-]*[A-Za-z])[A-Za-z0-9._-]{1,64}")

_PROCESS = os.urandom(4).hex().encode()
_numbers = count(1)


class Request:
    """A request that has begun."""

    __slots__ = ("_began", "id", "span")

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self._began = perf_counter()
        parent = headers.get(b"traceparent")
        self.span: Span | None = None if parent is None else tracing.request(parent)
        given = headers.get(HEADER)
        self.id = given if given and _ID.fullmatch(given) else b"%s-%d" % (_PROCESS, next(_numbers))
        """The caller's, where it is fit to be logged, else one of ours."""

    def answered(self, endpoint: str, status: int) -> None:
        """Count what has been answered."""
        seconds = perf_counter() - self._began
        metrics.count_request(endpoint, status, seconds)
        if self.span is not None:
            tracing.answered(self.span, endpoint, status)
        if tells("debug"):
            log.debug(
                "request.answered",
                request=self.id.decode(),
                endpoint=endpoint,
                status=status,
                seconds=round(seconds, 6),
            )
