"""Every error a caller can meet. The edges translate them once; messages hold no personal data."""


class BitespeedError(Exception):
    """Base of all errors here. Its text is one sentence that a caller can act on."""


class InvalidInput(BitespeedError):
    """What was sent cannot be understood; nothing was written."""


class NotFound(BitespeedError):
    """No live contact or identity fits what was asked for."""


class Unauthorized(BitespeedError):
    """No valid API key came with the request, where one is needed."""


class Forbidden(BitespeedError):
    """The API key is valid and lacks the scope that this takes."""


class TooManyRequests(BitespeedError):
    """The caller sends more than its limit; ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: int = 1) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Conflict(BitespeedError):
    """Somebody else changed a touched identity since it was read; nothing was written."""


class Unavailable(BitespeedError):
    """It cannot be answered now. Trying again is safe: a repeat adds nothing."""

    retry_after = 1  # seconds


class Overloaded(Unavailable):
    """More is waiting than the queue may hold."""


class DeadlineExceeded(Unavailable):
    """The answer was not ready in time; whether it was written is unknown."""


class Contention(Unavailable):
    """The identity was changed by others at each of a bounded number of attempts."""


class StoreUnavailable(Unavailable):
    """The database is locked, full, unreadable or away."""


class CacheUnavailable(BitespeedError):
    """The cache cannot be reached in time, or is not fit for use; it is done without."""


class AccessRefused(StoreUnavailable):
    """The database refuses who we say we are; the password or key may have been changed."""


class QueueUnavailable(Unavailable):
    """The queue cannot be reached in time, or refuses; what was sent may be on it or not."""


class NotConfigured(BitespeedError):
    """What was asked for needs a setting that is not made."""


class StoreDamaged(BitespeedError):
    """The database is not one that this version can work with."""
