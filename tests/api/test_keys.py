"""API keys: what each opens, and that nothing of one tenant is ever seen or touched by another."""

import json
import os
import re
import time
from contextlib import ExitStack
from importlib.resources import files
from itertools import product

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from bitespeed.api.keyring import FRESH, TRUSTED
from bitespeed.api.operations import OPERATIONS
from bitespeed.cli import main
from bitespeed.model.api_keys import SCOPES as ALL_SCOPES
from bitespeed.model.api_keys import ApiKey, new_key
from bitespeed.settings import VARIABLES
from support.api_keys import bearing, guarded, keep, made
from support.backends import prepared
from support.redis_server import redis_server
from support.server import serve

SPEC = yaml.safe_load(files("bitespeed.api").joinpath("openapi.yaml").read_text())
SCOPES = {(o.method, o.path): o.scope for o in OPERATIONS if o.scope}
NOW = time.time_ns() // 1000
SHOPS = ("shop", "rival")
TIMEOUT = 15.0  # seconds until a cache is in use, on a busy machine

BODY = json.dumps({"email": "mcfly@hillvalley.edu", "phoneNumber": "123456"}).encode()


@pytest.fixture(scope="module", params=["sqlite", "postgres", "postgres with a cache"])
def shops(request, tmp_path_factory):
    """A server that knows keys of two shops: for each shop one of each scope."""
    folder = tmp_path_factory.mktemp("shops")
    keys = {(shop, scope): made(shop, [scope]) for shop, scope in product(SHOPS, ALL_SCOPES)}
    texts = {name: text for name, (_, text) in keys.items()}
    records = [key for key, _ in keys.values()]
    if request.param == "sqlite":
        with guarded(folder, f"sqlite:///{folder / 'contacts.db'}", *records) as server:
            yield server, texts
    else:
        postgres = request.getfixturevalue("postgres")
        with ExitStack() as running:
            url = running.enter_context(postgres.fresh_database())
            prepared(url)
            environ = {}
            if request.param == "postgres with a cache":
                environ["REDIS_URL"] = running.enter_context(redis_server()).url
            server = running.enter_context(guarded(folder, url, *records, **environ))
            if environ:
                fill_cache(server, texts)
            yield server, texts


def fill_cache(server, texts):
    """Ask until answers come from the cache."""
    end = time.monotonic() + TIMEOUT
    while hits(server, texts) == 0:
        assert time.monotonic() < end, server.log()
        for shop in SHOPS:
            founded(server, texts, shop)


def hits(server, texts):
    text = server.ask("GET", "/metrics", None, bearing(texts["shop", "metrics"])).body
    return float(re.search(rb'cache_lookups_total\{result="hit"\} (\S+)', text)[1])


REQUESTS = {
    ("POST", "/identify"): ("/identify", BODY),
    ("POST", "/identify/batch"): ("/identify/batch", b"[%b, %b]" % (BODY, BODY)),
    ("GET", "/contacts"): ("/contacts?email=mcfly@hillvalley.edu&phoneNumber=123456", None),
    ("GET", "/contacts/{id}"): ("/contacts/%d", None),
    ("DELETE", "/contacts/{id}"): ("/contacts/%d", None),
    ("POST", "/contacts/lookup"): ("/contacts/lookup", BODY),
    ("POST", "/why"): (
        "/why",
        b'{"between": [{"email": "mcfly@hillvalley.edu"}, {"phoneNumber": "123456"}]}',
    ),
    ("GET", "/contacts/{id}/history"): ("/contacts/%d/history", None),
    ("GET", "/merges"): ("/merges", None),
    ("POST", "/erase"): ("/erase", b'{"email": "mcfly@hillvalley.edu"}'),
    ("GET", "/metrics"): ("/metrics", None),
    ("POST", "/observations"): ("/observations", BODY),
}


def founded(server, texts, shop):
    """The same person with the same values, in this shop; the contact that is known there."""
    reply = server.ask("POST", "/identify", BODY, bearing(texts[shop, "identify"]))
    return reply.contact["primaryContatctId"]


def test_every_operation_is_tried():
    assert REQUESTS.keys() == SCOPES.keys()


