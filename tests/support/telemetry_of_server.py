"""The log and the metrics of a server, read as whoever is on call reads them."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.server import Server

TIMEOUT = 15.0  # seconds until what must come has come, on a busy machine
POLL_INTERVAL = 0.05  # seconds between two polls
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


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with suppress(OSError):
            if server.ask("GET", "/ready").status == 200:
                return
        time.sleep(POLL_INTERVAL)
    pytest.fail("The server did not become ready.")
