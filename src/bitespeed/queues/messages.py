"""Messages of a queue: a JSON array of observations, or a single observation.

The attribute `TENANT` names the tenant of a message, `SENT` the time when it was sent first.
"""

from collections.abc import Mapping
from typing import NamedTuple

from bitespeed.tenant import DEFAULT_TENANT

MAX_MESSAGE = (
    256 * 1024
)  # bytes; every SQS queue accepts that, unless its owner has set a lower limit
MAX_OBSERVATIONS = 1000  # in one message: a few hundred milliseconds of work
TENANT = "tenant"
SENT = "sent"  # milliseconds since 1970, as in SQS; it stays when a dead letter is sent again


class Message(NamedTuple):
    """One message of a tenant. Messages of the same group must be reconciled in their order."""

    id: str
    body: str
    group: str | None = None
    tenant: str = DEFAULT_TENANT
    sent_at: int = 0
    """Microseconds since 1970; 0 if unknown."""


def message(
    id_: str, body: str, system: Mapping[str, str], attributes: Mapping[str, str | None]
) -> Message:
    """A message from its text, the attributes set by SQS (``system``) and those of its sender.

    An attribute of the sender that is not text is None. As a tenant it is invalid.
    """
    tenant = attributes.get(TENANT, DEFAULT_TENANT) or ""
    times = (system.get("SentTimestamp"), attributes.get(SENT))
    sent = min((int(at) for at in times if at is not None and at.isdecimal()), default=0)
    return Message(id_, body, system.get("MessageGroupId"), tenant, sent * 1000)
