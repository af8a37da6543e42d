"""No email, phone number or key gets out where it does not belong, whatever fails.

Canaries are sent through every path, in success and in failure. Then everything that leaves the
service but answers is searched for them, in every form that they may have taken.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support import canary_values
from support.backends import connected
from support.canary_values import DOMAIN, EMAIL, LOCAL, NUMBER, PHONE
from support.cluster import Cluster, cluster
from support.redis_server import RedisServer, redis_server
from support.server import Reply, Server
from support.telemetry_receiver import Receiver, receiver

TIMEOUT = 15.0  # seconds until what must come has come, on a busy machine
POLL_INTERVAL = 0.02  # seconds between two polls
CANARIES = (LOCAL, DOMAIN, EMAIL, NUMBER)
ALL_SCOPES = "identify,read,delete,admin,metrics"

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BROKEN = {
    "a value that the database refuses": (
        "alter table contact_record add constraint shy check (email is null) not valid",
        "alter table contact_record drop constraint shy",
    ),
    "a trigger that quotes what it refuses": (
        """
        create function loud() returns trigger language plpgsql as
        $$ begin raise exception 'not %', new.email using detail = new.phone; end $$;
        create trigger loud before insert on contact_record for each row execute function loud()
        """,
        "drop function loud cascade",
    ),
    "a table that is gone": (
        "alter table identifier rename to elsewhere",
        "alter table elsewhere rename to identifier",
    ),
    "a column that is too narrow": (
        """
        drop view contact;
        alter table contact_record alter column raw_email type varchar(1) using null
        """,
        "alter table contact_record alter column raw_email type text",
    ),
}
"""What may be wrong with a database, and what makes it right again."""


class Scene:
    """A server with all that it can be connected with, and everything that came out of it."""

    def __init__(
        self, database: str, redis: RedisServer, received: Receiver, servers: Cluster, folder: Path
    ) -> None:
        self.database, self.redis, self.received, self.servers = database, redis, received, servers
        self.folder = folder
        self.keys = [new_key_of(database, scopes) for scopes in (ALL_SCOPES, "read", ALL_SCOPES)]
        """One for everything, one for little, one that will have been revoked."""
        self.server = Server(servers.ports[0], folder / "none", folder / "none", 0)
        self.answers: list[bytes] = []
        self.refusals: list[bytes] = []
        self.printed: list[bytes] = []
        self._numbers = iter(range(1000))

    @property
    def canaries(self) -> list[str]:
        """All that is searched for: parts of values, and the secrets of keys."""
        return [*CANARIES, *(key.rpartition("_")[2] for key in self.keys)]

    def send(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request, its answer kept where it belongs."""
        usual = {"traceparent": TRACEPARENT, "X-API-Key": self.keys[0]}
        reply = self.server.ask(method, target, body, usual | headers)
        (self.answers if reply.status < 400 else self.refusals).append(reply.body)
        self.refusals.append(str(reply.headers).encode())
        return reply

    def observe(self, email: str | None, phone: str | None) -> Reply:
        body = json.dumps({"email": email, "phoneNumber": phone}).encode()
        return self.send("POST", "/identify", body)

    def fresh(self) -> tuple[str, str]:
        """An email and a phone with a canary in each that nobody has sent before."""
        number = next(self._numbers)
        return f"{LOCAL}{number}@{DOMAIN}{number}.example", f"+{NUMBER}{number:04}"

    def command(self, *words: str, stdin: str = "") -> str:
        """Run one of ours; what it prints as an answer is none of what is searched."""
        environ = {"DATABASE_URL": self.database, "REDIS_URL": self.redis.url}
        done = subprocess.run(
            [sys.executable, "-m", "bitespeed", *words],
            env=os.environ | environ,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        self.printed.append(done.stderr.encode())
        return done.stdout

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not is_so():
            assert time.monotonic() < deadline, self.servers.log()
            time.sleep(POLL_INTERVAL)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with connected(self.database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def scene(database: str, tmp_path: Path) -> Iterator[Scene]:
    environ = {
        "BITESPEED_LOG_LEVEL": "debug",
        "BITESPEED_DEADLINE": "2",
        "BITESPEED_DATABASE_TIMEOUT": "1.5",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with redis_server() as redis, receiver() as received:
        environ |= {"REDIS_URL": redis.url, "SENTRY_DSN": received.dsn}
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = received.otlp
        with cluster(tmp_path, database=database, **environ) as servers:
            yield Scene(database, redis, received, servers, tmp_path)


def new_key_of(database: str, scopes: str) -> str:
    """A new key of the tenant that commands work for."""
    command = [sys.executable, "-m", "bitespeed", "keys", "create", "--tenant", "default"]
    command += ["--scope", scopes, "--database", database]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def succeed(scene: Scene) -> None:
    """Every path, as it is meant; canaries come back in answers."""
    one, other = scene.fresh(), scene.fresh()
    scene.observe(EMAIL, PHONE)
    scene.observe(EMAIL.upper(), None)
    for email, phone in (one, other, one, (one[0], other[1])):
        assert scene.observe(email, phone).status == 200
    lines = b"\n".join(json.dumps({"email": scene.fresh()[0]}).encode() for _ in range(3))
    scene.send("POST", "/identify/batch", lines, **{"Content-Type": "application/x-ndjson"})
    found = scene.send("GET", f"/contacts?email={quote(EMAIL)}&phoneNumber={quote(PHONE)}")
    contact = found.contact["primaryContatctId"]
    assert scene.send("GET", f"/contacts/{contact}").status == 200
    extra = scene.fresh()
    gone = scene.observe(*extra).contact["primaryContatctId"]
    assert scene.send("DELETE", f"/contacts/{gone}").status == 204
    subject = json.dumps({"email": scene.observe(*scene.fresh()).contact["emails"][0]}).encode()
    assert scene.send("POST", "/erase", subject).status == 200
    assert scene.send("POST", "/erase", subject).status == 404
    for path in ("/health", "/ready", "/metrics"):
        assert scene.send("GET", path).status == 200
    assert EMAIL in scene.command("export", "--email", EMAIL)
    email, phone = scene.fresh()
    scene.command("identify", "--email", email, "--phone", phone)
    scene.command("erase", "--phone", phone)


def mistake_keys(scene: Scene) -> None:
    """Keys that are good for nothing, or not for this, and good ones in wrong places."""
    good, little, revoked = scene.keys
    scene.command("keys", "revoke", revoked)
    scene.command("keys", "revoke", revoked.split("_")[1])
    scene.until(lambda: scene.send("GET", "/metrics", **{"X-API-Key": revoked}).status == 401)
    body = json.dumps({"email": EMAIL, "key": good}).encode()
    assert scene.send("POST", "/identify", body, **{"X-API-Key": little}).status == 403
    for wrong in (good[:-1], f"{good}0", good.replace("bsk_", "bsk-"), good.upper(), EMAIL, PHONE):
        for head in ({"X-API-Key": wrong}, {"X-API-Key": "", "Authorization": f"Bearer {wrong}"}):
            assert scene.send("POST", "/identify", body, **head).status == 401
    for name in ("X-Request-Id", "traceparent", "Cookie", "Content-Type"):
        scene.send("POST", "/identify", body, **{name: good})
    for target in (f"/contacts/{good}", f"/contacts?email={good}", f"/{good}", f"/metrics?{good}"):
        scene.send("GET", target)
    scene.send("POST", "/erase", json.dumps({"email": good, "contact": good}).encode())


def mistake(scene: Scene) -> None:
    """Requests that are refused; each has canaries where it is wrong."""
    email, phone = EMAIL, PHONE
    bodies = [
        {"email": f"{email}@{email}", "phoneNumber": phone},
        {"email": email, "phoneNumber": f"{phone}x{email}"},
        {"email": [email], "phoneNumber": {phone: phone}},
        {"email": email * 20, "phoneNumber": phone},
        {"email": f"{email}\0", "phoneNumber": phone},
        {"email": f"{email}\ud800", "phoneNumber": phone},
        [email, phone],
    ]
    raw = [json.dumps(body).encode() for body in bodies]
    raw += [f'{{"email": "{email}", {phone}'.encode(), email.encode("utf-16"), b"x" * 70_000]
    for path in ("/identify", "/identify/batch"):
        for body in raw:
            scene.send("POST", path, body)
            scene.send("POST", path, b"[%s]" % body)
        scene.send("POST", path, raw[0], **{"Content-Type": f"text/{LOCAL}"})
    for target in (
        f"/contacts?email={quote(email)}x",
        f"/contacts?email={quote(email)}%40&phoneNumber={quote(phone)}x",
        f"/contacts/{NUMBER}",
        f"/contacts/{quote(email)}",
        f"/{quote(email)}/{quote(phone)}?{email}",
    ):
        for method in ("GET", "DELETE", "PUT"):
            scene.send(method, target)
    for name in ("X-Request-Id", "traceparent", "tracestate", "baggage", "sentry-trace", "Accept"):
        for value in (email, NUMBER, b64encode(email.encode()).decode(), f"{email}-{phone}"):
            scene.send("POST", "/identify", raw[0], **{name: value})
            scene.send("GET", "/metrics", **{name: value})
    for junk in (f"{email} {phone}\r\n\r\n", f"GET /{email} HTTP/9\r\n{phone}\r\n\r\n"):
        scene.refusals.append(scene.server.raw(junk.encode()))


def break_the_database(scene: Scene) -> None:
    """The database refuses, in words that quote the value, and ends sessions in the middle."""
    view = scene.execute("select pg_get_viewdef('contact'::regclass)")[0][0]
    for broken, mended in BROKEN.values():
        scene.execute(broken)
        email, phone = scene.fresh()
        reply = scene.observe(email.upper(), phone)
        assert reply.status in {500, 503}
        scene.send("POST", "/identify/batch", json.dumps([{"email": email}]).encode())
        scene.command("identify", "--email", email, "--phone", phone)
        scene.command("import", "-", stdin=f"email,phone\n{email},{phone}\n{email}@,{phone}\n")
        scene.execute(mended)
    scene.execute(f"create view contact as {view}")
    with connected(scene.database) as connection, connection.transaction():
        connection.execute("lock table identity in exclusive mode")
        email, phone = scene.fresh()
        assert scene.observe(email, phone).status == 503  # past its deadline
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            " and datname = current_database()"
        )
    assert scene.observe(*scene.fresh()).status in {200, 503}


def break_the_cache(scene: Scene) -> None:
    """The cache holds nonsense, loses everything, and goes away."""
    known = scene.fresh()
    for _ in range(3):
        scene.observe(*known)
    for key, value in scene.redis.dump().items():
        if value.startswith(b"E"):
            scene.redis.ask("SET", key, b"E{" + f'"{EMAIL}": {PHONE}'.encode())
    assert scene.observe(*known).status == 200
    scene.redis.ask("FLUSHALL")
    scene.observe(*scene.fresh())
    scene.redis.kill()
    for _ in range(10):
        scene.observe(*known)
    scene.observe(*scene.fresh())
    scene.redis.start()
    scene.until(lambda: '"cache.resumed"' in scene.servers.log())
    scene.until(lambda: scene.observe(*known).status == 200 and cached(scene))


def cached(scene: Scene) -> bool:
    """Is any answer in the cache?"""
    return any(value.startswith((b"E", b"Z")) for value in scene.redis.dump().values())


def media(scene: Scene) -> dict[str, bytes]:
    """All that may hold no canary, by where it goes."""
    files = {path.name: path.read_bytes() for path in scene.folder.glob("server-*.log")}
    (log,) = files.values()
    posted = scene.received.posted
    return {
        "log": log,
        "metrics": scene.send("GET", "/metrics").body,
        "traces": b"".join(p.body for p in posted if p.path == "/v1/traces"),
        "heads of what is sent away": "".join(p.headers for p in posted).encode(),
        "sentry": b"".join(p.body for p in posted if "envelope" in p.path),
        "keys of the cache": b"\n".join(scene.redis.dump()),
        "refusals": b"\n".join(scene.refusals),
        "printed by commands": b"".join(scene.printed),
    }


EXPECTED = {
    "log": [
        b'"identity.erased"',
        b'"observation.undecided"',
        b'"cache.unreadable"',
        b'"contact.created"',
        b'"cache.suspended"',
        b'"cache.hit"',
    ],
    "metrics": [b"bitespeed_failures_total"],
    "traces": [b"gather", b"cache", b"read", b"rule", b"commit", b"error.type"],
    "heads of what is sent away": [b"sentry", b"protobuf"],
    "sentry": [b"observation.undecided", b"stacktrace"],
    "keys of the cache": [b"{bitespeed}:"],
    "refusals": [b"Internal error", b"x-request-id", b"not an email address", b"lacks the scope"],
    "printed by commands": [b"Error: "],
}
"""What must be found, so that the right things are searched and the failures did happen."""


def test_no_canary_gets_out(scene: Scene) -> None:
    scene.until(lambda: '"cache.resumed"' in scene.servers.log())
    succeed(scene)
    mistake(scene)
    mistake_keys(scene)
    break_the_cache(scene)
    break_the_database(scene)  # last: an import takes the cache out of use for half a minute
    scene.received.wait(lambda: len(scene.received.errors()) >= 3)
    searched = media(scene)
    for name, marks in EXPECTED.items():
        assert [mark for mark in marks if mark not in searched[name]] == [], name
    assert canary_values.found(searched, *scene.canaries) == []
    everything = repr([scene.execute(f"select * from {table}") for table in ("api_key", "event")])
    secrets = [key.rpartition("_")[2] for key in scene.keys]
    assert canary_values.found({"database": everything.encode()}, *secrets) == []
    places = {
        "answers": b"".join(scene.answers),
        "values of the cache": b"".join(scene.redis.dump().values()),
        "database": repr(scene.execute("select email, phone from contact_record")).encode(),
    }
    assert {place for place, _ in canary_values.found(places, EMAIL, NUMBER)} >= {
        "answers",
        "database",
    }
    assert {place for place, _ in canary_values.found(places, LOCAL)} == set(places)
    assert let_one_out(scene) == {"log", "sentry", "refusals"}


def let_one_out(scene: Scene) -> set[str]:
    """Where a canary is found after one has been let out, as the id of a request that fails."""
    scene.execute(next(iter(BROKEN.values()))[0])
    sent = len(scene.received.errors())
    body = json.dumps({"email": scene.fresh()[0]}).encode()
    assert scene.send("POST", "/identify", body, **{"X-Request-Id": LOCAL}).status == 500
    scene.received.wait(lambda: len(scene.received.errors()) > sent)
    return {name for name, _ in canary_values.found(media(scene), *CANARIES)}


def test_search_finds_canaries_in_every_form_and_medium() -> None:
    for value in CANARIES:
        planted = [*canary_values.forms(value), *canary_values.in_base64(value)]
        for name in EXPECTED:
            for form in planted:
                assert canary_values.found({name: b"..." + form + b"..."}, *CANARIES)
        for text in (
            value.upper(),
            f"Key (email)=({value}) already exists",
            quote(quote(value)),
            json.dumps({"email": value}),
            *(b64encode(b"x" * n + value.encode() + b"yz").decode() for n in range(4)),
            value.encode().hex(),
        ):
            assert canary_values.found({"log": text.encode()}, value), text
    assert canary_values.found({"log": f"({NUMBER[:3]}) {NUMBER[3:]}".encode()}, NUMBER)
