"""Queues: observations that nobody waits for, kept until they are reconciled.

A message is a JSON array of observations, or one alone; its attribute `TENANT` says whose they are.
`sqs.py` is the way to the queue, `work.py`
what becomes of its messages.
"""

from typing import NamedTuple, Protocol

from bitespeed.service import DEFAULT_TENANT

MAX_MESSAGE = 256 * 1024  # bytes; what every SQS queue takes unless somebody has set it lower
TENANT = "tenant"
MAX_OBSERVATIONS = 1000  # in one message: a few hundred milliseconds of work


class Message(NamedTuple):
    """One message, about people of ``tenant``. Those of a ``group`` are to be taken in their
    order.
    """

    id: str
    body: str
    group: str | None = None
    tenant: str = DEFAULT_TENANT


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
