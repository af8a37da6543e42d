"""The description of the API, and a page to read it and try it, served without any other host."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import msgspec

from bitespeed.api.calls import Backend, Call
from bitespeed.api.http import HttpReply, reply
from bitespeed.errors import UnknownPath

# Swagger UI's own files that the page needs; the package's Python code is not used.
_ASSETS = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "favicon-32x32.png": b"image/png",
}
_FOR_A_DAY = (b"cache-control", b"max-age=86400")
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


async def openapi(_: Backend, __: Call) -> HttpReply:
    """GET /openapi.json"""
    return reply(_description(), _NO_SNIFFING)


async def page(_: Backend, __: Call) -> HttpReply:
    """GET /docs"""
    page = _text("docs.html").encode()
    policy = (b"content-security-policy", _policy(page))
    return reply(page, policy, _NO_SNIFFING, content_type=b"text/html; charset=utf-8")


async def page_file(_: Backend, call: Call) -> HttpReply:
    """GET /docs/{name}"""
    name = call.path_parameters["name"]
    if name not in _ASSETS:
        raise UnknownPath
    return reply(_asset_bytes(name), _FOR_A_DAY, _NO_SNIFFING, content_type=_ASSETS[name])


@cache
def _description() -> bytes:
    return msgspec.json.encode(msgspec.yaml.decode(_text("openapi.yaml")))


@cache
def _policy(page: bytes) -> bytes:
    """What the page may run, load and send to, and that no other page shows it in a frame."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = b"".join(b" 'sha256-%b'" % b64encode(sha256(text).digest()) for text in scripts)
    # Swagger UI sets styles in its elements, and has its icons in data: addresses.
    return (
        b"default-src 'none'; script-src 'self'%b; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'" % hashes
    )


def _text(name: str) -> str:
    return files("bitespeed.api").joinpath(name).read_text(encoding="utf-8")


@cache
def _asset_bytes(name: str) -> bytes:
    spec = find_spec("swagger_ui")
    assert spec is not None  # noqa: S101 - a dependency of this package
    assert spec.origin is not None  # noqa: S101 - as above
    return Path(spec.origin).parent.joinpath("static", name).read_bytes()
