"""One request for the log, metrics and tracing: its id, its duration and its status."""

import os
import re
from collections.abc import Mapping
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from bitespeed.telemetry import metrics, tracing
from bitespeed.telemetry.logs import is_enabled, log

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HEADER = b"x-request-id"

# Caller's ids are logged, so one that could be an email or a phone number is not used.
_ID = re.compile(rb"(?=[0-9._-]*[A-Za-z])[A-Za-z0-9._-]{1,64}")

_PROCESS = os.urandom(4).hex().encode()
_numbers = count(1)


class Request:
    """A request in progress; its time is measured from when this is created."""

    __slots__ = ("_began", "id", "span")

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self._began = perf_counter()
        parent = headers.get(b"traceparent")
        self.span: Span | None = None if parent is None else tracing.request(parent)
        given = headers.get(HEADER)
        self.id = given if given and _ID.fullmatch(given) else b"%s-%d" % (_PROCESS, next(_numbers))
        """The caller's id if it may be logged, else a new one."""

    def answered(self, endpoint: str, status: int) -> None:
        """Count and time the request, and end its span, when its answer is sent."""
        seconds = perf_counter() - self._began
        metrics.count_request(endpoint, status, seconds)
        if self.span is not None:
            tracing.answered(self.span, endpoint, status)
        if is_enabled("debug"):
            log.debug(
                "request.answered",
                request=self.id.decode(),
                endpoint=endpoint,
                status=status,
                seconds=round(seconds, 6),
            )
