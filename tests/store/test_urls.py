"""URLs that name no database."""

import asyncio

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.stores import open_store
from bitespeed.stores.options import Options


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "mysql://x/y", "file.db"])
def test_url_of_an_unknown_kind_is_refused(url):
    with pytest.raises(InvalidInput, match="sqlite:///path"):
        asyncio.run(open_store(url))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:99999/name",
        "postgresql://user:hunter2@host/name?no_such_setting=1",
        "postgresql://user:hunter2@127.0.0.1/name?sslmode=nonsense",
        "https://user:hunter2@host:port",
        "https://[",
    ],
)
def test_malformed_url_is_refused_without_its_password(url):
    with pytest.raises(InvalidInput) as refusal:
        asyncio.run(open_store(url, Options(key="secret")))
    assert "hunter2" not in str(refusal.value)