@pytest.mark.parametrize("operation", SCOPES)
def test_nothing_crosses_from_one_tenant_to_another(shops, operation):
    server, texts = shops
    method, path = operation
    target, body = REQUESTS[operation]
    contacts = {shop: founded(server, texts, shop) for shop in SHOPS}
    assert contacts["shop"] != contacts["rival"]
    for own, asked in product(SHOPS, SHOPS):
        at = target % contacts[asked] if "{id}" in path else target
        reply = server.ask(method, at, body, bearing(texts[own, SCOPES[operation]]))
        if "{id}" in path and own != asked:
            assert reply.status == 404
            assert reply.error == server.ask(
                method, target % 999999999, None, bearing(texts[own, SCOPES[operation]])
            ).error.replace("999999999", str(contacts[asked]))
        elif method == "DELETE" or path == "/erase":
            assert reply.status == (204 if method == "DELETE" else 200)
            contacts[own] = founded(server, texts, own)
        elif path == "/observations":
            assert reply.status == 501  # nothing is queued here; tests of queues have the tenants
        elif path == "/metrics":
            assert reply.status == 200  # of the whole process; which shops there are is not in it
            assert not re.search(b"tenant|mcfly|123456", reply.body)
        else:
            assert reply.status == 200
            ids = set(re.findall(rb'"(?:primaryContatctId|contact)":(\d+)', reply.body))
            assert ids <= {b"%d" % contacts[own]}
    for shop in SHOPS:
        assert founded(server, texts, shop) == contacts[shop]


@pytest.mark.parametrize("operation", SCOPES)
@pytest.mark.parametrize("scope", ALL_SCOPES)
def test_key_permits_only_operations_of_its_scopes(shops, operation, scope):
    server, texts = shops
    method, path = operation
    target, body = REQUESTS[operation]
    contact = founded(server, texts, "shop")
    at = target % contact if "{id}" in path else target
    reply = server.ask(method, at, body, bearing(texts["shop", scope]))
    if scope == SCOPES[operation]:
        assert reply.status in {200, 204, 501}
    else:
        assert (reply.status, reply.error) == (
            403,
            f"The API key lacks the scope {SCOPES[operation]}",
        )
    if method == "GET":
        assert server.ask("HEAD", at, None, bearing(texts["shop", scope])).status == reply.status


