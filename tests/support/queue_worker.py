"""The worker of a queue as a process, and what is on the queue."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from bitespeed.jobs.check import check
from bitespeed.stores import open_store
from support.moto_server import Aws
from support.warnings_as_errors import IN_ENVIRONMENT

POLL_INTERVAL = 0.1  # seconds between two polls
STRETCH = 540.0  # seconds from one killed worker to the next
MOVE_TIMEOUT = 30.0  # seconds until moto has moved a message, on a busy machine
POISON = '{"email": "no address"}'


def people_in(log: str) -> list[str]:
    """What no log may have of the messages here."""
    return re.findall(r'hillvalley|no address|@|"(?:55|88)\d{1,9}"', log)


class Worker:
    def __init__(self, url: str, queue: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bitespeed", "queue", "work"],
                env=os.environ | IN_ENVIRONMENT | {"DATABASE_URL": url, "BITESPEED_SQS_URL": queue},
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


def until_empty(played: Aws, queue: str, left: int = 0) -> None:
    """Return when no more than so many messages are on the queue."""
    deadline = time.monotonic() + STRETCH
    while played.count(queue) > left:
        assert time.monotonic() < deadline, f"{played.count(queue)} messages are left"
        time.sleep(POLL_INTERVAL)


def until_dead(played: Aws, dead: str, count: int) -> None:
    """Return when so many messages are on a dead-letter queue.

    Moto takes a message off its queue before it puts it there, so it may be on neither.
    """
    deadline = time.monotonic() + MOVE_TIMEOUT
    while (found := played.count(dead)) != count:
        assert time.monotonic() < deadline, f"{found} messages are dead, not {count}"
        time.sleep(POLL_INTERVAL)


async def identities(url: str) -> list:
    store = await open_store(url)
    try:
        assert await check(store) == []
        return [identity async for page in store.scan() for identity in page]
    finally:
        await store.close()
