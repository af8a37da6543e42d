"""The published form of an error."""

import msgspec

from bitespeed.errors import AnswerTooLarge, BitespeedError

_encoder = msgspec.json.Encoder()


class _Body(msgspec.Struct):
    error: str


def error_sentence(body: bytes) -> str:
    """The text of the error in a body that `encode_error` has made."""
    return msgspec.json.decode(body, type=_Body).error if body else ""


def encode_error(error: BitespeedError) -> bytes:
    """The body of an error, with its code where it has one, and the id that stands for an answer
    that is too large.
    """
    body: dict[str, str | int] = {"error": str(error)}
    if error.code is not None:
        body["code"] = error.code
    if isinstance(error, AnswerTooLarge):
        body["primaryContatctId"] = error.primary_id  # the published spelling
    return _encoder.encode(body)
