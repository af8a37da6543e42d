"""Batches about an identity of thousands of contacts: what they cost, and what they answer."""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bitespeed.model.identifiers import observe
from bitespeed.service.service import Service
from bitespeed.stores import open_store
from bitespeed.wire.answers import MAX_BATCH_ANSWER
from support.cluster import cluster
from support.redis_server import redis_server
from support.server import TIMEOUT, Server, fresh_email, serve

CONTACTS = 20_000
PART = 5_000  # observations of one commit
PHONE = "5550100"
MAX_GROWTH = 64  # MiB; before, 1,000 answers of 20,000 contacts were 550 MB


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A server whose file has one large identity."""
    folder = tmp_path_factory.mktemp("large")
    asyncio.run(fill(f"sqlite:///{folder / 'contacts.db'}"))
    with serve(folder) as server:
        server.identify(None, PHONE)  # what this once takes is no growth
        yield server


async def fill(url):
    store = await open_store(url)
    try:
        for start in range(0, CONTACTS, PART):
            observations = [observe(f"l{n}@x.zz", PHONE) for n in range(start, start + PART)]
            await Service(store).absorb(observations)
    finally:
        await store.close()


def peak(server):
    """The largest memory that the process has had, in MiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def batch(server, observations):
    return server.post("/identify/batch", observations)


def test_batch_of_a_large_identity_is_bounded(large):
    before, begun = peak(large), time.monotonic()
    observation = {"email": "l0@x.zz", "phoneNumber": PHONE}
    (alone,) = batch(large, [observation]).json
    assert len(alone["contact"]["secondaryContactIds"]) == CONTACTS - 1
    reply = batch(large, [observation] * 1000)
    first, *_, last = outcomes = reply.json
    assert len(outcomes) == 1000
    assert first == alone
    refused = {
        "error": "The answers of this batch are too large together. The observation is written;"
        " send it alone for its answer",
        "code": "answer_too_large",
        "primaryContatctId": alone["contact"]["primaryContatctId"],
    }
    assert last == refused
    assert all(outcome in (alone, refused) for outcome in (outcomes[5], outcomes[500]))
    assert len(reply.body) < MAX_BATCH_ANSWER + 1000 * 250
    print(f"{time.monotonic() - begun:.2f} s, {peak(large) - before:.0f} MiB")
    assert peak(large) - before < MAX_GROWTH


def test_batches_at_once_of_a_large_identity_are_bounded(large):
    before = peak(large)
    with ThreadPoolExecutor(4) as clients:
        bodies = [
            [{"email": f"l{n}@x.zz"} for n in range(start, start + 1000)] for start in range(4)
        ]
        replies = list(clients.map(lambda body: batch(large, body), bodies))
    assert {reply.status for reply in replies} <= {200}
    for reply in replies:
        assert {outcome.get("code") for outcome in reply.json} <= {
            *(None, "answer_too_large", "deadline_exceeded"),
        }
    print(f"{peak(large) - before:.0f} MiB")
    assert peak(large) - before < MAX_GROWTH


def test_merges_with_a_large_identity_are_all_written(large):
    emails = [fresh_email() for _ in range(250)]
    for email in emails:
        large.identify(email)
    before, begun = peak(large), time.monotonic()
    outcomes = batch(large, [{"email": email, "phoneNumber": PHONE} for email in emails]).json
    print(f"{time.monotonic() - begun:.2f} s, {peak(large) - before:.0f} MiB")
    assert {outcome.get("code") for outcome in outcomes} == {None, "answer_too_large"}
    assert peak(large) - before < MAX_GROWTH
    contact = large.ask("GET", f"/contacts?phoneNumber={PHONE}").contact
    assert len(contact["secondaryContactIds"]) == CONTACTS + 249
    assert set(emails) <= set(contact["emails"])


def test_newline_delimited_batch_is_bounded_too(large):
    body = b'{"email": "l0@x.zz"}\n' * 1000
    headers = {"Content-Type": "application/x-ndjson"}
    reply = large.ask("POST", "/identify/batch", body, headers)
    outcomes = [json.loads(line) for line in reply.body.splitlines()]
    assert len(outcomes) == 1000
    assert outcomes[-1]["code"] == "answer_too_large"
    assert len(reply.body) < MAX_BATCH_ANSWER + 1000 * 250


def test_every_operation_respects_the_limit_of_contacts(tmp_path):
    with serve(tmp_path, BITESPEED_MAX_ANSWER="2") as server:
        emails = [fresh_email() for _ in range(3)]
        primary = server.identify(emails[0], PHONE)["primaryContatctId"]
        assert len(server.identify(emails[1], PHONE)["secondaryContactIds"]) == 1
        refused = [
            server.post("/identify", {"email": emails[2], "phoneNumber": PHONE}),
            server.post("/identify", {"email": emails[2]}),
            server.ask("GET", f"/contacts?email={emails[0]}"),
            server.ask("GET", f"/contacts/{primary}"),
        ]
        for reply in refused:
            assert reply.status == 413
            assert reply.json == {
                "error": "The identity has 3 contacts, and an answer here has at most 2",
                "code": "answer_too_large",
                "primaryContatctId": primary,
            }
            assert reply.headers["connection"] != "close"
        assert batch(server, [{"email": emails[0]}]).json == [refused[0].json]
        assert server.query("select count(*) from contact") == [(3,)]


def test_limit_of_contacts_holds_for_answers_of_the_cache(database, tmp_path):
    with redis_server() as redis:
        for limit, statuses in ((3, {200}), (2, {413})):
            settings = {"REDIS_URL": redis.url, "BITESPEED_MAX_ANSWER": str(limit)}
            with cluster(tmp_path, database=database, **settings) as servers:
                server = Server(servers.members[0].port, tmp_path, tmp_path / "server-0.log", 0)
                for email in ("a@x.zz", "b@x.zz", "c@x.zz"):
                    server.post("/identify", {"email": email, "phoneNumber": PHONE})
                deadline = time.monotonic() + TIMEOUT
                while hits(server) == 0:
                    assert time.monotonic() < deadline
                    assert {server.post("/identify", {"email": "a@x.zz"}).status} == statuses


def hits(server):
    """How many answers have come from the cache."""
    text = server.ask("GET", "/metrics").body
    return float(re.search(rb'cache_lookups_total\{result="hit"\} (\S+)', text)[1])
