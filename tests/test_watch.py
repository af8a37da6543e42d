"""What the people on call see: log, metrics, traces and reports, of real servers."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bitespeed.model.changes import Event
from bitespeed.service.batching import MAX_WAITING
from bitespeed.telemetry import events, logs
from bitespeed.telemetry.shared_counters import SharedCounters
from support.cluster import cluster
from support.processes import children
from support.server import Server, free_port, fresh_email, fresh_phone, serve
from support.telemetry_receiver import Receiver, receiver

ROOT = Path(__file__).parent.parent

PATIENCE = 15.0  # seconds until what must come has come, on a busy machine
LOOK = 0.05  # seconds between two looks
LATE = 8.0  # seconds by which a server must have ended although nobody takes its last words
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}

Lines = list[dict[str, Any]]
Samples = dict[tuple[str, ...], float]


def lines(server: Server) -> Lines:
    """What the log says; but for the first line of the command, all of it is JSON."""
    return [json.loads(line) for line in server.log().splitlines()[1:]]


def told(server: Server, event: str) -> Lines:
    return [line for line in lines(server) if line["event"] == event]


def samples(text: bytes) -> Samples:
    """Each sample by its name and the values of its labels, as Prometheus' own parser has them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def counted(server: Server) -> Samples:
    reply = server.ask("GET", "/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(reply.body)


def post(server: Server, email: str | None, phone: str | None, **headers: str) -> Any:
    body = json.dumps({"email": email, "phoneNumber": phone}).encode()
    return server.ask("POST", "/identify", body, headers)


# Lines of log


def test_each_change_is_a_line_with_references_and_the_id_of_its_request(server: Server) -> None:
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
        "identity.merged",
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


def test_a_batch_and_what_goes_by_asgi_have_the_id_too(server: Server) -> None:
    email = fresh_email()
    reply = server.ask(
        "POST", "/identify/batch", json.dumps([{"email": email}]).encode(), {"X-Request-Id": "many"}
    )
    assert reply.headers["x-request-id"] == "many"
    assert [line["event"] for line in lines(server) if line.get("request") == "many"] == [
        "contact.created"
    ]


@pytest.mark.parametrize("path", ["/identify", "/nothing", "/contacts"])
def test_every_response_has_an_id_and_the_callers_own_where_it_is_fit(
    server: Server, path: str
) -> None:
    def answered(given: str | None) -> str:
        headers = {} if given is None else {"X-Request-Id": given}
        return server.ask("POST", path, b"{}", headers).headers["x-request-id"]

    for fit in ("a", "0f9d8c7b", "A-b_c.9", "x" * 64):
        assert answered(fit) == fit
    ours = [answered(unfit) for unfit in (None, "", "x" * 65, "a@b.c", "5550123", "a b", "é")]
    assert len(set(ours)) == len(ours)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9]+", one) for one in ours)


