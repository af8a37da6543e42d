"""Erased values leave the write-ahead log, also when a reader keeps it for long."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from bitespeed.rules.erase import Subject
from bitespeed.stores.sqlite import erased_log
from support.stores import service_on, store_at, write

ANN = "canary-ann@shop.test"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "identities.db"


@pytest.fixture
def lines(monkeypatch):
    """The events that were logged."""
    events = []

    class Log:
        def __getattr__(self, _):
            return lambda event, **_: events.append(event)

    monkeypatch.setattr(erased_log, "log", Log())
    return events


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(erased_log, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(erased_log, "POLL_INTERVAL", 0.05)


@contextlib.contextmanager
def reading(path):
    """Another program in the middle of a read of the present state."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from contact_record").fetchone()
        yield


def is_in_files(path, value):
    return any(value.encode() in f.read_bytes() for f in path.parent.glob(f"{path.name}*"))


async def erase(store):
    async with service_on(store) as service:
        await service.erase(Subject(ANN))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)


def unfinished(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("select count(*) from erasure_in_log").fetchone() != (0,)


def test_erasure_leaves_no_value_and_no_mark_behind(path, lines):
    async def main():
        async with store_at(path) as store:
            await write(store, (ANN, "1"))
            await erase(store)
            assert not is_in_files(path, ANN)
            assert not unfinished(path)
            assert lines == []

    asyncio.run(main())


def test_erasure_completes_when_the_reader_ends(path, lines, impatient):
    async def main():
        async with store_at(path) as store:
            await write(store, (ANN, "1"))
            with reading(path):
                await erase(store)
                assert is_in_files(path, ANN)
                assert lines == ["erasure.in_log"]
                await asyncio.sleep(0.2)
                assert lines == ["erasure.in_log"]
            await until(lambda: "erasure.out_of_log" in lines)
            assert not is_in_files(path, ANN)
            assert not unfinished(path)

    asyncio.run(main())


def test_other_requests_are_written_while_an_erasure_waits(path, monkeypatch):
    monkeypatch.setattr(erased_log, "LOCK_TIMEOUT", 60)

    async def main():
        async with store_at(path) as store:
            await write(store, (ANN, "1"))
            with reading(path):
                erasing = asyncio.create_task(erase(store))
                await until(lambda: unfinished(path))
                async with asyncio.timeout(10):
                    await write(store, ("bob@shop.test", "2"))
                assert not erasing.done()
            await erasing
            assert not is_in_files(path, ANN)

    asyncio.run(main())


def test_other_store_completes_an_erasure_it_did_not_begin(path, lines, impatient):
    async def main():
        async with store_at(path), store_at(path) as eraser:
            await write(eraser, (ANN, "1"))
            with reading(path):
                await erase(eraser)
                await eraser.close()
                assert is_in_files(path, ANN)
            await until(lambda: "erasure.out_of_log" in lines)
            assert not is_in_files(path, ANN)

    asyncio.run(main())


ERASE_AND_WAIT = f"""
import asyncio, sys
from bitespeed.rules.erase import Subject
from bitespeed.service.service import Service
from bitespeed.stores.sqlite import SqliteStore, erased_log

erased_log.LOCK_TIMEOUT = 0.1

async def main(path):
    store = await SqliteStore.open(path)
    await Service(store).erase(Subject({ANN!r}))
    print("erased", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


def test_erasure_of_a_killed_process_completes_at_next_start(path):
    async def prepare():
        async with store_at(path) as store:
            await write(store, (ANN, "1"))

    async def start():
        async with store_at(path):
            assert not is_in_files(path, ANN)

    asyncio.run(prepare())
    command = [sys.executable, "-c", ERASE_AND_WAIT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            with reading(path):
                assert process.stdout.readline() == "erased\n"
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        finally:
            process.kill()
    asyncio.run(start())
