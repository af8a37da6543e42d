"""A database that loses acknowledged commits under servers that nobody restarts.

The standby that is promoted had been cut off; the backup that is restored in place is older. What
was lost is lost. But from then on every answer must come from what is stored, and what is
acknowledged must be there, so callers that repeat their requests bring back what was lost.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import msgspec
import psycopg
import pytest

from support.cluster import Cluster, Member, cluster
from support.load_trial import damage
from support.postgres_server import OwnPostgres, own_server, program, standby
from support.processes import POLL_INTERVAL
from support.redis_server import redis_server
from support.server import TIMEOUT, Reply, ask

KNOWN = 20  # customers that are stored on either side
LOST = 50  # customers that only the lost commits have; a promotion skips 32 ids, so some come twice
BACK = 30.0  # seconds until all servers write again

Sent = tuple[str, str]
"""An email and a phone number; the digits behind its first letter are the person's."""


def of_person(kind: int, number: int, phone: int = 0) -> Sent:
    """What a person says, with one of his phone numbers."""
    person = f"{kind}{number:04}"
    return f"p{person}@hillvalley.edu", f"{person}{phone}0000"


def identify(member: Member, sent: Sent) -> Reply:
    body = msgspec.json.encode({"email": sent[0], "phoneNumber": sent[1]})
    with closing(HTTPConnection("127.0.0.1", member.port, timeout=TIMEOUT)) as connection:
        return ask(connection, "POST", "/identify", body, {"Content-Type": "application/json"})


def require_own(sent: Sent, reply: Reply) -> None:
    """The answer has the values that were sent, and no other person's."""
    contact = reply.contact
    assert contact["emails"] == [sent[0]], (sent, contact)
    assert sent[1] in contact["phoneNumbers"], (sent, contact)
    assert {phone[:5] for phone in contact["phoneNumbers"]} == {sent[1][:5]}, (sent, contact)


def write(servers: Cluster, sent: list[Sent]) -> None:
    """Every server is asked twice, so that it remembers, and the cache has, the answers."""
    for _ in range(2):
        for one in sent:
            for member in servers.members:
                require_own(one, identify(member, one))


def wait_until_back(servers: Cluster) -> None:
    """Return when every server writes."""
    deadline = time.monotonic() + BACK
    for number, member in enumerate(servers.members):
        while identify(member, of_person(9, number)).status != 200:
            assert time.monotonic() < deadline, servers.log()
            time.sleep(POLL_INTERVAL)


@contextmanager
def serving(folder: Path, url: str, *, cached: bool) -> Iterator[Cluster]:
    """Two servers, which use a cache by now if they have one."""
    if not cached:
        with cluster(folder, 2, database=url) as servers:
            yield servers
        return
    with redis_server() as redis, cluster(folder, 2, database=url, REDIS_URL=redis.url) as servers:
        deadline = time.monotonic() + BACK
        while not redis.ask("KEYS", "*:mark"):
            assert time.monotonic() < deadline, servers.log()
            time.sleep(POLL_INTERVAL)
        yield servers


def lose_and_go_on(servers: Cluster, keep: Callable[[], None], lose: Callable[[], None]) -> None:
    """``keep`` saves what is stored, and ``lose`` brings that back."""
    write(servers, [of_person(1, n) for n in range(KNOWN)])
    keep()
    lost = [of_person(1, n, phone=1) for n in range(KNOWN)]
    lost += [of_person(2, n) for n in range(LOST)]
    write(servers, lost)
    lose()
    wait_until_back(servers)
    first, second = servers.members
    fresh = [of_person(1, n, phone=2) for n in range(KNOWN)]  # the versions that were lost
    fresh += [of_person(3, n) for n in range(LOST)]  # the ids that were lost
    for one in fresh:
        require_own(one, identify(second, one))
    for member in (first, second):
        for one in (*fresh, *lost):
            require_own(one, identify(member, one))
    stored = servers.stored()
    assert damage(stored) == []
    values = {(c.email, c.phone) for identity in stored for c in identity.contacts}
    missing = {*lost, *fresh} - values
    assert not missing, f"{len(missing)} acknowledged, and not stored"


def cut_off(copy: OwnPostgres) -> None:
    """The standby receives nothing more."""
    with psycopg.connect(copy.url(), autocommit=True) as connection:
        connection.execute("alter system set primary_conninfo = ''")
        connection.execute("select pg_reload_conf()")
        while connection.execute("select 1 from pg_stat_wal_receiver").fetchone():
            time.sleep(POLL_INTERVAL)


@pytest.mark.parametrize("cached", [False, True], ids=["without", "cache"])
def test_standby_promoted_without_the_last_commits_serves_its_own(
    tmp_path: Path, *, cached: bool
) -> None:
    with own_server() as primary, standby(primary) as copy:
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{copy.port}"
        url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

        def keep() -> None:
            copy.wait_for(primary)
            cut_off(copy)

        def promote() -> None:
            primary.kill()
            with psycopg.connect(copy.url(), autocommit=True) as connection:
                connection.execute("select pg_promote()")

        with serving(tmp_path, url, cached=cached) as servers:
            lose_and_go_on(servers, keep, promote)


@pytest.mark.parametrize("cached", [False, True], ids=["without", "cache"])
def test_backup_restored_under_running_servers_is_what_they_serve(
    tmp_path: Path, *, cached: bool
) -> None:
    with own_server(fsync=False) as own:
        backup = tmp_path / "people.dump"

        def keep() -> None:
            dump = ("--format=custom", "--schema=bitespeed", "--file", backup, "--dbname")
            subprocess.run([program("pg_dump"), *dump, own.url()], check=True, timeout=BACK)

        def restore() -> None:
            how = ("--clean", "--if-exists", "--single-transaction", "--exit-on-error", "--dbname")
            command = [program("pg_restore"), *how, own.url(), backup]
            subprocess.run(command, check=True, timeout=BACK)

        with serving(tmp_path, own.url(), cached=cached) as servers:
            lose_and_go_on(servers, keep, restore)
