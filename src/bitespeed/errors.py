"""Every error of this package. Texts are whole sentences for a caller and hold no personal data.

    BitespeedError                 500  internal
      Unexpected                   500  internal
      InvalidInput                 400  invalid_input
        IdentifierRequired         400  (none: the published body has no code)
        CallerLeft                 400  caller_left
      Unauthorized                 401  unauthorized
      Forbidden                    403  forbidden
      NotFound                     404  not_found
        UnknownPath                404  unknown_path
      MethodNotAllowed             405  method_not_allowed
      TooLarge                     413  too_large
      AnswerTooLarge               413  answer_too_large
      UnsupportedMediaType         415  unsupported_media_type
      ExpectationFailed            417  expectation_failed
      TooManyRequests              429  too_many_requests
      NotConfigured                501  not_configured
      Unavailable                  503  unavailable
        Overloaded                 503  overloaded
        DeadlineExceeded           503  deadline_exceeded
        Contention                 503  contention
        StoreUnavailable           503  store_unavailable
          AccessRefused            503  store_unavailable
          NotAdopted               503  store_unavailable
        QueueUnavailable           503  queue_unavailable
      StoreDamaged                 500  store_unusable
        SequenceBehind             500  store_unusable
      Conflict, CacheUnavailable        handled here, never sent to a caller

`status` is the HTTP status, and `code` the stable word in the body beside the text. docs/errors.md
says what a caller does about each; tests compare it, and the tree above, with these classes.
"""


class BitespeedError(Exception):
    """Base of all errors here. Its text is one sentence that a caller can act on."""

    status: int = 500
    code: str | None = "internal"
    retry_after: int | None = None
    """Seconds after which the caller may try again; None where that would not help."""
    reason: str | None = None
    """How the metric of requests that could not be answered names it."""


class Unexpected(BitespeedError):
    """An error that nobody foresaw. `failures.failed` has logged it where it was caught."""

    def __init__(self) -> None:
        super().__init__("Internal error")


class InvalidInput(BitespeedError):
    """The input cannot be understood; nothing was written."""

    status = 400
    code = "invalid_input"


class IdentifierRequired(InvalidInput):
    """An observation has neither an email nor a phone number."""

    code = None

    def __init__(self) -> None:
        super().__init__("Either email or phoneNumber is required")


class CallerLeft(InvalidInput):
    """The caller closed the connection before the body was complete; nobody reads the answer."""

    code = "caller_left"

    def __init__(self) -> None:
        super().__init__("The request was not sent to its end")


class Unauthorized(BitespeedError):
    """The operation needs an API key, and the request has no valid one."""

    status = 401
    code = "unauthorized"


class Forbidden(BitespeedError):
    """The API key lacks the scope; or, without a key, a page of another site may have sent this."""

    status = 403
    code = "forbidden"


class NotFound(BitespeedError):
    """No live contact or identity fits."""

    status = 404
    code = "not_found"


class UnknownPath(NotFound):
    """There is no operation at the path."""

    code = "unknown_path"

    def __init__(self) -> None:
        super().__init__("There is nothing at this path; /docs shows what there is")


class MethodNotAllowed(BitespeedError):
    """The path has no operation with the method; ``allowed`` are those that it has."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path takes {allowed}")
        self.allowed = allowed


class TooLarge(BitespeedError):
    """The body, or the batch in it, is larger than the operation takes."""

    status = 413
    code = "too_large"


class AnswerTooLarge(BitespeedError):
    """The answer, or all answers of a batch, would be larger than is allowed. What the request
    brought is written; ``primary_id`` names its identity.
    """

    status = 413
    code = "answer_too_large"

    def __init__(self, text: str, primary_id: int) -> None:
        super().__init__(text)
        self.primary_id = primary_id


class UnsupportedMediaType(BitespeedError):
    """The body is of a type that the operation does not take."""

    status = 415
    code = "unsupported_media_type"


class ExpectationFailed(BitespeedError):
    """The request has an `Expect` that this server cannot meet."""

    status = 417
    code = "expectation_failed"

    def __init__(self) -> None:
        super().__init__("The only expectation that can be met is Expect: 100-continue")


class TooManyRequests(BitespeedError):
    """The caller sends more than its limit; ``retry_after`` is in seconds."""

    status = 429
    code = "too_many_requests"

    def __init__(self, text: str, retry_after: int = 1) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class NotConfigured(BitespeedError):
    """The operation needs a setting that this service does not have."""

    status = 501
    code = "not_configured"


class Unavailable(BitespeedError):
    """The service cannot answer now. Trying again is safe: a repeat adds nothing."""

    status = 503
    code = "unavailable"
    retry_after = 1
    reason = "shutdown"


class Overloaded(Unavailable):
    """The queue, or another limited resource of the process, is full."""

    code = "overloaded"
    reason = "overloaded"


class DeadlineExceeded(Unavailable):
    """The answer was not ready in time; whether it was written is unknown."""

    code = "deadline_exceeded"
    reason = "deadline"


class Contention(Unavailable):
    """Others changed the identity at each of a limited number of attempts."""

    code = "contention"
    reason = "contention"


class StoreUnavailable(Unavailable):
    """The database is locked, full, unreadable or away."""

    code = "store_unavailable"
    reason = "store"


class AccessRefused(StoreUnavailable):
    """The database refuses our user and password, or our key; they may have been changed."""


class NotAdopted(StoreUnavailable):
    """There are contacts to adopt, and our tables are empty; see docs/adopt.md."""

    def __init__(self) -> None:
        super().__init__(
            "public.contact has contacts of another program: take them over with bitespeed adopt,"
            " or set BITESPEED_IGNORE_EXISTING=true to begin without them"
        )


class QueueUnavailable(Unavailable):
    """The queue cannot be reached in time, or refuses; the message may be on it or not."""

    code = "queue_unavailable"
    reason = "queue"


class StoreDamaged(BitespeedError):
    """The database is damaged, or has a schema that this version cannot work with."""

    code = "store_unusable"


class SequenceBehind(StoreDamaged):
    """A new row would get an id or a number in use; nothing was written."""

    def __init__(self) -> None:
        super().__init__(
            "The next contact or event would get a number in use, since a sequence is behind its"
            " table; bitespeed check names it, docs/operations.md says how to set it"
        )


class Conflict(BitespeedError):
    """Somebody else changed a touched identity since it was read; nothing was written."""


class CacheUnavailable(BitespeedError):
    """The cache cannot be reached in time, or must not be used; requests go on without it."""
