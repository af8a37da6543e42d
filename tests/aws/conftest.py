"""Fixtures for the tests of what runs on AWS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.backends import prepared
from support.lambda_emulator import build
from support.moto_server import Aws, aws


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the functions, built as it is deployed."""
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def played() -> Iterator[Aws]:
    """SQS, Secrets Manager and Parameter Store, played by moto."""
    with aws() as played:
        yield played


@pytest.fixture
def url(database: str) -> str:
    """The URL of a prepared database of the test's own."""
    prepared(database)
    return database
