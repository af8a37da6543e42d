"""The Lambda functions, built as they are deployed, under AWS's emulator and on real parts: what
differs from a server. That the contract is kept there too is tested in `test_contract`.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from bitespeed.aws_json import Credentials, Service, ServiceFailed, signed
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.queues import Message, message
from bitespeed.queues.sqs import MAX_RECEIVED
from bitespeed.queues.worker import work_off
from bitespeed.rules.erase import Subject
from bitespeed.service.tenants import Tenants
from bitespeed.stores import open_store
from support.backends import connected, of_postgres, prepared
from support.database_url import as_user, database_of
from support.emulator import build, emulated, request_event, sqs_event
from support.keys import bearing, keep, made
from support.load import run
from support.moto import Aws, aws, environment
from support.server import fresh_email, fresh_phone, serve
from support.stores import failing, watched

QUEUE = "bitespeed.aws.queue.handler"
MESSAGES = int(os.environ.get("TEST_MESSAGES", "300"))  # 10,000 for the long form
KILLS = int(os.environ.get("TEST_KILLS", "2"))  # 10
LOOK = 0.1  # seconds between two looks
BACKLOG = 300  # messages; moto takes the longer for each call, the more there are
STRETCH = 540.0  # seconds from one killed worker to the next
VISIBILITY = 2  # seconds until what a killed worker had comes again
SHARE = 100  # one message in so many is poisoned
POISON = '{"email": "no address"}'
END_SESSIONS = """
select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def played() -> Iterator[Aws]:
    with aws() as played:
        yield played


@pytest.fixture
def url(database: str) -> str:
    prepared(database)
    return database


def endpoint(played: Aws) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL": played.environ["AWS_ENDPOINT_URL"]}


# What a cold start waits for

