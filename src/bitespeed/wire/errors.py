"""The published form of an error."""

import msgspec

from bitespeed.errors import BitespeedError

_encoder = msgspec.json.Encoder()


class _Body(msgspec.Struct):
    error: str


def error_sentence(body: bytes) -> str:
    """The text of the error in a body that `encode_error` has made."""
    return msgspec.json.decode(body, type=_Body).error if body else ""


def encode_error(error: BitespeedError) -> bytes:
    """The body of an error, with its code where it has one."""
    if error.code is None:
        return _encoder.encode({"error": str(error)})
    return _encoder.encode({"error": str(error), "code": error.code})
