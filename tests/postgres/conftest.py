"""Databases and servers for the tests of the PostgreSQL store."""

import pytest

from support.backends import (
    cleared,
    of_postgres,
    prepared,
)
from support.postgres_server import own_server
from support.postgres_store import execute


@pytest.fixture(scope="module")
def backend(postgres):
    """A database of this module's."""
    with postgres.fresh_database() as url:
        prepared(url)
        yield of_postgres(url)


@pytest.fixture
def url(backend):
    """The same, empty."""
    cleared(backend.direct)
    return backend.direct


@pytest.fixture(scope="module")
def own():
    """A private server that may be stopped and that tells every statement in its log."""
    settings = {"log_statement": "all", "log_parameter_max_length": 0, "log_lock_waits": "on"}
    with own_server(fsync=False, deadlock_timeout="100ms", **settings) as server:
        prepared(server.url())
        yield server


@pytest.fixture
def own_url(own):
    """Its database, empty."""
    cleared(own.url())
    return own.url()


@pytest.fixture
def role(own, own_url):
    """A login that owns nothing."""
    execute(own_url, "create role serving login password 'secret'")
    try:
        yield "serving"
    finally:
        execute(own_url, "drop owned by serving", "drop role serving")
