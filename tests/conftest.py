"""Fixtures for every test."""

from collections.abc import Iterator

import pytest

from support.server import Server, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that a module's tests share; it must get through them without a traceback."""
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert "Traceback" not in server.log()
