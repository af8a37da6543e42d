"""The log: one line for each event, as JSON for machines or as columns on a terminal.

Each line has the name of its event and named fields beside it. Emails and phone numbers appear
only as pseudonyms.
"""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from select import select
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from bitespeed.model.pseudonyms import Pseudonyms
from bitespeed.telemetry.metrics import log_lines_dropped

if TYPE_CHECKING:
    from structlog.dev import ConsoleRenderer
    from structlog.typing import EventDict, FilteringBoundLogger

PIPE_BUF = 4096  # bytes that a pipe accepts in one piece, if it accepts any
STDERR = 2

LogFormat = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
Line = dict[str, Any]

PSEUDONYM_BYTES = 8  # among 100 million values, the chance that two share one is 1 in 4000

_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode_lines = msgspec.json.Encoder().encode_lines


class _Output:
    """Renders lines and writes them to the standard error stream. Never fails or waits."""

    def __init__(self, format_: LogFormat | None, level: Level) -> None:
        self.level = _NUMBERS[level]
        is_terminal = sys.stderr.isatty()
        is_text = format_ == "text" or (format_ is None and is_terminal)
        self._columns = _columns(colors=is_terminal) if is_text else None

    def write(self, lines: Iterable[Line | msgspec.Struct]) -> None:
        """Write the lines in pieces that a pipe accepts whole, so that workers do not mix theirs.

        Drops and counts the lines that cannot be written at once.
        """
        text, start = self._rendered(lines), 0
        while start < len(text):
            end = text.rfind(b"\n", start, start + PIPE_BUF) + 1 or text.index(b"\n", start) + 1
            _put(text[start:end])
            start = end

    def _rendered(self, lines: Iterable[Line | msgspec.Struct]) -> bytes:
        if self._columns is None:
            return _encode_lines(lines)
        return "".join(map(self._in_columns, lines)).encode()

    def _in_columns(self, line: Line | msgspec.Struct) -> str:
        assert self._columns is not None  # noqa: S101 - only for a terminal
        named: Line = msgspec.to_builtins(line)
        return f"{self._columns(None, '', {'timestamp': named.pop('at'), **named})}\n"


def _put(chunk: bytes) -> None:
    """Write to the standard error stream, or drop the chunk if that would wait."""
    try:
        if os.name != "posix" or select([], [STDERR], [], 0)[1]:
            os.write(STDERR, chunk)
            return
    except OSError:  # the reader has gone, or the disk is full
        pass
    log_lines_dropped.add(chunk.count(b"\n"))


def _columns(*, colors: bool) -> "ConsoleRenderer":
    from structlog.dev import ConsoleRenderer  # slow to load, and only people read columns

    return ConsoleRenderer(colors=colors)


class _Writer:
    """The logger that structlog passes finished lines to."""

    def debug(self, line: Line) -> None:
        _output.write([line])

    info = warning = error = debug


def _finished(_: object, level: str, line: "EventDict") -> tuple[tuple[Line], Line]:
    return ({"at": now(), "level": level, "event": line.pop("event"), **line},), {}


def configure(format_: LogFormat | None, level: Level) -> None:
    """From now on, write lines of this level and above in this format."""
    global _output
    _output = _Output(format_, level)
    _loaded.cache_clear()


class _Log:
    """structlog's logger, loaded with the first line, so that cold starts do not wait for it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_loaded(), name)


@cache
def _loaded() -> "FilteringBoundLogger":
    import structlog

    structlog.configure(
        processors=[_finished],
        wrapper_class=structlog.make_filtering_bound_logger(_output.level),
        logger_factory=lambda *_: _Writer(),
        cache_logger_on_first_use=False,  # or `configure` would come too late for some
    )
    return structlog.get_logger()


def is_enabled(level: Level) -> bool:
    """Whether lines of the level are written; check it before building lines is costly."""
    return _NUMBERS[level] >= _output.level


def now() -> str:
    """The current time in the format of log lines."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def emit(lines: Iterable[msgspec.Struct]) -> None:
    """Write many complete lines at once; each has its own time and level."""
    _output.write(lines)


def use_pseudonym_secret(secret: str) -> None:
    """Derive pseudonyms from the database's secret, so all its processes make the same ones."""
    global _pseudonyms
    _pseudonyms = Pseudonyms(secret, PSEUDONYM_BYTES, "log")


def pseudonyms() -> Pseudonyms:
    """The function from a value to its pseudonym, by the secret in use."""
    return _pseudonyms


log = cast("FilteringBoundLogger", _Log())
_pseudonyms = Pseudonyms(os.urandom(32).hex(), PSEUDONYM_BYTES, "log")  # until there is a database
configure(None, "warning")
