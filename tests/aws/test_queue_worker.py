"""The worker that takes messages off the queue, on a server."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from bitespeed.aws_json import ServiceFailed
from bitespeed.model.identifiers import observe
from bitespeed.queues import worker as queue_worker
from bitespeed.queues.messages import Message, message
from bitespeed.queues.sqs import MAX_RECEIVED, SqsQueue
from bitespeed.queues.worker import WORKERS, work, work_off
from bitespeed.rules.erase import Subject
from bitespeed.service.tenants import Tenants
from support.backends import connected
from support.database_url import database_of
from support.load_clients import run
from support.log_lines import captured_log_lines
from support.moto_server import Aws
from support.queue_worker import (
    POISON,
    POLL_INTERVAL,
    STRETCH,
    identities,
    until_dead,
    until_empty,
    worker,
)
from support.stores import failing, watched

MESSAGES = int(os.environ.get("TEST_MESSAGES", "300"))  # 10,000 for the long form
KILLS = int(os.environ.get("TEST_KILLS", "2"))  # 10
BACKLOG = 300  # messages; moto takes the longer for each call, the more there are
VISIBILITY = 2  # seconds until what a killed worker had comes again
SHARE = 100  # one message in so many is poisoned


def test_group_waits_behind_failed_message_but_not_poison(
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


def test_message_has_the_oldest_of_its_instants(tmp_path: Path) -> None:
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


class Sqs:
    """Fails some calls, then answers some that there are no messages, then has the workers stop."""

    def __init__(self, failures: int, stop: asyncio.Event) -> None:
        self.calls = 0
        self._failures = failures
        self._stop = stop

    async def call(self, *_: object, **__: object) -> dict[str, Any]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self._failures:
            raise ServiceFailed("sqs", "it did not answer in time")
        if self.calls > self._failures + 3 * WORKERS:
            self._stop.set()
        return {}


@pytest.mark.parametrize(("failures", "events"), [(0, []), (50, ["queue.away", "queue.back"])])
def test_queue_is_logged_when_it_goes_and_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, events: list[str]
) -> None:
    monkeypatch.setattr(queue_worker, "RETRY_DELAY", 0.0)

    async def main() -> None:
        stop = asyncio.Event()
        queue, sqs = SqsQueue("http://127.0.0.1/1234/name"), Sqs(failures, stop)
        monkeypatch.setattr(queue, "_service", sqs)
        async with watched(tmp_path / "contacts.db") as (store, _):
            assert await work(Tenants(store), queue, None, stop) == (0, 0)
        assert sqs.calls > failures

    with captured_log_lines() as lines:
        run(main())
    assert [line["event"] for line in lines if line["event"].startswith("queue.")] == events
    assert {line["message"] for line in lines if line["event"] == "queue.away"} <= {
        "The queue cannot be used: it did not answer in time; try again"
    }


def test_ten_thousand_messages_survive_poison_and_killed_workers(
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
                time.sleep(POLL_INTERVAL)
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
    until_dead(played, dead, len(poisoned))
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
