"""Callers who send too much, too slowly or take too little: they are refused or closed, others are
served throughout, and memory stays.
"""

import asyncio
import json
import random
import socket
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bitespeed.api.rates import BURST, PORTION, Bucket, Rates, SharedBucket
from bitespeed.errors import CacheUnavailable
from support.api_keys import bearing, guarded, made
from support.bad_inputs import BAD_INPUTS, MALFORMED
from support.log_lines import unexpected_errors
from support.redis_server import redis_server
from support.server import ask, fresh_email, read_all, serve

FUZZED = 10_000  # requests
SLOW = 150  # callers at once
MAX_GROWTH = 24  # MiB of a server's memory through all of it
HEALTHY = json.dumps({"email": "mcfly@hillvalley.edu"}).encode()

HEAD = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n"
DAWDLERS = {
    "says nothing": b"",
    "stops in the head": b"POST /identify HTTP/1.1\r\nHo",
    "stops before the body": HEAD + b"\r\n",
    "stops in the body": HEAD + b"\r\n" + b" " * 100,
}
TRICKLES = {"head": (b"GET /health HTTP/1.1\r\n", b"X: y\r\n"), "body": (HEAD + b"\r\n", b" ")}


@contextmanager
def patient(folder, **environ):
    """A server that waits a second for its callers."""
    with serve(folder, BITESPEED_CLIENT_TIMEOUT="1", **environ) as server:
        yield server


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    with patient(tmp_path_factory.mktemp("quick"), BITESPEED_MAX_CONNECTIONS="200") as server:
        yield server
        assert unexpected_errors(server.log()) == []


def is_closed_in_time(connection):
    """Whether the server closes the connection by itself, whatever it says before."""
    connection.settimeout(10)
    return read_all(connection) is not None


