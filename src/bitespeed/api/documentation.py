"""The description of the API, and a page to read and try it, without any other host."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

# Swagger UI's own files that the page needs; the package's Python code is not used.
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_A_DAY = {"Cache-Control": "max-age=86400"}


def routes() -> list[Route]:
    """`/openapi.json`, `/docs` and the files that the page needs."""
    return [
        Route("/openapi.json", _openapi),
        Route("/docs", _page),
        Route("/docs/{name}", _asset),
    ]


async def _openapi(_: Request) -> Response:
    return Response(_description(), media_type="application/json")


async def _page(_: Request) -> Response:
    return HTMLResponse(_text("docs.html"))


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response(_asset_bytes(name), media_type=_ASSETS[name], headers=_A_DAY)


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
