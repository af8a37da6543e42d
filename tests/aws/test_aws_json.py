"""The small client of AWS's services that speak JSON."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from bitespeed.aws_json import AwsService, Credentials, ServiceFailed, signed
from support.moto_server import environment

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_requests_are_signed_as_by_aws_s_own_client() -> None:
    now, body = datetime.now(UTC).replace(microsecond=0), b'{"QueueUrl": "x"}'
    head = {"host": "sqs.eu-west-1.amazonaws.com", "x-amz-target": "AmazonSQS.SendMessage"}
    ours = signed(head, body, "sqs", "eu-west-1", Credentials("id", "secret", "token"), now)
    request = AWSRequest("POST", f"https://{head['host']}/", head, body)
    signer = SigV4Auth(BotoCredentials("id", "secret", "token"), "sqs", "eu-west-1")
    request.context["timestamp"] = ours["x-amz-date"]
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = "token"
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    assert ours["authorization"].endswith(signer.signature(to_sign, request))


def with_service(speak: Speak, test: Callable[[AwsService], Awaitable[None]]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with mock.patch.dict(os.environ, environment(port)):
            service = AwsService("sqs", "us-east-1", "AmazonSQS", "1.0")
            try:
                await test(service)
            finally:
                service.close()
                server.close()
                await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_malformed_answer_is_a_failure_of_the_service(answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def test(service: AwsService) -> None:
        with pytest.raises(ServiceFailed):
            await service.call("ListQueues", 5)

    with_service(speak, test)


def test_connections_are_kept_while_the_service_keeps_them() -> None:
    came: list[asyncio.StreamWriter] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"{}"):
                last = b"Connection: close\r\n" if len(came) == 3 else b""
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\n{}" % last)
        writer.close()

    async def test(service: AwsService) -> None:
        for _ in range(3):
            assert await service.call("ListQueues", 5) == {}
        assert len(came) == 1
        came[0].close()  # while it is idle
        for _ in range(2):
            assert await service.call("ListQueues", 5) == {}
        assert len(came) == 2
        await asyncio.gather(*(service.call("ListQueues", 5) for _ in range(2)))
        assert len(came) == 3  # which closes after its answer
        await asyncio.gather(*(service.call("ListQueues", 5) for _ in range(2)))
        assert len(came) == 4

    with_service(speak, test)
