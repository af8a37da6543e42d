"""Lines of log: JSON for machines, columns on a terminal, one line for each event.

What happened is the event's name, which stays what it is; all else stands beside it by name.
Values of customers come in as pseudonyms alone.
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

PIPE_BUF = 4096  # bytes that a pipe takes as a whole, whenever it can take anything
STDERR = 2

Form = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
Line = dict[str, Any]

PSEUDONYM_BYTES = 8  # bytes; two of a hundred million values meet with a chance of 1 : 4000

_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode_lines = msgspec.json.Encoder().encode_lines


class _Output:
    """Renders lines and writes them; a log that cannot be written stops nobody."""

    def __init__(self, form: Form | None, level: Level) -> None:
        self.level = _NUMBERS[level]
        is_terminal = sys.stderr.isatty()
        is_text = form == "text" or (form is None and is_terminal)
        self._columns = _columns(colors=is_terminal) if is_text else None

    def write(self, lines: Iterable[Line | msgspec.Struct]) -> None:
        """Write the lines, as many at once as reach a pipe unbroken beside those of other workers.

        Drops what nobody takes: a reader that hangs stops nobody.
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
    """Write to the standard error stream, if that can be done at once."""
    try:
        if os.name != "posix" or select([], [STDERR], [], 0)[1]:
            os.write(STDERR, chunk)
            return
    except OSError:  # the reader has gone, or the disk is full
        pass
    log_lines_dropped.add(chunk.count(b"\n"))


def _columns(*, colors: bool) -> "ConsoleRenderer":
    from structlog.dev import ConsoleRenderer  # dear to load, and only people read columns

    return ConsoleRenderer(colors=colors)


class _Writer:
    """What structlog hands a line to that is to be written."""

    def debug(self, line: Line) -> None:
        _output.write([line])

    info = warning = error = debug


def _finished(_: object, level: str, line: "EventDict") -> tuple[tuple[Line], Line]:
    return ({"at": now(), "level": level, "event": line.pop("event"), **line},), {}


def configure(form: Form | None, level: Level) -> None:
    """Write lines of this level and above, in this form, from now on."""
    global _output
    _output = _Output(form, level)
    _loaded.cache_clear()


class _Log:
    """structlog's logger, which is loaded when there is something to tell: a Lambda function would
    wait for it at each cold start.
    """

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


def tells(level: Level) -> bool:
    """Whether lines of that level are written, for those to whom making one is dear."""
    return _NUMBERS[level] >= _output.level


def now() -> str:
    """The instant as lines have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write(lines: Iterable[msgspec.Struct]) -> None:
    """Write whole lines, instant and level and all, for those who have many at once."""
    _output.write(lines)


def use_pseudonym_secret(secret: str) -> None:
    """Make pseudonyms by the secret of a database, so that all of its processes make the same."""
    global _references
    _references = Pseudonyms(secret, PSEUDONYM_BYTES, "log")


def pseudonyms() -> Pseudonyms:
    """Makes what stands for an email or a phone number, by the secret in force."""
    return _references


log = cast("FilteringBoundLogger", _Log())
_references = Pseudonyms(os.urandom(32).hex(), PSEUDONYM_BYTES, "log")  # until there is a database
configure(None, "warning")
