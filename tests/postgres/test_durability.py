"""Nothing that was acknowledged is lost when PostgreSQL, or a server, is killed under load; and the
servers come back by themselves.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from support.history_checker import Operation
from support.kills_under_load import (
    ENDLESS,
    load_during,
    load_until_killed,
    look_up_acknowledged,
    repeat_unknown,
    violations,
    wait_for_contacts,
)
from support.load_clients import mix, run
from support.log_lines import unexpected_errors
from support.postgres_server import OwnPostgres, own_server

KILLS = 6
LIFE = (0.2, 0.6)  # seconds of load before a kill
UNWRITTEN = 50  # contacts that were added when a server that has written none of them is killed
AWAY = 2.0  # seconds until a server takes over that was not there


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    """A private server, which writes to the disk before it acknowledges."""
    with own_server() as postgres:
        yield postgres


@pytest.fixture
def database(own: OwnPostgres) -> Iterator[str]:
    with own.fresh_database() as url:
        yield url


def summary(history: list[Operation]) -> str:
    """For people."""
    refusals = Counter(op.refusal for op in history if op.refusal)
    return (
        f"{len(history)} requests: {dict(Counter(op.status for op in history))}, {dict(refusals)}"
    )


def assert_they_came_back(servers: Cluster, pids: list[int]) -> None:
    assert [member.process.pid for member in servers.members] == pids
    assert unexpected_errors(servers.log()) == []


def test_acknowledged_changes_survive_six_database_kills_under_load(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    rng = random.Random(21)
    requests = mix(21, ENDLESS)
    history: list[Operation] = []
    away: list[float] = []

    with cluster(tmp_path, 2, database=database) as servers:
        pids = [member.process.pid for member in servers.members]

        def kill_and_start() -> None:
            begin = time.monotonic()
            own.kill()
            own.start()
            for member in servers.members:
                member.wait_until_ready()
            away.append(time.monotonic() - begin)

        for turn in range(KILLS):
            life = rng.uniform(*LIFE)
            lived = run(load_during(servers.ports, requests, kill_and_start, before=life))
            seen = look_up_acknowledged(servers.ports[turn % 2], lived)
            history += lived + seen + repeat_unknown(servers, lived)
        history += look_up_acknowledged(servers.ports[0], history)
        assert_they_came_back(servers, pids)
    print(summary(history), f"away at most {max(away):.1f} s")
    assert violations(servers, history) == []
    assert {op.status for op in history} == {200, 503}
    assert own.log().count("was not properly shut down") == KILLS


def test_acknowledged_changes_survive_server_kills_under_load(
    database: str, tmp_path: Path
) -> None:
    rng = random.Random(22)
    requests = mix(22, ENDLESS)
    history: list[Operation] = []
    with cluster(tmp_path, 2, database=database) as servers:
        for turn in range(3):
            victim, other = servers.members[turn % 2], servers.members[1 - turn % 2]
            life = rng.uniform(*LIFE)
            lived = run(load_until_killed(victim, servers.ports, requests, life))
            seen = look_up_acknowledged(other.port, lived)
            victim.start()
            history += lived + seen + repeat_unknown(servers, lived)
        history += look_up_acknowledged(servers.ports[0], history)
    print(summary(history))
    assert violations(servers, history) == []
    assert {op.status for op in history} <= {0, 200, 503}
    assert any(op.status == 0 for op in history)


def test_servers_come_back_by_themselves_after_their_database_has(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    """From a restart, and from a failover, for which nobody is there for a while."""
    requests = mix(23, ENDLESS)
    history: list[Operation] = []
    with cluster(tmp_path, 2, database=database) as servers:
        pids = [member.process.pid for member in servers.members]
        for away in (0, AWAY):

            def stop_and_start(away: float = away) -> None:
                own.stop()
                time.sleep(away)
                own.start()
                for member in servers.members:
                    member.wait_until_ready()

            history += run(load_during(servers.ports, requests, stop_and_start, before=0.5))
        history += look_up_acknowledged(servers.ports[1], history)
        history += repeat_unknown(servers, history)
        assert_they_came_back(servers, pids)
    print(summary(history))
    assert violations(servers, history) == []
    assert {op.status for op in history} == {200, 503}


def test_durability_check_notices_asynchronous_commits(
    own: OwnPostgres, database: str, tmp_path: Path
) -> None:
    """The database is set to acknowledge first and to write later, and kept from writing."""
    url = f"{database}?options=-c%20synchronous_commit%3Doff"
    with cluster(tmp_path, 1, database=url) as servers:
        own.suspend_wal_writer()

        def kill_and_start() -> None:
            wait_for_contacts(servers, UNWRITTEN)
            own.kill()
            own.start()
            servers.members[0].wait_until_ready()

        history = run(load_during(servers.ports, mix(24, ENDLESS), kill_and_start, before=0))
    kinds = {getattr(violation, "kind", None) for violation in violations(servers, history)}
    assert "lost" in kinds
