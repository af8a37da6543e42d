"""AWS's JSON services by signed requests (Signature Version 4).

botocore would do, but takes a cold Lambda four times as long to import as all else that a request
needs; see docs/decisions/0021-aws-requests.md. It is still asked who we are where the environment
does not say, on a machine with an instance profile for example.
"""

import asyncio
import hashlib
import hmac
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from bitespeed.errors import BitespeedError, InvalidInput
from bitespeed.extras import extra


class ServiceFailed(BitespeedError):
    """An AWS service cannot be reached in time, or refuses. ``code`` is its own word for why."""

    def __init__(self, service: str, code: str) -> None:
        super().__init__(f"The AWS service {service} cannot be used: {code}")
        self.code = code


class Credentials(NamedTuple):
    """Who we are."""

    access_key: str
    secret_key: str
    token: str | None


class _Refusal(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")


class Service:
    """One service in one region; connections are kept, and may be used by several threads."""

    def __init__(self, name: str, region: str, target: str, version: str) -> None:
        """``target`` and ``version`` are those of its JSON protocol."""
        self._name = name
        self._region = region
        self._target = target
        self._type = f"application/x-amz-json-{version}"
        self._address = urlsplit(_address(name, region))
        self._idle: list[HTTPConnection] = []
        self._tls: ssl.SSLContext | None = None

    async def call(self, action: str, patience: float, **parameters: object) -> dict[str, Any]:
        """What the service answers, within ``patience`` seconds. Raises `ServiceFailed`."""
        return await asyncio.to_thread(self.call_now, action, patience, **parameters)

    def call_now(self, action: str, patience: float, **parameters: object) -> dict[str, Any]:
        """`call`, for threads."""
        body = msgspec.json.encode(parameters)
        head = {"content-type": self._type, "x-amz-target": f"{self._target}.{action}"}
        try:
            status, answer = self._post(body, head, patience)
        except (OSError, HTTPException) as error:
            raise ServiceFailed(self._name, "it did not answer in time") from error
        if status != 200:
            raise ServiceFailed(self._name, _code(answer))
        return msgspec.json.decode(answer or b"{}", type=dict[str, Any])

    def _post(self, body: bytes, head: dict[str, str], patience: float) -> tuple[int, bytes]:
        while True:
            is_kept = bool(self._idle)
            connection = self._idle.pop() if is_kept else self._connect()
            connection.timeout = patience
            if connection.sock is not None:
                connection.sock.settimeout(patience)
            try:
                connection.request("POST", "/", body, self._signed(body, head))
                response = connection.getresponse()
                answer = response.status, response.read()
            except (ConnectionError, HTTPException):
                connection.close()
                if not is_kept:
                    raise
                continue  # the service has closed it while it was idle
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            return answer

    def _connect(self) -> HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._address.scheme == "http":
            return HTTPConnection(host, port)
        self._tls = self._tls or ssl.create_default_context()
        return HTTPSConnection(host, port, context=self._tls)

    def _signed(self, body: bytes, head: dict[str, str]) -> dict[str, str]:
        return signed(
            {"host": self._address.netloc, **head},
            body,
            self._name,
            self._region,
            credentials(),
            datetime.now(UTC),
        )


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


def credentials() -> Credentials:
    """Who we are by now. Raises `InvalidInput` when nobody says so."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Credentials(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return _found_by_botocore()


def _found_by_botocore() -> Credentials:
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
