"""Calls JSON services of AWS with signed requests (Signature Version 4).

To import botocore takes a cold Lambda four times as long as everything else that a request needs;
see docs/decisions/0021-aws-requests.md. It is imported only for credentials that the environment
does not have, for example those of an instance profile. `http.client` would take a tenth of a cold
start, and these services need little of HTTP, so requests are written here.
"""

import asyncio
import hashlib
import hmac
import os
import ssl
from asyncio import LimitOverrunError, StreamReader, StreamWriter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from bitespeed.errors import BitespeedError, InvalidInput
from bitespeed.extras import extra

MAX_ANSWER = (
    32 * 1024 * 1024
)  # bytes; SQS returns up to ten messages of 1 MiB, which JSON may double

_Connection = tuple[StreamReader, StreamWriter]


class ServiceFailed(BitespeedError):
    """An AWS service did not answer in time, or refused. ``aws_code`` is its reason."""

    def __init__(self, service: str, code: str) -> None:
        super().__init__(f"The AWS service {service} cannot be used: {code}")
        self.aws_code = code


class Credentials(NamedTuple):
    """The keys that requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None


class _Refusal(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")


class AwsService:
    """One service in one region; its connections are reused."""

    def __init__(self, name: str, region: str, target: str, version: str) -> None:
        """``target`` and ``version`` name the service's JSON protocol."""
        self._name = name
        self._region = region
        self._target = target
        self._type = f"application/x-amz-json-{version}"
        self._scheme, _, self._host = _address(name, region).rstrip("/").partition("://")
        self._idle: list[_Connection] = []
        self._tls: ssl.SSLContext | None = None

    async def call(self, action: str, timeout: float, **parameters: object) -> dict[str, Any]:
        """The answer of the service, within ``timeout`` seconds. Raises `ServiceFailed`."""
        body = msgspec.json.encode(parameters)
        head = {"content-type": self._type, "x-amz-target": f"{self._target}.{action}"}
        try:
            async with asyncio.timeout(timeout):
                status, answer = await self._post(body, head)
        except (OSError, EOFError, LimitOverrunError) as error:
            raise ServiceFailed(self._name, "it did not answer in time") from error
        if status != 200:
            raise ServiceFailed(self._name, _code(answer))
        return msgspec.json.decode(answer or b"{}", type=dict[str, Any])

    async def _post(self, body: bytes, head: dict[str, str]) -> tuple[int, bytes]:
        request = _request(await self._signed(body, head), body)
        while True:
            was_idle = bool(self._idle)
            reader, writer = self._idle.pop() if was_idle else await self._connect()
            try:
                writer.write(request)
                await writer.drain()
                status, answer, is_kept = await _answer(reader)
            except (ConnectionError, EOFError):
                writer.close()
                if not was_idle:
                    raise
                continue  # the service has closed the idle connection; try the next one
            except BaseException:
                writer.close()
                raise
            if is_kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
            return status, answer

    async def _connect(self) -> _Connection:
        host, _, port = self._host.partition(":")
        if self._scheme == "http":
            return await asyncio.open_connection(host, port or 80)
        # In a thread, as reading all certificates takes long.
        self._tls = self._tls or await asyncio.to_thread(ssl.create_default_context)
        return await asyncio.open_connection(host, port or 443, ssl=self._tls)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _signed(self, body: bytes, head: dict[str, str]) -> dict[str, str]:
        credentials = _from_environment() or await asyncio.to_thread(_from_botocore)
        head = {"host": self._host, **head}
        return signed(head, body, self._name, self._region, credentials, datetime.now(UTC))


def _request(head: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in {**head, "content-length": len(body)}.items()]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "\r\n"]).encode() + body


async def _answer(reader: StreamReader) -> tuple[int, bytes, bool]:
    """The status, the body, and whether the service keeps the connection.

    Raises `ConnectionError` for an answer that these services never send.
    """
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.strip().lower().split("\r\n")
    named = dict(line.split(":", 1) for line in lines if ":" in line)
    try:
        status, length = int(first.split()[1]), int(named["content-length"])
    except (LookupError, ValueError):
        raise ConnectionError("Not an answer with a length") from None
    if length > MAX_ANSWER:
        raise ConnectionError("More than these services ever answer")
    is_kept = named.get("connection", "").strip() != "close"
    return status, await reader.readexactly(length), is_kept


def signed(
    head: Mapping[str, str],
    body: bytes,
    service: str,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> dict[str, str]:
    """The headers of ``POST /``, with its signature."""
    at = now.strftime("%Y%m%dT%H%M%SZ")
    head = {**head, "x-amz-date": at}
    if credentials.token:
        head["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(head))
    lines = "".join(f"{name}:{head[name]}\n" for name in sorted(head))
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    proof = hmac.digest(key, to_sign.encode(), "sha256").hex()
    head["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope},"
        f" SignedHeaders={names}, Signature={proof}"
    )
    return head


def _from_environment() -> Credentials | None:
    """The credentials in the environment, which may change while the process runs."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Credentials(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return None


def _from_botocore() -> Credentials:
    """The credentials that botocore finds. Raises `InvalidInput` if there are none."""
    with extra("aws"):
        # botocore has no types
        from botocore.session import get_session  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType] - botocore has no types
    global _session  # one for the process, since it renews credentials that expire
    _session = _session or get_session()
    credentials = _session.get_credentials()
    if credentials is None:
        raise InvalidInput(
            "No AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    frozen = credentials.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


_session: Any = None


def _address(service: str, region: str) -> str:
    """The address of the service; AWS_ENDPOINT_URL replaces it, as for AWS's own tools."""
    if given := os.environ.get("AWS_ENDPOINT_URL"):
        return given
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{domain}"


def _code(answer: bytes) -> str:
    """The service's code for its refusal. Its message is left out, as it may quote the request."""
    try:
        return msgspec.json.decode(answer, type=_Refusal).type.rpartition("#")[2] or "refused"
    except msgspec.MsgspecError:
        return "refused"
