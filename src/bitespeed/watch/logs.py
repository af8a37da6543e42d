"""Lines of log: JSON for machines, columns on a terminal, one line for each event.

What happened is the event's name, which stays what it is; all else stands beside it by name.
Values of customers come in as references alone.
"""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from select import select
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bitespeed.references import References
from bitespeed.watch.metrics import log_lines_dropped

if TYPE_CHECKING:
    from structlog.dev import ConsoleRenderer

PIPE_BUF = 4096  # bytes that a pipe takes as a whole, whenever it can take anything
STDERR = 2

Form = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
Line = dict[str, Any]

REFERENCE = 8  # bytes; two of a hundred million values meet with a chance of 1 : 4000

_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode = msgspec.json.Encoder().encode


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
        chunk = b""
        for line in lines:
            written = self._written(line)
            if len(chunk) + len(written) > PIPE_BUF:
                _put(chunk)
                chunk = b""
            chunk += written
        _put(chunk)

    def _written(self, line: Line | msgspec.Struct) -> bytes:
        if self._columns is None:
            return _encode(line) + b"\n"
        return self._in_columns(line).encode()

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
    from structlog.dev import ConsoleRenderer  # dear to import, and only people read columns

    return ConsoleRenderer(colors=colors)


def configure(form: Form | None, level: Level) -> None:
    """Write lines of this level and above, in this form, from now on."""
    global _output
    _output = _Output(form, level)


class Log:
    """Writes a line about an event, by its name, with all that is known about it."""

    def debug(self, event: str, **about: object) -> None:
        """What nobody wants to know unless something is wrong."""
        self.tell("debug", event, **about)

    def info(self, event: str, **about: object) -> None:
        """What has happened and was meant to."""
        self.tell("info", event, **about)

    def warning(self, event: str, **about: object) -> None:
        """What somebody should look at, in time."""
        self.tell("warning", event, **about)

    def error(self, event: str, **about: object) -> None:
        """What must not happen."""
        self.tell("error", event, **about)

    def tell(self, level: Level, event: str, **about: object) -> None:
        """One of these."""
        if tells(level):
            _output.write([{"at": now(), "level": level, "event": event, **about}])


def tells(level: Level) -> bool:
    """Whether lines of that level are written, for those to whom making one is dear."""
    return _NUMBERS[level] >= _output.level


def now() -> str:
    """The instant as lines have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write(lines: Iterable[msgspec.Struct]) -> None:
    """Write whole lines, instant and level and all, for those who have many at once."""
    _output.write(lines)


def refer_by(secret: str) -> None:
    """Make references by the secret of a database, so that all of its processes make the same."""
    global _references
    _references = References(secret, REFERENCE, "log")


def reference(value: str | None) -> str | None:
    """What stands for an email or a phone number."""
    return None if value is None else _references(value)


log = Log()
_references = References(os.urandom(32).hex(), REFERENCE, "log")  # until there is a database
configure(None, "warning")
