"""Messages of a queue: a JSON array of observations, or one alone.

The attribute `TENANT` of a message names its tenant; `SENT` has the time at which it was sent
first.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.tenant import DEFAULT_TENANT

MAX_MESSAGE = 256 * 1024  # bytes; what every SQS queue takes unless its owner has set it lower
MAX_OBSERVATIONS = 1000  # in one message: a few hundred milliseconds of work
TENANT = "tenant"
SENT = "sent"  # milliseconds since 1970, as SQS counts; it survives a move from the dead letters


class Message(NamedTuple):
    """One message, about people of ``tenant``. Those of a ``group`` are to be taken in their
    order.
    """

    id: str
    body: str
    group: str | None = None
    tenant: str = DEFAULT_TENANT
    sent_at: int = 0
    """Microseconds since 1970; 0 where it is unknown."""


def message(
    id_: str, body: str, system: Mapping[str, str], attributes: Mapping[str, str | None]
) -> Message:
    """A message with the attributes that SQS (``system``) and its sender gave it; an attribute of
    the sender that is no text is None, and no tenant.
    """
    tenant = attributes.get(TENANT, DEFAULT_TENANT) or ""
    times = (system.get("SentTimestamp"), attributes.get(SENT))
    sent = min((int(at) for at in times if at is not None and at.isdecimal()), default=0)
    return Message(id_, body, system.get("MessageGroupId"), tenant, sent * 1000)
