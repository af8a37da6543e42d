"""What a head may say, by RFC 9110 and RFC 9112: a caller's mistake is refused and reported to
nobody but the caller.
"""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitespeed.server.connection import MAX_HEAD, MAX_HEADERS
from support.api_keys import guarded, made
from support.log_lines import unexpected_errors
from support.server import Server, fresh_email, read_all, serve

GET = b"GET /health HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"

HEADS = {
    "a Host": (200, GET + HOST + CLOSE),
    "a Host with a port": (200, GET + b"Host: [::1]:8000\r\n" + CLOSE),
    "no Host": (400, GET),
    "two Hosts": (400, GET + HOST * 2),
    "two different Hosts": (400, GET + HOST + b"Host: y\r\n"),
    "a Host with a path": (400, GET + b"Host: x/y\r\n"),
    "a Host with a blank": (400, GET + b"Host: x y\r\n"),
    "a Host with a user": (400, GET + b"Host: x@y\r\n"),
    "no Host in HTTP/1.0": (200, b"GET /health HTTP/1.0\r\n"),
    "two Hosts in HTTP/1.0": (400, b"GET /health HTTP/1.0\r\n" + HOST * 2),
    "HTTP/0.9": (400, b"GET /health\r\n"),
    "HTTP/2.0": (400, b"GET /health HTTP/2.0\r\n" + HOST),
    "HTTP/1.2": (400, b"GET /health HTTP/1.2\r\n" + HOST),
    "a whole address": (200, b"GET http://x/health HTTP/1.1\r\n" + HOST + CLOSE),
    "an address without a path": (404, b"GET http://x HTTP/1.1\r\n" + HOST + CLOSE),
    "an address with a query alone": (404, b"GET http://x?y HTTP/1.1\r\n" + HOST + CLOSE),
    "a star": (404, b"GET * HTTP/1.1\r\n" + HOST + CLOSE),
    "CONNECT": (400, b"CONNECT x:80 HTTP/1.1\r\n" + HOST),
    "an unknown expectation": (417, GET + HOST + b"Expect: wonders\r\n"),
    "an expectation and another": (417, GET + HOST + b"Expect: 100-continue, wonders\r\n"),
    "two expectations": (417, GET + HOST + b"Expect: wonders\r\nExpect: 100-continue\r\n"),
    "gzip, chunked": (400, CHUNKED.replace(b"chunked", b"gzip, chunked")),
    "gzip and chunked": (400, CHUNKED + b"Transfer-Encoding: gzip\r\n"),
    "identity": (400, CHUNKED.replace(b"chunked", b"identity")),
    "chunked in HTTP/1.0": (400, CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0")),
    "an upgrade": (200, GET + HOST + b"Connection: close, upgrade\r\nUpgrade: h2c\r\n"),
    "a long head": (400, GET + HOST + b"X: " + b"y" * 100_000 + b"\r\n"),
    "a long head of short lines": (400, GET + HOST + b"X: y\r\n" * 15_000),
    "many lines": (400, GET + HOST + b"X: y\r\n" * MAX_HEADERS),
    "a long path": (400, b"GET /%b HTTP/1.1\r\n" % (b"a" * 100_000) + HOST),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has reported no error in the end."""
    with serve(tmp_path_factory.mktemp("heads")) as server:
        yield server
        assert unexpected_errors(server.log()) == []
        assert '"error"' not in server.log()


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def half_close(server: Server, data: bytes) -> bytes:
    """All that is answered to these bytes, behind which nothing comes."""
    with server.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


@pytest.mark.parametrize("name", HEADS)
def test_head_gets_the_status_of_the_rfc(server: Server, name: str) -> None:
    expected, head = HEADS[name]
    answer = server.raw(head + b"\r\n")
    assert statuses(answer) == [expected]
    assert b"\r\nconnection: close\r\n" in answer.lower()
    if expected >= 400:
        assert answer.endswith(b'"}')
        assert b'"code":"' in answer


class TestLengths:
    def post(self, digits: bytes, body: bytes) -> bytes:
        head = (
            b"POST /identify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
        )
        return head + digits + b"\r\n\r\n" + body

    @pytest.mark.parametrize("zeros", [30, 5000])
    def test_zeros_before_a_length_change_nothing(self, server: Server, zeros: int) -> None:
        body = b'{"email":"%b"}' % fresh_email().encode()
        answer = server.raw(self.post(b"0" * zeros + b"%d" % len(body), body))
        assert statuses(answer) == [200]
        answer = server.raw(self.post(b"0" * zeros + b"70000", b""))
        assert statuses(answer) == [413]

    @pytest.mark.parametrize("count", [19, 20, 21, 5000])
    def test_length_of_many_digits_is_refused(self, server: Server, count: int) -> None:
        (status,) = statuses(server.raw(self.post(b"9" * count, b"")))
        assert status in {400, 413}


class TestUpgrades:
    UPGRADE = HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"

    def test_thousands_of_pipelined_upgrades_are_answered(self, server: Server) -> None:
        answer = half_close(server, (GET + self.UPGRADE) * 3000)
        assert statuses(answer) == [200] * 3000

    def test_offer_to_upgrade_beside_close_closes_after_the_answer(self, server: Server) -> None:
        offer = HOST + b"Connection: close, upgrade\r\nUpgrade: h2c\r\n\r\n"
        assert statuses(server.raw((GET + offer) * 2)) == [200]

    def test_upgrade_with_a_body_is_answered_by_it(self, server: Server) -> None:
        body = b'{"email":"%b"}' % fresh_email().encode()
        head = b"POST /identify HTTP/1.1\r\nContent-Length: %d\r\n" % len(body)
        answer = half_close(server, (head + self.UPGRADE + body) * 2)
        assert statuses(answer) == [200, 200]


class TestExpectations:
    def test_client_of_http_1_0_is_sent_no_continue(self, server: Server) -> None:
        head = b"POST /identify/batch HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        with server.connect() as connection:
            connection.sendall(head)
            time.sleep(0.2)  # an interim response would have come
            connection.sendall(b"[]")
            assert statuses(read_all(connection)) == [200]

    def test_case_of_an_expectation_does_not_matter(self, server: Server) -> None:
        head = b"POST /identify/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        with server.connect() as connection:
            connection.sendall(head + b"Expect: 100-Continue\r\n\r\n")
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"


class TestTrailers:
    BODY = b"%x\r\n%b\r\n0\r\n"

    def chunks(self, body: bytes) -> bytes:
        return b"%x\r\n%b\r\n0\r\n" % (len(body), body)

    def test_key_in_a_trailer_admits_nobody(self, tmp_path: Path) -> None:
        key, text = made()
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        good = b"Authorization: Bearer %b\r\n" % text.encode()
        bad = b"Authorization: Bearer bsk_%b\r\n" % (b"x" * 40)
        chunks = self.chunks(b"[]")
        head = CHUNKED.replace(b"/identify", b"/identify/batch")
        with guarded(tmp_path, database, key) as server:
            assert statuses(half_close(server, head + b"\r\n" + chunks + good + b"\r\n")) == [401]
            assert statuses(half_close(server, head + bad + b"\r\n" + chunks + good + b"\r\n")) == [
                401
            ]
            assert statuses(half_close(server, head + good + b"\r\n" + chunks + bad + b"\r\n")) == [
                200
            ]

    @pytest.mark.parametrize("path", [b"/identify", b"/identify/batch"])
    def test_trailers_change_nothing(self, server: Server, path: bytes) -> None:
        email = fresh_email().encode()
        body = b'{"email":"%b"}' % email
        body = body if path == b"/identify" else b"[%b]" % body
        trailers = b"Content-Type: text/plain\r\nX-Request-Id: theirs\r\nExpect: wonders\r\n"
        sent = CHUNKED.replace(b"/identify", path) + b"\r\n" + self.chunks(body) + trailers
        answer = half_close(server, sent + b"\r\n" + GET + HOST + b"\r\n")
        assert statuses(answer) == [200, 200]
        assert email in answer
        assert b"theirs" not in answer

    @pytest.mark.parametrize(("count", "expected"), [(90, [200]), (99, [400]), (5000, [400])])
    def test_trailers_count_as_headers(
        self, server: Server, count: int, expected: list[int]
    ) -> None:
        body = b'{"email":"%b"}' % fresh_email().encode()
        sent = CHUNKED + b"\r\n" + self.chunks(body) + b"T: y\r\n" * count + b"\r\n"
        assert statuses(half_close(server, sent)) == expected

    def test_long_trailers_are_refused(self, server: Server) -> None:
        trailer = b"T: " + b"y" * 2 * MAX_HEAD + b"\r\n\r\n"
        assert statuses(server.raw(CHUNKED + b"\r\n" + self.chunks(b"{}") + trailer)) == [400]
