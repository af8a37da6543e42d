"""The store behind Supabase's Data API: who gets in, what its refusals mean, its connections."""

import asyncio
import json
import threading
from contextlib import aclosing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from bitespeed.errors import Conflict, InvalidInput, StoreDamaged, StoreUnavailable
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.supabase import store as supabase
from bitespeed.stores.supabase.store import SupabaseStore
from bitespeed.tenant import DEFAULT_TENANT
from support.backends import (
    TIMEOUT,
    cleared,
    connected,
    of_data_api,
    prepared,
    stores,
    waits_for_a_lock,
)
from support.invariants import assert_clean
from support.postgres_server import own_server
from support.postgrest import create_roles, jwt, postgrest
from support.server import free_port
from support.stores import decide, service_on, who, write
from support.tcp_proxy import tcp_proxy

CANARY = "canary@hillvalley.example"


@pytest.fixture(scope="module")
def own():
    """A private server, which knows Supabase's roles."""
    with own_server(fsync=False) as server:
        create_roles(server.url())
        yield server


@pytest.fixture(scope="module")
def started(own):
    """The Data API of a database."""
    prepared(own.url())
    with postgrest(own.url(), db_pool=3) as api:
        yield api


@pytest.fixture
def api(own, started):
    """The same, empty."""
    cleared(own.url())
    return started


def on(api, test, **options):
    """Run a test on a store."""

    async def main():
        store = await SupabaseStore.open(api.url, Options(key=api.service_key, **options))
        try:
            async with asyncio.timeout(3 * TIMEOUT):
                await test(store)
        finally:
            await store.close()

    asyncio.run(main())


@contextmanager
def holding(own, statement):
    with connected(own.url()) as connection, connection.transaction(force_rollback=True):
        connection.execute(statement)
        yield


COMMITS_WAIT = "lock table identity in exclusive mode"


def refuses(url, error, words, **options):
    with pytest.raises(error, match=words) as refusal:
        asyncio.run(open_store(url, Options(**options)))
    return str(refusal.value)


# Who gets in

TABLES = ("identity", "contact_record", "identifier", "event_record", "contact", "migration")
DOCUMENTS = {
    "read": {
        "tenant": "default",
        "asked": {
            "values": [["email", "a@x", None]],
            "contact": 1,
            "members": True,
            "remembered": [],
        },
    },
    "commit": {
        "tenant": "default",
        "changes": {
            "identities": [],
            "contacts": [],
            "events": [],
            "deleted": [1],
            "freed_emails": ["a@x"],
            "freed_phones": [],
        },
    },
    "scan": {"max_contacts": 1000},
}


def attempts():
    """Everything that the Data API can be asked of the schema, also under another's name."""
    for profile in ("bitespeed", "public", None):
        named = {"Accept-Profile": profile, "Content-Profile": profile} if profile else {}
        for table in TABLES:
            for path in (table, f"bitespeed.{table}", f"{table}?select=*&limit=1"):
                yield "GET", path, None, named
            yield "POST", table, {"id": 7, "tenant": "default"}, named
            yield "PATCH", f"{table}?tenant=eq.default", {"tenant": "other"}, named
            yield "DELETE", f"{table}?tenant=eq.default", None, named
        for function, document in DOCUMENTS.items():
            yield "POST", f"rpc/{function}", document, named
            arguments = "&".join(
                f"{key}={value if isinstance(value, str) else json.dumps(value)}"
                for key, value in document.items()
            )
            yield "GET", f"rpc/{function}?{arguments}", None, named


def ask(client, attempt, **headers):
    method, path, body, named = attempt
    return client.request(method, path, json=body, headers=named | headers)


@pytest.fixture
def client(api):
    with httpx.Client(base_url=f"{api.url}/rest/v1/", trust_env=False, timeout=TIMEOUT) as client:
        yield client