def test_the_description_names_the_same_scopes():
    described = {
        (method.upper(), path): operation["security"]
        for path, item in SPEC["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and "security" in operation
    }
    assert described == {
        operation: [{"bearer": [scope]}, {"header": [scope]}, {}]
        for operation, scope in SCOPES.items()
    }
    for method, path in SCOPES:
        assert {"401", "403", "429"} <= SPEC["paths"][path][method.lower()]["responses"].keys()


@pytest.mark.parametrize("path", ["/health", "/ready", "/openapi.json", "/docs"])
def test_paths_without_customer_data_need_no_key(shops, path):
    assert shops[0].ask("GET", path).status == 200


class TestRefusals:
    def refused(self, server, headers, operation=("POST", "/identify")):
        target, body = REQUESTS[operation]
        reply = server.ask(operation[0], target.replace("%d", "1"), body, headers)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        return reply.error

    @pytest.mark.parametrize("operation", SCOPES)
    def test_without_a_key_nothing_opens(self, shops, operation):
        assert "An API key is needed" in self.refused(shops[0], {}, operation)

    @pytest.mark.parametrize(
        "form", ["", "x", "bsk_", "bsk_{id}", "{text}0", "{text} {text}", "{upper}"]
    )
    def test_malformed_key_is_refused(self, shops, form):
        text = shops[1]["shop", "identify"]
        sent = form.format(text=text, id=text[4:16], upper=text.upper())
        assert "This is not one API key" in self.refused(shops[0], bearing(sent))

    def test_a_key_with_another_secret_opens_nothing(self, shops):
        text = shops[1]["shop", "identify"]
        assert shops[0].ask("POST", "/identify", BODY, bearing(text)).status == 200
        wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
        assert "unknown" in self.refused(shops[0], bearing(wrong))

    def test_an_unknown_key_opens_nothing(self, shops):
        _, text = made()
        assert "unknown" in self.refused(shops[0], bearing(text))

    def test_two_keys_are_none(self, shops):
        one, other = shops[1]["shop", "identify"], shops[1]["rival", "identify"]
        headers = bearing(one) | {"X-API-Key": other}
        assert "not one API key" in self.refused(shops[0], headers)
        assert shops[0].ask("POST", "/identify", BODY, headers | {"X-API-Key": one}).status == 200

    @pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
    def test_last_of_two_key_headers_counts(self, shops, name):
        form = "Bearer {}" if name == "Authorization" else "{}"
        good, bad = (f"{name}: {form.format(t)}" for t in (shops[1]["shop", "read"], "x"))
        for lines, status in (((bad, good), 404), ((good, bad), 401)):
            head = ["GET /contacts/999999999 HTTP/1.1", "Host: x", "Connection: close", *lines]
            answer = shops[0].raw("\r\n".join([*head, "", ""]).encode())
            assert answer.startswith(b"HTTP/1.1 %d " % status)

    def test_a_key_in_an_address_is_none(self, shops):
        text = shops[1]["shop", "read"]
        for name in ("key", "api_key", "access_token", "authorization", "x-api-key"):
            assert shops[0].ask("GET", f"/contacts?phoneNumber=1&{name}={text}").status == 401

    def test_either_header_does(self, shops):
        text = shops[1]["shop", "identify"]
        for headers in ({"x-api-key": text}, {"authorization": f"bearer  {text}"}):
            assert shops[0].ask("POST", "/identify", BODY, headers).status == 200

    @pytest.mark.parametrize("length", [10, 10_000_000])
    @pytest.mark.parametrize("path", [path for method, path in SCOPES if method == "POST"])
    def test_the_answer_comes_before_the_body(self, shops, path, length):
        server, texts = shops
        for key, status in (("", 401), (texts["shop", "metrics"], 403)):
            sent = f"Authorization: Bearer {key}\r\n" if key else ""
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{sent}Content-Length: {length}\r\n\r\n"
            )
            with server.connect() as connection:
                connection.sendall(head.encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 %d " % status)

    def test_a_body_that_cannot_be_read_is_not(self, shops):
        reply = shops[0].ask("POST", "/identify", b"\xff{", bearing(shops[1]["shop", "read"]))
        assert reply.status == 403


class TestLives:
    """How long a key is good."""

    def status(self, server, text):
        return server.ask("POST", "/identify", BODY, bearing(text)).status

    def test_revoked_key_in_use_is_refused_within_seconds(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        (key, text), (_, other) = made(), made()
        with guarded(tmp_path, database, key) as server:
            assert self.status(server, text) == 200
            assert self.status(server, other) == 401
            output = run("keys", "revoke", key.id, database=database)
            assert output == f"Revoked {key.id}.\n"
            revoked_at = time.monotonic()
            while self.status(server, text) == 200:
                assert time.monotonic() < revoked_at + TRUSTED + FRESH
                time.sleep(0.02)

    def test_an_expired_key_is_refused_from_that_moment(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        end = time.time() + 2.5
        key, text = made(expires_at=int(end * 1e6))
        with guarded(tmp_path, database, key) as server:
            while time.time() < end - 0.3:
                assert self.status(server, text) == 200
                time.sleep(0.1)
            time.sleep(max(0, end - time.time()) + 0.05)
            assert self.status(server, text) == 401

    def test_a_new_key_opens_at_once(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        with guarded(tmp_path, database, made()[0]) as server:
            text = run(
                "keys", "create", "--tenant", "new", "--scope", "identify", database=database
            )
            assert self.status(server, text.strip()) == 200

    def test_without_a_database_nothing_is_open(self, postgres, tmp_path):
        with postgres.fresh_database() as url:
            prepared(url)
            key, text = made()
            with guarded(tmp_path, url, key, BITESPEED_DATABASE_TIMEOUT="1") as server:
                assert self.status(server, text) == 200
                postgres.drop(url.rpartition("/")[2])
                time.sleep(TRUSTED)
                reply = server.ask("POST", "/identify", BODY, bearing(text))
                assert (reply.status, bool(reply.error)) == (503, True)
                stranger = server.ask("POST", "/identify", BODY, bearing(made()[1]))
                assert (stranger.status, stranger.headers["retry-after"]) == (503, "1")

    def test_trusted_key_reads_metrics_without_the_database(self, postgres, tmp_path):
        end = time.time() + TRUSTED + 2
        watcher, short = made(scopes=["metrics"]), made(expires_at=int(end * 1e6))
        other, late = made(scopes=["read"]), made(scopes=["metrics"])

        def status(server, text):
            return server.ask("GET", "/metrics", None, bearing(text)).status

        with postgres.fresh_database() as url:
            prepared(url)
            keys = [key for key, _ in (watcher, short, other, late)]
            with guarded(tmp_path, url, *keys, BITESPEED_DATABASE_TIMEOUT="1") as server:
                texts = [text for _, text in (watcher, short, other)]
                assert [status(server, text) for text in texts] == [200, 200, 403]
                assert server.ask("GET", "/metrics").status == 401
                postgres.drop(url.rpartition("/")[2])
                time.sleep(max(TRUSTED, end - time.time()) + 0.1)
                assert [status(server, text) for text in texts] == [200, 503, 403]
                forged = texts[0][:-1] + ("0" if texts[0][-1] != "0" else "1")
                assert [status(server, t) for t in (forged, late[1])] == [401, 503]
                assert server.ask("GET", "/metrics").status == 401


def run(*words, database=None, status=0):
    """What a command prints."""
    where = ["--database", database] if database else []
    done = CliRunner(env=dict.fromkeys(VARIABLES.values())).invoke(main, [*words, *where])
    assert done.exit_code == status, done.output
    return done.stderr if status else done.stdout


class TestWithoutKeys:
    def test_loopback_server_needs_no_key_until_one_exists(self, tmp_path):
        with serve(tmp_path) as server:
            assert server.ask("POST", "/identify", BODY).status == 200
            assert server.ask("POST", "/identify", BODY, bearing("x")).status == 401
            assert server.ask("POST", "/identify", BODY, bearing(made()[1])).status == 401
            keep(f"sqlite:///{server.database}", made()[0])
            end = time.monotonic() + TRUSTED + FRESH
            while server.ask("POST", "/identify", BODY).status == 200:
                assert time.monotonic() < end
                time.sleep(0.02)

    def test_on_any_other_address_none_means_no_service(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        said = run("serve", "--host", "0.0.0.0", "--port", "0", database=database, status=2)
        for words in (
            "no API key",
            "0.0.0.0",
            "every customer",
            "bitespeed keys create",
            "--public",
        ):
            assert words in said

    @pytest.mark.parametrize("ways", [["--public"], []])
    def test_public_address_needs_a_key_or_permission(self, tmp_path, ways):
        with (
            serve(tmp_path, BITESPEED_HOST="0.0.0.0", BITESPEED_PUBLIC=str(bool(ways)))
            if ways
            else (
                guarded(
                    tmp_path,
                    f"sqlite:///{tmp_path / 'contacts.db'}",
                    made()[0],
                    BITESPEED_HOST="0.0.0.0",
                )
            ) as server
        ):
            assert server.ask("POST", "/identify", BODY).status == (200 if ways else 401)

    def test_keyless_callers_without_database_read_only_metrics(self, postgres, tmp_path):
        with postgres.fresh_database() as url:
            prepared(url)
            with guarded(tmp_path, url, BITESPEED_DATABASE_TIMEOUT="1") as server:
                assert server.ask("GET", "/metrics").status == 200
                postgres.drop(url.rpartition("/")[2])
                time.sleep(TRUSTED)
                assert server.ask("GET", "/metrics").status == 200
                assert server.ask("POST", "/identify", BODY).status == 503


class TestCommands:
    def test_keys_are_made_listed_and_revoked(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        text = run(
            "keys", "create", "--tenant", "shop", "--scope", "read,identify", "--expires", "30d",
            database=database,
        ).strip()  # fmt: skip
        (told,) = json.loads(run("keys", "list", "--json", database=database))
        assert (told["id"], told["tenant"], told["scopes"]) == (text[4:16], "shop", "identify read")
        assert told["expires"] > told["created"]
        assert told["revoked"] is None
        run("keys", "revoke", told["id"], database=database)
        (told,) = json.loads(run("keys", "list", "--json", database=database))
        assert told["revoked"] is not None
        listed = run("keys", "list", database=database)
        assert told["id"] in listed
        assert text[17:] not in listed

    def test_the_secret_is_kept_nowhere(self, tmp_path):
        database = tmp_path / "contacts.db"
        text = run(
            "keys", "create", "--tenant", "a", "--scope", "read", database=f"sqlite:///{database}"
        )
        assert text[4:16].encode() in database.read_bytes()
        assert text.strip()[17:].encode() not in database.read_bytes()

    @pytest.mark.parametrize(
        "words",
        [
            ("create", "--tenant", "a b", "--scope", "read"),
            ("create", "--tenant", "", "--scope", "read"),
            ("create", "--tenant", "*", "--scope", "read"),
            ("create", "--tenant", "a", "--scope", "everything"),
            ("create", "--tenant", "a", "--scope", ""),
            ("create", "--tenant", "a", "--scope", "read", "--expires", "soon"),
            ("create", "--tenant", "a", "--scope", "read", "--expires", "2001-01-01"),
        ],
    )
    def test_nonsense_is_refused(self, tmp_path, words):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        run("migrate", database=database)
        assert run("keys", *words, database=database, status=2).startswith("Error: ")
        assert json.loads(run("keys", "list", "--json", database=database)) == []

    def test_an_unknown_key_cannot_be_revoked(self, tmp_path):
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        run("migrate", database=database)
        assert "no key with this id" in run("keys", "revoke", "0123", database=database, status=1)


def test_secrets_are_random_and_long():
    keys = [new_key("shop", ["read"], NOW, random_bytes=os.urandom) for _ in range(100)]
    assert len({text[17:] for _, text in keys}) == len({key.id for key, _ in keys}) == 100
    assert {len(text[17:]) for _, text in keys} == {64}
    assert all(isinstance(key, ApiKey) and key.fits(text.encode()) for key, text in keys)
    assert not keys[0][0].fits(keys[1][1].encode())


def test_keys_go_along_when_a_database_is_copied(tmp_path):
    source, target = (f"sqlite:///{tmp_path / name}.db" for name in ("source", "target"))
    key, _ = made()
    keep(source, msgspec.structs.replace(key, revoked_at=NOW))
    run("copy", "--from", source, "--to", target)
    (told,) = json.loads(run("keys", "list", "--json", database=target))
    assert (told["id"], told["revoked"] is not None) == (key.id, True)
