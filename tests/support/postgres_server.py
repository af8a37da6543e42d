"""PostgreSQL for tests: one server for all of them, and private ones that a test may break.

The shared one is whatever is there: the one named by TEST_DATABASE_URL, one that runs on this
machine and lets us in, or one started for this run.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGSTOP
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from support import server_programs
from support.database_url import database_of, on_server
from support.processes import COMMAND, POLL_INTERVAL, START, Daemon, home, run, within_reach
from support.server import free_port
from support.small_disk import small_disk

LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"  # where one may be running already
ENTRY = 5  # seconds until a server must have let us in
OLDEST = 130_000  # the version that can drop a database that somebody is connected to
PREFIX = "bitespeed_test"
ABANDONED = 24 * 60 * 60  # seconds after which a run that left its databases behind is over

Setting = str | int | float | bool


class Postgres:
    """A server on which we may make databases."""

    def __init__(self, url: str) -> None:
        """``url`` is that of any database on it."""
        self._url = url

    def url(self, database: str = "postgres") -> str:
        """Where that database is."""
        return on_server(self._url, database)

    @contextmanager
    def fresh_database(
        self, template: str | None = None, options: LiteralString = ""
    ) -> Iterator[str]:
        """The URL of a database that nobody else uses; it is dropped, whoever is connected.

        It is empty, or a copy of the one whose URL is given, to which nobody may be connected.
        """
        name = f"{PREFIX}_{int(time.time())}_{uuid4().hex[:12]}"
        source = database_of(template) if template else "template0"
        self._administer(sql.SQL(f"create database {{}} template {{}} {options}"), name, source)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self._administer(sql.SQL("drop database if exists {} with (force)"), name)

    def drop_abandoned(self) -> None:
        """Drop what runs have left behind that were killed long ago."""
        with psycopg.connect(self._url, connect_timeout=ENTRY) as connection:
            names = [name for (name,) in connection.execute("select datname from pg_database")]
        for name in names:
            _, ours, rest = name.partition(f"{PREFIX}_")
            if ours and int(rest.split("_")[0]) < time.time() - ABANDONED:
                self.drop(name)

    def _administer(self, statement: sql.SQL, *names: str) -> None:
        identifiers = (sql.Identifier(name) for name in names)
        with psycopg.connect(self._url, autocommit=True, connect_timeout=ENTRY) as connection:
            connection.execute(statement.format(*identifiers))


@contextmanager
def server() -> Iterator[Postgres]:
    """The server that all tests share; it is theirs to make databases on, not to disturb."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        why = _refusal(given)
        assert why is None, f"TEST_DATABASE_URL names no server for tests: {why}"
    if given or _refusal(LOCAL) is None:
        shared = Postgres(given or LOCAL)
        shared.drop_abandoned()
        yield shared
    else:
        with own_server(fsync=False, full_page_writes=False) as own:
            yield own


def _refusal(url: str) -> str | None:
    """Why this server is none for tests."""
    can_create = "select rolsuper or rolcreatedb from pg_roles where rolname = current_user"
    try:
        with psycopg.connect(url, connect_timeout=ENTRY) as connection:
            if connection.info.server_version < OLDEST:
                return f"it is older than version {OLDEST // 10_000}"
            row = connection.execute(can_create).fetchone()
    except psycopg.Error as error:
        return str(error)
    return None if row == (True,) else "its user may not create databases"


