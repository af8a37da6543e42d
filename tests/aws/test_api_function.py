"""The API function, built as it is deployed, under AWS's emulator: what differs from a server.

That it keeps the contract is tested in `tests/api/test_contract.py`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.backends import connected, of_postgres, prepared
from support.database_url import as_user, database_of
from support.lambda_emulator import emulated, request_event
from support.moto_server import Aws
from support.server import fresh_email, fresh_phone

END_SESSIONS = """
select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


# What a cold start waits for

NEEDLESS = {
    *("click", "prometheus_client", "rich", "structlog", "uvicorn", "yaml"),
    *("httpx", "hiredis", "phonenumbers", "typing_extensions", "psycopg.connection", "psycopg.sql"),
    *("ctypes", "email", "http", "importlib.metadata", "importlib.resources", "pathlib", "sqlite3"),
    *("tempfile", "urllib.parse", "zipfile", "encodings.idna", "concurrent.futures.thread"),
    *("dataclasses", "random"),
}
"""Each of them takes milliseconds, and a function on PostgreSQL is to do without."""

ASK = """
import json, sys
from bitespeed.aws import api
from types import SimpleNamespace
context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 9000)
answer = api.handler(json.load(sys.stdin), context)
print(answer["statusCode"], *sys.modules, sep="\\n")
"""


def test_first_request_loads_only_what_it_needs(package: Path, url: str) -> None:
    body = b'{"email": "mcfly@hillvalley.edu"}'
    event = request_event("http api", "POST", "/identify", body, {"x-amzn-trace-id": "Root=1"})
    environ = {"PYTHONPATH": str(package), "DATABASE_URL": url, "BITESPEED_PUBLIC": "true"}
    command = [sys.executable, "-S", "-c", ASK]
    done = subprocess.run(
        command, input=json.dumps(event).encode(), env=environ, check=True, capture_output=True
    )
    _, status, *loaded = done.stdout.decode().splitlines()
    assert status == "200"
    assert "psycopg_binary.pq" in loaded
    assert set(loaded) & NEEDLESS == set()


def metric_lines(log: str) -> list[dict[str, Any]]:
    """The lines that CloudWatch takes metrics from."""
    return [json.loads(line) for line in log.splitlines() if line.startswith('{"_aws"')]


# The environment between invocations


def test_connections_ended_while_frozen_fail_no_request(
    package: Path, tmp_path: Path, url: str
) -> None:
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        for _ in range(3):
            email = fresh_email()
            answer = function.identify(email)
            assert function.query(END_SESSIONS)[0][0] > 0
            assert (
                function.identify(email, fresh_phone())["primaryContatctId"]
                == (answer["primaryContatctId"])
            )


def test_function_opens_one_connection_to_the_database(
    package: Path, tmp_path: Path, url: str
) -> None:
    count = "select count(*) from pg_stat_activity where datname = ? and application_name = ?"
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        batch = [{"email": fresh_email()} for _ in range(600)]
        assert function.post("/identify/batch", batch).status == 200
        assert function.query(count, database_of(url), "bitespeed") == [(1,)]


def test_request_succeeds_once_the_database_is_ready(
    package: Path, tmp_path: Path, database: str
) -> None:
    with emulated(package, tmp_path, direct=database, DATABASE_URL=database) as function:
        reply = function.post("/identify", {"email": fresh_email()})
        assert (reply.status, reply.error) == (
            500,
            "The database is not prepared; run bitespeed migrate",
        )
        prepared(database)
        assert function.identify(fresh_email())
        failed, succeeded = metric_lines(function.log())
    assert (failed["level"], failed["Errors"], failed["error"]) == ("ERROR", 1, reply.error)
    assert (succeeded["level"], succeeded["Errors"]) == ("INFO", 0)
    assert "error" not in succeeded


def test_request_is_answered_before_the_function_times_out(
    package: Path, tmp_path: Path, url: str
) -> None:
    short = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "2"}
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url, **short) as function:
        function.identify(fresh_email())
        with of_postgres(url).held():
            reply = function.post("/identify", {"email": fresh_email()})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert function.identify(fresh_email())


def test_an_event_that_is_no_request_keeps_it_warm(package: Path, tmp_path: Path, url: str) -> None:
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        assert function.invoke({"source": "aws.events"}) is None


def test_printed_metrics_contain_nothing_about_anybody(
    package: Path, tmp_path: Path, url: str
) -> None:
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        email, phone = fresh_email(), fresh_phone()
        function.identify(email, phone)
        function.identify(fresh_email(), phone)
        function.post("/identify", {"email": f"{email}@"})
        log = function.log()
    told = metric_lines(log)
    said = [line["message"] for line in told]
    assert said == ["Created new primary contact", "Linked contact", ""]
    assert [line["status"] for line in told] == [200, 200, 400]
    assert [line.get("error") for line in told][:2] == [None, None]
    assert "email" in told[2]["error"]
    for line in told:
        (measured,) = line["_aws"]["CloudWatchMetrics"]
        assert {metric["Name"] for metric in measured["Metrics"]} <= line.keys()
        assert line["requestId"] in log.replace(json.dumps(line), "")
    assert email not in log
    assert phone not in log


# Secrets


@pytest.mark.parametrize("kind", ["secret", "parameter"])
def test_settings_are_read_from_where_they_are_kept(
    played: Aws, package: Path, tmp_path: Path, url: str, kind: str
) -> None:
    text = json.dumps({"DATABASE_URL": url, "BITESPEED_REGION": "US"})
    arn = (played.secret if kind == "secret" else played.parameter)(f"/{database_of(url)}", text)
    place = played.endpoint() | {"BITESPEED_SETTINGS_ARN": arn}
    with emulated(package, tmp_path, direct=url, **place) as function:
        assert function.identify(None, "(650) 253-0000")["phoneNumbers"] == ["+16502530000"]


def test_secret_is_read_again_after_refused_login(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    name = database_of(url)
    roles = [f"{name}_{which}" for which in ("old", "new")]
    with connected(url) as connection:
        try:
            for role in roles:
                connection.execute(f"create role {role} login superuser".encode())
            arn = played.secret(name, json.dumps({"DATABASE_URL": as_user(url, roles[0], "x")}))
            place = played.endpoint() | {"BITESPEED_SETTINGS_ARN": arn}
            with emulated(package, tmp_path, direct=url, **place) as function:
                function.identify(fresh_email())
                played.change_secret(arn, json.dumps({"DATABASE_URL": as_user(url, roles[1], "x")}))
                connection.execute(f"alter role {roles[0]} nologin".encode())
                connection.execute(END_SESSIONS.encode())
                batch = function.post("/identify/batch", [{"email": fresh_email()}])
                assert "contact" in batch.json[0]
                assert played.environ["AWS_SECRET_ACCESS_KEY"] not in function.log().split()
        finally:
            connection.execute(END_SESSIONS.encode())
            for role in roles:
                connection.execute(f"drop role if exists {role}".encode())
