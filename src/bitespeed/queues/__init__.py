"""Queues: observations whose callers do not wait for an answer, kept until they are reconciled.

`messages.py` describes a message, `sqs.py` sends and receives messages, `worker.py` reconciles the
observations in them.
"""

from typing import Protocol


class Queue(Protocol):
    """A queue that messages can be sent to."""

    async def send(self, tenant: str, body: str) -> str:
        """Send a message; returns its id once it is durable. Raises `QueueUnavailable`."""
        ...


def open_queue(url: str | None) -> Queue | None:
    """The queue at a URL, or None without a URL. Raises `InvalidInput`."""
    if url is None:
        return None
    from bitespeed.queues.sqs import SqsQueue

    return SqsQueue(url)
