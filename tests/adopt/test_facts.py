"""What connects adopted contacts can be explained: their links are facts."""

import json
import os
from pathlib import Path

import pytest

from support.commands import bitespeed, succeed
from support.published_table import Row, fill, query

PAIRS = "select value, other from bitespeed.event where kind = 'pair.seen' order by seq"


def why(database: str, cwd: Path, one: str, other: str) -> list[list[str]]:
    """The values of each fact between the two."""
    text = succeed("why", one, other, "--json", cwd=cwd, DATABASE_URL=database)
    chain = json.loads(text)["chain"]
    return [[text for value in step["between"] for text in value.values()] for step in chain]


@pytest.mark.parametrize("deleted", [False, True])
def test_links_between_adopted_contacts_are_facts(
    database: str, tmp_path: Path, deleted: bool
) -> None:
    at = 5 if deleted else None
    rows = [
        Row(1, "a@x.test", "1", deleted_at=at),
        Row(2, "b@x.test", "2", 1, "secondary"),
        Row(3, "b@x.test", "3", 1, "secondary"),
        Row(4, None, "4", 1, "secondary"),
        Row(5, "a@x.test", "5", 1, "secondary", deleted_at=at),
    ]
    fill(database, rows)
    succeed("adopt", "--report", os.devnull, cwd=tmp_path, DATABASE_URL=database)
    assert query(database, PAIRS) == [("a@x.test", "b@x.test"), ("a@x.test", "4")]
    chain = why(database, tmp_path, "3", "4")
    assert chain == [["b@x.test", "3"], ["a@x.test", "b@x.test"], ["a@x.test", "4"]]
    done = bitespeed("why", "b@x.test", "a@x.test", cwd=tmp_path, DATABASE_URL=database)
    assert done.returncode == (1 if deleted else 0)
    succeed("check", cwd=tmp_path, DATABASE_URL=database)
