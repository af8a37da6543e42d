"""Files with personal data: who may read them, and what they never replace."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitespeed.cli.private_file import PrivateFile
from support.commands import bitespeed, succeed

GOOD, BAD = "email,phone\na@x.test,1\n", "email,phone\na@x.test,1\nbad,2\n"
LOOSE = 0o022  # the usual umask, by which a new file can be read by everybody


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(LOOSE)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_of_every_command_are_only_their_owners(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(BAD)
    succeed("import", "people.csv", cwd=tmp_path)
    succeed("export", "--output", "all.ndjson", cwd=tmp_path)
    succeed("export", "--output", "all.csv", "--format", "csv", cwd=tmp_path)
    succeed("export", "--output", "one.json", "--email", "a@x.test", cwd=tmp_path)
    succeed("copy", "--from", "sqlite:///bitespeed.db", "--to", "sqlite:///copied.db", cwd=tmp_path)
    made = {path.name: mode(path) for path in tmp_path.iterdir()}
    del made["people.csv"]
    assert made == dict.fromkeys(
        [
            *("bitespeed.db", "copied.db", "people.csv.rejects.csv"),
            *("all.ndjson", "all.csv", "one.json"),
        ],
        0o600,
    )


def test_write_ahead_log_is_only_its_owners(tmp_path: Path) -> None:
    script = """
import asyncio, os
from bitespeed.stores.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open("people.db")
    print(*sorted(oct(os.stat(name).st_mode & 0o777) for name in os.listdir()))
    await store.close()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0o600"] * 3


def test_mode_of_an_existing_database_stays(tmp_path: Path) -> None:
    succeed("identify", "--email", "a@x.test", cwd=tmp_path)
    (tmp_path / "bitespeed.db").chmod(0o640)
    succeed("identify", "--email", "b@x.test", cwd=tmp_path)
    assert mode(tmp_path / "bitespeed.db") == 0o640


# Rejects


def test_rejects_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    rejects = tmp_path / "people.csv.rejects.csv"
    (tmp_path / "people.csv").write_text(BAD)
    succeed("import", "people.csv", cwd=tmp_path)
    assert "bad" in rejects.read_text()
    (tmp_path / "people.csv").write_text(GOOD)
    succeed("import", "people.csv", cwd=tmp_path)
    assert not rejects.exists()


def test_rejects_are_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(BAD)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "people.csv.rejects.csv").symlink_to("precious")
    done = bitespeed("import", "people.csv", cwd=tmp_path)
    assert (done.returncode, "is a symbolic link" in done.stderr) == (2, True)
    assert (tmp_path / "precious").read_text() == "precious"


def test_link_made_while_writing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    path = tmp_path / "rejects.csv"
    file = PrivateFile(str(path), "rejects file")
    path.symlink_to("precious")
    file.open().write("bad")
    file.publish()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_text() == "bad"


@pytest.mark.parametrize("content", [GOOD, BAD])
@pytest.mark.parametrize("name", ["people.csv", "./people.csv", "hard.csv", "bitespeed.db"])
def test_rejects_never_replace_input_or_database(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "people.csv").write_text(content)
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "people.csv")
    succeed("identify", "--email", "b@x.test", cwd=tmp_path)
    done = bitespeed("import", "people.csv", "--rejects", name, cwd=tmp_path)
    assert (done.returncode, "name another file" in done.stderr) == (2, True)
    assert (tmp_path / "people.csv").read_text() == content
    assert "b@x.test" in succeed("lookup", "--email", "b@x.test", cwd=tmp_path)


def test_rejects_never_replace_a_redirected_input(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text(BAD)
    with people.open() as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "bitespeed", "import", "-", "--rejects", "people.csv"],
            cwd=tmp_path,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, "is the imported file" in done.stderr) == (2, True)
    assert people.read_text() == BAD


def test_rejects_may_go_to_a_device(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(BAD)
    succeed("import", "people.csv", "--rejects", os.devnull, cwd=tmp_path)
    assert Path(os.devnull).is_char_device()


# Exports


def test_failed_export_leaves_the_earlier_file(tmp_path: Path) -> None:
    succeed("identify", "--email", "a@x.test", cwd=tmp_path)
    (tmp_path / "all.ndjson").write_text("earlier")
    done = bitespeed("export", "--output", "all.ndjson", "--email", "b@x.test", cwd=tmp_path)
    assert done.returncode == 1
    connection = sqlite3.connect(tmp_path / "bitespeed.db")
    connection.execute("drop table identifier")
    connection.close()
    done = bitespeed("export", "--output", "all.ndjson", cwd=tmp_path)
    assert done.returncode != 0
    assert (tmp_path / "all.ndjson").read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"bitespeed.db", "all.ndjson"}


@pytest.mark.parametrize("output", ["nowhere/all.ndjson", "link"])
def test_unusable_output_is_refused_in_one_sentence(tmp_path: Path, output: str) -> None:
    succeed("identify", "--email", "a@x.test", cwd=tmp_path)
    (tmp_path / "link").symlink_to("bitespeed.db")
    done = bitespeed("export", "--output", output, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a@x.test" in succeed("lookup", "--email", "a@x.test", cwd=tmp_path)