NEEDLESS = {
    *("click", "prometheus_client", "rich", "starlette", "structlog", "uvicorn", "yaml"),
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


def test_a_first_request_waits_for_nothing_that_it_does_not_need(package: Path, url: str) -> None:
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


# The environment between invocations


def test_connections_that_ended_while_it_was_frozen_fail_no_request(
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


def test_it_holds_one_connection_to_the_database(package: Path, tmp_path: Path, url: str) -> None:
    count = "select count(*) from pg_stat_activity where datname = ? and application_name = ?"
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        batch = [{"email": fresh_email()} for _ in range(600)]
        assert function.post("/identify/batch", batch).status == 200
        assert function.query(count, database_of(url), "bitespeed") == [(1,)]


def test_a_database_that_is_not_ready_is_a_503_until_it_is(
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


def test_a_request_is_answered_before_the_function_is_cut_off(
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


def test_what_it_prints_are_metrics_and_tells_nothing_about_anybody(
    package: Path, tmp_path: Path, url: str
) -> None:
    with emulated(package, tmp_path, direct=url, DATABASE_URL=url) as function:
        email, phone = fresh_email(), fresh_phone()
        function.identify(email, phone)
        function.identify(fresh_email(), phone)
        function.post("/identify", {"email": f"{email}@"})
        log = function.log()
    told = [json.loads(line) for line in log.splitlines() if line.startswith('{"_aws"')]
    said = [line["message"] for line in told]
    assert said == ["Created new primary contact", "Linked contact", ""]
    assert [line["status"] for line in told] == [200, 200, 400]
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
    place = endpoint(played) | {"BITESPEED_SETTINGS_ARN": arn}
    with emulated(package, tmp_path, direct=url, **place) as function:
        assert function.identify(None, "(650) 253-0000")["phoneNumbers"] == ["+16502530000"]


def test_when_the_database_refuses_the_user_the_secret_is_read_again(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    name = database_of(url)
    roles = [f"{name}_{which}" for which in ("old", "new")]
    with connected(url) as connection:
        try:
            for role in roles:
                connection.execute(f"create role {role} login superuser".encode())
            arn = played.secret(name, json.dumps({"DATABASE_URL": as_user(url, roles[0], "x")}))
            place = endpoint(played) | {"BITESPEED_SETTINGS_ARN": arn}
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


def test_requests_are_signed_as_by_aws_s_own_client() -> None:
    now, body = datetime.now(UTC).replace(microsecond=0), b'{"QueueUrl": "x"}'
    head = {"host": "sqs.eu-west-1.amazonaws.com", "x-amz-target": "AmazonSQS.SendMessage"}
    ours = signed(head, body, "sqs", "eu-west-1", Credentials("id", "secret", "token"), now)
    request = AWSRequest("POST", f"https://{head['host']}/", head, body)
    signer = SigV4Auth(BotoCredentials("id", "secret", "token"), "sqs", "eu-west-1")
    request.context["timestamp"] = ours["x-amz-date"]
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = "token"
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    assert ours["authorization"].endswith(signer.signature(to_sign, request))


# The queue


@pytest.mark.parametrize("name", ["standard", "ordered.fifo"])
def test_observations_are_accepted_and_reconciled(
    played: Aws, package: Path, tmp_path: Path, url: str, name: str
) -> None:
    queue, _ = played.queue(f"{database_of(url)}-{name}")
    place = endpoint(played) | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
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
    answer = run(identities(url))
    assert [sorted(c.email for c in identity.contacts) for identity in answer] == [sorted(emails)]


def test_who_has_no_key_is_refused_and_a_key_s_tenant_goes_with_the_message(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    queue, _ = played.queue(database_of(url))
    place = endpoint(played) | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
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


def test_a_message_for_what_cannot_be_a_tenant_is_refused(
    package: Path, tmp_path: Path, url: str
) -> None:
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


Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def with_service(speak: Speak, test: Callable[[Service], Awaitable[None]]) -> None:
    async def main() -> None:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with mock.patch.dict(os.environ, environment(port)):
            service = Service("sqs", "us-east-1", "AmazonSQS", "1.0")
            try:
                await test(service)
            finally:
                service.close()
                server.close()
                await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_what_is_no_answer_of_a_service_is_a_failure_of_it(answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def test(service: Service) -> None:
        with pytest.raises(ServiceFailed):
            await service.call("ListQueues", 5)

    with_service(speak, test)


def test_connections_are_kept_while_the_service_keeps_them() -> None:
    came: list[asyncio.StreamWriter] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"{}"):
                last = b"Connection: close\r\n" if len(came) == 3 else b""
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\n{}" % last)
        writer.close()

    async def test(service: Service) -> None:
        for _ in range(3):
            assert await service.call("ListQueues", 5) == {}
        assert len(came) == 1
        came[0].close()  # while it is idle
        for _ in range(2):
            assert await service.call("ListQueues", 5) == {}
        assert len(came) == 2
        await asyncio.gather(*(service.call("ListQueues", 5) for _ in range(2)))
        assert len(came) == 3  # which closes after its answer
        await asyncio.gather(*(service.call("ListQueues", 5) for _ in range(2)))
        assert len(came) == 4

    with_service(speak, test)


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
    assert [item["itemIdentifier"] for item in told["batchItemFailures"]] == ["m0", "m1"]


def test_behind_one_that_was_not_written_its_group_waits_and_behind_poison_nobody(
    tmp_path: Path,
) -> None:
    x, first, second, alone = (f'{{"email": "{name}@b.c"}}' for name in "abcd")
    messages = [
        Message("poison", POISON, "x"),
        Message("behind poison", x, "x"),
        Message("fails", first, "y"),
        Message("behind it", second, "y"),
        Message("alone", alone),
    ]

    async def work() -> set[str]:
        error = failing(RuntimeError("of the first one of y"))
        async with watched(tmp_path / "contacts.db") as (store, _):
            # All four fail together, then the half with it, then the one before it does not.
            store.committing.hooks = [error, error, failing_nobody, error]
            return await work_off(Tenants(store), messages, None)

    assert run(work()) == {"poison", "fails", "behind it"}


async def failing_nobody() -> None:
    pass


# Who is erased while messages about them wait


def test_what_was_put_on_the_queue_before_an_erasure_brings_nobody_back(
    played: Aws, package: Path, tmp_path: Path, url: str
) -> None:
    queue, _ = played.queue(database_of(url))
    place = endpoint(played) | {"BITESPEED_SQS_URL": queue, "DATABASE_URL": url}
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


def test_a_message_is_as_old_as_the_oldest_of_what_is_said_of_it(tmp_path: Path) -> None:
    before, after = str(int(time.time() * 1000)), str(int(time.time() * 1000) + 60_000)
    bodies = {name: f'{{"email": "a@b.c", "phoneNumber": "{n}"}}' for n, name in enumerate("abcd")}

    async def work() -> set[str]:
        async with watched(tmp_path / "contacts.db") as (store, service):
            await service.identify(observe("a@b.c", None))
            await service.erase(Subject(email=observe("a@b.c", None).email))
            messages = [
                message("a", bodies["a"], {"SentTimestamp": before}, {}),
                message("b", bodies["b"], {"SentTimestamp": after}, {"sent": before}),
                message("c", bodies["c"], {}, {"sent": "yesterday"}),
                message("d", bodies["d"], {"SentTimestamp": after}, {"sent": after}),
            ]
            assert await work_off(Tenants(store), messages, None) == set()
            return set((await service.look_up(observe("a@b.c", None).email, None)).phones)

    assert run(work()) == {"3"}


# The worker on a server


def people_in(log: str) -> list[str]:
    """What no log may have of the messages here."""
    return re.findall(r'hillvalley|no address|@|"(?:55|88)\d{1,9}"', log)


class Worker:
    def __init__(self, url: str, queue: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bitespeed", "queue", "work"],
                env=os.environ | {"DATABASE_URL": url, "BITESPEED_SQS_URL": queue},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, self._log.read_text()
        assert people_in(self._log.read_text()) == []

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def worker(url: str, queue: str, folder: Path) -> Worker:
    return Worker(url, queue, folder / "worker.log")


def test_ten_thousand_messages_one_in_a_hundred_poisoned_survive_a_killed_worker(
    played: Aws, tmp_path: Path, url: str
) -> None:
    """TEST_MESSAGES and TEST_KILLS say how many there are of each."""
    queue, dead = played.queue(database_of(url), receives=3 + KILLS, visibility=VISIBILITY)
    poisoned = {n for n in range(MESSAGES) if n % SHARE == SHARE // 2}
    good = MESSAGES - len(poisoned)
    sent = 0
    for kill in range(KILLS + 1):
        working = worker(url, queue, tmp_path)
        deadline = time.monotonic() + STRETCH
        while (done := contacts(url)) < good * (kill + 1) // (KILLS + 1):
            assert time.monotonic() < deadline, f"{done} of {good} are done"
            if sent == MESSAGES or sent - done >= BACKLOG:
                time.sleep(LOOK)
                continue
            entries = [
                {"Id": str(n), "MessageBody": POISON if n in poisoned else observation_of(n)}
                for n in range(sent, min(sent + MAX_RECEIVED, MESSAGES))
            ]
            played.sqs("SendMessageBatch", QueueUrl=queue, Entries=entries)
            sent += len(entries)
        if kill < KILLS:
            working.kill()
    with working:
        until_empty(played, queue)
    assert played.count(dead) == len(poisoned)
    found = run(identities(url))
    assert {c.email for identity in found for c in identity.contacts} == {
        f"n{n}@hillvalley.edu" for n in range(MESSAGES) if n not in poisoned
    }
    assert len(found) == len({household(n) for n in range(MESSAGES) if n not in poisoned})
    assert sum(len(i.contacts) for i in found) == good


def contacts(url: str) -> int:
    with connected(url) as connection:
        ((count,),) = connection.execute("select count(*) from contact_record").fetchall()
        return int(count)


def observation_of(n: int) -> str:
    """One of a household, who share a phone number."""
    return json.dumps({"email": f"n{n}@hillvalley.edu", "phoneNumber": f"55{household(n)}"})


def household(n: int) -> int:
    return n // 3


def until_empty(played: Aws, queue: str, left: int = 0) -> None:
    """Return when no more than so many messages are on the queue."""
    deadline = time.monotonic() + STRETCH
    while played.count(queue) > left:
        assert time.monotonic() < deadline, f"{played.count(queue)} messages are left"
        time.sleep(LOOK)


async def identities(url: str) -> list:
    store = await open_store(url)
    try:
        assert await check(store) == []
        return [identity async for page in store.scan() for identity in page]
    finally:
        await store.close()
