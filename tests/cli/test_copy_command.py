"""`bitespeed copy`, in real processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from bitespeed import runtime
from bitespeed.cli.copy import copy as copy_command
from bitespeed.jobs.copy import Comparison, compare
from bitespeed.stores import open_store
from bitespeed.stores.options import Options
from bitespeed.stores.protocols import AnyStore
from bitespeed.stores.supabase.store import SupabaseStore
from support.copies import (
    TIMEOUT,
    contacts,
    identify,
    query,
    twin,
    waits_for_a_lock,
)
from support.postgres_server import Postgres
from support.processes import heed_interrupts


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("BITESPEED", "DATABASE"))}


def bitespeed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bitespeed", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_copies_to_postgres_and_back(people: str, database: str, tmp_path: Path) -> None:
    back = f"sqlite:///{tmp_path}/back.db"
    there = bitespeed("copy", "--from", people, "--to", database)
    assert there.returncode == 0, there.stderr
    assert f"with {contacts(people):,} contacts" in there.stdout
    assert there.stdout.endswith("Compared: both hold the same\n")
    returned = bitespeed("copy", "--from", database, "--to", back, "--json")
    assert returned.returncode == 0, returned.stderr
    document = json.loads(returned.stdout)
    assert document["contacts"] == contacts(people)
    assert document["differences"] == []
    assert document["changed"] == 0
    exported = {bitespeed("export", "--database", url).stdout for url in (people, database, back)}
    assert len(exported) == 1
    assert exported != {""}
    for url in (database, back):
        assert bitespeed("check", "--database", url).returncode == 0


def test_command_does_not_print_a_password(people: str, database: str) -> None:
    url = database.replace("postgres@", "postgres:geheim@")
    done = bitespeed("copy", "--from", people, "--to", url)
    assert done.returncode == 0
    assert "geheim" not in done.stdout + done.stderr


def test_command_refuses_a_target_that_is_not_empty(people: str) -> None:
    done = bitespeed("copy", "--from", people, "--to", people)
    assert done.returncode == 2
    assert done.stderr.strip() == "Error: The database to copy into is not empty; name an empty one"


def test_command_does_not_create_a_missing_source(tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    done = bitespeed(
        "copy", "--from", f"sqlite:///{missing}", "--to", f"sqlite:///{tmp_path}/to.db"
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: There is no file {missing} to copy from\n"
    assert list(tmp_path.iterdir()) == []


def test_command_exits_with_1_when_the_copy_differs(
    people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"

    async def compare_tampered(*arguments: Any) -> Comparison:
        query(target, "update contact_record set number = null where number = 1")
        return await compare(*arguments)

    monkeypatch.setattr("bitespeed.cli.copy.compare", compare_tampered)
    with pytest.raises(SystemExit) as ended:
        copy_command.main(["--from", people, "--to", target])
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "identity 1: events 1\n" in printed
    assert "Do not use the copy" in printed


def test_command_exits_with_1_when_the_source_changed(
    people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/target.db"
    asyncio.run(twin(people, source))

    async def compare_later(one: AnyStore, *arguments: Any) -> Comparison:
        await identify(one, ("late@x.example", None))
        return await compare(one, *arguments)

    monkeypatch.setattr("bitespeed.cli.copy.compare", compare_later)
    with pytest.raises(SystemExit) as ended:
        copy_command.main(["--from", source, "--to", target])
    assert ended.value.code == 1
    assert "The source has changed since: 1 identity is newer there" in capsys.readouterr().out


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Keep every other session from the table."""
    with psycopg.connect(url) as connection:
        connection.execute(f"lock table bitespeed.{table} in access exclusive mode".encode())
        yield


@pytest.mark.parametrize("held", ["source", "target"])
def test_ctrl_c_leaves_the_target_empty(people: str, postgres: Postgres, held: str) -> None:
    with postgres.fresh_database() as source, postgres.fresh_database() as target:
        asyncio.run(twin(people, source))
        assert bitespeed("migrate", "--database", target).returncode == 0
        urls = {"source": source, "target": target}
        with locked(urls[held], "event_record"):
            process = subprocess.Popen(
                [sys.executable, "-m", "bitespeed", "copy", "--from", source, "--to", target],
                env=environment(),
                preexec_fn=heed_interrupts,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            asyncio.run(waits_for_a_lock(urls[held]))
            process.send_signal(signal.SIGINT)
            if held == "target":
                _, printed = process.communicate(timeout=TIMEOUT)
        if held == "source":
            _, printed = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130, printed
        assert printed.strip() == "Stopped. The target holds nothing of it; run it again."
        assert contacts(target) == 0


def test_command_refuses_the_data_api_as_target(
    people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_unprepared(url: str, options: Options) -> AnyStore:
        if url == people:
            return await open_store(url, options)
        return SupabaseStore(url, Options(key="a key"))

    monkeypatch.setattr(runtime, "open_store", open_unprepared)
    command = ["--from", people, "--to", "https://project.supabase.example"]
    done = CliRunner().invoke(copy_command, command)
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: The Data API cannot copy into a project; use the project's connection string\n"
    )
