"""Whether a database or a queue can be used, logged when that changes and not at each request."""

from time import monotonic
from types import TracebackType
from typing import ClassVar

from bitespeed.errors import Conflict, StoreUnavailable, Unavailable
from bitespeed.telemetry.logs import log

AWAY_INTERVAL = 10.0  # seconds between two lines; a database that fails every second time is one


class Availability:
    """Logs ``store.away`` at the first call that the database does not answer, and ``store.back``
    at the first that it answers again.

    Where only writes fail, as on a full disk, it is back with the first write.
    """

    error: ClassVar[type[Unavailable]] = StoreUnavailable
    """What a call raises that is not answered."""

    def __init__(self) -> None:
        self.reads = _Calls(self, writes=False)
        """A context manager to stand around each call that writes nothing."""
        self.writes = _Calls(self, writes=True)
        """The same for calls that write."""
        self._is_away = False
        self._has_read_failed = False
        self._next_line = 0.0  # by `monotonic`

    def on_answer(self, *, writes: bool) -> None:
        """Log that the database is back, if it was away and this call shows that it is not."""
        if self._is_away and (writes or self._has_read_failed):
            self._is_away = self._has_read_failed = False
            self.log_back()

    def on_unavailable(self, error: Unavailable, *, writes: bool) -> None:
        """Log that the database is away, unless that was logged."""
        now = monotonic()
        if not self._is_away and now < self._next_line:
            return
        self._has_read_failed |= not writes
        if not self._is_away:
            self._is_away = True
            self._next_line = now + AWAY_INTERVAL
            self.log_away(str(error))

    def log_away(self, message: str) -> None:
        """Log the first call that is not answered."""
        log.warning("store.away", message=message)

    def log_back(self) -> None:
        """Log the first call that is answered again."""
        log.warning("store.back")


class _Calls:
    """A context manager that any number of calls may use at the same time."""

    def __init__(self, availability: Availability, *, writes: bool) -> None:
        self._availability = availability
        self._writes = writes

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Conflict):
            self._availability.on_answer(writes=self._writes)
        elif isinstance(error, self._availability.error):
            self._availability.on_unavailable(error, writes=self._writes)
