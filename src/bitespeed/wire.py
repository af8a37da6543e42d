"""The published JSON: how observations are spelled by callers, and answers to them."""

import msgspec

from bitespeed.errors import BitespeedError, InvalidInput
from bitespeed.identifiers import Email, Observation, Phone, observe
from bitespeed.identity import Answer


class _Request(msgspec.Struct):
    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")


class _Contact(msgspec.Struct):
    primary_id: int = msgspec.field(name="primaryContatctId")  # the published spelling
    emails: list[Email]
    phone_numbers: list[Phone] = msgspec.field(name="phoneNumbers")
    secondary_ids: list[int] = msgspec.field(name="secondaryContactIds")


class _Response(msgspec.Struct):
    contact: _Contact


_request = msgspec.json.Decoder(_Request)
_requests = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def decode(body: bytes | msgspec.Raw, region: str | None) -> Observation:
    """The observation in one JSON object. Raises `InvalidInput` in words for the caller."""
    body = bytes(body)
    try:
        if not body.isascii():
            body.decode()  # also where the decoder does not look, in members that are ignored
        request = _request.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("This is not valid JSON in UTF-8") from None
    return observe(request.email, request.phone_number, region)


def convert(email: object, phone: object, region: str | None) -> Observation:
    """The observation in two values of any types. Raises `InvalidInput` like `decode`."""
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


def _in_words(error: msgspec.ValidationError) -> str:
    place = str(error).rpartition("`$.")[2]
    if place.startswith("email"):
        return "email must be a string or null"
    if place.startswith("phoneNumber"):
        return "phoneNumber must be a string, a whole number or null"
    return "An observation must be a JSON object"


def encode(answer: Answer) -> bytes:
    """The published answer."""
    return _encoder.encode(_response(answer))


def encode_error(error: BitespeedError) -> bytes:
    """The published form of a refusal."""
    return _encoder.encode({"error": str(error)})


def encode_outcomes(outcomes: list[Answer | BitespeedError]) -> list[bytes]:
    """Answers and refusals, each as it would have been sent alone."""
    return [
        encode(outcome) if isinstance(outcome, Answer) else encode_error(outcome)
        for outcome in outcomes
    ]


def _response(answer: Answer) -> _Response:
    return _Response(
        _Contact(answer.primary_id, answer.emails, answer.phones, answer.secondary_ids)
    )
