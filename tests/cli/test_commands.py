"""The command line as people and scripts use it, in real processes."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import bitespeed, succeed
from support.processes import heed_interrupts

HEADER = "email,phone\n"


def contacts(folder: Path, name: str = "bitespeed.db") -> int:
    connection = sqlite3.connect(folder / name)
    try:
        return connection.execute("select count(*) from contact").fetchone()[0]
    finally:
        connection.close()


def test_identify_creates_attaches_and_prints_the_published_answer(tmp_path: Path) -> None:
    succeed("identify", "--email", "A@x.example", "--phone", "12-34", cwd=tmp_path)
    printed = succeed(
        "identify", "--email", "b@x.example", "--phone", "1234", "--json", cwd=tmp_path
    )
    assert json.loads(printed) == {
        "contact": {
            "primaryContatctId": 1,
            "emails": ["a@x.example", "b@x.example"],
            "phoneNumbers": ["1234"],
            "secondaryContactIds": [2],
        }
    }


def test_identify_prints_a_table_for_people(tmp_path: Path) -> None:
    printed = succeed("identify", "--email", "[b]@x.example", cwd=tmp_path)
    assert "[b]@x.example" in printed
    assert "primary contact" in printed


def test_lookup_never_writes(tmp_path: Path) -> None:
    succeed("identify", "--email", "a@x.example", cwd=tmp_path)
    for wanted in (["--email", "a@x.example"], ["--contact", "1"]):
        assert "a@x.example" in succeed("lookup", *wanted, cwd=tmp_path)
    beyond = bitespeed("lookup", "--contact", str(2**63), cwd=tmp_path)
    assert (beyond.returncode, beyond.stderr) == (1, "Error: There is no contact with this id\n")
    unknown = bitespeed("lookup", "--phone", "99", cwd=tmp_path)
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "Error: No contact has this email or phoneNumber\n",
    )
    assert contacts(tmp_path) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["identify"], "Either email or phoneNumber is required"),
        (["identify", "--email", "nonsense"], "email is not an email address"),
        (["identify", "--phone", "call me"], "phoneNumber is not a phone number"),
        (["lookup", "--phone", "1", "--database", "mysql://x"], "must look like sqlite:///"),
        (["check", "--database", "sqlite:///no/such/folder/x.db"], "folder does not exist"),
        (["lookup", "--phone", "1", "--region", "Utopia"], "ISO 3166"),
    ],
)
def test_error_is_printed_as_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = bitespeed(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("tenant", ["*", "a b", "", "é", "a" * 65, "../x"])
def test_name_that_no_tenant_can_have_is_refused(tmp_path: Path, tenant: str) -> None:
    for command in ("identify", "lookup", "erase"):
        done = bitespeed(command, "--email", "a@b.c", "--tenant", tenant, cwd=tmp_path)
        assert (done.returncode, "A tenant is named by" in done.stderr) == (2, True)


def test_flags_win_over_the_environment(tmp_path: Path) -> None:
    environment = {"DATABASE_URL": "sqlite:///environment.db"}
    succeed("identify", "--phone", "1", cwd=tmp_path, **environment)
    succeed(
        "identify", "--phone", "1", "--database", "sqlite:///flag.db", cwd=tmp_path, **environment
    )
    assert sorted(p.name for p in tmp_path.glob("*.db")) == ["environment.db", "flag.db"]


def test_region_makes_national_and_international_forms_equal(tmp_path: Path) -> None:
    succeed("identify", "--phone", "(650) 253-0000", "--region", "US", cwd=tmp_path)
    printed = succeed("identify", "--phone", "+16502530000", cwd=tmp_path, BITESPEED_REGION="US")
    assert "+16502530000" in printed
    assert contacts(tmp_path) == 1


def cells(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


CSV = (
    HEADER + "a@x.example,1\nb@x.example,1\nbad,2\n,\nc@x.example,3\na@x.example,3\na@x.example,1\n"
)


def test_import_counts_what_is_new_and_writes_rejects(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(CSV)
    printed = json.loads(succeed("import", "people.csv", "--json", cwd=tmp_path))
    assert printed == {
        "rows": 7,
        "rejected": 2,
        "primaries": 2,
        "secondaries": 1,
        "merges": 1,
        "pairs": 0,
        "older": 0,
        "erased": 0,
        "repeats": 1,
    }
    rejects = cells(tmp_path / "people.csv.rejects.csv")
    assert rejects == [
        ["line", "reason", "email", "phone", "date"],
        ["4", "email is not an email address", "bad", "2", ""],
        ["5", "Either email or phoneNumber is required", "", "", ""],
    ]


def test_second_import_of_a_file_adds_nothing(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(CSV)
    succeed("import", "people.csv", cwd=tmp_path)
    before = contacts(tmp_path)
    printed = succeed("import", "people.csv", cwd=tmp_path)
    assert contacts(tmp_path) == before
    assert "0 new customers, 0 new contacts of known ones, 0 merges, 0 new pairs" in printed
    assert "5 with nothing new" in printed


def test_import_counts_pairs_of_known_values(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(f"{CSV}c@x.example,1\nc@x.example,1\n")
    printed = json.loads(succeed("import", "people.csv", "--json", cwd=tmp_path))
    assert (printed["merges"], printed["pairs"], printed["repeats"]) == (1, 1, 2)


def test_corrected_rejects_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(CSV)
    succeed("import", "people.csv", cwd=tmp_path)
    rejects = tmp_path / "people.csv.rejects.csv"
    rejects.write_text(rejects.read_text().replace("bad,2", "good@x.example,2"))
    succeed("import", rejects, cwd=tmp_path)
    assert "good@x.example" in succeed("lookup", "--phone", "2", cwd=tmp_path)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_import_reads_ndjson_from_standard_input(tmp_path: Path, name: str) -> None:
    lines = [
        {"email": "a@x.example", "phoneNumber": 1},
        {"email": None, "phone": "1"},
        {"email": True},
        ["no object"],
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n\n{broken\n"
    printed = json.loads(succeed("import", name, "--json", cwd=tmp_path, stdin=text))
    assert (printed["rows"], printed["primaries"], printed["repeats"]) == (5, 1, 1)
    reasons = [
        row[1] for row in csv.reader((tmp_path / "import.rejects.csv").read_text().splitlines())
    ][1:]
    assert reasons == [
        "email must be a string or null",
        "This line is not a JSON object in UTF-8",
        "This line is not a JSON object in UTF-8",
    ]


def test_import_reads_named_columns_after_a_byte_order_mark(tmp_path: Path) -> None:
    text = "\ufeffMail;no,Kunde Mail,Tel\nx,a@x.example,5\n"
    (tmp_path / "kunden.csv").write_text(text, encoding="utf-8")
    succeed(
        "import",
        "kunden.csv",
        "--email-column",
        "Kunde Mail",
        "--phone-column",
        "Tel",
        cwd=tmp_path,
    )
    assert "a@x.example" in succeed("lookup", "--phone", "5", cwd=tmp_path)


@pytest.mark.parametrize(
    ("text", "arguments", "sentence"),
    [
        ("name,city\nx,y\n", [], "No email or phone column among name, city"),
        ("", [], "No email or phone column among no columns at all"),
        (CSV, ["--email-column", "mail"], "There is no column mail among email, phone"),
    ],
)
def test_import_lists_the_columns_when_none_fits(
    tmp_path: Path, text: str, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "people.csv").write_text(text)
    done = bitespeed("import", "people.csv", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_import_rejects_hostile_rows_and_goes_on(tmp_path: Path) -> None:
    body = b"".join(
        [
            b"\xff\xfe@x.example,1\n",
            b'"' + b"x" * 200_000 + b'",1\n',
            b"nul\x00@x.example,1\n",
            b"only-one-cell\n",
            b"fine@x.example,7\n",
        ]
    )
    (tmp_path / "hostile.csv").write_bytes(HEADER.encode() + body)
    printed = json.loads(succeed("import", "hostile.csv", "--json", cwd=tmp_path))
    assert printed["primaries"] == 1
    assert printed["rejected"] == printed["rows"] - 1
    assert "fine@x.example" in succeed("lookup", "--phone", "7", cwd=tmp_path)


def test_endless_line_of_ndjson_is_rejected_in_bounded_memory(tmp_path: Path) -> None:
    endless = '{"email": "' + "x" * 3_000_000 + '"}\n{"phoneNumber": "8"}\n'
    (tmp_path / "long.ndjson").write_text(endless)
    succeed("import", "long.ndjson", cwd=tmp_path)
    assert "phone numbers" in succeed("lookup", "--phone", "8", cwd=tmp_path)
    assert "3,0" not in (tmp_path / "long.ndjson.rejects.csv").read_text()


def test_interrupted_import_keeps_its_chunks_and_can_be_repeated(tmp_path: Path) -> None:
    succeed("migrate", cwd=tmp_path)  # makes the file
    rows = "".join(f"u{n}@x.example,{n}\n" for n in range(80_000))
    (tmp_path / "many.csv").write_text(HEADER + rows)
    command = [sys.executable, "-m", "bitespeed", "import", "many.csv"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        while contacts(tmp_path) == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert "run it again for the rest" in printed
    assert 0 < contacts(tmp_path) < 80_000
    succeed("import", "many.csv", cwd=tmp_path)
    assert contacts(tmp_path) == 80_000
    assert "sound" in succeed("check", cwd=tmp_path)


def test_export_writes_ndjson_and_csv(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(CSV)
    succeed("import", "people.csv", cwd=tmp_path)
    (line,) = succeed("export", cwd=tmp_path).splitlines()
    assert json.loads(line)["contact"]["secondaryContactIds"] == [2, 3]
    succeed("export", "--format", "csv", "--output", "out.csv", cwd=tmp_path)
    assert cells(tmp_path / "out.csv") == [
        ["primary_contact_id", "emails", "phone_numbers", "secondary_contact_ids"],
        ["1", "a@x.example b@x.example c@x.example", "1 3", "2 3"],
    ]


def test_check_prints_the_ids_of_what_is_broken(tmp_path: Path) -> None:
    succeed("identify", "--phone", "1", cwd=tmp_path)
    assert "1 identity, sound" in succeed("check", cwd=tmp_path)
    connection = sqlite3.connect(tmp_path / "bitespeed.db")
    connection.execute("update identity set contacts = 5")
    connection.commit()
    connection.close()
    done = bitespeed("check", cwd=tmp_path)
    assert done.returncode == 1
    assert "I8: identity 1: counts 5 live contacts, has 1" in done.stdout
    printed = json.loads(bitespeed("check", "--json", cwd=tmp_path).stdout)
    assert [v["invariant"] for v in printed["violations"]] == ["I8"]


@pytest.mark.parametrize("name", ["", "serve", "identify", "lookup", "import", "export", "check"])
def test_help_of_a_command_shows_its_options(tmp_path: Path, name: str) -> None:
    printed = succeed(*([name] if name else []), "--help", cwd=tmp_path)
    assert "Usage: " in printed
    assert "--database" in printed
    assert list(tmp_path.iterdir()) == []


def test_help_lists_commands_with_whole_sentences(tmp_path: Path) -> None:
    printed = succeed("--help", cwd=tmp_path)
    assert "\n    bitespeed import customers.csv\n" in printed
    assert "..." not in printed.partition("Commands:")[2]
    assert "\\" not in printed + succeed("export", "--help", cwd=tmp_path)


def test_serve_refuses_what_cannot_work_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("this is no database, however you look at it" * 100)
    done = bitespeed("serve", "--database", "sqlite:///no.db", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "Error: The file is not a SQLite database\n")
    for variable in ("BITESPEED_PORT", "BITESPEED_WORKERS"):
        done = bitespeed("serve", cwd=tmp_path, **{variable: "many"})
        assert done.returncode == 2
        assert variable in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed_for_a_shell(tmp_path: Path, shell: str) -> None:
    command = [Path(sys.executable).with_name("bitespeed")]
    environ = os.environ | {"_BITESPEED_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"_BITESPEED_COMPLETE={shell}_complete" in done.stdout
    assert "_BITESPEED_COMPLETE=bash_source bitespeed" in succeed("--help", cwd=tmp_path)
