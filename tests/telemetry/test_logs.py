"""Lines of log, of real servers."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from bitespeed.model.changes import Event
from bitespeed.telemetry import logs
from support.server import Server, free_port, fresh_email, fresh_phone, serve
from support.telemetry_of_server import (
    POLL_INTERVAL,
    TIMEOUT,
    counted,
    lines,
    post,
    told,
    wait_until_ready,
)

ROOT = Path(__file__).parents[2]


def test_each_change_is_logged_with_pseudonyms_and_request(server: Server) -> None:
    one, other = (fresh_email(), fresh_phone()), (fresh_email(), fresh_phone())
    first = post(server, *one, **{"X-Request-Id": "first.1"}).contact["primaryContatctId"]
    second = post(server, *other, **{"X-Request-Id": "second-1"}).contact["primaryContatctId"]
    post(server, one[0], other[1], **{"X-Request-Id": "third_1"})
    post(server, one[0], other[1], **{"X-Request-Id": "repeat"})
    server.ask("DELETE", f"/contacts/{second}", headers={"X-Request-Id": "last"})
    mine = [line for line in lines(server) if line.get("identity") == first]
    created, merged, deleted = mine
    names = "at level event tenant identity contact email phone request"
    assert set(created) == set(names.split())
    assert (created["event"], created["request"], created["contact"]) == (
        "contact.created",
        "first.1",
        first,
    )
    assert (merged["event"], merged["request"], merged["merged"]) == (
        "identities.merged",
        "third_1",
        second,
    )
    assert merged["email"] == created["email"]
    assert (deleted["event"], deleted["request"], deleted["contact"]) == (
        "contact.deleted",
        "last",
        second,
    )
    assert re.fullmatch("[0-9a-f]{16}", created["email"])
    assert not [line for line in lines(server) if line.get("request") == "repeat"]


def test_batches_and_asgi_requests_have_a_request_id(server: Server) -> None:
    email = fresh_email()
    reply = server.ask(
        "POST", "/identify/batch", json.dumps([{"email": email}]).encode(), {"X-Request-Id": "many"}
    )
    assert reply.headers["x-request-id"] == "many"
    assert [line["event"] for line in lines(server) if line.get("request") == "many"] == [
        "contact.created"
    ]


@pytest.mark.parametrize("path", ["/identify", "/nothing", "/contacts"])
def test_every_response_has_a_valid_request_id(server: Server, path: str) -> None:
    def answered(given: str | None) -> str:
        headers = {} if given is None else {"X-Request-Id": given}
        return server.ask("POST", path, b"{}", headers).headers["x-request-id"]

    for fit in ("a", "0f9d8c7b", "A-b_c.9", "x" * 64):
        assert answered(fit) == fit
    ours = [answered(unfit) for unfit in (None, "", "x" * 65, "a@b.c", "5550123", "a b", "é")]
    assert len(set(ours)) == len(ours)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9]+", one) for one in ours)


def test_command_prints_the_pseudonym_that_processes_log(
    tmp_path: Path,
) -> None:
    email = fresh_email()
    with serve(tmp_path) as server:
        post(server, email, None)
        (line,) = told(server, "contact.created")
        command = [sys.executable, "-m", "bitespeed", "pseudonym", "--email", f" {email.upper()}"]
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{server.database}"}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [line["email"]]


def test_log_format_and_level_follow_their_settings(
    tmp_path: Path,
) -> None:
    with serve(tmp_path, BITESPEED_LOG_FORMAT="text", BITESPEED_LOG_LEVEL="debug") as server:
        post(server, fresh_email(), None, **{"X-Request-Id": "mine"})
        assert re.search(r"\[info +\] contact.created .*identity=1 .*request=mine", server.log())
        answered = re.compile(r"\[debug +\] request.answered .*request=mine .*status=200")
        deadline = time.monotonic() + TIMEOUT
        while not answered.search(server.log()):  # the answer may be faster than the line
            assert time.monotonic() < deadline, server.log()
            time.sleep(POLL_INTERVAL)
    with serve(tmp_path, BITESPEED_LOG_LEVEL="warning") as server:
        post(server, fresh_email(), None)
    assert len(server.log().splitlines()) == 1


def test_hanging_reader_of_the_log_delays_nobody(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "bitespeed", "serve", "--port", str(port)]
    command += ["--database", f"sqlite:///{tmp_path}/contacts.db"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            server = Server(port, tmp_path / "contacts.db", tmp_path / "none", process.pid)
            wait_until_ready(server)
            batch = json.dumps([{"email": fresh_email()} for _ in range(1000)]).encode()
            assert server.ask("POST", "/identify/batch", batch).status == 200
            dropped = counted(server)["bitespeed_log_lines_dropped_total",]
        finally:
            process.terminate()
        assert process.stderr is not None
        kept = [json.loads(line) for line in process.stderr]  # each is whole
    assert dropped > 0
    created = [line for line in kept if line["event"] == "contact.created"]
    assert len(created) + dropped == 1000


def test_log_lines_are_written_whole_within_pipe_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(logs, "_put", written.append)
    long = "x" * logs.PIPE_BUF
    texts = [*"abc", *["y" * 100] * 100, long, "z"]
    logs._Output("json", "info").write([{"event": text} for text in texts])
    assert all(piece.endswith(b"\n") for piece in written)
    assert [len(piece) > logs.PIPE_BUF for piece in written].count(True) == 1
    assert [json.loads(line)["event"] for line in b"".join(written).splitlines()] == texts
    assert len(written) < 8


def test_unexpected_error_is_logged_by_type_and_place(tmp_path: Path) -> None:
    script = """
import asyncio, logging, sys, threading, warnings
from bitespeed import telemetry
from bitespeed.telemetry import failures
telemetry.configure(telemetry.TelemetryOptions())
async def main():
    failures.guard_loop(asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(lambda: 1 / int("0secret"))
    task = asyncio.create_task(fail()); await asyncio.sleep(0); del task
async def fail(): raise ValueError("secret")
asyncio.run(main())
thread = threading.Thread(target=lambda: {}["secret"]); thread.start(); thread.join()
logging.getLogger("some.library").warning("could not do %s", "secret")
logging.getLogger("uvicorn.error").error("words", exc_info=ValueError("secret"))
class Last:
    def __del__(self): raise OSError("secret")
Last()
try: raise KeyError("secret")
except KeyError as error: raise RuntimeError("secret") from error
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "secret" not in done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line.get("error")) for line in found] == [
        ("loop.failed", "ValueError"),
        ("loop.failed", "ValueError"),
        ("thread.failed", "KeyError"),
        ("library.logged", None),
        ("library.failed", "ValueError"),
        ("finalizer.failed", "OSError"),
        ("process.crashed", "RuntimeError from KeyError"),
    ]
    assert found[3]["message"] == "could not do %s"
    assert "in fail" in found[1]["place"][-1]


def test_every_event_is_in_the_document_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    told = set(
        re.findall(r'(?:log\.\w+|failed|_on_error)\(\s*(?:[\w.]+, )?"([a-z]+\.[a-z_]+)"', sources)
    )
    told |= set(get_args(get_type_hints(Event)["kind"]))
    told -= {"contact.adopted"}  # by another way than commits of a server
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/logs.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", " ".join(table))) == told
