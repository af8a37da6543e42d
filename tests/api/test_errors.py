"""The page on errors and the description have each error as the source has it."""

import re
from importlib.resources import files
from pathlib import Path

import yaml

from bitespeed import errors
from bitespeed.telemetry.metrics import REASONS
from support.errors import STATUSES, family

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
SPEC = yaml.safe_load(files("bitespeed.api").joinpath("openapi.yaml").read_text())
ERRORS = list(family(errors.BitespeedError))
HANDLED_HERE = {errors.Conflict, errors.CacheUnavailable}


def test_page_lists_every_code_with_its_status():
    rows = re.findall(r"^\| (none|`\w+`) \| (\d+) \|", PAGE, re.MULTILINE)
    described = {None if code == "none" else code.strip("`"): int(status) for code, status in rows}
    assert len(described) == len(rows)
    assert described == STATUSES


def test_tree_in_the_source_shows_every_class():
    row = re.compile(r"^ {4}( *)(\w+) +(\d+)  \(?(\w+)", re.MULTILINE)
    tree = [(len(indent) // 2, *rest) for indent, *rest in row.findall(errors.__doc__)]
    sent = [error for error in ERRORS if error not in HANDLED_HERE]
    depth = {error: len(error.__mro__) - len(errors.BitespeedError.__mro__) for error in sent}
    classes = [(depth[e], e.__name__, str(e.status), e.code or "none") for e in sent]
    assert sorted(tree) == sorted(classes)


def test_description_lists_every_code():
    described = SPEC["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
    assert sorted(described) == sorted(code for code in STATUSES if code)


def test_described_examples_have_the_codes_of_their_status():
    for path, item in SPEC["paths"].items():
        for operation in (value for value in item.values() if isinstance(value, dict)):
            for status, response in operation["responses"].items():
                name = response.get("$ref", "").rpartition("/")[2]
                for example in examples(SPEC["components"]["responses"].get(name, {})):
                    if "error" in example:
                        assert STATUSES[example.get("code")] == int(status), path


def examples(response):
    for media in response.get("content", {}).values():
        yield from (example["value"] for example in media.get("examples", {}).values())
        if "example" in media:
            yield media["example"]


def test_every_reason_is_one_of_the_metric():
    assert {error.reason for error in ERRORS} - {None} == set(REASONS)
