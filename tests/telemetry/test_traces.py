"""Traces and reports of errors, of real servers."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.cluster import cluster
from support.server import Server, fresh_email, serve
from support.telemetry_of_server import CALLER, LATE, TIMEOUT, TRACEPARENT, post, told
from support.telemetry_receiver import Receiver, receiver


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


def test_span_of_a_batch_links_to_its_requests(traced: tuple[Server, Receiver]) -> None:
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
def test_unreachable_collector_and_sentry_delay_nobody(tmp_path: Path, way: str) -> None:
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
                assert received.hung.wait(TIMEOUT)
            member.terminate()
            member.process.wait(LATE)
