"""A file for a database, and attempts without pauses."""

import pytest

from bitespeed.service import attempts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "identities.db"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Attempts follow each other at once."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.0)
