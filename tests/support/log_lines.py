"""What was logged, for tests."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from bitespeed.telemetry.logs import log


def unexpected_errors(text: str) -> list[str]:
    """The lines of a log about errors that no code foresaw.

    A request that failed as its code foresaw has the code of its error.
    """
    return [
        line
        for line in text.splitlines()
        if ('"level":"error"' in line and '"code":' not in line) or "Traceback" in line
    ]


@contextmanager
def captured_log_lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines logged inside the context, of every level that is logged at all."""
    assert log.error  # loads and configures structlog, which would end the capture if it came later
    with capture_logs() as lines:
        yield lines
