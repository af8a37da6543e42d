"""Fixtures for tests of the command line."""

import asyncio
from pathlib import Path

import pytest

from support.copies import fill, opened


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A rich store in a file; tests that write to it make a copy."""
    url = f"sqlite:///{tmp_path_factory.mktemp('people')}/people.db"

    async def make() -> None:
        async with opened(url) as (store,):
            await fill(store)

    asyncio.run(make())
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/target.db"
    return request.getfixturevalue("database")
