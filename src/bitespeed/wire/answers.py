"""The published answers."""

import weakref

import msgspec

from bitespeed.errors import BitespeedError
from bitespeed.model.identifiers import Email, Phone
from bitespeed.model.identity import Answer, KeptAnswer
from bitespeed.service.large_answers import LARGE_ANSWER, batch_too_large
from bitespeed.wire.errors import encode_error

MAX_BATCH_ANSWER = (
    4 * 1024 * 1024
)  # bytes; 4 KB for each of 1,000 observations, and what a Lambda function may return


class _Contact(msgspec.Struct):
    primary_id: int = msgspec.field(name="primaryContatctId")  # the published spelling
    emails: list[Email] | msgspec.Raw
    phone_numbers: list[Phone] | msgspec.Raw = msgspec.field(name="phoneNumbers")
    secondary_ids: list[int] | msgspec.Raw = msgspec.field(name="secondaryContactIds")


class _Response(msgspec.Struct):
    contact: _Contact


_encoder = msgspec.json.Encoder()


def encode_answer(answer: Answer | KeptAnswer) -> bytes:
    """The published answer. One that is large and wanted several times is encoded once."""
    if len(answer.secondary_ids) >= LARGE_ANSWER and isinstance(answer, Answer):
        return _last_large.encode(answer)
    return _encoder.encode(_response(answer))


def encode_outcomes(outcomes: list[Answer | BitespeedError]) -> list[bytes]:
    """Answers and refusals, each as it would have been sent alone, equal ones encoded once. Beyond
    `MAX_BATCH_ANSWER` bytes a refusal stands in the place of an answer.
    """
    encoded: dict[int, bytes] = {}
    texts: list[bytes] = []
    left = MAX_BATCH_ANSWER
    for outcome in outcomes:
        if not isinstance(outcome, Answer):
            texts.append(encode_error(outcome))
            continue
        text = encoded.get(id(outcome))
        if text is None:
            text = encoded[id(outcome)] = encode_answer(outcome)
        if len(text) <= left:
            left -= len(text)
            texts.append(text)
        else:
            texts.append(encode_error(batch_too_large(outcome.primary_id)))
    return texts


class _LastLarge:
    """The large answer that was encoded last, for as long as somebody else has it."""

    def __init__(self) -> None:
        self._answer: weakref.ref[Answer] | None = None
        self._text = b""

    def encode(self, answer: Answer) -> bytes:
        """The published answer."""
        if self._answer is None or self._answer() is not answer:
            self._text = _encoder.encode(_response(answer))
            self._answer = weakref.ref(answer, self._forget)
        return self._text

    def _forget(self, answer: weakref.ref[Answer]) -> None:
        if answer is self._answer:
            self._answer, self._text = None, b""


_last_large = _LastLarge()


def _response(answer: Answer | KeptAnswer) -> _Response:
    return _Response(
        _Contact(answer.primary_id, answer.emails, answer.phones, answer.secondary_ids)
    )
