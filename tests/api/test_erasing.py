"""Who is erased is gone from the files as well, and stays so when old rows are imported again."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.published_table import Row, fill, query
from support.server import Reply, Server, fresh_email, fresh_phone

ANN = ("canary-ann@shop.test", "+15550100771")
BOB = ("canary-bob@shop.test", "+15550100772")

VACUUMED = """
select relname from pg_stat_user_tables where vacuum_count > 0 order by relname
"""


def bitespeed(*arguments: str, database: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitespeed", *arguments],
        env=os.environ | {"DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def succeed(*arguments: str, database: str) -> str:
    done = bitespeed(*arguments, database=database)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_files(path: Path, *values: str) -> set[str]:
    """Which of the values are anywhere in the file or beside it, whatever the case."""
    content = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*")).lower()
    return {value for value in values if value.lower().encode() in content}


def identify_with_label(server: Server, email: str, phone: str, label: str) -> Reply:
    body = json.dumps({"email": email, "phoneNumber": phone}).encode()
    headers = {"Content-Type": "application/json", "X-Source": label}
    return server.ask("POST", "/identify", body, headers)


def test_erased_person_leaves_no_bytes_in_files(server: Server) -> None:
    server.identify(f" {ANN[0].upper()} ", ANN[1])
    server.identify("canary-ann@work.test", ANN[1])
    server.identify(*BOB)
    other = server.identify("canary-ann@home.test", "+15550100773")["primaryContatctId"]
    server.identify("canary-ann@home.test", ANN[1])
    assert server.ask("DELETE", f"/contacts/{other}").status == 204
    sent = ("Canary-Ann@Work.test", "+1 555 010 07 73"), (ANN[0].title(), "+1-555-010-0773")
    for (email, phone), label in zip(sent, ("canary-label", "canary-note"), strict=True):
        assert identify_with_label(server, email, phone, label).status == 200
    values = (
        *ANN,
        "canary-ann@work.test",
        "canary-ann@home.test",
        "+15550100773",
        *(phone for _, phone in sent),
        "canary-label",
        "canary-note",
    )
    assert in_files(server.database, *values) == {*values}

    reply = server.post("/erase", {"phoneNumber": ANN[1]})
    assert reply.status == 200, reply.body
    assert in_files(server.database, *values) == set()
    assert in_files(server.database, *BOB) == {*BOB}
    assert reply.json["erasure"] | {"id": "", "erasedAt": "", "pseudonyms": []} == {
        "id": "",
        "erasedAt": "",
        "identities": 2,
        "contacts": 4,
        "identifiers": 4,
        "emails": 3,
        "phones": 2,
        "pairs": 6,
        "events": 7,
        "pseudonyms": [],
    }
    assert not any(value in reply.body.decode() for value in values)
    assert server.post("/erase", {"phoneNumber": ANN[1]}).error
    assert server.ask("GET", f"/contacts?email={ANN[0]}").status == 404
    assert server.identify(*ANN)["emails"] == [ANN[0]]


def test_erased_person_stays_erased_after_repeated_import(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/people.db"
    rows = tmp_path / "rows.csv"
    old, today = "2020-01-01T00:00:00Z", datetime.now(UTC).isoformat()
    lines = [f"{ANN[0]},{ANN[1]},{old}", f"{ANN[0]},99,", f"{BOB[0]},{BOB[1]},{old}"]
    rows.write_text("\n".join(["email,phone,created_at", *lines]))
    succeed("import", str(rows), database=database)
    erase = ("erase", "--email", ANN[0], "--yes", "--json")
    receipt = json.loads(succeed(*erase, database=database))
    assert receipt["erasure"]["contacts"] == 2

    again = json.loads(succeed("import", str(rows), "--json", database=database))
    assert (again["erased"], again["repeats"], again["rejected"]) == (2, 1, 0)
    since = ("--since", "2019-12-31", "--json")
    again = json.loads(succeed("import", str(rows), *since, database=database))
    assert (again["erased"], again["repeats"], again["rejected"]) == (1, 1, 1)
    since = ("--since", today, "--json")
    again = json.loads(succeed("import", str(rows), *since, database=database))
    assert (again["older"], again["erased"], again["rejected"]) == (2, 0, 1)
    assert bitespeed("lookup", "--email", ANN[0], database=database).returncode == 1

    copied = f"sqlite:///{tmp_path}/copied.db"
    succeed("copy", "--from", database, "--to", copied, database=database)
    assert "2 of customers erased since" in succeed("import", str(rows), database=copied)

    succeed("identify", "--email", ANN[0], database=database)  # they come back themselves
    later = datetime.now(UTC).isoformat()
    rows.write_text(rows.read_text() + f"\n{ANN[0]},98,{later}")
    again = json.loads(succeed("import", str(rows), "--json", database=database))
    assert (again["erased"], again["secondaries"]) == (2, 1)
    assert "98" in succeed("lookup", "--email", ANN[0], database=database)
    succeed("check", database=database)


def test_a_tenant_is_erased_and_exported_without_another(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/people.db"
    for tenant in ("one", "other"):
        shop = ("--tenant", tenant)
        succeed("identify", "--email", ANN[0], "--phone", ANN[1], *shop, database=database)
        assert succeed("export", *shop, database=database).count("primary") == 1
    assert succeed("export", database=database).count("primary") == 2
    erase = ("erase", "--email", ANN[0], "--tenant")
    assert bitespeed(*erase, "default", database=database).returncode == 1
    assert "Erased 1 contact of" in succeed(*erase, "one", database=database)
    kept = succeed("export", "--email", ANN[0], "--tenant", "other", database=database)
    assert [contact["id"] for contact in json.loads(kept)["identities"][0]["contacts"]] == [2]


def test_an_import_since_a_time_needs_dates(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("email,phone\na@x.test,1\n")
    database = f"sqlite:///{tmp_path}/people.db"
    for since, sentence in (("2020-01-01", "--date-column"), ("yesterday", "ISO 8601")):
        done = bitespeed("import", str(rows), "--since", since, database=database)
        assert (done.returncode, sentence in done.stderr) == (2, True)
    assert bitespeed("lookup", "--email", "a@x.test", database=database).returncode == 1


def test_export_of_one_person_has_everything_stored(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/people.db"
    for sent in ((" A@Shop.test", "1-1"), ("b@shop.test", "2"), ("a@shop.test", "2"), BOB):
        succeed("identify", "--email", sent[0], "--phone", sent[1], database=database)
    everything = json.loads(succeed("export", "--phone", "2", database=database))
    (person,) = everything["identities"]
    contacts = [
        (c["id"], c["emailAsSent"], c["phoneNumberAsSent"], c["linkedId"])
        for c in person["contacts"]
    ]
    assert contacts == [(1, " A@Shop.test", "1-1", None), (2, "b@shop.test", "2", 1)]
    assert {i["value"] for i in person["identifiers"]} == {"a@shop.test", "b@shop.test", "11", "2"}
    kinds = [event["kind"] for event in person["events"]]
    assert kinds == ["contact.created", "contact.created", "identities.merged"]
    assert person["events"][2]["between"] == [{"email": "a@shop.test"}, {"phoneNumber": "2"}]
    assert [event["source"] for event in person["events"]] == ["cli"] * 3
    assert person["contacts"][0]["createdAt"].endswith("Z")
    assert (everything["deletedElsewhere"], everything["factsElsewhere"]) == ([], [])
    for arguments in (["--phone", "3"], ["--contact", "77"]):
        assert bitespeed("export", *arguments, database=database).returncode == 1
    for arguments in (["--phone", "2", "--contact", "1"], ["--phone", "2", "--format", "csv"]):
        assert bitespeed("export", *arguments, database=database).returncode == 2


def test_export_of_one_person_shows_each_fact(server: Server) -> None:
    one, other = fresh_email(), fresh_phone()
    first = server.identify(one.title(), "71 71")["primaryContatctId"]
    server.identify(one, other)
    second = server.identify(fresh_email(), other)
    identify_with_label(server, f" {second['emails'][1]} ", "7171", "newsletter")
    database = f"sqlite:///{server.database}"
    everything = json.loads(succeed("export", "--phone", other, database=database))
    (person,) = everything["identities"]
    *_, last = facts = person["facts"]
    email = {"email": second["emails"][1]}
    assert [fact["contact"] for fact in facts] == [first, first + 1, first + 2, None]
    assert facts[0]["between"] == [{"email": one}, {"phoneNumber": "7171"}]
    assert facts[0]["asSent"] == [one.title(), "71 71"]
    assert (last["between"], last["label"]) == ([email, {"phoneNumber": "7171"}], "newsletter")
    assert last["asSent"] == [f" {second['emails'][1]} ", "7171"]
    assert [fact["event"] for fact in facts] == [event["number"] for event in person["events"]]
    assert all(fact["at"].endswith("Z") and fact["request"] for fact in facts)


def test_export_shows_no_values_of_others_in_facts(server: Server) -> None:
    whose, theirs, known = fresh_email(), fresh_email(), fresh_phone()
    left = server.identify(whose, known)["primaryContatctId"]
    server.identify(theirs, known)
    server.identify(theirs, phone := fresh_phone())
    server.identify(whose, phone)
    assert server.ask("DELETE", f"/contacts/{left}").status == 204
    server.identify(whose, fresh_phone())
    database = f"sqlite:///{server.database}"
    text = succeed("export", "--email", whose, database=database)
    (fact,) = json.loads(text)["factsElsewhere"]
    assert (fact["between"], fact["asSent"]) == ([{"email": whose}], [whose])
    assert theirs not in text
    assert phone not in text


@pytest.mark.parametrize("arguments", [[], ["--email", ANN[0], "--contact", "1"]])
def test_erase_wants_one_way_to_name_a_person(tmp_path: Path, arguments: list[str]) -> None:
    done = bitespeed("erase", *arguments, database=f"sqlite:///{tmp_path}/people.db")
    assert (done.returncode, "by one of" in done.stderr) == (2, True)


def test_an_adopted_table_forgets_too_and_tables_are_vacuumed(database: str) -> None:
    second = Row(2, "canary-ann@work.test", ANN[1], 1, "secondary")
    fill(database, [Row(1, *ANN), second, Row(3, *BOB)])
    succeed("adopt", "--report", os.devnull, database=database)
    succeed("erase", "--email", ANN[0], "--yes", "--vacuum", database=database)
    assert query(database, "select id from bitespeed.adopted_contact") == [(3,)]
    assert query(database, "select email from public.contact") == [(BOB[0],)]
    assert query(database, VACUUMED) == [
        (table,) for table in ("contact_record", "event_record", "identifier", "identity")
    ]
    succeed("check", database=database)
