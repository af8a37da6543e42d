"""SQS queues, standard and FIFO."""

import re
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from bitespeed.aws_json import AwsService, ServiceFailed
from bitespeed.errors import InvalidInput, Overloaded, QueueUnavailable
from bitespeed.queues.messages import SENT, TENANT, Message, message
from bitespeed.stores.availability import Availability
from bitespeed.telemetry.logs import log

TIMEOUT = 4.0  # seconds for an answer of SQS; less than the deadline of a request
POLL_TIMEOUT = 5  # seconds to wait for a message on an empty queue; stopping takes as long
MAX_SENDING = 32  # messages sent at once; each has a connection, and at most 256 KiB of memory
MAX_RECEIVED = 10  # messages in one answer; the limit of SQS

_URL = re.compile(r"https?://[^/]+/\w+/([\w-]+(\.fifo)?)")
_HOST = re.compile(r"https?://sqs\.([a-z0-9-]+)\.")
_LOCAL = "us-east-1"  # the region of a queue whose URL names none

Received = tuple[Message, str]
"""A message, and the handle that SQS deletes it by."""


class _Availability(Availability):
    """Logs ``queue.away`` and ``queue.back``; any call may show either."""

    error = QueueUnavailable

    def log_away(self, message: str) -> None:
        log.warning("queue.away", message=message)

    def log_back(self) -> None:
        log.warning("queue.back")


class SqsQueue:
    """A `Queue` whose messages can also be received and deleted."""

    def __init__(self, url: str) -> None:
        if not _URL.fullmatch(url):
            raise InvalidInput(
                "BITESPEED_SQS_URL must look like https://sqs.eu-west-1.amazonaws.com/1234/name"
            )
        region = _HOST.match(url)
        self._url = url
        self._is_fifo = url.endswith(".fifo")
        self._sending = 0
        self._calls = _Availability().writes
        self._service = AwsService("sqs", region[1] if region else _LOCAL, "AmazonSQS", "1.0")

    async def send(self, tenant: str, body: str) -> str:
        """See `Queue.send`. On a FIFO queue each message has its own group, since the order of
        observations does not change the identities.
        """
        id_ = uuid4().hex
        group = {"MessageGroupId": id_, "MessageDeduplicationId": id_} if self._is_fifo else {}
        if self._sending >= MAX_SENDING:
            raise Overloaded("Too many requests are waiting; try again in a moment")
        self._sending += 1
        try:
            answer = await self._call(
                "SendMessage",
                TIMEOUT,
                MessageBody=body,
                MessageAttributes={
                    TENANT: {"DataType": "String", "StringValue": tenant},
                    SENT: {"DataType": "Number", "StringValue": str(time.time_ns() // 1_000_000)},
                },
                **group,
            )
        finally:
            self._sending -= 1
        return answer["MessageId"]

    async def receive(self, poll_timeout: int = POLL_TIMEOUT) -> list[Received]:
        """Messages from the queue; none if it is empty for ``poll_timeout`` seconds."""
        answer = await self._call(
            "ReceiveMessage",
            poll_timeout + TIMEOUT,
            MaxNumberOfMessages=MAX_RECEIVED,
            WaitTimeSeconds=poll_timeout,
            MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
            MessageAttributeNames=[TENANT, SENT],
        )
        return [
            (_message(received), received["ReceiptHandle"])
            for received in answer.get("Messages", ())
        ]

    async def delete(self, handles: Sequence[str]) -> None:
        """Delete messages. One that cannot be deleted is received again."""
        if handles:
            entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
            await self._call("DeleteMessageBatch", TIMEOUT, Entries=entries)

    async def _call(self, action: str, timeout: float, **parameters: object) -> dict[str, Any]:
        with self._calls:
            try:
                return await self._service.call(action, timeout, QueueUrl=self._url, **parameters)
            except ServiceFailed as error:
                raise QueueUnavailable(
                    f"The queue cannot be used: {error.aws_code}; try again"
                ) from error


def _message(received: dict[str, Any]) -> Message:
    given = {n: a.get("StringValue") for n, a in received.get("MessageAttributes", {}).items()}
    return message(received["MessageId"], received["Body"], received.get("Attributes", {}), given)
