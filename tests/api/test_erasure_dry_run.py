"""What an erasure would remove is counted first, and the command asks before it removes much."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import Email
from bitespeed.rules.erase import Subject
from support.commands import bitespeed, succeed
from support.server import Server, fresh_email, fresh_phone
from support.stores import service_on, store_at, write

CTRL_C = b"\x03"
MAX_REPEATS = 10  # of Ctrl-C, by somebody who wants to leave ...
REPEAT_INTERVAL = 2.0  # ... and looks for so many seconds whether it has helped
COUNTS = {
    "identities": 1,
    "contacts": 2,
    "identifiers": 3,
    "emails": 2,
    "phones": 1,
    "pairs": 2,
    "events": 2,
}


def two_emails(server: Server) -> tuple[str, str]:
    """Somebody with two emails and a phone number."""
    email, phone = fresh_email(), fresh_phone()
    server.identify(email, phone)
    server.identify(fresh_email(), phone)
    return email, phone


def test_dry_run_counts_what_the_erasure_then_removes(server: Server) -> None:
    email, phone = two_emails(server)
    before = server.tables()
    reply = server.post("/erase?dryRun=true", {"email": email})
    assert (reply.status, reply.json) == (200, {"dryRun": COUNTS})
    assert server.tables() == before
    assert server.post("/erase?dryRun=true", {"email": fresh_email()}).status == 404
    receipt = server.post("/erase?dryRun=false", {"phoneNumber": phone}).json["erasure"]
    assert {name: receipt[name] for name in COUNTS} == COUNTS
    assert len(receipt["pseudonyms"]) == 3


@pytest.mark.parametrize(
    "query",
    [
        "dryrun=true",
        "dry_run=true",
        "dryRun",
        "dryRun=",
        "dryRun=1",
        "dryRun=true&dryRun=false",
        "dry%52un=true",
        "dryRun=true&x=1",
        "dryRun=True",
    ],
)
def test_misspelt_dry_run_erases_nothing(server: Server, query: str) -> None:
    email, _ = two_emails(server)
    assert server.post(f"/erase?{query}", {"email": email}).status == 400
    assert server.ask("GET", f"/contacts?email={email}").status == 200


@pytest.mark.parametrize("more", [{"dryRun": True}, {"phone": "1"}, {"PhoneNumber": "1"}])
def test_unknown_member_erases_nothing(server: Server, more: dict[str, object]) -> None:
    email, _ = two_emails(server)
    reply = server.post("/erase", {"email": email, **more})
    assert (reply.status, reply.error) == (400, "The body has a member that is not known here")
    assert server.ask("GET", f"/contacts?email={email}").status == 200


def test_changed_counts_end_an_agreed_erasure(tmp_path: Path) -> None:
    async def main() -> None:
        async with store_at(tmp_path / "people.db") as store, service_on(store) as service:
            await write(store, ("a@x.test", "1"))
            agreed = await service.erasure_counts(Subject(Email("a@x.test")))
            await write(store, ("b@x.test", "1"))
            with pytest.raises(InvalidInput, match="has changed since"):
                await service.erase(Subject(Email("a@x.test")), agreed=agreed)
            assert (await service.erase(Subject(Email("b@x.test")))).emails == 2

    asyncio.run(main())


# The command


def fill(folder: Path) -> None:
    for email in ("a@x.test", "b@x.test"):
        succeed("identify", "--email", email, "--phone", "1", cwd=folder)


def stored(folder: Path) -> int:
    return len(succeed("export", cwd=folder).splitlines())


def test_command_counts_with_dry_run(tmp_path: Path) -> None:
    fill(tmp_path)
    dry = ("erase", "--email", "a@x.test", "--dry-run")
    assert json.loads(succeed(*dry, "--json", cwd=tmp_path)) == {"dryRun": COUNTS}
    printed = succeed(*dry, "--yes", cwd=tmp_path)
    assert printed.startswith("Would erase 2 contacts of 1 identity, 3 identifiers and 2 events")
    assert "emails      2\nphones      1\n" in printed
    assert stored(tmp_path) == 1


@pytest.mark.parametrize("flags", [("--dry-run",), ("--yes",), ()], ids=["dry run", "yes", "ask"])
def test_command_creates_no_file(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = bitespeed("erase", "--phone", "1", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert "There is no database file" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_command_refuses_two_emails_without_a_terminal(tmp_path: Path) -> None:
    fill(tmp_path)
    done = bitespeed("erase", "--phone", "1", cwd=tmp_path, stdin="y\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "This erases 2 emails and 1 phone number; add --yes" in done.stderr
    assert stored(tmp_path) == 1
    assert "Erased 2 contacts" in succeed("erase", "--phone", "1", "--yes", cwd=tmp_path)
    assert stored(tmp_path) == 0


def test_command_erases_one_pair_unconfirmed(tmp_path: Path) -> None:
    succeed("identify", "--email", "a@x.test", "--phone", "1", cwd=tmp_path)
    assert "Erased 1 contact of" in succeed("erase", "--phone", "1", cwd=tmp_path)


@pytest.mark.parametrize(
    ("typed", "status", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\n", 1, 1), (CTRL_C, 1, 1)]
)
def test_command_requests_confirmation_at_a_terminal(
    tmp_path: Path, typed: bytes, status: int, left: int
) -> None:
    fill(tmp_path)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "bitespeed", "erase", "--phone", "1"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: _use_terminal(theirs),
    ) as process:
        assert process.stderr is not None
        question = b""
        while b"[y/N]" not in question:
            question += process.stderr.read(1)
        assert b"This erases 2 emails and 1 phone number" in question
        os.write(ours, typed)
        # A signal that comes as Python begins to wait for a line is seen after the next one only.
        for _ in range(MAX_REPEATS if typed == CTRL_C else 0):
            with suppress(subprocess.TimeoutExpired):
                process.wait(REPEAT_INTERVAL)
                break
            os.write(ours, typed)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()  # or leaving the context would wait for it
            raise
    os.close(ours)
    os.close(theirs)
    assert process.returncode in {status, -signal.SIGINT if typed == CTRL_C else status}
    assert stored(tmp_path) == left


def _use_terminal(terminal: int) -> None:
    """Make it the process's own, so that Ctrl-C typed there is a signal."""
    os.setsid()
    os.close(os.open(os.ttyname(terminal), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.default_int_handler)
