"""The published form of an error."""

import msgspec

from bitespeed.errors import BitespeedError

_encoder = msgspec.json.Encoder()


def encode_error(error: BitespeedError) -> bytes:
    """The body of an error, with its code where it has one."""
    if error.code is None:
        return _encoder.encode({"error": str(error)})
    return _encoder.encode({"error": str(error), "code": error.code})
