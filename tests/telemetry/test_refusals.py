"""What the log says of requests that were refused, or that nothing could answer."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bitespeed.errors import Conflict, Overloaded, StoreDamaged, StoreUnavailable, UnknownPath
from bitespeed.stores import availability
from bitespeed.stores.availability import AWAY_INTERVAL, Availability
from bitespeed.telemetry import logs, refusals
from bitespeed.telemetry.refusals import MAX_REFUSALS, REPEAT_INTERVAL, report_refusal
from bitespeed.telemetry.requests import Request
from support.cluster import Member, cluster
from support.log_lines import captured_log_lines
from support.postgres_server import own_server
from support.server import Server, fresh_email, serve
from support.telemetry_of_server import told
from support.telemetry_receiver import receiver

AWAY = "The database cannot be reached; try again"


def server_of(member: Member, folder: Path) -> Server:
    return Server(member.port, folder / "none", folder / "none", member.process.pid)


def events(log: str, event: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if f'"event":"{event}"' in line]


def test_database_away_and_back_are_logged_once_each(tmp_path: Path) -> None:
    with own_server() as postgres, receiver() as received:
        environ = {"SENTRY_DSN": received.dsn}
        with cluster(tmp_path, 1, database=postgres.url(), **environ) as servers:
            (member,) = servers.members
            server = server_of(member, tmp_path)
            email = fresh_email()
            server.identify(email)
            postgres.stop()
            refused = [server.post("/identify", {"email": email}) for _ in range(20)]
            postgres.start()
            member.wait_until_ready()
            for _ in range(3):
                server.identify(email)
            received.wait(lambda: bool(received.errors()))
            log = member.log()
    assert {reply.status for reply in refused} == {503}
    sentences = {reply.error for reply in refused}
    (away,) = events(log, "store.away")
    (back,) = events(log, "store.back")
    assert away["message"] in sentences
    assert away["at"] < back["at"]
    failed = events(log, "request.failed")
    assert {(line["level"], line["status"], line["code"]) for line in failed} == {
        ("error", 503, "store_unavailable")
    }
    assert sorted(line["message"] for line in failed) == sorted(sentences)  # once each
    (event,) = [e for e in received.errors() if e["exception"]["values"][0]["value"] == AWAY]
    assert event["tags"]["status"] == "503"
    assert email not in log


def test_lock_of_another_process_is_logged_as_away(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
            other.execute("begin immediate")
            refused = server.post("/identify", {"email": fresh_email()})
            other.execute("rollback")
        server.identify(fresh_email())
        (away,) = told(server, "store.away")
        assert away["message"] == refused.error == "The database is locked by another process"
        assert len(told(server, "store.back")) == 1


@pytest.mark.parametrize(
    ("method", "target", "body", "reason"),
    [
        ("POST", "/identify", b'{"email": "canary@one.example", "phoneNumber": {}}', "phoneNumber"),
        ("POST", "/identify", b"{}", "Either email or phoneNumber is required"),
        ("GET", "/contacts?email=canary%40two.example", None, "No contact has this email"),
        ("GET", "/canary", None, "There is nothing at this path"),
        ("DELETE", "/contacts/5550123", None, "contact"),
        ("PUT", "/identify", b"{}", "This path takes"),
        ("POST", "/identify/batch", b"[", "JSON"),
    ],
)
def test_refused_request_is_logged_with_reason_and_without_values(
    server: Server, method: str, target: str, body: bytes | None, reason: str
) -> None:
    before = len(told(server, "request.refused"))
    reply = server.ask(method, target, body, {"X-Request-Id": "mine"})
    (line,) = told(server, "request.refused")[before:]
    assert (line["level"], line["status"], line["request"]) == ("info", reply.status, "mine")
    assert line["message"] == reply.error
    assert reason in line["message"]
    assert line["code"] == reply.json.get("code")
    assert not re.search("canary|5550123", json.dumps(line))


def test_foreseen_error_is_logged_and_reported_with_its_sentence(tmp_path: Path) -> None:
    with receiver() as received, serve(tmp_path, SENTRY_DSN=received.dsn) as server:
        with closing(sqlite3.connect(server.database)) as other:
            other.execute("pragma writable_schema = on")
            size = server.database.stat().st_size
        with server.database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        replies = [server.ask("GET", f"/contacts/{i}") for i in range(1, 4)]
        damaged = [reply for reply in replies if reply.status == 500]
        assert damaged, replies
        (line,) = told(server, "request.failed")
        assert line["message"] == damaged[0].error == "The database file is damaged"
        received.wait(lambda: bool(received.errors()))
        values = received.errors()[0]["exception"]["values"]
        assert (values[0]["type"], values[0]["value"]) == ("StoreDamaged", damaged[0].error)


# Nothing floods the log


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [1000.0]
    monkeypatch.setattr(availability, "monotonic", lambda: now[0])
    monkeypatch.setattr(refusals, "monotonic", lambda: now[0])
    monkeypatch.setattr(refusals, "_failed", refusals._Failed())
    monkeypatch.setattr(refusals, "_refused", refusals._Refused())
    return now


def called(store: Availability, error: Exception | None, *, writes: bool = False) -> None:
    try:
        with store.writes if writes else store.reads:
            if error is not None:
                raise error
    except (StoreUnavailable, Conflict, StoreDamaged):
        pass


def test_database_that_fails_every_second_time_is_logged_seldom(clock: list[float]) -> None:
    store = Availability()
    with captured_log_lines() as lines:
        for _ in range(50):
            called(store, StoreUnavailable(AWAY))
            called(store, None)
        assert [line["event"] for line in lines] == ["store.away", "store.back"]
        clock[0] += AWAY_INTERVAL
        called(store, StoreUnavailable(AWAY))
    assert [line["event"] for line in lines] == ["store.away", "store.back", "store.away"]


def test_reads_do_not_show_that_writes_succeed_again(clock: list[float]) -> None:
    store = Availability()
    with captured_log_lines() as lines:
        called(store, StoreUnavailable("The disk that holds the database is full"), writes=True)
        called(store, None)
        assert [line["event"] for line in lines] == ["store.away"]
        called(store, None, writes=True)
    assert [line["event"] for line in lines] == ["store.away", "store.back"]


def test_conflict_shows_that_the_database_answers(clock: list[float]) -> None:
    store = Availability()
    with captured_log_lines() as lines:
        called(store, StoreUnavailable(AWAY))
        called(store, StoreDamaged("The database is damaged"))
        assert [line["event"] for line in lines] == ["store.away"]
        called(store, Conflict("An identity has changed"))
    assert [line["event"] for line in lines] == ["store.away", "store.back"]


def test_failing_sentence_is_logged_once_a_minute_with_count(clock: list[float]) -> None:
    request = Request({})
    with captured_log_lines() as lines:
        for _ in range(500):
            report_refusal(StoreUnavailable(AWAY), "identify", request)
        report_refusal(Overloaded("The queue is full"), "identify", request)
        clock[0] += REPEAT_INTERVAL
        report_refusal(StoreUnavailable(AWAY), "identify", request)
    assert [(line["message"], line.get("omitted")) for line in lines] == [
        (AWAY, None),
        ("The queue is full", None),
        (AWAY, 499),
    ]


def test_refusals_beyond_the_limit_are_counted(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "is_enabled", lambda _: True)
    logs.configure(None, "info")
    try:
        request = Request({})
        with captured_log_lines() as lines:
            for _ in range(MAX_REFUSALS + 7):
                report_refusal(UnknownPath(), "other", request)
            assert len(lines) == MAX_REFUSALS
            clock[0] += 1
            report_refusal(UnknownPath(), "other", request)
        assert lines[-1]["omitted"] == 7
    finally:
        logs.configure(None, "warning")
