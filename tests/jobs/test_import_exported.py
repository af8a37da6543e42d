"""What `bitespeed export` has written can be imported: the same values are together again."""

import csv
import json
from pathlib import Path

import pytest

from support.commands import succeed

PEOPLE = [
    ("a@x.example", "1"),
    ("b@x.example", "1"),
    ("c@x.example", "2"),
    ("c@x.example", "3"),
    ("b@x.example", "2"),  # merges two identities
    ("alone@x.example", None),
    (None, "+49891"),
    ("d@x.example", "4"),
    ("d@x.example", "5"),
    ("e@x.example", "5"),
]
OLD, NEW = "sqlite:///old.db", "sqlite:///new.db"
HEADER = "primary_contact_id,emails,phone_numbers,secondary_contact_ids\n"

Partition = set[tuple[frozenset[str], frozenset[str]]]


def exported(folder: Path, format_: str) -> Path:
    """The file that `bitespeed export` makes of PEOPLE."""
    rows = "".join(f"{email or ''},{phone or ''}\n" for email, phone in PEOPLE)
    (folder / "people.csv").write_text("email,phone\n" + rows)
    succeed("import", "people.csv", "--database", OLD, cwd=folder)
    file = folder / f"exported.{format_}"
    succeed("export", "--format", format_, "--output", file, "--database", OLD, cwd=folder)
    return file


def partition(folder: Path, url: str) -> Partition:
    lines = succeed("export", "--database", url, cwd=folder).splitlines()
    contacts = [json.loads(line)["contact"] for line in lines]
    return {(frozenset(c["emails"]), frozenset(c["phoneNumbers"])) for c in contacts}


def imported(folder: Path, file: Path) -> dict[str, int]:
    return json.loads(succeed("import", file, "--json", "--database", NEW, cwd=folder))


def reasons(file: Path) -> list[str]:
    with Path(f"{file}.rejects.csv").open() as stream:
        return [row["reason"] for row in csv.DictReader(stream)]


@pytest.mark.parametrize("format_", ["ndjson", "csv"])
def test_exported_identities_are_the_same_after_import(tmp_path: Path, format_: str) -> None:
    file = exported(tmp_path, format_)
    counts = imported(tmp_path, file)
    assert (counts["rows"], counts["primaries"], counts["rejected"]) == (4, 4, 0)
    assert counts["repeats"] == 0
    assert len(partition(tmp_path, OLD)) == 4
    assert partition(tmp_path, NEW) == partition(tmp_path, OLD)
    again = imported(tmp_path, file)
    assert (again["rows"], again["secondaries"], again["repeats"]) == (4, 0, 4)
    succeed("check", "--database", NEW, cwd=tmp_path)


@pytest.mark.parametrize("format_", ["ndjson", "csv"])
def test_partition_differs_when_an_exported_row_is_changed(tmp_path: Path, format_: str) -> None:
    file = exported(tmp_path, format_)
    file.write_text(file.read_text().replace("e@x.example", "other@x.example"))
    imported(tmp_path, file)
    assert partition(tmp_path, NEW) != partition(tmp_path, OLD)


@pytest.mark.parametrize(
    ("emails", "phones", "reason"),
    [
        ("a@x.example b@x.example", "", "Several emails without a common phone number"),
        ("", "1 2", "Several phone numbers without a common email"),
        ("a@x.example nonsense", "1", "email is not an email address"),
        ("", "", "Either email or phoneNumber is required"),
    ],
)
def test_exported_row_is_rejected_as_a_whole(
    tmp_path: Path, emails: str, phones: str, reason: str
) -> None:
    file = tmp_path / "exported.csv"
    file.write_text(f"{HEADER}1,{emails},{phones},\n2,fine@x.example,7,\n")
    counts = imported(tmp_path, file)
    assert (counts["rows"], counts["rejected"], counts["primaries"]) == (2, 1, 1)
    assert reason in reasons(file)[0]
    line = {"contact": {"emails": emails.split(), "phoneNumbers": phones.split()}}
    file = tmp_path / "exported.ndjson"
    file.write_text(json.dumps(line))
    assert imported(tmp_path, file)["rejected"] == 1
    assert reason in reasons(file)[0]


def test_broken_exported_rows_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "exported.ndjson"
    file.write_text('{"contact": 1}\n{"contact": {"emails": "a@x.example"}}\n')
    assert imported(tmp_path, file)["rejected"] == 2
    file = tmp_path / "exported.csv"
    file.write_text(HEADER + "1,a@x.example\n")
    imported(tmp_path, file)
    assert reasons(file) == ["This line has 2 of 4 cells"]


def test_exported_row_with_an_erased_value_is_left_out(tmp_path: Path) -> None:
    succeed("identify", "--phone", "2", "--database", NEW, cwd=tmp_path)
    succeed("erase", "--phone", "2", "--database", NEW, cwd=tmp_path)
    file = tmp_path / "exported.csv"
    file.write_text(f"{HEADER}1,a@x.example b@x.example,1 2 3,\n")
    counts = imported(tmp_path, file)
    assert (counts["rows"], counts["erased"], counts["repeats"]) == (1, 1, 0)
    assert partition(tmp_path, NEW) == set()
