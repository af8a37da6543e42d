"""Every endpoint and the HTTP around it, through a real server."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import quote, urlencode

import pytest

from support.server import ask, fresh_email, fresh_phone, read_all, serve

NDJSON = {"Content-Type": "application/x-ndjson"}
METHODS = {
    "/identify": "POST",
    "/identify/batch": "POST",
    "/contacts": "GET, HEAD",
    "/contacts/1": "DELETE, GET, HEAD",
    "/health": "GET, HEAD",
    "/ready": "GET, HEAD",
    "/openapi.json": "GET, HEAD",
    "/docs": "GET, HEAD",
    "/docs/swagger-ui.css": "GET, HEAD",
}
OTHER_METHODS = [
    (path, method)
    for path, methods in METHODS.items()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")
    if method not in methods
]


def observation(email, phone):
    return {"email": email, "phoneNumber": phone}


def person():
    return fresh_email(), fresh_phone()


class TestBatch:
    def test_an_array_is_answered_in_its_order(self, server):
        people = [person() for _ in range(600)]
        answers = server.post("/identify/batch", [observation(*p) for p in people]).json
        assert [a["contact"]["emails"] for a in answers] == [[email] for email, _ in people]
        ids = [a["contact"]["primaryContatctId"] for a in answers]
        assert ids == sorted(set(ids))

    def test_each_reply_of_a_batch_includes_earlier_observations(self, server):
        (e1, p1), (e2, p2) = person(), person()
        batch = [observation(e1, p1), observation(e2, p2), observation(e1, p2), observation(e1, p1)]
        first, second, joined, repeat = (
            answer["contact"] for answer in server.post("/identify/batch", batch).json
        )
        assert first["secondaryContactIds"] == second["secondaryContactIds"] == []
        assert joined["primaryContatctId"] == first["primaryContatctId"]
        assert joined["secondaryContactIds"] == [second["primaryContatctId"]]
        assert repeat == joined

    def test_a_bad_observation_is_refused_on_its_own(self, server):
        email, phone = person()
        batch = [{"email": email}, {"email": 5}, 3, None, [], {}, {"phoneNumber": phone}]
        answers = server.post("/identify/batch", batch).json
        assert answers[0]["contact"]["emails"] == [email]
        assert answers[6]["contact"]["phoneNumbers"] == [phone]
        assert [answer.get("code") for answer in answers[1:5]] == ["invalid_input"] * 4
        assert answers[5] == {"error": "Either email or phoneNumber is required"}

    def test_an_empty_array_gets_an_empty_array(self, server):
        assert server.post("/identify/batch", []).json == []

    def test_1000_observations_are_taken(self, server):
        people = [person() for _ in range(1000)]
        reply = server.post("/identify/batch", [observation(*p) for p in people])
        assert [a["contact"]["phoneNumbers"] for a in reply.json] == [
            [phone] for _, phone in people
        ]

    @pytest.mark.parametrize("form", ["array", "lines"])
    def test_1001_observations_are_refused_as_a_whole(self, server, form):
        before = server.tables()
        items = [json.dumps({"email": fresh_email()}) for _ in range(1001)]
        if form == "lines":
            reply = server.ask("POST", "/identify/batch", "\n".join(items).encode(), NDJSON)
        else:
            reply = server.ask("POST", "/identify/batch", f"[{','.join(items)}]".encode())
        assert (reply.status, "1000" in reply.error) == (413, True)
        assert server.tables() == before

    @pytest.mark.parametrize("body", [b"", b"{}", b"[", b"[{}", b'"x"', b"[{},]", b"\xff", b"[{]"])
    def test_an_unreadable_body_is_refused_as_a_whole(self, server, body):
        reply = server.ask("POST", "/identify/batch", body)
        assert (reply.status, reply.error) == (400, "The body is not a JSON array in UTF-8")

    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n  \r\n"])
    @pytest.mark.parametrize("end", ["", "\n"])
    def test_lines_get_lines(self, server, newline, end):
        people = [person() for _ in range(3)]
        lines = [json.dumps(observation(*p)) for p in people]
        lines.insert(1, '{"email": 5}')
        body = (newline.join(lines) + end).encode()
        reply = server.ask("POST", "/identify/batch", body, NDJSON)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
        *answers, last = reply.body.split(b"\n")
        assert last == b""
        first, bad, second, third = map(json.loads, answers)
        assert list(bad) == ["error", "code"]
        emails = [answer["contact"]["emails"] for answer in (first, second, third)]
        assert emails == [[email] for email, _ in people]

    def test_line_that_is_no_json_fails_alone(self, server):
        email = fresh_email()
        body = b'{"email": \n\xff\n[]\n{"email": "%s"}' % email.encode()
        reply = server.ask("POST", "/identify/batch", body, NDJSON)
        *refusals, answer = map(json.loads, reply.body.splitlines())
        assert [list(refusal) for refusal in refusals] == [["error", "code"]] * 3
        assert answer["contact"]["emails"] == [email]

    def test_no_lines_get_no_lines(self, server):
        reply = server.ask("POST", "/identify/batch", b"\n\r\n", NDJSON)
        assert (reply.status, reply.body) == (200, b"")


class TestContact:
    def test_any_contact_shows_its_whole_identity(self, server):
        email, phone = person()
        server.identify(email, phone)
        answer = server.identify(fresh_email(), phone)
        for id_ in (answer["primaryContatctId"], *answer["secondaryContactIds"]):
            assert server.ask("GET", f"/contacts/{id_}").contact == answer

    def test_merged_contact_shows_its_present_identity(self, server):
        people = [person() for _ in range(5)]
        ids = [server.identify(*p)["primaryContatctId"] for p in people]
        for (email, _), (_, phone) in zip(people[1:], people[:-1], strict=True):
            answer = server.identify(email, phone)
        for id_ in ids:
            assert server.ask("GET", f"/contacts/{id_}").contact == answer

    def test_an_unknown_contact_is_not_found(self, server):
        reply = server.ask("GET", "/contacts/999999999")
        assert (reply.status, reply.error) == (404, "There is no contact with this id")


class TestLookUp:
    def look_up(self, server, **asked):
        return server.ask("GET", f"/contacts?{urlencode(asked)}")

    def test_either_value_or_both_find_the_identity(self, server):
        email, phone = person()
        server.identify(email, phone)
        answer = server.identify(fresh_email(), phone)
        assert self.look_up(server, email=email).contact == answer
        assert self.look_up(server, phoneNumber=phone).contact == answer
        assert self.look_up(server, email=email, phoneNumber=phone).contact == answer

    def test_lookup_writes_nothing(self, server):
        (email, phone), (other, _) = person(), person()
        server.identify(email, phone)
        server.identify(other)
        before = server.tables()
        assert self.look_up(server, email=email, phoneNumber=fresh_phone()).status == 200
        assert self.look_up(server, email=fresh_email()).status == 404
        assert self.look_up(server, email=other, phoneNumber=phone).status == 404
        assert server.tables() == before

    def test_values_of_two_identities_are_not_found_together(self, server):
        (e1, p1), (e2, p2) = person(), person()
        server.identify(e1, p1)
        server.identify(e2, p2)
        reply = self.look_up(server, email=e1, phoneNumber=p2)
        assert (reply.status, "one at a time" in reply.error) == (404, True)

    @pytest.mark.parametrize(
        "query", ["", "?", "?email=", "?email=%20&phoneNumber=", "?Email=a@b.c", "?other=1"]
    )
    def test_lookup_without_a_value_is_a_bad_request(self, server, query):
        reply = server.ask("GET", f"/contacts{query}")
        assert (reply.status, reply.error) == (400, "Either email or phoneNumber is required")

    @pytest.mark.parametrize("form", ["+{}", "%2B{}", "%2b{}", "+{}+", "(%2B{})", "%20%2B{}"])
    def test_leading_plus_of_a_phone_needs_no_encoding(self, server, form):
        phone = fresh_phone()
        answer = server.identify(None, f"+{phone}")
        assert server.ask("GET", f"/contacts?phoneNumber={form.format(phone)}").contact == answer

    def test_later_plus_in_a_phone_is_a_blank(self, server):
        answer = server.identify(None, "+15550199")
        assert server.ask("GET", "/contacts?phoneNumber=%2B1+555+0199").contact == answer

    def test_a_plus_in_an_email_need_not_be_encoded(self, server):
        email = f"tag+{fresh_email()}"
        answer = server.identify(email)
        assert server.ask("GET", f"/contacts?email={email}").contact == answer
        assert server.ask("GET", f"/contacts?email={quote(email.upper())}").contact == answer

    def test_no_answer_may_be_kept_on_the_way(self, server):
        answer = server.identify(fresh_email())
        for target in (
            f"/contacts?email={answer['emails'][0]}",
            f"/contacts/{answer['primaryContatctId']}",
        ):
            assert server.ask("GET", target).headers["cache-control"] == "no-store"

    def test_invalid_utf8_is_refused_in_a_lookup(self, server):
        server.identify("\N{REPLACEMENT CHARACTER}@hillvalley.edu")
        reply = server.ask("GET", "/contacts?email=%ff@hillvalley.edu")
        assert (reply.status, bool(reply.error)) == (400, True)


class TestDelete:
    def test_the_next_oldest_contact_becomes_primary(self, server):
        email, phone = person()
        others = [fresh_email(), fresh_email()]
        first = server.identify(email, phone)["primaryContatctId"]
        server.identify(others[0], phone)
        second, third = server.identify(others[1], phone)["secondaryContactIds"]
        reply = server.ask("DELETE", f"/contacts/{first}")
        assert (reply.status, reply.body) == (204, b"")
        answer = server.identify(None, phone)
        assert answer == {
            "primaryContatctId": second,
            "emails": others,
            "phoneNumbers": [phone],
            "secondaryContactIds": [third],
        }
        rows = "select id, linkedid, linkprecedence, deletedat is not null from contact"
        assert server.query(f"{rows} where id in (?, ?, ?) order by id", first, second, third)[
            1:
        ] == [
            (second, None, "primary", 0),
            (third, second, "secondary", 0),
        ]

    def test_the_row_is_kept_as_deleted(self, server):
        id_ = server.identify(*person())["primaryContatctId"]
        server.ask("DELETE", f"/contacts/{id_}")
        ((deleted,),) = server.query("select deletedat from contact where id = ?", id_)
        assert deleted is not None

    def test_values_that_nobody_else_carries_are_free_again(self, server):
        email, phone = person()
        old = server.identify(email, phone)["primaryContatctId"]
        server.ask("DELETE", f"/contacts/{old}")
        assert server.ask("GET", f"/contacts?email={email}").status == 404
        answer = server.identify(email, phone)
        assert answer["primaryContatctId"] > old
        assert answer["secondaryContactIds"] == []

    def test_values_that_another_contact_carries_stay(self, server):
        email, phone = person()
        first = server.identify(email, phone)["primaryContatctId"]
        other = fresh_phone()
        (second,) = server.identify(email, other)["secondaryContactIds"]
        server.ask("DELETE", f"/contacts/{first}")
        answer = server.identify(email, phone)
        assert answer["primaryContatctId"] == second
        assert answer["emails"] == [email]
        assert answer["phoneNumbers"] == [other, phone]
        assert len(answer["secondaryContactIds"]) == 1

    def test_a_deleted_contact_is_not_found(self, server):
        id_ = server.identify(*person())["primaryContatctId"]
        assert server.ask("DELETE", f"/contacts/{id_}").status == 204
        for method in ("DELETE", "GET", "DELETE"):
            reply = server.ask(method, f"/contacts/{id_}")
            assert (reply.status, reply.error) == (404, "There is no contact with this id")

    def test_identity_of_deleted_contact_is_found_by_other_contacts(self, server):
        email, phone = person()
        first = server.identify(email, phone)["primaryContatctId"]
        (second,) = server.identify(fresh_email(), phone)["secondaryContactIds"]
        server.ask("DELETE", f"/contacts/{first}")
        assert server.ask("GET", f"/contacts/{first}").status == 404
        assert server.ask("GET", f"/contacts/{second}").contact["primaryContatctId"] == second

    def test_primary_of_merged_identity_can_be_deleted(self, server):
        (e1, p1), (e2, p2) = person(), person()
        old, new = (server.identify(*p)["primaryContatctId"] for p in ((e1, p1), (e2, p2)))
        server.identify(e1, p2)
        assert server.ask("DELETE", f"/contacts/{old}").status == 204
        assert server.identify(e2)["primaryContatctId"] == new
        assert server.identify(e1)["primaryContatctId"] > new


class TestPaths:
    def test_health_and_ready(self, server):
        assert server.ask("GET", "/health").json == {"status": "alive"}
        assert server.ask("GET", "/ready").json == {"status": "ready"}

    @pytest.mark.parametrize("path", METHODS)
    def test_options_lists_the_methods_of_a_path(self, server, path):
        reply = server.ask("OPTIONS", path)
        assert (reply.status, reply.body) == (204, b"")
        assert sorted(reply.headers["allow"].split(", ")) == METHODS[path].split(", ")

    @pytest.mark.parametrize("path", METHODS)
    def test_head_is_get_without_the_body(self, server, path):
        get, head = server.ask("GET", path), server.ask("HEAD", path)
        assert (head.status, head.body) == (get.status, b"")
        for name in ("content-type", "content-length", "allow"):
            assert head.headers[name] == get.headers[name]

    @pytest.mark.parametrize(("path", "method"), OTHER_METHODS)
    def test_refusal_of_a_method_lists_the_right_ones(self, server, path, method):
        reply = server.ask(method, path, b"{}")
        assert reply.status == 405
        assert sorted(reply.headers["allow"].split(", ")) == METHODS[path].split(", ")
        assert "This path takes" in reply.error

    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
    @pytest.mark.parametrize("path", ["/", "/nothing", "/identify/", "/ready/", "/contacts/1/2"])
    def test_an_unknown_path_is_not_found(self, server, path, method):
        reply = server.ask(method, path)
        assert (reply.status, "/docs" in reply.error) == (404, True)

    @pytest.mark.parametrize("range_", ["bytes=999999999-", "bytes=x"])
    def test_file_comes_whole_despite_a_range_header(self, server, range_):
        reply = server.ask("GET", "/docs/swagger-ui.css", headers={"Range": range_})
        assert reply.status == 200
        assert len(reply.body) > 100_000


class TestBodies:
    @pytest.mark.parametrize("path", ["/identify", "/identify/batch"])
    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "a/b"])
    def test_other_types_are_refused(self, server, path, kind):
        reply = server.ask("POST", path, b"[]", {"Content-Type": kind})
        assert (reply.status, "application/json" in reply.error) == (415, True)

    def test_lines_are_no_single_observation(self, server):
        reply = server.ask("POST", "/identify", b"{}", NDJSON)
        assert (reply.status, "/identify/batch" in reply.error) == (415, True)

    @pytest.mark.parametrize(("path", "limit"), [("/identify", 65_536), ("/identify/batch", 2**20)])
    def test_body_of_one_byte_too_many_is_refused(self, server, path, limit):
        assert server.ask("POST", path, b'"%s"' % (b"x" * (limit - 2))).status == 400
        reply = server.ask("POST", path, b'"%s"' % (b"x" * (limit - 1)))
        assert (reply.status, str(limit) in reply.error) == (413, True)

    @pytest.mark.parametrize("path", ["/identify", "/identify/batch"])
    def test_a_body_of_two_megabytes_is_refused(self, server, path):
        assert "The body may have" in server.ask("POST", path, b" " * 2**21).error

    def test_a_body_in_chunks_is_taken(self, server):
        email = fresh_email()
        body = json.dumps({"email": email}).encode()
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        answer = server.raw(chunked("/identify", close=True) + chunks + b"0\r\n\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["contact"]["emails"] == [email]

    @pytest.mark.parametrize("path", ["/identify", "/identify/batch"])
    def test_endless_body_in_chunks_is_refused_during_upload(self, server, path):
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        answer = server.raw(chunked(path) + chunk * 100)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'{"error":"The body may have at most' in answer

    def test_a_slow_body_is_waited_for(self, server):
        email = fresh_email()
        body = json.dumps({"email": email}).encode()
        with server.connect() as connection:
            connection.sendall(head("/identify", len(body), "Connection: close"))
            for start in range(0, len(body), 8):
                time.sleep(0.05)
                connection.sendall(body[start : start + 8])
            assert email.encode() in read_all(connection)

    def test_client_that_expects_100_continue_gets_it(self, server):
        body = json.dumps({"email": fresh_email()}).encode()
        with server.connect() as connection:
            connection.sendall(head("/identify", len(body), "Expect: 100-continue"))
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")

    def test_an_upgrade_that_is_offered_is_passed_over(self, server):
        """Java's HttpClient offers h2c on every first request, as RFC 9110 7.8 lets it."""
        body = json.dumps({"email": fresh_email()}).encode()
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
        assert server.ask("POST", "/identify", body, offer).status == 200


