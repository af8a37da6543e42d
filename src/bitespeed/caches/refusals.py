"""Why the cache server cannot be used, logged once."""

import socket
import ssl

from bitespeed.telemetry.logs import log

UNREACHABLE = "The cache cannot be reached"
MAX_SENTENCES = 20  # remembered; a server has few reasons to refuse us


class Refusals:
    """Remembers the reasons since the server was last used, so that each is logged once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()
        self.latest = UNREACHABLE
        """The latest reason, as a sentence."""

    def report(self, reason: str) -> None:
        """Log why the server refuses us or cannot be reached, unless the log has it."""
        self.latest = reason
        if reason not in self._logged and len(self._logged) < MAX_SENTENCES:
            self._logged.add(reason)
            log.warning("cache.refused", message=reason)

    def forget(self) -> None:
        """Log the next reason, since the server is in use."""
        self._logged.clear()
        self.latest = UNREACHABLE


def reason_of(error: BaseException) -> str:
    """Why a connection failed, by the first error in its chain of causes that says more."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, reason in _REASONS:
            if isinstance(cause, kind):
                return reason
        cause = cause.__cause__ or cause.__context__
    return UNREACHABLE


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (
        ssl.SSLCertVerificationError,
        f"{UNREACHABLE}: its certificate is not trusted, or belongs to another host",
    ),
    (ssl.SSLError, f"{UNREACHABLE}: there is no TLS at its host and port, or not the same kind"),
    (socket.gaierror, f"{UNREACHABLE}: the name of its host is not known"),
    (ConnectionRefusedError, f"{UNREACHABLE}: nothing listens at its host and port"),
    (TimeoutError, f"{UNREACHABLE}: nothing answers at its host and port in time"),
)