def memory(pid):
    """What the process has for itself, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class TestSlowCallers:
    @pytest.mark.parametrize("sent", DAWDLERS.values(), ids=DAWDLERS)
    def test_caller_that_stops_sending_is_disconnected(self, quick, sent):
        with quick.connect() as connection:
            connection.sendall(sent)
            assert is_closed_in_time(connection)

    @pytest.mark.parametrize("part", TRICKLES)
    def test_caller_that_trickles_is_disconnected(self, quick, part):
        start, drop = TRICKLES[part]
        begin = time.monotonic()
        with quick.connect() as connection, suppress(ConnectionError):
            connection.sendall(start)
            while time.monotonic() < begin + 10:
                connection.sendall(drop)
                time.sleep(0.05)
            pytest.fail("It was let go on.")

    def test_caller_that_reads_no_answer_is_disconnected(self, quick):
        """Answers pile up beyond what the system takes in for the caller, until nothing does."""
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(10)
            connection.connect(("127.0.0.1", quick.port))
            request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
            connection.sendall(request * 5)
            time.sleep(3)  # as a caller who has gone for a walk
            with suppress(ConnectionError):
                received = len(read_all(connection))
                assert received < 5_000_000

    def test_caller_that_returns_in_time_stays_connected(self, quick):
        with closing(HTTPConnection("127.0.0.1", quick.port, timeout=5)) as connection:
            for _ in range(3):
                assert ask(connection, "POST", "/identify", HEALTHY).status == 200
                kept = connection.sock
                time.sleep(0.7)
            time.sleep(2)  # idle between requests is something else than slow in one
            assert ask(connection, "POST", "/identify", HEALTHY).status == 200
            assert connection.sock is kept

    def test_new_caller_is_served_among_too_many_idle_ones(self, quick):
        with ExitStack() as crowd:
            kept = crowd.enter_context(closing(HTTPConnection("127.0.0.1", quick.port, timeout=5)))
            for round_ in range(2):
                for n in range(250):
                    connection = crowd.enter_context(quick.connect())
                    with suppress(ConnectionError):
                        connection.sendall([*DAWDLERS.values()][n % len(DAWDLERS)])
                assert quick.ask("POST", "/identify", HEALTHY).status == 200
                if round_ == 0:
                    assert ask(kept, "POST", "/identify", HEALTHY).status == 200


class TestSizes:
    def test_headers_are_counted(self, quick):
        lines = [f"X-{n}: y" for n in range(98)]
        request = "GET /health HTTP/1.1\r\nHost: x\r\n{}\r\nConnection: close\r\n\r\n"
        assert quick.raw(request.format("\r\n".join(lines)).encode()).startswith(b"HTTP/1.1 200 ")
        answer = quick.raw(request.format("\r\n".join([*lines, "X: y"])).encode())
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert (
            b'{"error":"A request may have at most 100 headers","code":"invalid_input"}' in answer
        )

    @pytest.mark.parametrize("path", ["/identify", "/identify/batch"])
    def test_excessive_content_length_is_refused_before_the_body(self, quick, path):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n"
        assert quick.raw(head.encode()).startswith(b"HTTP/1.1 413 ")

    def test_body_of_one_byte_chunks_is_read_quickly(self, quick):
        body = json.dumps({"email": fresh_email(), "x": "y" * 20_000}).encode()
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        head = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        assert quick.raw(head + chunks).startswith(b"HTTP/1.1 200 ")


def mutant(source, rng):
    """A request that is nearly one: cut, doubled, overwritten, or put together from two."""
    data = bytearray(rng.choice(source))
    for _ in range(rng.randint(0, 3)):
        at, length = rng.randrange(len(data) or 1), rng.randint(1, 40)
        match rng.randrange(5):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = data[at : at + length]
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at:at] = rng.randbytes(length)
            case 4:
                data[at:] = rng.choice(source)[at:]
    return bytes(data[:20_000])


def requests():
    """The bytes of every bad input, and of some good ones."""
    found = [*MALFORMED.values()]
    for bad in BAD_INPUTS:
        body = bad.body or b""
        head = f"{bad.method} {bad.target} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Type: {bad.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    for method, target, body in (
        ("POST", "/identify", HEALTHY),
        ("POST", "/identify/batch", b"[%b]" % HEALTHY),
        ("GET", "/contacts?email=mcfly@hillvalley.edu", b""),
        ("GET", "/contacts/1", b""),
        ("DELETE", "/contacts/999999", b""),
    ):
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        found.append(head.encode() + body)
    return found


async def fuzz(port, count, rng):
    """Send so many; the status of every answer."""
    source, statuses, left = requests(), [], iter(range(count))

    async def one():
        for _ in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(mutant(source, rng))
            writer.write_eof()
            with suppress(OSError):
                answer = await asyncio.wait_for(reader.read(), 30)
                lines = answer.split(b"HTTP/1.1 ")[1:]
                statuses.extend(int(line[:3]) for line in lines)
            writer.close()

    await asyncio.gather(*[one() for _ in range(16)])
    return statuses


async def served(port, stop):
    """A healthy caller meanwhile: how often it was answered, and everything but 200."""
    answered, others = 0, []
    while not stop.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /identify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(HEALTHY), HEALTHY)
        )
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        answered += 1
        if not answer.startswith(b"HTTP/1.1 200 "):
            others.append(answer[:20])
        await asyncio.sleep(0.01)
    return answered, others


async def dawdle(port, stop):
    """A crowd of slow callers, each replaced when it is closed."""

    async def one(n):
        while not stop.is_set():
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write([*DAWDLERS.values()][n % len(DAWDLERS)])
                await asyncio.wait_for(reader.read(), 5)
                writer.close()

    await asyncio.gather(*[one(n) for n in range(SLOW)])


def test_fuzz_and_slow_callers_disturb_nobody(quick):
    async def all_at_once():
        stop = asyncio.Event()
        others = [asyncio.create_task(served(quick.port, stop)) for _ in range(2)]
        crowd = asyncio.create_task(dawdle(quick.port, stop))
        statuses = await fuzz(quick.port, FUZZED, random.Random(7))
        stop.set()
        await crowd
        return statuses, await asyncio.gather(*others)

    asyncio.run(fuzz(quick.port, 1000, random.Random(1)))  # until caches and pools are filled
    before = memory(quick.pid)
    statuses, others = asyncio.run(all_at_once())
    grown = memory(quick.pid) - before
    assert {status for status in statuses if status >= 500} <= {503}
    assert len({200, 400, 404, 405, 413, 415} & set(statuses)) >= 4
    assert len(statuses) > FUZZED / 3
    for answered, refused in others:
        assert answered > 20
        assert refused == []
    assert grown < MAX_GROWTH, f"{grown} MiB"


def on_loop(test):
    return asyncio.run(test())


class TestRate:
    def test_key_over_its_rate_limit_learns_when_to_retry(self, tmp_path):
        (key, text), (other, others_text) = made(), made("other")
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        with guarded(tmp_path, database, key, other, BITESPEED_RATE_LIMIT="5") as server:
            statuses = []
            with closing(HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
                for _ in range(40):
                    reply = ask(connection, "POST", "/identify", HEALTHY, bearing(text))
                    statuses.append(reply.status)
            assert statuses[:10] == [200] * 10
            assert 429 in statuses
            assert (reply.error, reply.headers["retry-after"]) == (
                "The API key sends more than its rate",
                "1",
            )
            assert server.ask("POST", "/identify", HEALTHY, bearing(others_text)).status == 200
            time.sleep(1)
            assert server.ask("POST", "/identify", HEALTHY, bearing(text)).status == 200

    def test_a_batch_counts_as_many_as_it_has(self, tmp_path):
        key, text = made()
        database = f"sqlite:///{tmp_path / 'contacts.db'}"
        with guarded(tmp_path, database, key, BITESPEED_RATE_LIMIT="10") as server:
            batch = json.dumps([{"email": fresh_email()} for _ in range(100)]).encode()
            assert server.ask("POST", "/identify/batch", batch, bearing(text)).status == 200
            reply = server.ask("POST", "/identify", HEALTHY, bearing(text))
            assert (reply.status, int(reply.headers["retry-after"]) >= 7) == (429, True)

    def test_processes_share_one_bucket_in_the_cache(self):
        async def test():
            from bitespeed.caches.redis import RedisEngine

            rate, taken = 50.0, 0
            engines = [RedisEngine(server.url) for _ in range(3)]
            for engine in engines:
                await engine.wait_until_connected()
            buckets = [SharedBucket(rate, engine, "a") for engine in engines]
            begin = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < begin + 1.5:
                for bucket in buckets:
                    taken += await bucket.take_or_wait() == 0
                await asyncio.sleep(0)
            for engine in engines:
                await engine.close()
            passed = asyncio.get_running_loop().time() - begin
            assert taken <= rate * (BURST + passed) + 1
            assert taken >= rate * (BURST + passed - 3 * PORTION) - 10
            assert server.dump().keys() == {b"{bitespeed}:rate:a"}

        with redis_server() as server:
            on_loop(test)

    def test_requests_seldom_wait_for_the_cache(self):
        async def test():
            engine = Counted()
            bucket = SharedBucket(1000.0, engine, "a")
            assert await bucket.take_or_wait() == 0
            for _ in range(900):
                assert bucket.take()
                await asyncio.sleep(0)
            assert engine.runs <= 900 / (1000 * PORTION / 2) + 2

        on_loop(test)

    def test_without_the_cache_each_process_counts_for_itself(self):
        async def test():
            bucket = SharedBucket(10.0, Away(), "a")
            taken = [await bucket.take_or_wait() == 0 for _ in range(40)]
            assert sum(taken) == 20
            assert await bucket.take_or_wait() > 0

        on_loop(test)

    def test_without_a_rate_there_is_no_bucket(self):
        assert Rates(None, None).bucket("a") is None

    def test_a_debt_is_paid_before_anybody_passes(self):
        async def test():
            bucket = Bucket(100.0)
            bucket.charge(250)
            assert not bucket.take()
            assert 0.4 < await bucket.take_or_wait() < 0.6

        on_loop(test)


class Counted:
    """A cache that lends whatever is wanted."""

    runs = 0

    async def call(self, *command, **_):
        self.runs += 1
        return [command[-1], 0]


class Away:
    """One that is not there."""

    async def call(self, *_, **__):
        raise CacheUnavailable("The cache cannot be reached")