def head(path, length, *others):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *others]
    return "\r\n".join([*lines, "\r\n"]).encode()


def chunked(path, *, close=False):
    connection = "close" if close else "keep-alive"
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Connection: {connection}"]
    return "\r\n".join([*lines, "Transfer-Encoding: chunked", "\r\n"]).encode()


class TestConnections:
    @pytest.mark.parametrize(
        ("method", "path", "body", "kind"),
        [
            ("POST", "/identify", b"{}", "application/json"),
            ("POST", "/identify", b"{", "application/json"),
            ("POST", "/identify", b"<x/>" * 1000, "text/xml"),
            ("POST", "/identify/batch", b"{", "application/json"),
            ("PUT", "/identify", b"x" * 1000, "application/json"),
            ("GET", "/nothing", None, ""),
            ("GET", "/contacts/none", None, ""),
            ("HEAD", "/identify", None, ""),
            ("OPTIONS", "/identify", None, ""),
        ],
    )
    def test_a_connection_lives_on_after_a_refusal(self, server, method, path, body, kind):
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
            ask(connection, method, path, body, {"Content-Type": kind})
            kept = connection.sock
            reply = ask(connection, "POST", "/identify", b'{"phoneNumber": 8}')
            assert reply.contact["phoneNumbers"] == ["8"]
            assert connection.sock is kept

    def test_http_1_0_client_is_answered_and_closed(self, server):
        body = b'{"email":"%b"}' % fresh_email().encode()
        answer = server.raw(
            b"POST /identify HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()

    def test_pipelined_requests_are_answered_in_their_order(self, server):
        phones = [fresh_phone() for _ in range(20)]
        requests = b""
        for phone in phones:
            body = json.dumps({"phoneNumber": phone}).encode()
            requests += head("/identify", len(body)) + body
            requests += head("/identify", 2) + b"{}"
        last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        _, *answers = server.raw(requests + last).split(b"HTTP/1.1 ")
        assert len(answers) == 2 * len(phones) + 1
        assert all(answer.startswith(b"400 ") for answer in answers[1:-1:2])
        for phone, answer in zip(phones, answers[:-1:2], strict=True):
            assert answer.startswith(b"200 ")
            assert phone.encode() in answer

    def test_client_that_leaves_during_its_request_writes_nothing(self, server):
        before = server.tables()
        body = json.dumps({"email": fresh_email()}).encode()
        request = head("/identify", len(body)) + body
        for length in range(1, len(request), 7):
            with server.connect() as connection:
                connection.sendall(request[:length])
        assert server.ask("GET", "/ready").status == 200
        assert server.tables() == before

    def test_client_that_leaves_before_its_answer_disturbs_nobody(self, server):
        phone = fresh_phone()
        body = json.dumps({"phoneNumber": phone}).encode()
        for _ in range(50):
            with server.connect() as connection:
                connection.sendall(head("/identify", len(body)) + body)
        assert server.identify(None, phone)["secondaryContactIds"] == []


@contextmanager
def locked(server):
    """Hold the write lock of the server's database, as another process would."""
    with closing(sqlite3.connect(server.database, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


class TestLockedDatabase:
    def test_writes_are_refused_for_now_and_reads_are_answered(self, server):
        email, phone = person()
        known = server.identify(email, phone)
        with locked(server), ThreadPoolExecutor() as threads:
            write = threads.submit(server.post, "/identify", observation(fresh_email(), None))
            time.sleep(0.2)
            assert server.ask("GET", "/ready").status == 200
            assert server.ask("GET", f"/contacts?email={email}").contact == known
            assert server.identify(None, phone) == known
            assert not write.done()
            refusal = write.result()
        assert (refusal.status, refusal.headers["retry-after"]) == (503, "1")
        assert refusal.error == "The database is locked by another process"
        assert (
            server.identify(email, fresh_phone())["primaryContatctId"] == known["primaryContatctId"]
        )

    def test_write_continues_when_lock_is_released_in_time(self, server):
        email = fresh_email()
        with ThreadPoolExecutor() as threads:
            with locked(server):
                write = threads.submit(server.identify, email)
                time.sleep(0.3)
                assert not write.done()
            assert write.result()["emails"] == [email]

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_a_refusal_comes_by_the_deadline(self, tmp_path, method):
        with serve(tmp_path, BITESPEED_DEADLINE="1") as server:
            id_ = server.identify("doc@hillvalley.edu")["primaryContatctId"]
            path = f"/contacts/{id_}" if method == "DELETE" else "/identify"
            with locked(server):
                start = time.monotonic()
                reply = server.ask(method, path, b'{"phoneNumber": 5}')
                waited = time.monotonic() - start
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert reply.error
            assert 0.9 < waited < 2.5
