"""An adoption that fails, stops or has to wait changes nothing."""

import asyncio
import json
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bitespeed.errors import StoreUnavailable, Unavailable
from bitespeed.jobs.check import check
from bitespeed.model.identifiers import observe
from bitespeed.model.identity import Answer
from bitespeed.service.service import Service
from bitespeed.stores.options import Options
from bitespeed.stores.postgres.bulk.adopt import Adopted, AdoptOptions, adopt
from support.adoption import (
    LIVELY,
    ORDERS,
    adopted,
    bitespeed,
    command,
    environment,
    held,
    nothing,
    on_service,
    on_store,
    waits,
)
from support.processes import heed_interrupts
from support.published_table import dump, fill, query, run, state

TRIES = 10  # each waits for up to four seconds


def test_dry_run_changes_nothing(database: str) -> None:
    fill(database, LIVELY)
    before, dumped = state(database), dump(database)
    result, repairs = adopted(database, dry_run=True)
    assert (result.contacts, len(repairs)) == (4, 7)
    assert state(database) == before
    assert dump(database) == dumped
    adopted(database)
    assert state(database) != before


@pytest.mark.parametrize("at", range(7))
def test_failure_at_any_step_changes_nothing(database: str, at: int) -> None:
    fill(database, LIVELY)
    on_store(database, check)  # makes the tables
    before = state(database)
    steps = 0

    def fail(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt(database, Options(), AdoptOptions(), nothing, fail)
    assert state(database) == before
    adopted(database)


AT_THE_END = "alter table % drop constraint%"


@pytest.mark.parametrize("end", ["kill", "interrupt", "server"])
def test_stopped_adoption_changes_nothing(database: str, tmp_path: Path, end: str) -> None:
    fill(database, LIVELY)
    run(database, ORDERS)
    on_store(database, check)
    before = state(database)
    with held(database, "orders"):
        process = subprocess.Popen(
            command("adopt", "--drop-foreign-keys", cwd=tmp_path, url=database),
            cwd=tmp_path,
            env=environment(),
            preexec_fn=heed_interrupts,
            stderr=subprocess.PIPE,
            text=True,
        )
        pid = waits(database, AT_THE_END)
        if end == "server":
            run(database, f"select pg_terminate_backend({pid})")
        else:
            process.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
        _, told = process.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while query(database, "select from pg_stat_activity where pid = %s", pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.returncode == {"kill": -9, "interrupt": 130, "server": 2}[end]
    if end != "kill":
        assert len(told.strip().splitlines()) == 1
        assert list(tmp_path.iterdir()) == []
    assert state(database) == before
    adopted(database, drop_foreign_keys=True)


def test_adoption_gives_up_on_a_locked_table(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitespeed.stores.postgres.bulk.adopt.LOCK_TIMEOUT", "50ms")
    fill(database, LIVELY)
    with held(database, "contact"), pytest.raises(StoreUnavailable, match="hold a lock"):
        adopt(database, Options(), AdoptOptions(), nothing, nothing)
    adopted(database)


def test_second_adoption_changes_nothing_and_says_so(database: str, tmp_path: Path) -> None:
    fill(database, LIVELY)
    adopted(database)
    before = state(database)
    assert adopt(database, Options(), AdoptOptions(), nothing, nothing) is None
    assert adopt(database, Options(), AdoptOptions(dry_run=True), nothing, nothing) is None
    done = bitespeed("adopt", cwd=tmp_path, url=database)
    assert (done.returncode, done.stdout) == (
        0,
        "public.contact has been adopted already; there is nothing to do.\n",
    )
    printed = bitespeed("adopt", "--json", cwd=tmp_path, url=database).stdout
    assert json.loads(printed) == {"already": True}
    assert state(database) == before


def test_only_first_of_two_concurrent_adoptions_adopts(database: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    results: list[Adopted | None] = []

    def work() -> None:
        results.append(adopt(database, Options(), AdoptOptions(), nothing, nothing))

    threads = [threading.Thread(target=work) for _ in range(2)]
    with held(database, "contact"):
        for thread in threads:
            thread.start()
        waits(database, "lock table%")
    for thread in threads:
        thread.join(30)
    assert sorted(result is None for result in results) == [False, True]
    assert on_store(database, check) == []


async def insisting(service: Service, *sent: str | None) -> Answer:
    """The answer, also where a busy machine takes longer to adopt than a request waits."""
    for _ in range(TRIES):
        with suppress(Unavailable):
            return await service.identify(observe(*sent))
    pytest.fail("There was no answer.")


def test_request_during_adoption_sees_the_adopted_contacts(database: str) -> None:
    fill(database, LIVELY)
    run(database, ORDERS)
    on_store(database, check)
    adoption = threading.Thread(target=lambda: adopted(database, drop_foreign_keys=True))

    async def meanwhile(service: Service) -> int:
        with held(database, "orders"):
            adoption.start()
            await asyncio.to_thread(waits, database, AT_THE_END)
            request = asyncio.create_task(insisting(service, "a@x", "12"))
            await asyncio.to_thread(waits, database, "select bitespeed.commit%")
        return (await request).primary_id

    assert on_service(database, meanwhile) == 1
    adoption.join(30)
    assert on_store(database, check) == []


def test_new_customer_during_adoption_gets_the_next_id(database: str) -> None:
    fill(database, LIVELY)
    on_store(database, check)
    answers: list[int] = []

    def ask() -> None:
        answer = on_service(database, lambda service: insisting(service, "new@x", None))
        answers.append(answer.primary_id)

    asking = threading.Thread(target=ask)

    def ask_first(*_: object) -> None:
        if asking.ident is None:
            asking.start()
            waits(database, "select bitespeed.commit%")

    adopt(database, Options(), AdoptOptions(), nothing, ask_first)
    asking.join(30)
    assert answers == [5]
    assert on_store(database, check) == []