def test_the_reference_is_the_same_in_every_process_and_the_command_tells_it(
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


def test_the_log_is_readable_where_that_is_wanted_and_says_less_where_less_is(
    tmp_path: Path,
) -> None:
    with serve(tmp_path, BITESPEED_LOG_FORMAT="text", BITESPEED_LOG_LEVEL="debug") as server:
        post(server, fresh_email(), None, **{"X-Request-Id": "mine"})
        assert re.search(r"\[info +\] contact.created .*identity=1 .*request=mine", server.log())
        answered = re.compile(r"\[debug +\] request.answered .*request=mine .*status=200")
        deadline = time.monotonic() + PATIENCE
        while not answered.search(server.log()):  # the answer may be faster than the line
            assert time.monotonic() < deadline, server.log()
            time.sleep(LOOK)
    with serve(tmp_path, BITESPEED_LOG_LEVEL="warning") as server:
        post(server, fresh_email(), None)
    assert len(server.log().splitlines()) == 1


def test_a_reader_of_the_log_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
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


def test_lines_are_written_whole_and_no_more_at_once_than_a_pipe_takes(
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


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError):
            if server.ask("GET", "/ready").status == 200:
                return
        time.sleep(LOOK)
    pytest.fail("The server did not become ready.")


def test_what_nobody_expected_is_told_by_type_and_place(tmp_path: Path) -> None:
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
        ("library.told", None),
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
    told |= {events._NAMES.get(kind, kind) for kind in get_args(get_type_hints(Event)["kind"])}
    told -= {"contact.adopted"}  # by another way than commits of a server
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/logs.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", " ".join(table))) == told


# Metrics


def test_what_happens_is_counted(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        one, other = (fresh_email(), fresh_phone()), (fresh_email(), fresh_phone())
        for email, phone in (one, other, one, (one[0], other[1])):
            post(server, email, phone)
        post(server, None, None)
        server.ask("DELETE", "/contacts/2")
        server.ask("GET", "/nothing")
        server.raw(b"nonsense\r\n\r\n")
        found = counted(server)
    expected = {
        ("bitespeed_requests_total", "identify", "200"): 4,
        ("bitespeed_requests_total", "identify", "400"): 1,
        ("bitespeed_requests_total", "contact", "204"): 1,
        ("bitespeed_requests_total", "other", "404"): 1,
        ("bitespeed_requests_total", "other", "400"): 1,
        ("bitespeed_request_seconds_count", "identify"): 5,
        ("bitespeed_request_seconds_bucket", "identify", "+Inf"): 5,
        ("bitespeed_batch_observations_sum",): 4,
        ("bitespeed_contacts_created_total",): 2,
        ("bitespeed_contacts_deleted_total",): 1,
        ("bitespeed_identities_created_total",): 2,
        ("bitespeed_identities_merged_total",): 1,
        ("bitespeed_stage_seconds_count", "commit"): 4,
        ("bitespeed_queue_observations",): 0,
        ("bitespeed_queue_limit_observations",): MAX_WAITING,
        ("bitespeed_workers",): 1,
        ("bitespeed_failures_total",): 0,
    }
    assert {name: found[name] for name in expected} == expected


def test_workers_add_up_and_one_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    with serve(tmp_path, BITESPEED_WORKERS="2") as server:
        wait_for(server, workers=2)
        for _ in range(40):
            post(server, fresh_email(), None)
        before = counted(server)
        assert before["bitespeed_contacts_created_total",] == 40
        os.kill(max(children(server.pid)), signal.SIGKILL)
        for _ in range(20):
            answered_by_somebody(server)
        wait_for(server, workers=2, replaced=1)
        after = counted(server)
        assert after["bitespeed_contacts_created_total",] == 60
        counters = {name for name in before if name[0].endswith(("_total", "_count", "_bucket"))}
        assert all(after[name] >= before[name] for name in counters)


def answered_by_somebody(server: Server) -> None:
    """A connection that the killed worker had accepted is closed; the caller tries again."""
    email = fresh_email()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            assert post(server, email, None).status == 200
        except OSError:
            continue
        return
    pytest.fail("Nobody answers.")


def wait_for(server: Server, workers: int, replaced: int = 0) -> None:
    """Return when so many are ready, so many of them in the place of another."""
    expected = [workers, replaced, workers * MAX_WAITING]
    names = ("workers", "worker_replacements_total", "queue_limit_observations")
    deadline = time.monotonic() + PATIENCE
    while True:
        found = counted(server)
        if [found[f"bitespeed_{name}",] for name in names] == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(LOOK)


def test_a_board_carries_on_what_a_dead_worker_counted_but_for_what_ended_with_it(
    tmp_path: Path,
) -> None:
    script = f"""
import os
from contextlib import closing, suppress
from pathlib import Path
from bitespeed.model.identity import Event
from bitespeed.service.batching import MAX_WAITING
from bitespeed.telemetry import events
from bitespeed.telemetry.shared_counters import SharedCounters
board = SharedCounters()
counter, gauge = board.reserve(), board.reserve(transient=True)
assert not board.share(Path({str(tmp_path)!r}))
board.values[counter] += 5
board.values[gauge] = 7
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    boards = [SharedCounters(), SharedCounters()]
    for board in boards:
        board.reserve(), board.reserve(transient=True)
    assert boards[0].share(tmp_path)
    assert boards[0].totals() == ([5, 0], 1)
    assert not boards[1].share(tmp_path)
    boards[1].values[0] += 1
    boards[1].values[1] = 2
    assert boards[0].totals() == boards[1].totals() == ([6, 2], 2)
    assert len(list(tmp_path.iterdir())) == 2


# Traces and reports


def break_database(server: Server) -> None:
    """From now on no contact can be written, for a reason that nobody has foreseen."""
    trigger = """
        create trigger broken before insert on contact_record
        begin select raise(abort, 'by a test'); end
    """
    with closing(sqlite3.connect(server.database)) as connection:
        connection.execute(trigger)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Receiver]]:
    with (
        receiver() as received,
        serve(
            tmp_path_factory.mktemp("traced"),
            OTEL_EXPORTER_OTLP_ENDPOINT=received.otlp,
            OTEL_BSP_SCHEDULE_DELAY="100",
            SENTRY_DSN=received.dsn,
        ) as server,
    ):
        yield server, received


def test_a_batch_is_a_trace_linked_to_its_requests(traced: tuple[Server, Receiver]) -> None:
    server, received = traced
    post(server, fresh_email(), None, **TRACEPARENT)
    received.wait(lambda: {"batch", "identify"} <= {span.name for span in received.spans()})
    spans = {span.name: span for span in received.spans()}
    request, batch = spans["identify"], spans["batch"]
    assert request.trace_id.hex() == CALLER
    assert [link.span_id for link in batch.links] == [request.span_id]
    stages = [span for span in received.spans() if span.parent_span_id == batch.span_id]
    assert [span.name for span in stages] == ["gather", "read", "rule", "commit"]


def test_an_error_goes_to_sentry_by_type_and_place(traced: tuple[Server, Receiver]) -> None:
    server, received = traced
    break_database(server)
    reply = post(server, fresh_email(), None, **{"X-Request-Id": "broken"})
    assert (reply.status, reply.error) == (500, "Internal error")
    received.wait(lambda: bool(received.errors()))
    (error,) = received.errors()
    (value,) = error["exception"]["values"]
    assert value["type"] == "IntegrityError"
    assert value["stacktrace"]["frames"][-1]["filename"].endswith("sqlite/write.py")
    assert error["tags"] == {"request": "broken"}
    assert {"request", "user", "breadcrumbs", "modules", "extra"}.isdisjoint(error)
    (line,) = told(server, "observation.undecided")
    assert line["request"] == "broken"


@pytest.mark.parametrize("way", ["hangs", "refuses"])
def test_a_collector_and_a_sentry_that_are_away_hold_up_nobody(tmp_path: Path, way: str) -> None:
    with receiver(hangs=True) as received:
        port = received.port if way == "hangs" else 1
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "SENTRY_DSN": f"http://key@127.0.0.1:{port}/1",
        }
        with cluster(tmp_path, **environ) as servers:
            (member,) = servers.members
            server = Server(member.port, tmp_path / "contacts.db", tmp_path / "x", 0)
            for _ in range(20):
                assert post(server, fresh_email(), None, **TRACEPARENT).status == 200
            break_database(server)
            assert post(server, fresh_email(), None).status == 500
            if way == "hangs":
                assert received.hung.wait(PATIENCE)
            member.terminate()
            member.process.wait(LATE)
