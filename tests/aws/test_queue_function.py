"""The queue function, built as it is deployed, and what puts messages on its queue."""

import json
from pathlib import Path

import pytest

from support.api_keys import bearing, keep, made
from support.backends import connected
from support.database_url import database_of
from support.lambda_emulator import emulated, sqs_event
from support.load_clients import run
from support.moto_server import Aws
from support.queue_worker import POISON, identities, people_in, until_empty, worker
from support.server import fresh_email, fresh_phone, serve

QUEUE = "bitespeed.aws.queue.handler"


def sources(url: str) -> list[tuple[str | None]]:
    """Where the facts come from."""
    with connected(url) as connection:
        return connection.execute("select distinct source from event").fetchall()


@pytest.mark.parametrize("name", ["standard", "ordered.fifo"])
def test_observations_are_accepted_and_reconciled(
    played: Aws, package: Path, tmp_path: Path, url: str, name: str
) -> None:
    queue, _ = played.queue(f"{database_of(url)}-{name}")
    place = played.endpoint() | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
    phone, emails = fresh_phone(), [fresh_email() for _ in range(3)]
    with emulated(package, tmp_path, direct=url, **place) as function:
        one = function.post("/observations", {"email": emails[0], "phoneNumber": phone})
        two = [{"email": email, "phoneNumber": phone} for email in emails[1:]]
        lines = "\n".join(map(json.dumps, two)).encode()
        ndjson = {"Content-Type": "application/x-ndjson"}
        replies = [
            one,
            function.post("/observations", two),
            function.ask("POST", "/observations", lines, ndjson),
        ]
        bad = function.post("/observations", [*two, {"email": "no address"}])
    assert [reply.status for reply in replies] == [202] * 3
    assert len({reply.json["messageId"] for reply in replies}) == 3
    assert bad.status == 400
    assert played.count(queue) == 3
    with worker(url, queue, tmp_path):
        until_empty(played, queue)
    told = (tmp_path / "worker.log").read_text()
    assert [told.count(event) for event in ("contact.created", "queue.refused")] == [3, 0]
    assert sources(url) == [("queue",)]
    answer = run(identities(url))
    assert [sorted(c.email for c in identity.contacts) for identity in answer] == [sorted(emails)]


def test_queued_message_carries_the_tenant_of_its_key(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    queue, _ = played.queue(database_of(url))
    place = played.endpoint() | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
    key, text = made("shop")
    keep(url, key)
    email = fresh_email()
    body = json.dumps({"email": email}).encode()
    with emulated(package, tmp_path, direct=url, **place, BITESPEED_PUBLIC="false") as function:
        for path in ("/identify", "/observations"):
            assert function.ask("POST", path, body).status == 401
        assert function.ask("POST", "/observations", body, bearing(text)).status == 202
        assert function.ask("GET", "/health").status == 200
    with worker(url, queue, tmp_path):
        until_empty(played, queue)
    with connected(url) as connection:
        found = connection.execute("select tenant, value from identifier").fetchall()
    assert found == [("shop", email)]


def test_message_with_an_invalid_tenant_is_refused(package: Path, tmp_path: Path, url: str) -> None:
    event = sqs_event(*['{"email": "a@b.c"}'] * 3)
    for record, tenant in zip(
        event["Records"],
        ({"stringValue": "a shop"}, {"stringValue": "shop"}, {"binaryValue": "c2hvcA=="}),
        strict=True,
    ):
        record["messageAttributes"] = {"tenant": tenant}
    with emulated(package, tmp_path, QUEUE, direct=url, DATABASE_URL=url) as function:
        failed = function.invoke(event)["batchItemFailures"]
        assert failed == [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]
        assert function.query("select tenant from identity") == [("shop",)]


def test_without_a_queue_observations_are_refused_in_clear_words(
    package: Path, tmp_path: Path, url: str
) -> None:
    with emulated(package, tmp_path, DATABASE_URL=url) as function, serve(tmp_path) as server:
        for answering in (function, server):
            reply = answering.post("/observations", {"email": fresh_email()})
            assert (reply.status, reply.error[:28]) == (501, "No queue is configured here;")


def test_a_queue_that_is_away_is_a_503(tmp_path: Path) -> None:
    away = {
        "BITESPEED_SQS_URL": "https://sqs.eu-west-1.amazonaws.com/1/away",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    with serve(tmp_path, **away) as server:
        assert server.post("/observations", {"email": fresh_email()}).status == 503


def test_a_poisoned_message_fails_alone_and_twice_changes_nothing(
    package: Path, tmp_path: Path, url: str
) -> None:
    good = [json.dumps({"email": fresh_email()}) for _ in range(4)]
    half = f"[{good[3]}, {POISON}]"
    event = sqs_event(good[0], POISON, good[1], "no json", "[]", half, good[2])
    with emulated(package, tmp_path, QUEUE, direct=url, DATABASE_URL=url) as function:
        failed = function.invoke(event)["batchItemFailures"]
        assert [item["itemIdentifier"] for item in failed] == ["m1", "m3", "m4", "m5"]
        before = function.tables()
        assert len(before["contact_record"]) == 3
        assert function.invoke(event)["batchItemFailures"] == failed
        assert function.tables() == before
        log = function.log()
    assert log.count("queue.refused") == 8
    assert log.count("contact.created") == 3
    assert people_in(log) == []
    assert people_in(f"not this one: {POISON}") != []


def test_when_nothing_can_be_written_every_message_comes_again(
    package: Path, tmp_path: Path, database: str
) -> None:
    with emulated(package, tmp_path, QUEUE, DATABASE_URL=database) as function:
        told = function.invoke(sqs_event('{"email": "a@b.c"}', '{"email": "d@e.f"}'))
        printed = function.log().splitlines()
    (line,) = [json.loads(text) for text in printed if text.startswith('{"_aws"')]
    assert line["error"] == "The database is not prepared; run bitespeed migrate"
    assert [item["itemIdentifier"] for item in told["batchItemFailures"]] == ["m0", "m1"]


# Who is erased while messages about them wait


def test_message_queued_before_an_erasure_restores_nobody(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    queue, _ = played.queue(database_of(url))
    place = played.endpoint() | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
    gone, other, late = fresh_email(), fresh_email(), fresh_phone()
    with emulated(package, tmp_path, direct=url, **place) as function:
        function.identify(gone)
        both = [{"email": gone, "phoneNumber": late}, {"email": other}]
        assert function.post("/observations", both).status == 202
        assert function.post("/erase", {"email": gone}).status == 200
        with worker(url, queue, tmp_path):
            until_empty(played, queue)
        assert function.query("select value from identifier") == [(other,)]
        assert function.identify(gone)["emails"] == [gone]
