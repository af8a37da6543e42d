"""Bad input is refused in the contract's own form, writes nothing, and harms nobody.

Input that only looks bad is taken for what it says and matches nothing else.
"""

import re
from urllib.parse import quote

import pytest

from support.bad_inputs import (
    BAD_INPUTS,
    HOSTILE_EMAILS,
    HOSTILE_PHONES,
    MALFORMED,
    THEIR_DOUBLES,
)


@pytest.fixture(scope="module", autouse=True)
def known(server):
    """Somebody for bad input to harm."""
    server.identify("mcfly@hillvalley.edu", "123456")
    server.identify("lorraine@hillvalley.edu", "123456")
    server.identify("a@b.c", "1")
    for email in THEIR_DOUBLES:
        server.identify(email)


def test_corpus_is_large_and_has_no_duplicates():
    assert len(BAD_INPUTS) >= 700
    assert len({bad.name for bad in BAD_INPUTS}) == len(BAD_INPUTS)
    assert len({bad[2:] for bad in BAD_INPUTS}) == len(BAD_INPUTS)


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD_INPUTS])
def test_bad_input_is_refused_and_writes_nothing(server, bad):
    before = server.tables()
    headers = {} if bad.body is None else {"Content-Type": bad.content_type}
    reply = server.ask(bad.method, bad.target, bad.body, headers)
    assert (reply.status, bool(reply.error)) == (bad.status, True)
    assert server.ask("GET", "/ready").status == 200
    assert server.tables() == before


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_writes_nothing(server, name):
    before = server.tables()
    answer = server.raw(MALFORMED[name])
    assert answer == b"" or re.match(rb"HTTP/1\.1 4\d\d ", answer)
    assert b"<" not in answer
    assert server.ask("GET", "/ready").status == 200
    assert server.tables() == before


@pytest.mark.parametrize("line", [b"X: y\r\n", b"X: " + b"y" * 10_000 + b"\r\n", b"X"])
def test_endless_headers_are_cut_off(server, line):
    headers = line * (20_000_000 // len(line))
    with server.connect() as connection, pytest.raises(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers)
    assert server.ask("GET", "/ready").status == 200


class TestHostileValues:
    @pytest.mark.parametrize("email", HOSTILE_EMAILS)
    def test_an_email_matches_nothing_but_itself(self, server, email):
        ((contacts,),) = server.query("select count(*) from contact")
        answer = server.identify(email)
        assert server.query("select count(*) from contact") == [(contacts + 1,)]
        assert answer["emails"] == [email]
        assert answer["phoneNumbers"] == answer["secondaryContactIds"] == []
        assert server.identify(email) == answer
        assert server.ask("GET", f"/contacts?email={quote(email)}").contact == answer

    @pytest.mark.parametrize("phone", HOSTILE_PHONES)
    def test_a_phone_number_matches_nothing_but_itself(self, server, phone):
        ((contacts,),) = server.query("select count(*) from contact")
        answer = server.identify(None, phone)
        assert server.query("select count(*) from contact") == [(contacts + 1,)]
        assert answer["phoneNumbers"] == [phone]
        assert answer["emails"] == answer["secondaryContactIds"] == []
        assert server.ask("GET", f"/contacts?phoneNumber={quote(phone)}").contact == answer

    def test_nobody_has_been_merged(self, server):
        merges = "select count(*) from event where kind = 'identities.merged'"
        assert server.query(merges) == [(0,)]
        for email in (*THEIR_DOUBLES, *HOSTILE_EMAILS):
            assert server.identify(email)["emails"] == [email]
