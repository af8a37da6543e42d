"""What is told to the log."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from bitespeed.telemetry.logs import log


@contextmanager
def lines_told() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines of log that are told in the meantime, of all levels that are."""
    assert log.error  # loads and configures structlog, which would put an end to the capture later
    with capture_logs() as lines:
        yield lines
