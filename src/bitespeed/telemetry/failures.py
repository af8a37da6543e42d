"""What must not happen is told by its type and its place. The text of a foreign error may quote a
value, so may what a library says about it; neither goes anywhere.
"""

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

from bitespeed.telemetry import metrics, sentry
from bitespeed.telemetry.logs import log
from bitespeed.telemetry.requests import Request
from bitespeed.telemetry.sentry import Frame

MAX_FRAMES = 20  # the innermost; recursion has no end, and a line is to fit into a pipe
MAX_CAUSES = 5  # errors behind an error


def failed(
    event: str, error: BaseException, request: Request | None = None, **about: object
) -> None:
    """Tell of an error that nobody expected, in the log and to Sentry."""
    if request is not None:
        about["request"] = request.id.decode()
    metrics.failures.add()
    names, frames = _names(error), _frames(error)
    place = [f"{file}:{line} in {function}" for file, line, function in frames]
    log.error(event, error=names, place=place, **about)
    sentry.report(event, names, frames, about)


def _names(error: BaseException) -> str:
    """Its type, and those of the errors it came from."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < MAX_CAUSES:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return " from ".join(names)


def _frames(error: BaseException) -> list[Frame]:
    """Where it was raised, the innermost last."""
    found: list[Frame] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return found[-MAX_FRAMES:]


def guard() -> None:
    """Take over everything that would print an error as it is."""
    sys.excepthook = _on_crash
    threading.excepthook = lambda args: _on_error("thread.failed", args.exc_value)
    sys.unraisablehook = lambda args: _on_error("finalizer.failed", args.exc_value)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [_Foreign()]
    root.setLevel(logging.WARNING)


def guard_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The same for what an event loop would print."""
    loop.set_exception_handler(_on_loop)


def _on_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        failed("process.crashed", error)
        sentry.close()


def _on_error(event: str, error: BaseException | None) -> None:
    if error is not None:
        failed(event, error)


def _on_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:
        failed("loop.failed", error)
    else:
        log.error("loop.failed", message=context.get("message"))  # asyncio's own words


class _Foreign(logging.Handler):
    """Tells in our form what libraries log: only the words that stand in their code."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            failed("library.failed", record.exc_info[1], logger=record.name)
        else:
            words = record.getMessage() if record.name == "uvicorn.error" else str(record.msg)
            log.log(record.levelno, "library.told", logger=record.name, message=words)
