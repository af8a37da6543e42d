"""The description of the API, and a page to read it and try it, served without any other host."""

from functools import cache
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


async def openapi(_: Backend, __: Call) -> HttpReply:
    """GET /openapi.json"""
    return reply(_description())


async def page(_: Backend, __: Call) -> HttpReply:
    """GET /docs"""
    return reply(_text("docs.html").encode(), content_type=b"text/html; charset=utf-8")


async def page_file(_: Backend, call: Call) -> HttpReply:
    """GET /docs/{name}"""
    name = call.path_parameters["name"]
    if name not in _ASSETS:
        raise UnknownPath
    return reply(_asset_bytes(name), _FOR_A_DAY, content_type=_ASSETS[name])


@cache
def _description() -> bytes:
    return msgspec.json.encode(msgspec.yaml.decode(_text("openapi.yaml")))


def _text(name: str) -> str:
    return files("bitespeed.api").joinpath(name).read_text(encoding="utf-8")


@cache
def _asset_bytes(name: str) -> bytes:
    spec = find_spec("swagger_ui")
    assert spec is not None  # noqa: S101 - a dependency of this package
    assert spec.origin is not None  # noqa: S101 - as above
    return Path(spec.origin).parent.joinpath("static", name).read_bytes()
