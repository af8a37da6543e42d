"""Queues: observations that nobody waits for, kept until they are reconciled.

A message is a JSON array of observations, or one alone; its attribute `TENANT` says whose they are,
`SENT` when it was sent first. `sqs.py` is the way to the queue, `work.py` what becomes of its
messages.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bitespeed.service.service import DEFAULT_TENANT

MAX_MESSAGE = 256 * 1024  # bytes; what every SQS queue takes unless somebody has set it lower
TENANT = "tenant"
SENT = "sent"  # milliseconds since 1970, as SQS counts; it survives a move from the dead letters
MAX_OBSERVATIONS = 1000  # in one message: a few hundred milliseconds of work


class Message(NamedTuple):
    """One message, about people of ``tenant``. Those of a ``group`` are to be taken in their
    order.
    """

    id: str
    body: str
    group: str | None = None
    tenant: str = DEFAULT_TENANT
    sent_at: int = 0
    """Microseconds since 1970; 0 when nobody says so."""


def message(
    id_: str, body: str, system: Mapping[str, str], given: Mapping[str, str | None]
) -> Message:
    """A message with what SQS and its sender say of it; attributes of the sender that are no texts
    are None, and no tenant.
    """
    tenant = given.get(TENANT, DEFAULT_TENANT) or ""
    told = (system.get("SentTimestamp"), given.get(SENT))
    sent = min((int(at) for at in told if at is not None and at.isdecimal()), default=0)
    return Message(id_, body, system.get("MessageGroupId"), tenant, sent * 1000)


class Queue(Protocol):
    """A queue as those see it who put something on it."""

    async def send(self, tenant: str, body: str) -> str:
        """The id of a message, once it is durable on the queue. Raises `QueueUnavailable`."""
        ...


def open_queue(url: str | None) -> Queue | None:
    """The queue behind a URL, or None where none is configured. Raises `InvalidInput`."""
    if url is None:
        return None
    from bitespeed.queues.sqs import SqsQueue

    return SqsQueue(url)
