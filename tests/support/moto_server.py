"""Moto's server: SQS, Secrets Manager and the Parameter Store by their real protocols."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from typing import Any
from unittest.mock import patch

from bitespeed.aws_json import AwsService
from support import server_programs
from support.processes import Daemon, home
from support.server import free_port

REGION = "us-east-1"
CALL_TIMEOUT = 10.0  # seconds for one call


class Aws:
    """What moto plays; ``environ`` leads clients there."""

    def __init__(self, port: int) -> None:
        self.environ = environment(port)

    def endpoint(self) -> dict[str, str]:
        """The variable that leads a client there."""
        return {"AWS_ENDPOINT_URL": self.environ["AWS_ENDPOINT_URL"]}

    def sqs(self, action: str, **parameters: object) -> dict[str, Any]:
        return _call(AwsService("sqs", REGION, "AmazonSQS", "1.0"), action, **parameters)

    def queue(self, name: str, receives: int = 3, visibility: int = 0) -> tuple[str, str]:
        """The URLs of a new queue and of its dead-letter queue; FIFO when the name says so."""
        stem, dot, fifo = name.partition(".")
        attributes = {"FifoQueue": "true"} if fifo else {}
        dead = self.sqs("CreateQueue", QueueName=f"{stem}-dead{dot}{fifo}", Attributes=attributes)
        arn = f"arn:aws:sqs:{REGION}:123456789012:{stem}-dead{dot}{fifo}"
        redrive = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": {receives}}}'
        attributes |= {"RedrivePolicy": redrive, "VisibilityTimeout": str(visibility)}
        queue = self.sqs("CreateQueue", QueueName=name, Attributes=attributes)
        return queue["QueueUrl"], dead["QueueUrl"]

    def count(self, queue: str) -> int:
        """How many messages are on a queue, taken by somebody or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs("GetQueueAttributes", QueueUrl=queue, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def secret(self, name: str, text: str) -> str:
        """The ARN of a new secret."""
        return _call(_secrets(), "CreateSecret", Name=name, SecretString=text)["ARN"]

    def change_secret(self, arn: str, text: str) -> None:
        _call(_secrets(), "PutSecretValue", SecretId=arn, SecretString=text)

    def parameter(self, name: str, text: str) -> str:
        """The ARN of a new SecureString."""
        ssm = AwsService("ssm", REGION, "AmazonSSM", "1.1")
        _call(ssm, "PutParameter", Name=name, Value=text, Type="SecureString")
        return f"arn:aws:ssm:{REGION}:123456789012:parameter{name}"


def _secrets() -> AwsService:
    return AwsService("secretsmanager", REGION, "secretsmanager", "1.1")


def _call(service: AwsService, action: str, **parameters: object) -> dict[str, Any]:
    async def call() -> dict[str, Any]:
        try:
            return await service.call(action, CALL_TIMEOUT, **parameters)
        finally:
            service.close()

    return asyncio.run(call())


def environment(port: int) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }


@contextmanager
def aws() -> Iterator[Aws]:
    """A server of the run's own; meanwhile our environment leads there."""
    port = free_port()
    program = server_programs.moto().path
    with home() as folder:
        command = [program, "--host", "127.0.0.1", "--port", str(port)]
        daemon = Daemon(command, folder, refuses_root=False)
        try:
            daemon.start(lambda: _is_ready(port))
            with patch.dict(os.environ, environment(port)):
                yield Aws(port)
        finally:
            daemon.kill()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=CALL_TIMEOUT)
    with suppress(OSError):
        connection.request("GET", "/moto-api/data.json")
        status = connection.getresponse().status
        connection.close()
        return status == 200
    connection.close()
    return False
