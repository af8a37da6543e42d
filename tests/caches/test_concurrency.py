"""Many clients, several processes, one cache that is disturbed in every way: no answer is stale, no
pair is lost.

Servers with a mistake show that the checker would notice. Runs are short by default;
TEST_CACHE_REQUESTS=20000 makes them as long as those of docs/correctness.md.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.erasure_triggers import erasures_recorded
from support.history_checker import Operation
from support.load_clients import CLIENTS, drive, mix
from support.load_trial import PROCESSES, Trial
from support.redis_server import RedisServer, redis_server
from support.tcp_proxy import tcp_proxy

SLEEPY = (sys.executable, str(Path(__file__).parents[1] / "support" / "sleepy_cache_server.py"))

LENGTH = int(os.environ.get("TEST_CACHE_REQUESTS", "2500"))
DELETES = 0.03
REPEATS = 0.75  # of the requests, so that there are hits
STOP_TIME = 3.0  # seconds that a process is stopped
FLUSH_INTERVAL = 0.03  # seconds
KILL_INTERVAL = 1.5  # seconds
MAX_REQUESTS = 20_000  # until a mistake is noticed; 500 were enough, 3,000 for lost pairs
CHECK_INTERVAL = 500  # requests between checks of the history

Disturbance = Callable[[Cluster, RedisServer, threading.Event], None]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@contextmanager
def disturbed(disturb: Disturbance, servers: Cluster, redis: RedisServer) -> Iterator[None]:
    """Disturb the servers or the cache until the block ends."""
    is_over = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            disturb(servers, redis, is_over)
        except BaseException as failure:  # noqa: BLE001 - raised below
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert not failures, failures


def nothing(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
    """Disturb nothing."""


def flushed(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
    """Delete the data of the cache again and again."""
    while not is_over.wait(FLUSH_INTERVAL):
        redis.ask("FLUSHALL")


def restarted(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
    """Kill and start the cache again and again, each time with the data of the start."""
    redis.ask("SAVE")
    while not is_over.wait(KILL_INTERVAL):
        redis.kill()
        redis.start()
        is_over.wait(KILL_INTERVAL)


def writers_killed(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
    """Kill processes, some of them between a commit and the release of its fence."""
    while not is_over.wait(KILL_INTERVAL):
        for member in servers.members[:2]:
            member.kill()
            member.start()


def one_stopped(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
    """Stop processes at any point, and let them go on later."""
    while not is_over.wait(KILL_INTERVAL):
        for member in servers.members[:2]:
            member.process.send_signal(signal.SIGSTOP)
            is_over.wait(STOP_TIME)
            member.process.send_signal(signal.SIGCONT)


def trial(
    folder: Path,
    database: str,
    redis: RedisServer,
    disturb: Disturbance = nothing,
    *,
    length: int = LENGTH,
    deletes: float = DELETES,
    erases: float = 0,
) -> Trial:
    with cluster(folder, PROCESSES, SLEEPY, database=database, REDIS_URL=redis.url) as servers:
        wait_until_used(redis)
        with disturbed(disturb, servers, redis), erasures_recorded(database) as erased:
            requests = mix(11, length, REPEATS)
            history = drive(servers.ports, requests, CLIENTS, deletes=deletes, erases=erases)
        result = Trial(history, servers.stored(), servers.log(), erased)
    print(result.summary())
    return result


def wait_until_used(redis: RedisServer) -> None:
    deadline = time.monotonic() + 30
    while not redis.ask("KEYS", "*:mark"):
        assert time.monotonic() < deadline, "The cache has not been taken into use."
        time.sleep(0.05)


def hits(redis: RedisServer) -> int:
    count = 0
    for key in redis.ask("KEYS", "*:counts"):
        count += int(redis.ask("HGET", key, "hits") or 0)
    return count


def test_no_answer_is_stale_when_nothing_fails(
    tmp_path: Path, database: str, redis: RedisServer
) -> None:
    result = trial(tmp_path, database, redis)
    print(f"{hits(redis)} hits")
    assert result.violations() == []
    assert len(result.history) >= LENGTH
    assert result.statuses().keys() <= {200, 204, 404, 503}
    assert hits(redis) > LENGTH / 10


def test_erased_values_are_in_no_later_answer(
    tmp_path: Path, database: str, redis: RedisServer
) -> None:
    length = LENGTH // 2
    result = trial(tmp_path, database, redis, flushed, length=length, deletes=0, erases=DELETES)
    assert result.violations() == []
    assert len(result.erased) > length / 50


@pytest.mark.parametrize(
    "disturb", [flushed, restarted, writers_killed, one_stopped], ids=lambda d: d.__name__
)
def test_repeated_disturbances_leave_history_linear(
    tmp_path: Path, database: str, redis: RedisServer, disturb: Disturbance
) -> None:
    result = trial(tmp_path, database, redis, disturb)
    assert result.violations() == []
    assert result.statuses()[200] > LENGTH / 2


def test_process_cut_off_from_cache_leaves_history_linear(
    tmp_path: Path, database: str, redis: RedisServer
) -> None:
    with tcp_proxy(("127.0.0.1", redis.port)) as line:

        def partitioned(servers: Cluster, redis: RedisServer, is_over: threading.Event) -> None:
            while not is_over.wait(KILL_INTERVAL):
                line.stall()
                is_over.wait(2 * KILL_INTERVAL)
                line.heal()

        others = {"REDIS_URL": redis.url}
        with (
            cluster(tmp_path, PROCESSES - 1, SLEEPY, database=database, **others) as servers,
            cluster(
                _folder(tmp_path),
                1,
                SLEEPY,
                database=database,
                REDIS_URL=f"redis://127.0.0.1:{line.port}/0",
            ) as cut_off,
        ):
            wait_until_used(redis)
            ports = [*servers.ports, *cut_off.ports]
            with disturbed(partitioned, servers, redis):
                history = drive(ports, mix(12, LENGTH, REPEATS), CLIENTS, deletes=DELETES)
            result = Trial(history, servers.stored(), servers.log())
    print(result.summary())
    assert result.violations() == []
    assert result.statuses()[200] > LENGTH / 2


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cut-off"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("mistake", "kind"),
    [
        ("cached-answers", "stale"),
        ("delete-after-commit", "stale"),
        ("fills-without-tokens", "stale"),
        ("hits-without-pairs", "unkept"),
    ],
)
def test_cache_with_a_mistake_is_noticed(
    tmp_path: Path, database: str, redis: RedisServer, mistake: str, kind: str
) -> None:
    """A wrong answer is up to chance, so the load goes on until there is one."""
    command = (*SLEEPY, "--mistake", mistake)
    requests = mix(11, MAX_REQUESTS, REPEATS)
    history: list[Operation] = []
    kinds: set[str] = set()
    with cluster(tmp_path, PROCESSES, command, database=database, REDIS_URL=redis.url) as servers:
        wait_until_used(redis)
        while kind not in kinds and (part := list(islice(requests, CHECK_INTERVAL))):
            history += drive(servers.ports, part, CLIENTS)
            kinds = Trial(history, servers.stored(), "").kinds()
    print(f"{mistake}: {len(history)} requests")
    assert kind in kinds
