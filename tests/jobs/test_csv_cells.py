"""No cell of a CSV that we write is a formula, and each is read back as it was."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitespeed.jobs.csv_cells import escaped, unescaped
from support.commands import bitespeed, succeed

FORMULAS = ["=1+1@x.test", "-2@x.test", "@sum(1)", "+cmd|x@x.test", "\t=1", "+1+2", "+", "+1 x"]
HARMLESS = ["a@x.test", "+15550100", "+15550100 +4479", "'a@x.test", "a=b@x.test", "", "1-2"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formula_gets_one_apostrophe(text: str) -> None:
    assert escaped(text) == f"'{text}"
    assert escaped(f"'{text}") == f"''{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_cell_stays_as_it_is(text: str) -> None:
    assert (escaped(text), unescaped(text)) == (text, text)


@given(st.text(alphabet="'=-@\t+01a .", max_size=6))
def test_every_cell_is_read_back_unchanged(text: str) -> None:
    cell = str(escaped(text))
    assert unescaped(cell) == text
    assert not cell.startswith(("=", "-", "@", "\t"))


EMAILS = ["=cmd|x@evil.test", "-1@evil.test", "+1@evil.test", "'=x@evil.test", "'a@evil.test"]


def test_exported_formulas_are_imported_as_they_were(tmp_path: Path) -> None:
    for number, email in enumerate([*EMAILS, "plain@x.test"]):
        sent = (f"--email={email}", f"--phone=+155501{number}")
        succeed("identify", *sent, cwd=tmp_path)
    succeed("export", "--format", "csv", "--output", "all.csv", cwd=tmp_path)
    cells = [row[1] for row in csv.reader((tmp_path / "all.csv").read_text().splitlines())]
    quoted = ["'=cmd|x@evil.test", "'-1@evil.test", "'+1@evil.test", "''=x@evil.test"]
    assert cells == ["emails", *quoted, "'a@evil.test", "plain@x.test"]
    assert "'+15550" not in (tmp_path / "all.csv").read_text()
    new = ("--database", "sqlite:///new.db")
    succeed("import", "all.csv", *new, cwd=tmp_path)
    assert succeed("export", *new, cwd=tmp_path) == succeed("export", cwd=tmp_path)


def test_rejected_formulas_are_corrected_and_imported(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("email,phone\n=a@x.test,=1+1\n'=b@x.test,-x\n")
    succeed("import", "people.csv", cwd=tmp_path)
    rejects = tmp_path / "people.csv.rejects.csv"
    text = rejects.read_text()
    assert all(not cell.startswith("=") for row in csv.reader(text.splitlines()) for cell in row)
    rejects.write_text(text.replace("'=1+1", "77").replace("'-x", "78"))
    succeed("import", rejects, cwd=tmp_path)
    known = [json.loads(line)["contact"] for line in succeed("export", cwd=tmp_path).splitlines()]
    assert [c["emails"] for c in known] == [["=a@x.test"], ["'=b@x.test"]]


def test_apostrophes_in_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("email,phone\n'=a@x.test,1\n")
    succeed("import", "people.csv", cwd=tmp_path)
    assert bitespeed("lookup", "--email='=a@x.test", cwd=tmp_path).returncode == 0
