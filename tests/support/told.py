"""The lines of log that this process writes, as values."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec

from bitespeed.watch import logs


@contextmanager
def captured_lines() -> Generator[list[dict[str, Any]]]:
    """What is told meanwhile, instead of writing it; without its instant."""
    lines: list[dict[str, Any]] = []

    def keep(told: Iterable[object]) -> None:
        for line in map(msgspec.to_builtins, told):
            del line["at"]
            lines.append(line)

    with mock.patch.object(logs._output, "write", keep):
        yield lines