@pytest.mark.parametrize("role", ["anon", "authenticated", "a key alone"])
def test_public_key_can_neither_read_nor_write(own, api, client, role):
    on(api, lambda store: write(store, (CANARY, "1")))
    before = stored(own)
    headers = {"apikey": api.anon_key}
    if role != "a key alone":
        headers["Authorization"] = f"Bearer {jwt(role)}"
    for attempt in attempts():
        response = ask(client, attempt, **headers)
        assert response.status_code in (400, 401, 403, 404, 405, 406), attempt
        assert CANARY not in response.text
    assert stored(own) == before


def stored(own):
    with connected(own.url()) as connection:
        return [
            connection.execute(f"select * from {table} order by 1, 2").fetchall()
            for table in TABLES
        ]


def test_secret_key_calls_functions_but_reaches_no_table(own, api, client):
    on(api, lambda store: write(store, (CANARY, "1")))
    before = stored(own)
    headers = {"apikey": api.service_key, "Authorization": f"Bearer {api.service_key}"}
    named = {"Content-Profile": "bitespeed"}
    called = ("POST", "rpc/scan", {"max_contacts": 9}, named)
    assert CANARY in ask(client, called, **headers).text
    for attempt in attempts():
        if attempt[1].startswith("rpc/"):
            continue
        response = ask(client, attempt, **headers)
        assert response.status_code in (400, 401, 403, 404, 405, 406), attempt
        assert CANARY not in response.text
    assert stored(own) == before


def test_wrong_key_is_reported(api):
    words = "refuses the key"
    for key in ("nonsense", jwt("service_role", life=-60), api.service_key[:-8] + "AAAAAAAA"):
        told = refuses(api.url, StoreUnavailable, words, key=key)
        assert key not in told
    refuses(api.url, StoreUnavailable, words, key=api.anon_key)


@pytest.mark.parametrize("key", [None, ""])
def test_key_is_required(api, key):
    refuses(api.url, InvalidInput, "SUPABASE_KEY is required", key=key)


# What its refusals mean


def test_schema_that_is_not_exposed_is_reported(own, api):
    with postgrest(own.url(), schemas="public") as other:
        words = "run bitespeed migrate, and expose the schema"
        refuses(other.url, StoreDamaged, words, key=other.service_key)


@pytest.mark.parametrize("has_schema", [True, False])
def test_unprepared_database_is_reported(own, has_schema):
    with own.fresh_database() as url:
        if has_schema:
            with connected(url) as connection:
                connection.execute("create schema bitespeed")
                connection.execute("grant usage on schema bitespeed to service_role")
        with postgrest(url) as other:
            words = "run bitespeed migrate, and expose the schema"
            refuses(other.url, StoreDamaged, words, key=other.service_key)


def test_unreachable_project_is_reported(api):
    nowhere = f"http://127.0.0.1:{free_port()}"
    refuses(nowhere, StoreUnavailable, "cannot be reached", key=api.service_key)


@pytest.mark.parametrize("url", ["https://", "http://user:hunter2@host:port", "https://["])
def test_malformed_address_is_reported(url):
    with pytest.raises(InvalidInput) as refusal:
        asyncio.run(open_store(url, Options(key="key")))
    assert "hunter2" not in str(refusal.value)


@contextmanager
def answering(status, kind, body):
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<html>Please log in</html>"),
        (301, "text/html", b"Moved"),
        (404, "application/json", b'{"message":"no Route matched with those values"}'),
        (404, "text/html", b"<html>Not found</html>"),
        (429, "application/json", b"[]"),
        (502, "text/html", b"\xff\xfe<html>Bad gateway</html>"),
        (503, "application/json", b'{"code":"PGRST002","message":"a@x"}'),
        (504, "application/json", b'{"code":"PGRST003","message":"a@x"}'),
        (500, "application/json", b'{"code":"57014","message":"a@x"}'),
        (500, "application/json", b'{"code":null}'),
        (500, "application/json", b'{"code":5}'),
    ],
)
def test_any_other_response_means_unavailable(status, kind, body):
    with answering(status, kind, body) as url:
        told = refuses(url, StoreUnavailable, "try again", key="key")
    assert told
    assert "a@x" not in told


