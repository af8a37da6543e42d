"""The command `bitespeed adopt`."""

import csv
import json
import re
from pathlib import Path

from support.adoption import LIVELY, ORDERLY, S, bitespeed
from support.published_table import Row, fill, query


def test_adoption_of_sqlite_is_refused(tmp_path: Path) -> None:
    done = bitespeed("adopt", cwd=tmp_path, url="sqlite:///some.db")
    assert done.returncode == 2
    assert (
        done.stderr
        == "Error: Only a table in PostgreSQL can be adopted: --database postgresql://...\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_command_prints_and_reports_repairs(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    done = bitespeed("adopt", "--dry-run", cwd=tmp_path, url=database)
    assert done.returncode == 0, done.stderr
    assert "public.contact: 4 contacts, 1 of them deleted, would become 1 identity" in done.stdout
    assert done.stdout.endswith("Nothing has been changed.\n")

    done = bitespeed("adopt", cwd=tmp_path, url=database)
    assert done.returncode == 0, done.stderr
    assert "became 1 identity" in done.stdout
    assert re.search(r"^chain +1 +secondaries of a secondary", done.stdout, re.MULTILINE)
    assert "demoted: contact 2: was primary, is secondary of 1\n" in done.stdout
    with (tmp_path / "adopt.report.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {
        "kind": "joined",
        "contacts": "1 2",
        "what": "shared one email and were not linked",
    } in rows
    assert len(rows) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["adopt.report.csv"]


def test_many_repairs_are_only_in_the_report(database: str, tmp_path: Path) -> None:
    fill(database, [Row(n, f"P{n}@x") for n in range(1, 40)])
    done = bitespeed("adopt", "--report", "all.ndjson", cwd=tmp_path, url=database)
    assert "respelled: contact" not in done.stdout
    lines = (tmp_path / "all.ndjson").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "kind": "respelled",
        "contacts": [1],
        "what": "email brought into canonical form",
    }
    assert len(lines) == 39


def test_json_flag_prints_a_summary(database: str, tmp_path: Path) -> None:
    fill(database, ORDERLY)
    printed = bitespeed("adopt", "--json", cwd=tmp_path, url=database).stdout
    assert json.loads(printed) == {
        "already": False,
        "dry_run": False,
        "table": "public.contact",
        "contacts": 5,
        "deleted": 1,
        "identities": 3,
        "time_zone": query(database, "show timezone")[0][0],
        "notes": [],
        "repairs": {},
        "report": None,
    }
    assert list(tmp_path.iterdir()) == []


def test_unwritable_report_stops_the_adoption(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    done = bitespeed("adopt", "--report", "nowhere/report.csv", cwd=tmp_path, url=database)
    assert (done.returncode, done.stderr) == (
        2,
        "Error: The report nowhere/report.csv cannot be written\n",
    )
    assert query(database, "select count(*) from bitespeed.contact_record") == [(0,)]


def test_output_and_report_contain_no_value(database: str, tmp_path: Path) -> None:
    fill(
        database,
        [Row(1, "Canary@x", "00-7 7"), Row(2, "canary@x", "canary", 1, S), Row(3, "canary")],
    )
    told = [bitespeed("adopt", cwd=tmp_path, url=database)]
    told += [bitespeed("adopt", "--table", "nowhere", cwd=tmp_path, url=database)]
    text = "".join(done.stdout + done.stderr for done in told)
    text += (tmp_path / "adopt.report.csv").read_text()
    assert "anary" not in text
    assert "00" not in text
