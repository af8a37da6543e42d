"""Explanations: what callers want explained, and what is shown of facts, events and merges."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bitespeed.errors import InvalidInput
from bitespeed.model.facts import PUBLISHED_NAMES, Fact, Happening, Value
from bitespeed.model.identifiers import observe
from bitespeed.service.explanations import End, Why
from bitespeed.service.merges import MergesPage
from bitespeed.wire.instants import parse_instant, rfc3339
from bitespeed.wire.observations import decode_json
from bitespeed.wire.subjects import parse_contact_id


class _End(msgspec.Struct, forbid_unknown_fields=True):
    email: str | None = None
    phone_number: str | int | None = msgspec.field(default=None, name="phoneNumber")
    contact: int | None = None


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    between: list[_End]
    as_of: str | None = msgspec.field(default=None, name="asOf")


_question = msgspec.json.Decoder(_Question)
_encoder = msgspec.json.Encoder()


def decode_question(body: bytes, region: str | None) -> tuple[End, End, int | None]:
    """The two ends of the chain that is wanted, and as of when.

    Raises `InvalidInput`, and `NotFound` for an id that no contact can have.
    """
    question = decode_json(_question, body)
    if len(question.between) != 2:
        raise InvalidInput("between must name two")
    one, other = (
        end_of(end.email, end.phone_number, end.contact, region) for end in question.between
    )
    return one, other, None if question.as_of is None else parse_instant(question.as_of)


def end_of(
    email: str | None, phone: str | int | None, contact: int | None, region: str | None
) -> End:
    """What names one of two. Raises `InvalidInput` unless exactly one is given."""
    if sum(given not in (None, "") for given in (email, phone, contact)) != 1:
        raise InvalidInput("Name each of the two by one of email, phoneNumber and contact")
    if contact is not None:
        return End(contact=parse_contact_id(contact))
    observation = observe(email, phone, region)
    if observation.email is not None:
        return End(value=("email", observation.email))
    return End(value=("phone", str(observation.phone)))


def encode_why(why: Why) -> bytes:
    """The answer to a question."""
    answer: dict[str, Any] = {"together": why.are_together}
    answer["chain"] = None if why.chain is None else [_step(fact) for fact in why.chain]
    if why.searched is not None:
        answer["searched"] = why.searched
    if not why.are_together:
        answer["near"] = [
            {"between": [_shown(near.one), _shown(near.other)], "differBy": near.differ_by}
            for near in why.near
        ]
    return _encoder.encode(answer)


def encode_history(events: Sequence[Happening], limit: int) -> bytes:
    """A page of the events of one identity; there is no next one where it is not full."""
    following = events[-1].number if len(events) == limit else None
    return _encoder.encode({"events": [_event(event) for event in events], "next": following})


def encode_merges(page: MergesPage) -> bytes:
    """A page of merges."""
    return _encoder.encode({"merges": [_merge(merge) for merge in page.merges], "next": page.next})


def _step(fact: Fact) -> dict[str, Any]:
    return {
        "between": [_shown((node.kind, node.value)) for node in fact.nodes],
        "at": rfc3339(fact.at),
        "contact": fact.contact,
        "event": fact.number,
        "source": fact.source,
        "label": fact.label,
        "override": None,
    }


def _event(event: Happening) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "number": event.number,
        "at": rfc3339(event.at),
        "kind": event.kind,
        "contact": event.contact,
        "primary": event.primary or event.contact,
        "source": event.source,
        "label": event.label,
    }
    if event.between:
        shown["between"] = [_shown(value) for value in event.between]
    if event.merged is not None:
        shown["merged"] = event.merged
    return shown


def _merge(merge: Happening) -> dict[str, Any]:
    return {
        "event": merge.number,
        "at": rfc3339(merge.at),
        "primaryContactIds": [merge.primary, merge.merged_primary],
        "sizes": [merge.size, merge.merged_size],
        "between": [_shown(value) for value in merge.between],
        "source": merge.source,
        "label": merge.label,
    }


def _shown(value: Value) -> dict[str, str]:
    kind, text = value
    return {PUBLISHED_NAMES[kind]: text}