def test_our_own_sql_mistake_is_a_runtime_error():
    with (
        answering(400, "application/json", b'{"code":"22P02","message":"a@x"}') as url,
        pytest.raises(Exception, match="22P02") as mistake,
    ):
        asyncio.run(open_store(url, Options(key="key")))
    assert not isinstance(mistake.value, StoreUnavailable)
    assert "a@x" not in str(mistake.value)


@pytest.mark.parametrize(
    ("target", "back", "words"),
    [
        ("function commit set lock_timeout = '100ms'", "= '4s'", "Others hold a lock"),
        ("role service_role set statement_timeout = '100ms'", "to default", "took too long"),
    ],
)
def test_lock_and_statement_timeouts_are_reported(own, api, target, back, words):
    async def test(store):
        await write(store, (CANARY, "1"))
        changes = await decide(store, (CANARY, "2"))
        with (
            holding(own, COMMITS_WAIT),
            pytest.raises(StoreUnavailable, match=words) as refusal,
        ):
            await store.commit(DEFAULT_TENANT, changes)
        assert "canary" not in str(refusal.value)
        await store.commit(DEFAULT_TENANT, changes)

    with connected(own.url()) as connection:
        connection.execute(f"alter {target}")
    try:
        if target.startswith("role"):
            with postgrest(own.url()) as other:
                on(other, test)
        else:
            on(api, test)
    finally:
        with connected(own.url()) as connection:
            connection.execute(f"alter {target.partition('=')[0]} {back}")


def test_conflict_leaves_no_value_in_log_or_error(own, api):
    offset = len(own.log())

    async def test(store):
        stale = await decide(store, (CANARY, "1"))
        await write(store, (CANARY, "1"))
        link = await decide(store, (CANARY, "2"))
        await write(store, (CANARY, "3"))
        for changes in (stale, link):
            with pytest.raises(Conflict) as conflict:
                await store.commit(DEFAULT_TENANT, changes)
            assert "canary" not in repr(conflict.value)
            assert conflict.value.__cause__ is None

    on(api, test)
    assert "canary" not in own.log()[offset:]


# Connections


def test_batch_takes_one_call_or_two(api):
    async def test(store):
        calls = []

        async def count(request):
            calls.append(request.url.path.rpartition("/")[2])

        store._client.event_hooks["request"].append(count)
        async with service_on(store) as service:
            for sent, expected in [
                ([("a@x", "1")], ["read", "commit"]),
                ([("a@x", "1"), ("a@x", None)], ["read"]),
                ([(f"{n}@x", f"1{n % 100}") for n in range(200)], ["read", "commit"]),
            ]:
                calls.clear()
                await asyncio.gather(*[service.identify(observe(*one)) for one in sent])
                assert calls == expected

    on(api, test)


def test_many_calls_at_once_share_few_connections(api):
    async def test(store):
        sent = [(f"{n}@x", f"{n}") for n in range(20)]
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        answers = await asyncio.gather(*[who(store, f"{n % 20}@x") for n in range(60)])
        assert [a.emails for a in answers] == [[f"{n % 20}@x"] for n in range(60)]

    with line_to(api) as (line, by_way_of):
        on(by_way_of, test, pool_size=2, timeout=TIMEOUT)
        assert line.connections <= 2


@contextmanager
def line_to(api):
    url = httpx.URL(api.url)
    with tcp_proxy((url.host, url.port)) as line:
        yield line, api._replace(url=f"http://127.0.0.1:{line.port}/")


def test_idle_connections_that_were_cut_are_replaced(api):
    async def test(store):
        for n in range(3):
            await asyncio.gather(*[write(store, (f"{n}{m}@x", f"{m}")) for m in range(3)])
            await asyncio.to_thread(line.cut)
            await asyncio.sleep(0.02)
            assert len((await who(store, None, "0")).emails) == n + 1

    with line_to(api) as (line, by_way_of):
        on(by_way_of, test)