class OwnPostgres(Postgres):
    """A private server, which may be killed, started again and set otherwise."""

    def __init__(self, folder: Path, enter: list[str], settings: dict[str, Setting]) -> None:
        """``enter`` stands before whatever shall see the data, in ``data`` below the folder."""
        self.port = free_port()
        self._folder = folder
        self._settings = settings
        command = [program("postgres"), "-D", folder / "disk" / "data"]
        command += ["-c", f"config_file={folder / 'config'}"]
        self._daemon = Daemon(command, folder, enter=enter, gently=SIGINT, orphaned=SIGQUIT)
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return self._daemon.pid

    def is_running(self) -> bool:
        """Is there a postmaster?"""
        return self._daemon.is_running()

    def start(self, **settings: Setting) -> None:
        """Return when it lets us in; settings stay for later starts."""
        self._settings |= settings
        own = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "dynamic_shared_memory_type": "mmap",  # in the data, so that a kill leaves nothing
        }
        lines = [f"{name} = '{value}'\n" for name, value in (own | self._settings).items()]
        (self._folder / "config").write_text("".join(lines))
        self._daemon.start(self._lets_us_in)

    def stop(self) -> None:
        """Shut it down; its clients get an error."""
        self._daemon.stop()

    def restart(self, **settings: Setting) -> None:
        """Shut it down and start it again, with these settings too."""
        self.stop()
        self.start(**settings)

    def kill(self) -> None:
        """Kill every process of it at once with SIGKILL, as a loss of power would."""
        self._daemon.kill()

    def suspend_wal_writer(self) -> None:
        """Keep from the disk what is committed without waiting for it, until a kill."""
        query = "select pid from pg_stat_activity where backend_type = 'walwriter'"
        with psycopg.connect(self.url()) as connection:
            ((pid,),) = connection.execute(query).fetchall()
        os.kill(pid, SIGSTOP)

    def log(self) -> str:
        """All that it has written since it was started first."""
        return self._daemon.log()

    def wait_for(self, primary: Postgres) -> None:
        """Return when this standby has replayed what the primary has written until now."""
        with psycopg.connect(primary.url()) as connection:
            row = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()
        query = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
        deadline = time.monotonic() + START
        with psycopg.connect(self.url(), autocommit=True) as connection:
            while connection.execute(query, row).fetchone() != (True,):
                assert time.monotonic() < deadline, f"The standby stays behind:\n{self.log()}"
                time.sleep(POLL_INTERVAL)

    def _lets_us_in(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=ENTRY).close()
            return True
        return False

    def close(self) -> None:
        """End it, also when it was killed, and leave nothing behind in memory."""
        try:
            self._daemon.stop()
        finally:
            _free_shared_memory(self._daemon)


@contextmanager
def own_server(disk: int | None = None, **settings: Setting) -> Iterator[OwnPostgres]:
    """A private server with an empty database ``postgres``, durable as in production.

    ``disk`` is the size in MiB of a disk of its own for its data: 64 leave some 30. The WAL is
    elsewhere: for want of space there a server does not refuse a commit, it ends.
    """
    with _home_on_disk(disk) as (folder, enter):
        run(
            *(program("initdb"), "-D", folder / "disk" / "data", "--no-sync", "--auth=trust"),
            *("--username=postgres", "--locale=C", "--encoding=UTF8", "--wal-segsize=1"),
            *(("--waldir", folder / "wal") if disk else ()),
            enter=enter,
        )
        with _started(OwnPostgres(folder, enter, settings)) as own:
            yield own


@contextmanager
def standby(primary: OwnPostgres, **settings: Setting) -> Iterator[OwnPostgres]:
    """A copy of the server that follows it and may only be read."""
    with _home_on_disk(None) as (folder, enter):
        run(
            *(program("pg_basebackup"), "-D", folder / "disk" / "data", "--no-sync"),
            *("--dbname", primary.url(), "--checkpoint=fast", "--write-recovery-conf"),
            enter=enter,
        )
        with _started(OwnPostgres(folder, enter, settings)) as own:
            yield own


@contextmanager
def _home_on_disk(mib: int | None) -> Iterator[tuple[Path, list[str]]]:
    with home() as folder, ExitStack() as stack:
        run("mkdir", folder / "disk")
        disk = stack.enter_context(small_disk(folder / "disk", mib)) if mib else None
        yield folder, disk.enter if disk else []


@contextmanager
def _started(own: OwnPostgres) -> Iterator[OwnPostgres]:
    try:
        own.start()
        yield own
    finally:
        own.close()


def program(name: str) -> Path:
    """One of PostgreSQL's programs, within reach of whoever runs the servers."""
    found = server_programs.postgres()
    if found.tree is None:
        return found.path / name
    return within_reach(found.tree) / found.path.relative_to(found.tree) / name


def _free_shared_memory(daemon: Daemon) -> None:
    """Remove what a killed postmaster leaves until its next start, which will not come."""
    if not shutil.which("ipcrm") or not daemon.has_started():
        return
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        _, shmid, _, _, creator, *_ = line.split()
        if int(creator) == daemon.pid:
            subprocess.run(["ipcrm", "-m", shmid], check=True, timeout=COMMAND)
