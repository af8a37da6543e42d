"""Queues: observations that no caller waits for, kept until they are reconciled.

`messages.py` says what a message is, `sqs.py` sends and receives them, `worker.py` reconciles what
they hold.
"""

from typing import Protocol


class Queue(Protocol):
    """A queue as its senders see it."""

    async def send(self, tenant: str, body: str) -> str:
        """The id of a message, once it is durable on the queue. Raises `QueueUnavailable`."""
        ...


def open_queue(url: str | None) -> Queue | None:
    """The queue behind a URL, or None where none is configured. Raises `InvalidInput`."""
    if url is None:
        return None
    from bitespeed.queues.sqs import SqsQueue

    return SqsQueue(url)