def test_request_with_a_lost_response_can_be_repeated(api):
    async def test(store):
        async with service_on(store) as service:
            await service.identify(observe("a@x", "1"))
            async with stores(of_data_api(api.url, api)) as (direct,):
                changes = await decide(direct, ("a@x", "2"))
            await asyncio.to_thread(line.swallow)
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.commit(DEFAULT_TENANT, changes)
            await asyncio.to_thread(line.heal)
            assert (await service.identify(observe("a@x", "2"))).phones == ["1", "2"]
            await assert_clean(store)

    with line_to(api) as (line, by_way_of):
        on(by_way_of, test)


def test_late_response_is_reported(own, api):
    async def test(store):
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        store._timeout = 0.1
        with (
            holding(own, COMMITS_WAIT),
            pytest.raises(StoreUnavailable, match="did not answer in time"),
        ):
            await store.commit(DEFAULT_TENANT, changes)
        store._timeout = TIMEOUT
        async with service_on(store) as service:
            answer = await service.identify(observe("a@x", "2"))
        assert answer == Answer(1, ["a@x"], ["1", "2"], [2])

    on(api, test)


def test_dripping_response_is_abandoned_in_time(api):
    async def test(store):
        store._timeout = 0.2
        await asyncio.to_thread(partial(line.swallow, 20, then_cut=False))
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await store.ping()
        store._timeout = TIMEOUT
        await asyncio.to_thread(line.heal)
        await store.ping()

    with line_to(api) as (line, by_way_of):
        on(by_way_of, test)


def test_cancelled_call_leaves_no_response_to_the_next(api):
    async def test(store):
        sent = [(f"{n}@x", f"{n}") for n in range(20)]
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        for n in range(60):
            gone = asyncio.create_task(who(store, f"{n % 20}@x"))
            await asyncio.sleep(0.0003 * (n % 20))
            gone.cancel()
            own = f"{(n + 7) % 20}@x"
            assert (await who(store, own)).emails == [own]
            await asyncio.wait([gone])

    on(api, test, pool_size=2)


def test_store_works_again_after_the_database_restarts(own, api):
    async def test(store):
        await write(store, ("a@x", "1"))
        await asyncio.to_thread(own.stop)
        try:
            with pytest.raises(StoreUnavailable):
                await who(store, "a@x")
        finally:
            await asyncio.to_thread(own.start)
        async with asyncio.timeout(2 * TIMEOUT):
            while True:
                try:
                    assert await who(store, "a@x") == Answer(1, ["a@x"], ["1"], [])
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
                else:
                    break

    on(api, test)


def test_closing_a_busy_store_finishes_its_commit(own, api):
    async def main():
        store = await SupabaseStore.open(api.url, Options(key=api.service_key))
        await write(store, ("a@x", "1"))
        changes = await decide(store, ("a@x", "2"))
        with holding(own, COMMITS_WAIT):
            commit = asyncio.create_task(store.commit(DEFAULT_TENANT, changes))
            await waits_for_a_lock(own.url())
            closing = asyncio.create_task(store.close())
            await asyncio.sleep(0.02)
            assert not closing.done()
        assert (await commit).ids == [2]
        await closing

    asyncio.run(main())


# Scans


def test_scan_above_the_limit_is_refused(api, monkeypatch):
    async def test(store):
        await write(store, *[(f"{n}@x", "1") for n in range(5)])
        monkeypatch.setattr(supabase, "MAX_SCAN", 5)
        await assert_clean(store)
        monkeypatch.setattr(supabase, "MAX_SCAN", 4)
        with pytest.raises(StoreUnavailable, match="more than 4 contacts"):
            async with aclosing(store.scan()) as pages:
                await anext(pages)

    on(api, test)


def test_scan_exceeds_the_row_limit_of_the_api(api):
    async def test(store):
        sent = [(f"{n}@x", f"{n}") for n in range(3000)]
        await store.commit(DEFAULT_TENANT, await decide(store, *sent))
        async with aclosing(store.scan()) as pages:
            assert sum([len(page) async for page in pages]) == 3000

    on(api, test)
