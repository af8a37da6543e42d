"""The benchmark of explanations: what it fills a database with, and what it asks."""

from contextlib import closing

import pytest

from bench import data, explaining, processes

CONTACTS = 400


@pytest.mark.parametrize("shape", explaining.SHAPES)
def test_each_shape_is_one_person(shape, tmp_path):
    database = data.url(tmp_path / "contacts.db")
    explaining.fill(database, shape, CONTACTS, tmp_path)
    with (
        processes.service(database, tmp_path) as server,
        closing(explaining.Asking(server.port, shape, CONTACTS)) as asking,
    ):
        for _ in range(20):
            asking.ask()
        assert asking.chains == {"found": 20}
        assert len(asking.person()) == CONTACTS
