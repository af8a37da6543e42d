"""The published answers."""

import msgspec

from bitespeed.errors import BitespeedError
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Answer, KeptAnswer
from bitespeed.wire.errors import encode_error


class _Contact(msgspec.Struct):
    primary_id: int = msgspec.field(name="primaryContatctId")  # the published spelling
    emails: list[Email] | msgspec.Raw
    phone_numbers: list[Phone] | msgspec.Raw = msgspec.field(name="phoneNumbers")
    secondary_ids: list[int] | msgspec.Raw = msgspec.field(name="secondaryContactIds")


class _Response(msgspec.Struct):
    contact: _Contact


_encoder = msgspec.json.Encoder()


def encode_answer(answer: Answer | KeptAnswer) -> bytes:
    """The published answer."""
    return _encoder.encode(_response(answer))


def encode_outcomes(outcomes: list[Answer | BitespeedError]) -> list[bytes]:
    """Answers and refusals, each as it would have been sent alone."""
    return [
        encode_answer(outcome) if isinstance(outcome, Answer) else encode_error(outcome)
        for outcome in outcomes
    ]


def _response(answer: Answer | KeptAnswer) -> _Response:
    return _Response(
        _Contact(answer.primary_id, answer.emails, answer.phones, answer.secondary_ids)
    )
