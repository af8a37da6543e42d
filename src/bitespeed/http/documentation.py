"""The description of the API, and a page to read and try it, without any other host."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles


def routes() -> list[BaseRoute]:
    """`/openapi.json`, `/docs` and the files that the page needs."""
    return [
        Route("/openapi.json", _openapi),
        Route("/docs", _page),
        Mount("/docs", StaticFiles(directory=_swagger_ui())),
    ]


async def _openapi(_: Request) -> Response:
    return Response(_description(), media_type="application/json")


async def _page(_: Request) -> Response:
    return HTMLResponse(_text("docs.html"))


@cache
def _description() -> bytes:
    return msgspec.json.encode(msgspec.yaml.decode(_text("openapi.yaml")))


def _text(name: str) -> str:
    return files("bitespeed.http").joinpath(name).read_text(encoding="utf-8")


def _swagger_ui() -> Path:
    """The folder of Swagger UI's own files; the package's Python code is not needed."""
    spec = find_spec("swagger_ui")
    assert spec is not None  # noqa: S101 - a dependency of this package
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent / "static"
