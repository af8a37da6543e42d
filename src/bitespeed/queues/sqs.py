"""SQS, standard and FIFO."""

import re
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from bitespeed.aws_json import AwsService, ServiceFailed
from bitespeed.errors import InvalidInput, Overloaded, QueueUnavailable
from bitespeed.queues.messages import SENT, TENANT, Message, message

TIMEOUT = 4.0  # seconds; below a request's deadline
WAIT = 5  # seconds that an empty queue is waited for; stopping takes as long
MAX_SENDING = 32  # messages on their way at once; each has a connection, and 256 KiB at most
MAX_RECEIVED = 10  # messages in one answer; SQS gives no more

_URL = re.compile(r"https?://[^/]+/\w+/([\w-]+(\.fifo)?)")
_HOST = re.compile(r"https?://sqs\.([a-z0-9-]+)\.")
_LOCAL = "us-east-1"  # the region of a queue whose URL does not say

Received = tuple[Message, str]
"""A message with the handle by which it is deleted or given back."""


class SqsQueue:
    """A `Queue`, and its other end."""

    def __init__(self, url: str) -> None:
        if not _URL.fullmatch(url):
            raise InvalidInput(
                "BITESPEED_SQS_URL must look like https://sqs.eu-west-1.amazonaws.com/1234/name"
            )
        region = _HOST.match(url)
        self._url = url
        self._is_fifo = url.endswith(".fifo")
        self._sending = 0
        self._service = AwsService("sqs", region[1] if region else _LOCAL, "AmazonSQS", "1.0")

    async def send(self, tenant: str, body: str) -> str:
        """See `Queue.send`. On a FIFO queue each message is a group of its own: whatever the
        order, the same people come out.
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

    async def receive(self, wait: int = WAIT) -> list[Received]:
        """What is on the queue, once something is or ``wait`` seconds have passed."""
        answer = await self._call(
            "ReceiveMessage",
            wait + TIMEOUT,
            MaxNumberOfMessages=MAX_RECEIVED,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
            MessageAttributeNames=[TENANT, SENT],
        )
        return [
            (_message(received), received["ReceiptHandle"])
            for received in answer.get("Messages", ())
        ]

    async def delete(self, handles: Sequence[str]) -> None:
        """Take messages off the queue; one that cannot be taken off comes again."""
        if handles:
            entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
            await self._call("DeleteMessageBatch", TIMEOUT, Entries=entries)

    async def _call(self, action: str, timeout: float, **parameters: object) -> dict[str, Any]:
        try:
            return await self._service.call(action, timeout, QueueUrl=self._url, **parameters)
        except ServiceFailed as error:
            raise QueueUnavailable(
                f"The queue cannot be used: {error.aws_code}; try again"
            ) from error


def _message(received: dict[str, Any]) -> Message:
    given = {n: a.get("StringValue") for n, a in received.get("MessageAttributes", {}).items()}
    return message(received["MessageId"], received["Body"], received.get("Attributes", {}), given)
