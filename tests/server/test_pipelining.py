"""Requests that a client sends before their turn: bounded, answered in order, none lost."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.server import Server, fresh_email, fresh_phone, read_all

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ONE_READ = 256 * 1024  # bytes that the server may get at once
MAX_GROWTH = 32  # MiB of its memory; the bytes themselves take half of that
ENDLESS = 2.0  # seconds of requests without end; each would add some 40 MiB


def post(body: bytes, path: str = "/identify", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def observation(email: str) -> bytes:
    return json.dumps({"email": email}).encode()


def statuses(answer: bytes) -> list[int]:
    """The statuses of all responses, in their order."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def memory(server: Server) -> float:
    """What the process has for itself, in MiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def half_closed(server: Server, data: bytes) -> bytes:
    """All that is answered to a client that sends this, and says that it sends nothing more."""
    with server.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


class TestBounds:
    def test_many_pipelined_requests_at_once_take_little_memory(self, server: Server) -> None:
        server.raw(HEALTH * 100 + LAST)
        before = memory(server)
        with ExitStack() as stack:
            connections = [stack.enter_context(server.connect()) for _ in range(40)]
            for connection in connections:
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    connection.send(HEALTH * (ONE_READ // len(HEALTH)))
            assert server.ask("GET", "/health").status == 200
            assert memory(server) - before < MAX_GROWTH

    def test_endless_pipelined_requests_take_little_memory(self, server: Server) -> None:
        before = memory(server)
        end = time.monotonic() + ENDLESS

        def send(connection: socket.socket) -> None:
            with suppress(OSError):
                while time.monotonic() < end:
                    connection.send(HEALTH * 1000)

        def receive(connection: socket.socket) -> set[int]:
            found: set[int] = set()
            while time.monotonic() < end:
                found.update(statuses(connection.recv(65_536)))
            return found

        with ExitStack() as stack, ThreadPoolExecutor(8) as threads:
            connections = [stack.enter_context(server.connect()) for _ in range(4)]
            answers = [threads.submit(receive, connection) for connection in connections]
            for connection in connections:
                threads.submit(send, connection)
            time.sleep(ENDLESS / 2)
            assert server.ask("GET", "/health").status == 200
            assert [answer.result() for answer in answers] == [{200}] * 4
            for connection in connections:
                connection.shutdown(socket.SHUT_RDWR)
        assert memory(server) - before < MAX_GROWTH

    @pytest.mark.parametrize("count", [17, 400, 2000])
    def test_pipelined_requests_beyond_the_bound_are_answered(
        self, server: Server, count: int
    ) -> None:
        phones = [fresh_phone() for _ in range(count)]
        sent = b"".join(post(json.dumps({"phoneNumber": phone}).encode()) for phone in phones)
        answer = server.raw(sent + LAST)
        assert re.findall(rb'"phoneNumbers":\["(\d+)"', answer) == [p.encode() for p in phones]
        assert statuses(answer) == [200] * (count + 1)

    def test_long_body_behind_pipelined_requests_is_read(self, server: Server) -> None:
        emails = [fresh_email() for _ in range(900)]
        batch = post(json.dumps([{"email": email} for email in emails]).encode(), "/identify/batch")
        answer = server.raw((batch + HEALTH * 30) * 4 + LAST)
        assert statuses(answer) == ([200] + [200] * 30) * 4 + [200]
        assert answer.count(emails[-1].encode()) == 4


STRAY = {"a byte": b"X", "a line": b"hello\r\n\r\n", "half of TLS": b"\x16\x03\x01", "NUL": b"\x00"}
BAD_BODY = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"


class TestRefusals:
    @pytest.mark.parametrize("path", ["/identify", "/identify/batch"])
    @pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
    def test_request_before_stray_bytes_is_answered_first(
        self, server: Server, path: str, stray: bytes
    ) -> None:
        email = fresh_email()
        body = observation(email) if path == "/identify" else b"[%b]" % observation(email)
        answer = server.raw(post(body, path) + stray)
        assert statuses(answer) == [200, 400]
        first, _, refusal = answer.partition(b"HTTP/1.1 400 ")
        assert email.encode() in first
        assert b"\r\nconnection: close\r\n" in refusal
        assert b"This is not a valid HTTP request" in refusal

    def test_all_pipelined_requests_before_stray_bytes_are_answered(self, server: Server) -> None:
        answer = server.raw(post(observation(fresh_email())) + HEALTH * 40 + b"X")
        assert statuses(answer) == [200] * 41 + [400]

    @pytest.mark.parametrize("path", [b"/identify", b"/identify/batch"])
    def test_requests_before_a_malformed_body_are_answered(
        self, server: Server, path: bytes
    ) -> None:
        for before in (0, 1, 3):
            answer = server.raw(post(observation(fresh_email())) * before + BAD_BODY % path)
            assert statuses(answer) == [200] * before + [400]

    def test_answered_request_gets_no_second_answer(self, server: Server) -> None:
        answer = b""
        with server.connect() as connection:
            body = BAD_BODY % b"/nothing"
            connection.sendall(body.removesuffix(b"zz\r\n"))
            answer += connection.recv(10_000)
            connection.sendall(b"zz\r\n")
            answer += read_all(connection)
        assert statuses(answer) == [404]

    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    @pytest.mark.parametrize("body", [b"{}", b'{"email":"last@hillvalley.edu"}'])
    def test_nothing_is_done_after_the_last_request(
        self, server: Server, body: bytes, version: bytes
    ) -> None:
        email = fresh_email()
        connection = "close" if version == b"1.1" else "keep-alive"  # which a 1.0 client gets not
        last = post(body, "/identify", f"Connection: {connection}").replace(b"1.1", version)
        answer = server.raw(last + post(observation(email)))
        assert len(statuses(answer)) == 1
        # Written behind whatever the server may still be writing, so that a contact would show.
        contact = server.post("/identify", {"email": email, "phoneNumber": fresh_phone()}).json
        assert contact["contact"]["secondaryContactIds"] == []


class TestHalfClosed:
    def test_request_is_answered_after_its_client_stopped_sending(self, server: Server) -> None:
        email = fresh_email()
        for sent in (
            post(observation(email)),
            post(b"[%b]" % observation(email), "/identify/batch"),
        ):
            answer = half_closed(server, sent)
            assert statuses(answer) == [200]
            assert email.encode() in answer

    @pytest.mark.parametrize("count", [2, 20, 500])
    def test_pipelined_requests_are_answered_after_half_close(
        self, server: Server, count: int
    ) -> None:
        sent = b"".join(post(observation(fresh_email())) + HEALTH for _ in range(count))
        assert statuses(half_closed(server, sent)) == [200] * 2 * count

    @pytest.mark.parametrize("length", [0, 10, 60])
    def test_half_a_request_at_the_end_is_dropped(self, server: Server, length: int) -> None:
        email = fresh_email()
        whole = post(observation(email))
        for before in (0, 1, 40):
            answer = half_closed(server, HEALTH * before + whole[:-1][: length or None])
            assert statuses(answer) == [200] * before
        assert server.ask("GET", f"/contacts?email={email}").status == 404
