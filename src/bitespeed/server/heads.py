"""The head of a request: what RFC 9110 and RFC 9112 have a server check and the parser does not."""

import re
from functools import lru_cache
from typing import cast

import httptools

from bitespeed.api.http import Headers
from bitespeed.errors import ExpectationFailed, InvalidInput

Lines = list[tuple[bytes, bytes]]
"""The lines of a head, as they came; their names in lower case."""

_VERSIONS = {"1.0", "1.1"}
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")  # RFC 3986: name or address, and port
_OFFER = {b"upgrade", b"http2-settings"}  # headers, and the words of `Connection` that name them


def check_head(version: str, headers: Headers, lines: Lines) -> None:
    """Raise `InvalidInput` for a head that RFC 9112 has a server refuse.

    ``headers`` has the ``lines`` by name.
    """
    if version not in _VERSIONS:
        raise InvalidInput("This server answers HTTP 1.0 and 1.1")
    host = headers.get(b"host")
    if host is None:
        if version == "1.1":
            raise InvalidInput("A request needs the header Host")
    elif not _is_host(host) or (len(headers) < len(lines) and len(_values(lines, b"host")) > 1):
        raise InvalidInput("A request may have one header Host, with a name and a port")
    if b"transfer-encoding" in headers:
        # The parser takes `gzip, chunked`, of which nobody here would undo the `gzip`. Where it
        # is unknown how an HTTP/1.0 client frames its body, nobody knows where the body ends.
        encodings = [value.lower() for value in _values(lines, b"transfer-encoding")]
        if encodings != [b"chunked"] or version == "1.0":
            raise InvalidInput("Send the body with a Content-Length or as chunked, in HTTP 1.1")


def expects_continue(version: str, lines: Lines) -> bool:
    """Whether the client waits for `100 Continue` before it sends the body, which a client of
    HTTP/1.0 cannot. Raises `ExpectationFailed` if it expects anything else.
    """
    wanted = {
        word.strip().lower() for value in _values(lines, b"expect") for word in value.split(b",")
    }
    if wanted - {b"100-continue", b""}:
        raise ExpectationFailed
    return b"100-continue" in wanted and version != "1.0"


def without_offer(lines: Lines) -> Lines:
    """The lines without the offer to upgrade; what else `Connection` says stays."""
    kept: Lines = []
    for name, value in lines:
        if name == b"connection":
            words = [word.strip() for word in value.split(b",")]
            value = b", ".join(word for word in words if word.lower() not in _OFFER)
        if name not in _OFFER and (value or name != b"connection"):
            kept.append((name, value))
    return kept


def with_path(url: bytes) -> bytes:
    """The URL with a path, which one that begins with a host may lack (RFC 9112, 3.2.2)."""
    parts = httptools.parse_url(url)
    if cast("bytes | None", parts.path) is not None:
        return url
    return b"/?" + parts.query if parts.query else b"/"


@lru_cache(maxsize=64)  # one process has few names, and each request would take the time again
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _values(lines: Lines, name: bytes) -> list[bytes]:
    return [value for other, value in lines if other == name]
