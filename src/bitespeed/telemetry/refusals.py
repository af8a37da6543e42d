"""Logs each request that was refused or could not be answered, and does not flood the log.

The text of a `BitespeedError` holds no value of a caller, so it may be logged and sent to Sentry.
"""

from time import monotonic

from bitespeed.errors import BitespeedError, NotConfigured, Unexpected
from bitespeed.telemetry import sentry
from bitespeed.telemetry.logs import is_enabled, log
from bitespeed.telemetry.requests import Request

REPEAT_INTERVAL = 60.0  # seconds between two lines of one sentence; an outage has thousands
MAX_SENTENCES = 100  # remembered at once; the code has fewer, but for names of tables and folders
MAX_REFUSALS = 100  # lines in a second; a caller who only makes mistakes must not fill the disk

_SHUTDOWN = "shutdown"


def report_refusal(error: BitespeedError, endpoint: str, request: Request) -> None:
    """Log why a request is answered with an error.

    A mistake of the caller is ``request.refused`` at level info. Anything else is
    ``request.failed`` at level error and goes to Sentry, at most once a minute for each sentence.
    `Unexpected` is not logged again.
    """
    if isinstance(error, Unexpected):
        return  # the log has it already
    if error.status < 500 or isinstance(error, NotConfigured) or error.reason == _SHUTDOWN:
        _refused.report(error, endpoint, request)
    else:
        _failed.report(error, endpoint, request)


class _Refused:
    """Counts the lines of the present second."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._omitted = 0

    def report(self, error: BitespeedError, endpoint: str, request: Request) -> None:
        if not is_enabled("info"):
            return
        second = int(monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > MAX_REFUSALS:
            self._omitted += 1
            return
        omitted, self._omitted = self._omitted, 0
        log.info("request.refused", **_about(error, endpoint, request), **_counted(omitted))


class _Failed:
    """Remembers when each sentence was logged last, and how many have come since."""

    def __init__(self) -> None:
        self._sentences: dict[str, tuple[float, int]] = {}

    def report(self, error: BitespeedError, endpoint: str, request: Request) -> None:
        sentence, now = str(error), monotonic()
        next_line, omitted = self._sentences.get(sentence, (0.0, 0))
        if now < next_line:
            self._sentences[sentence] = next_line, omitted + 1
            return
        if len(self._sentences) >= MAX_SENTENCES:
            self._sentences.clear()
        self._sentences[sentence] = now + REPEAT_INTERVAL, 0
        about = _about(error, endpoint, request)
        log.error("request.failed", **about, **_counted(omitted))
        sentry.report("request.failed", type(error).__name__, [], about, sentence)


def _about(error: BitespeedError, endpoint: str, request: Request) -> dict[str, object]:
    return {
        "request": request.id.decode(),
        "endpoint": endpoint,
        "status": error.status,
        "code": error.code,
        "message": str(error),
    }


def _counted(omitted: int) -> dict[str, int]:
    return {"omitted": omitted} if omitted else {}


_refused = _Refused()
_failed = _Failed()
