"""Rows sorted on disk: bounded memory, private files that vanish, a full disk, Ctrl-C."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bitespeed.errors import Unavailable
from bitespeed.jobs import sorted_rows
from bitespeed.jobs.sorted_rows import ReadRow, SortedRows
from bitespeed.model.identifiers import Observation, observe
from support.commands import bitespeed, succeed
from support.processes import heed_interrupts
from support.small_disk import small_disk

ROWS = 200_000
A_FEW_BATCHES = 10_000_000  # bytes of Python objects; all rows would take over 100 MB
BATCH = 5_000


def sorting_files(process: int | str) -> list[Path]:
    """The temporary files of SQLite that a process has open."""
    found: list[Path] = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "/etilqs_" in os.readlink(link):  # noqa: PTH115 - a deleted file's is no path
                found.append(link)
    return found


def batches(rows: int) -> Iterator[list[ReadRow]]:
    for start in range(0, rows, BATCH):
        yield [
            ReadRow(n * 7919 % rows, [observe(f"user{n}@shop.example", str(n))])
            for n in range(start, min(start + BATCH, rows))
        ]


def within(test: Callable[[SortedRows], None]) -> None:
    async def main() -> None:
        with SortedRows() as rows:
            test(rows)

    asyncio.run(main())


def test_rows_are_sorted_on_disk_in_bounded_memory():
    def test(rows):
        for batch in batches(ROWS):
            rows.add(batch)
        (file,) = sorting_files("self")
        kept = file.stat()
        assert kept.st_size > 1_000_000
        assert (kept.st_mode & 0o777, kept.st_nlink) == (0o600, 0)  # it has no name any more
        assert all(row.at == n for n, row in enumerate(rows.by_age()))

    tracemalloc.start()
    try:
        within(test)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < A_FEW_BATCHES
    assert sorting_files("self") == []


def test_rows_come_back_as_they_were():
    def test(rows):
        full = Observation("a@x", "+1", " A@x", "1", "US")
        kept = [ReadRow(5, [full, observe("b@x", None)]), ReadRow(None, [observe(None, "2")])]
        rows.add(reversed(kept))
        assert list(rows.by_age()) == kept
        assert (rows.dated, rows.undated) == (1, 1)

    within(test)


def test_cancelled_task_stops_sorting(monkeypatch):
    monkeypatch.setattr(sorted_rows, "INTERRUPT_STEPS", 1_000)

    first: list[ReadRow] = []

    async def main() -> None:
        with SortedRows() as rows:
            for batch in batches(2 * BATCH):
                rows.add(batch)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            first.append(next(rows.by_age()))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert first == []


def test_folder_without_space_is_one_sentence(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    lines = (f"u{n}@shop.example,{n},20{n % 20:02}-01-01\n" for n in range(300_000))
    (tmp_path / "rows.csv").write_text("email,phone,date\n" + "".join(lines))
    command = [sys.executable, "-m", "bitespeed", "import", str(tmp_path / "rows.csv")]
    command += ["--database", f"sqlite:///{tmp_path}/bitespeed.db"]
    with small_disk(folder, 1) as disk:
        done = subprocess.run(
            [*disk.enter, *command],
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "Error: The rows cannot be sorted by date, since the disk for temporary files is full or"
        " cannot be written; free some space, or set TMPDIR to a folder that has more\n"
    )
    assert "0 identities" in succeed("check", cwd=tmp_path)


def test_other_failure_of_the_disk_is_unavailable():
    def test(rows):
        rows._database.execute("drop table row")
        rows.add([ReadRow(1, [observe("a@x", None)])])

    with pytest.raises(Unavailable):
        within(test)


def test_interrupted_sorting_writes_nothing_and_leaves_no_file(tmp_path):
    succeed("migrate", cwd=tmp_path)
    folder = tmp_path / "temporary"
    folder.mkdir()
    lines = (f"u{n}@shop.example,{n},20{n % 20:02}-01-01\n" for n in range(400_000))
    (tmp_path / "rows.csv").write_text("email,phone,date\n" + "".join(lines))
    with subprocess.Popen(
        [sys.executable, "-m", "bitespeed", "import", "rows.csv"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        while not sorting_files(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert printed == "Stopped. 0 rows are in; run it again for the rest.\n"
    assert list(folder.iterdir()) == []
    assert "0 identities" in succeed("check", cwd=tmp_path)


def test_command_says_in_which_order_rows_are_taken(tmp_path):
    text = (
        "Mail,Tel,Bestellt am\na@x.example,1,2024-01-01\na@x.example,2,2010-01-01\nb@x.example,2,"
    )
    columns = ("--email-column", "Mail", "--phone-column", "Tel", "--date-column", "Bestellt am")
    done = bitespeed("import", "-", "--json", *columns, cwd=tmp_path, stdin=text)
    assert done.stderr == (
        "2 rows in the order of Bestellt am, the oldest first, then 1 without a date\n"
    )
    assert json.loads(done.stdout)["secondaries"] == 2
    shown = json.loads(succeed("lookup", "--phone", "1", "--json", cwd=tmp_path))["contact"]
    assert shown["phoneNumbers"] == ["2", "1"]
    assert (
        "in the order of" not in bitespeed("import", "-", cwd=tmp_path, stdin="email\na@b").stderr
    )


@pytest.mark.parametrize("option", [("--since", "2010-01-01"), ("--date-column", "date")])
def test_dates_cannot_be_ignored_and_used(tmp_path, option):
    done = bitespeed("import", "-", "--ignore-dates", *option, cwd=tmp_path, stdin="email,date\n")
    assert done.returncode == 2
    assert "--ignore-dates cannot be used with --date-column or --since" in done.stderr
