"""Reports unexpected errors by their type and place only.

The text of an error from a library may quote a customer's value, so it is never logged or sent.
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

MAX_FRAMES = 20  # innermost stack frames; deep recursion must not exceed what a pipe takes
MAX_CAUSES = 5  # errors named in a chain of causes


def failed(
    event: str, error: BaseException, request: Request | None = None, **about: object
) -> None:
    """Log an unexpected error, count it, and send it to Sentry."""
    if request is not None:
        about["request"] = request.id.decode()
    metrics.failures.add()
    names, frames = _names(error), _frames(error)
    place = [f"{file}:{line} in {function}" for file, line, function in frames]
    log.error(event, error=names, place=place, **about)
    sentry.report(event, names, frames, about)


def _names(error: BaseException) -> str:
    """The type of the error, and the types of its causes."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < MAX_CAUSES:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return " from ".join(names)


def _frames(error: BaseException) -> list[Frame]:
    """The stack frames of the error, innermost last."""
    frames: list[Frame] = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return frames[-MAX_FRAMES:]


def guard() -> None:
    """Replace every hook of Python that would print an error with its text."""
    sys.excepthook = _on_crash
    threading.excepthook = lambda args: _on_error("thread.failed", args.exc_value)
    sys.unraisablehook = lambda args: _on_error("finalizer.failed", args.exc_value)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [_LibraryLogs()]
    root.setLevel(logging.WARNING)


def guard_loop(loop: asyncio.AbstractEventLoop) -> None:
    """`guard` for one event loop."""
    loop.set_exception_handler(_on_loop)


def _on_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
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


class _LibraryLogs(logging.Handler):
    """Logs what libraries log, in our format, without the values filled into their messages."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            failed("library.failed", record.exc_info[1], logger=record.name)
        else:
            words = record.getMessage() if record.name == "uvicorn.error" else str(record.msg)
            log.log(record.levelno, "library.logged", logger=record.name, message=words)
