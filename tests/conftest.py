"""Fixtures for every test."""

from collections.abc import Iterator

import pytest

from support import postgres_server
from support.log_lines import unexpected_errors
from support.server import Server, serve


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a file together in one worker, since they share servers. Mutants share
    nothing and take long, so each goes to whoever has time; their own tests run without workers.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.path.parent.name != "mutants":
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server that a module's tests share; it must get through them without a traceback."""
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert unexpected_errors(server.log()) == []


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Postgres]:
    """The PostgreSQL server that all tests share."""
    with postgres_server.server() as postgres:
        yield postgres


@pytest.fixture
def database(postgres: postgres_server.Postgres) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with postgres.fresh_database() as url:
        yield url
