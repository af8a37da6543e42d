"""``why``, ``history`` and ``merges``, and the worked case of their page."""

import json
import re
import shlex
from pathlib import Path

import pytest

from support.commands import bitespeed, succeed

PAGE = Path(__file__).parents[2] / "docs" / "explain.md"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def transcript() -> list[tuple[str, str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (p.partition("\n") for p in parts)]


def plain(text: str) -> list[str]:
    """The lines, without the times and the blanks that fit columns to them."""
    return [" ".join(INSTANT.sub("T", line).split()) for line in text.strip().splitlines()]


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    shown = transcript()
    assert len(shown) >= 8
    for command, output in shown:
        name, *arguments = shlex.split(command)
        assert name == "bitespeed"
        assert plain(bitespeed(*arguments, cwd=tmp_path).stdout) == plain(output), command


@pytest.fixture
def couple(tmp_path: Path) -> Path:
    for email, phone in (("a@x.co", "1"), ("b@x.co", "2"), ("a@x.co", "2")):
        succeed("identify", "--email", email, "--phone", phone, cwd=tmp_path)
    succeed("identify", "--email", "c@x.co", "--phone", "3", cwd=tmp_path)
    return tmp_path


def test_why_says_no_with_status_1(couple: Path) -> None:
    done = bitespeed("why", "a@x.co", "contact:3", "--json", cwd=couple)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"together": False, "chain": None, "near": []}


def test_why_before_a_merge_says_no(couple: Path) -> None:
    merges = json.loads(succeed("merges", "--json", cwd=couple))["merges"]
    (merge,) = merges
    assert (merge["primaryContactIds"], merge["sizes"]) == ([1, 2], [1, 1])
    assert json.loads(succeed("why", "1", "2", "--json", cwd=couple))["together"]
    before = merge["at"].replace("Z", "+00:01")  # a minute earlier
    assert bitespeed("why", "1", "2", "--as-of", before, cwd=couple).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("why", "a@x.co", "nobody@x.co"), 1, "No contact has this email"),
        (("why", "a@x.co", "contact:77"), 1, "There is no contact with this id"),
        (("why", "a@x.co", "contact:x"), 2, "A contact is named as contact:2"),
        (("why", "a@x.co", "b@x.co", "--as-of", "yesterday"), 2, "not in ISO 8601"),
        (("history", "77"), 1, "There is no contact with this id"),
        (("history", "1", "--limit", "0"), 2, "limit must be from 1 to 1,000"),
        (("merges", "--limit", "1001"), 2, "limit must be from 1 to 1,000"),
        (("merges", "--partners", "101"), 2, "partners must be from 0 to 100"),
    ],
)
def test_refusals_are_one_sentence(
    couple: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    done = bitespeed(*arguments, cwd=couple)
    assert (done.returncode, sentence in done.stderr) == (status, True)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--minimum", "1"), 1),
        (("--minimum", "2"), 0),
        (("--partners", "2"), 1),
        (("--partners", "3"), 0),
    ],
)
def test_merges_are_filtered(couple: Path, options: tuple[str, ...], found: int) -> None:
    page = json.loads(succeed("merges", *options, "--json", cwd=couple))
    assert (len(page["merges"]), page["next"]) == (found, None)


def test_history_comes_in_pages(couple: Path) -> None:
    first = json.loads(succeed("history", "2", "--limit", "2", "--json", cwd=couple))
    assert [event["number"] for event in first["events"]] == [1, 2]
    rest = json.loads(succeed("history", "2", "--after", str(first["next"]), "--json", cwd=couple))
    assert [event["kind"] for event in rest["events"]] == ["identities.merged"]
    assert rest["next"] is None
    assert rest["events"][0]["between"] == [{"email": "a@x.co"}, {"phoneNumber": "2"}]
