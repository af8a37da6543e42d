"""Observations as callers send them."""

from typing import TypeVar

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import Observation, observe

T = TypeVar("T")


class _Request(msgspec.Struct):
    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")


_request = msgspec.json.Decoder(_Request)


_requests = msgspec.json.Decoder(list[msgspec.Raw])


def decode_observation(body: bytes | msgspec.Raw, region: str | None) -> Observation:
    """The observation in one JSON object. Raises `InvalidInput` in words for the caller."""
    request = decode_json(_request, bytes(body))
    return observe(request.email, request.phone_number, region)


def convert_observation(email: object, phone: object, region: str | None) -> Observation:
    """The observation in two values of any types. Raises `InvalidInput`."""
    try:
        request = msgspec.convert({"email": email, "phoneNumber": phone}, _Request)
    except msgspec.ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    return observe(request.email, request.phone_number, region)


def decode_array(body: bytes) -> list[msgspec.Raw]:
    """The undecoded elements of a JSON array. Raises `InvalidInput` when it is none."""
    try:
        return _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("The body is not a JSON array in UTF-8") from None


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The value in a JSON text. Raises `InvalidInput` in words for the caller."""
    try:
        if not body.isascii():
            body.decode()  # also where the decoder does not look, in members that are ignored
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("This is not valid JSON in UTF-8") from None


def _in_words(error: msgspec.ValidationError) -> str:
    place = str(error).rpartition("`$.")[2]
    if place.startswith("email"):
        return "email must be a string or null"
    if place.startswith("phoneNumber"):
        return "phoneNumber must be a string, a whole number or null"
    if place.startswith("contactId"):
        return "contactId must be a whole number or null"
    if "unknown field" in str(error):
        return "The body has a member that is not known here"
    return "An observation must be a JSON object"
