"""AWS's JSON services by signed requests (Signature Version 4).

botocore would do, but takes a cold Lambda four times as long to import as all else that a request
needs; see docs/decisions/0021-aws-requests.md. It is still asked who we are where the environment
does not say, on a machine with an instance profile for example. Nor is there an HTTP client: what
these services need of HTTP is little, and `http.client` takes a tenth of a cold start to import.
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

MAX_ANSWER = 32 * 1024 * 1024  # bytes; SQS gives ten messages of 1 MiB, which JSON may double

_Line = tuple[StreamReader, StreamWriter]


class ServiceFailed(BitespeedError):
    """An AWS service cannot be reached in time, or refuses. ``aws_code`` is its word for why."""

    def __init__(self, service: str, code: str) -> None:
        super().__init__(f"The AWS service {service} cannot be used: {code}")
        self.aws_code = code


class Credentials(NamedTuple):
    """Who we are."""

    access_key: str
    secret_key: str
    token: str | None


class _Refusal(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")


class AwsService:
    """One service in one region; connections are kept."""

    def __init__(self, name: str, region: str, target: str, version: str) -> None:
        """``target`` and ``version`` are those of its JSON protocol."""
        self._name = name
        self._region = region
        self._target = target
        self._type = f"application/x-amz-json-{version}"
        self._scheme, _, self._host = _address(name, region).rstrip("/").partition("://")
        self._idle: list[_Line] = []
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
                continue  # the service has closed it meanwhile
            except BaseException:
                writer.close()
                raise
            if is_kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
            return status, answer

    async def _connect(self) -> _Line:
        host, _, port = self._host.partition(":")
        if self._scheme == "http":
            return await asyncio.open_connection(host, port or 80)
        # In a thread, as reading all certificates takes long.
        self._tls = self._tls or await asyncio.to_thread(ssl.create_default_context)
        return await asyncio.open_connection(host, port or 443, ssl=self._tls)

    def close(self) -> None:
        """Let go of the connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _signed(self, body: bytes, head: dict[str, str]) -> dict[str, str]:
        who = _given_credentials() or await asyncio.to_thread(_found_by_botocore)
        head = {"host": self._host, **head}
        return signed(head, body, self._name, self._region, who, datetime.now(UTC))


def _request(head: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in {**head, "content-length": len(body)}.items()]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "\r\n"]).encode() + body


async def _answer(reader: StreamReader) -> tuple[int, bytes, bool]:
    """The status, the body, and whether the service keeps the connection.

    Raises `ConnectionError` for what these services never send.
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
    who: Credentials,
    now: datetime,
) -> dict[str, str]:
    """The headers of ``POST /``, with those that prove who sends it."""
    at = now.strftime("%Y%m%dT%H%M%SZ")
    head = {**head, "x-amz-date": at}
    if who.token:
        head["x-amz-security-token"] = who.token
    names = ";".join(sorted(head))
    lines = "".join(f"{name}:{head[name]}\n" for name in sorted(head))
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{who.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    proof = hmac.digest(key, to_sign.encode(), "sha256").hex()
    head["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={who.access_key}/{scope},"
        f" SignedHeaders={names}, Signature={proof}"
    )
    return head


def _given_credentials() -> Credentials | None:
    """Who we are by now, if the environment says so."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Credentials(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return None


def _found_by_botocore() -> Credentials:
    """The same by what botocore asks. Raises `InvalidInput` when nobody says so."""
    with extra("aws"):
        # botocore has no types
        from botocore.session import get_session  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType] - botocore has no types
    global _session  # it renews what expires, so there is one for the process
    _session = _session or get_session()
    found = _session.get_credentials()
    if found is None:
        raise InvalidInput("No AWS credentials are to be found; set AWS_ACCESS_KEY_ID, for example")
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


_session: Any = None


def _address(service: str, region: str) -> str:
    """AWS_ENDPOINT_URL names another one, as for AWS's own tools."""
    if given := os.environ.get("AWS_ENDPOINT_URL"):
        return given
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{domain}"


def _code(answer: bytes) -> str:
    """The service's word for its refusal; its text may quote what was sent."""
    try:
        return msgspec.json.decode(answer, type=_Refusal).type.rpartition("#")[2] or "refused"
    except msgspec.MsgspecError:
        return "refused"
